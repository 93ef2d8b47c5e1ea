"""Threads of the REST gateway, a few for each kind of call, so that no kind starves another.

In a lane callers take turns, and none has more than its share of the threads, nor of the places of
those who wait. Who would wait behind too many, or for too long, is asked to come again.
"""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import anyio
from anyio.to_thread import run_sync

from bal.errors import Unavailable

T = TypeVar("T")
SHARES = 4  # into so many the places of those who wait are divided; a caller has one at most


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """Bounds of one lane."""

    threads_max: int
    waiting_max: int
    per_caller_max: int = 1_000_000  # threads that one caller has at once
    wait_s: float = 2.5

    def waits_of_one_max(self, caller: str) -> int:
        """How many calls of one caller may wait; "" is nobody known, and has all places."""
        return max(1, self.waiting_max // SHARES) if caller else self.waiting_max


class Lane:
    """On one event loop."""

    def __init__(self, what: str, limits: LaneLimits) -> None:
        """what: the calls, in the plural, for the sentence of a refusal."""
        self._what, self._limits = what, limits
        self._threads = anyio.CapacityLimiter(limits.threads_max)
        self._taken: Counter[str] = Counter()  # threads by caller
        # By caller in the order of their turns; None of them is empty.
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    async def run(self, caller: str, call: Callable[[], T]) -> T:
        """Run a call that may block in a thread. Raises Unavailable where it had to wait."""
        await self._enter(caller)
        try:
            return await run_sync(call, limiter=self._threads)
        finally:
            self._leave(caller)

    async def _enter(self, caller: str) -> None:
        if self._may(caller):
            self._taken[caller] += 1
            return
        waiting = sum(len(queue) for queue in self._waiting.values())
        own = len(self._waiting.get(caller, ()))
        if waiting >= self._limits.waiting_max or own >= self._limits.waits_of_one_max(caller):
            raise Unavailable(f"Too many {self._what} wait.", retry_after_s=2)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(turn)
        try:
            await asyncio.wait({turn}, timeout=self._limits.wait_s)
        except BaseException:
            self._withdraw(caller, turn)
            raise
        if not turn.done():
            self._withdraw(caller, turn)
            raise Unavailable(f"The {self._what} before it take too long.", retry_after_s=2)

    def _may(self, caller: str) -> bool:
        """Whether a thread is free, and this caller may have it."""
        free = self._taken.total() < self._limits.threads_max
        return free and self._taken[caller] < self._limits.per_caller_max

    def _withdraw(self, caller: str, turn: "asyncio.Future[None]") -> None:
        if turn.done():  # it had its turn in the same moment
            self._leave(caller)
            return
        self._waiting[caller].remove(turn)
        if not self._waiting[caller]:
            del self._waiting[caller]

    def _leave(self, caller: str) -> None:
        self._taken[caller] -= 1
        if not self._taken[caller]:
            del self._taken[caller]
        for following in list(self._waiting):
            if not self._may(following):
                continue
            queue = self._waiting.pop(following)
            self._taken[following] += 1
            queue.popleft().set_result(None)
            if queue:  # its next one comes behind those of the others
                self._waiting[following] = queue
