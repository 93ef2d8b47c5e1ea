"""Watches what is on the bus and not yet in the log: how much it is, and for how long it waits.

An accepted note promises that its message is in the log by `include-by`. Nobody but the operator
can see to that, so he is told before the intake refuses more, and when a promise is broken.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from threading import Event, Lock, Thread
from time import monotonic

from infra.intake_writer import INCLUDE_WITHIN_US

logger = logging.getLogger("gridseal.backlog")

HIGH, OVERDUE = "backlog-high", "promise-overdue"
HIGH_PART, LOW_PART = 0.8, 0.7  # of the limit: the alarm comes at the first, and goes at the last
NOTE_EVERY_S = 1.0
LOOK_S = 0.5


class BacklogWatch:
    """Told of the ends now and then; from any thread."""

    def __init__(
        self,
        limit: int,
        *,
        within_s: float = INCLUDE_WITHIN_US / 1e6,
        now_s: Callable[[], float] = monotonic,
    ) -> None:
        """limit: messages that may wait; within_s: for how long; now_s: a clock never set."""
        self._limit, self._within_s, self._now_s = limit, within_s, now_s
        self._notes: dict[int, deque[tuple[int, float]]] = {}  # an end, and when it was seen first
        self._lock = Lock()
        self._standing: tuple[str, ...] = ()

    def look(self, ends: Sequence[int], taken: Sequence[int]) -> None:
        """By partition how many messages the bus has, and how many of them are in the log."""
        with self._lock:
            now_s = self._now_s()
            both = list(zip(ends, taken, strict=True))
            oldest = [self._noted(at, *one, now_s) for at, one in enumerate(both)]
            waits = sum(max(0, end - done) for end, done in both)
            high = waits >= self._limit * (LOW_PART if HIGH in self._standing else HIGH_PART)
            late = [at for at, since in enumerate(oldest) if now_s - since > self._within_s]
            told = {HIGH: high, OVERDUE: bool(late)}
            self._tell(tuple(code for code, stands in told.items() if stands), waits, late)

    def alarms(self) -> list[str]:
        """The codes of those that stand."""
        return list(self._standing)

    def _noted(self, partition: int, end: int, taken: int, now_s: float) -> float:
        """Since when the first that waits was seen to; of several that are late, any of them."""
        notes = self._notes.setdefault(partition, deque())
        while notes and notes[0][0] <= taken:
            notes.popleft()
        new = end > (notes[-1][0] if notes else taken)
        rare = not notes or now_s - notes[-1][1] >= NOTE_EVERY_S
        if new and rare:
            notes.append((end, now_s))
        # Of those that are late the last says it for all: for days of standing still it is one.
        while len(notes) > 1 and now_s - notes[1][1] > self._within_s:
            notes.popleft()
        return notes[0][1] if notes else now_s

    def _tell(self, standing: tuple[str, ...], waits: int, late: Sequence[int]) -> None:
        before, self._standing = self._standing, standing
        for code in standing:
            if code in before:
                continue
            text = f"{waits} messages wait for the log; above {self._limit} none is accepted"
            if code == OVERDUE:
                where = ", ".join(map(str, late))
                text = f"accepted {self._within_s:g} s ago and not in the log: partition {where}"
            logger.error("%s: %s; look at workers, sequencer and storer", code, text)
        for code in before:
            if code not in standing:
                logger.info("%s is over", code)


class WatchThread:
    """Looks twice a second where no other thread counts."""

    def __init__(self, watch: BacklogWatch, count: Callable[[], tuple[int, int]]) -> None:
        """count: of the one partition, as `BacklogWatch.look`; waits for nobody."""
        self._watch, self._count = watch, count
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="backlog", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_S):
            end, taken = self._count()
            self._watch.look([end], [taken])
