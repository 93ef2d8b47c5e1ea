"""Closes of days beside the active sequencer: derived in a thread, committed in its loop.

Not before the close that the log has last is stored may the next one be derived: another sequencer
may have committed it, and what the next one says goes by it (bal/closing.py).
"""

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from datetime import date
from threading import Lock, Thread

from bal.closing import ClosedDay
from bal.derive.vee_rules import VeeRules
from bal.errors import GridsealError, Stop, Unavailable
from bal.model import Close
from bal.ports import Book, DayRows, Vault
from bal.registry import Registry
from infra.deriver import DaySources, Deriver
from infra.roles.ports import Stored
from infra.roles.sequencing import Sequencing

LOOK_S = 0.1  # between two looks at what is stored

logger = logging.getLogger("gridseal.sequencer")


class RegistryOf:
    """The registry as of a log size, made of what the storer has stored; for one thread."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self._size, self._registry = 0, Registry()

    def at(self, size: int) -> Registry:
        """As of that size, which must be stored; it holds until the next call.

        A later one than the last is made of that. Raises Stop("store-damaged").
        """
        first, registry = self._size, self._registry
        if size < first:
            first, registry = 0, Registry()
        self._size, self._registry = 0, Registry()  # until all is applied
        for index, record in self._stored.registry_records(size, first).items():
            try:
                registry.apply(record)
            except (ValueError, TypeError, KeyError) as error:
                text = f"progress.db is damaged: the registry's record {index}: {error}"
                raise Stop("store-damaged", text) from error
        self._size, self._registry = size, registry
        return registry

    def zones(self) -> frozenset[str]:
        """Of all devices that are stored."""
        return self.at(self._stored.size()).zones


class _Desk:
    """Closes on their way from one deriver to the loop of one stretch of sequencing."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[ClosedDay, Future[Close]]] = deque()
        self.committed: list[tuple[int, Close, Future[Close]]] = []  # visible at that log size
        self._lock, self._ended = Lock(), False

    @property
    def has_ended(self) -> bool:
        """Whether another one goes on."""
        return self._ended

    def put(self, closed: ClosedDay) -> "Future[Close]":
        """Done once the close is visible; fails with Unavailable where another one goes on."""
        future: Future[Close] = Future()
        with self._lock:
            if self._ended:
                future.set_exception(_no_longer())
            else:
                self.waiting.append((closed, future))
        return future

    def end(self) -> None:
        """Nobody will look at what waits any more."""
        with self._lock:
            self._ended = True
        for future in [f for _, f in self.waiting] + [f for _, _, f in self.committed]:
            future.set_exception(_no_longer())


def _no_longer() -> Unavailable:
    return Unavailable("this sequencer is no longer the active one", retry_after_s=5)


class Closes:
    """`begin` and `end` with the active sequencer's work; `step` in its loop."""

    def __init__(
        self,
        rows: DayRows,
        vault: Vault,
        book: Book,
        *,
        stored: Stored,
        rules: str,
        grace_s: int,
        back_days: int,
        vee: VeeRules | None = None,
        now_s: Callable[[], float],
        on_closed: Callable[[ClosedDay], None] = lambda _: None,
    ) -> None:
        """rules: digest of those that run; grace_s, back_days: as Deriver; vee: as DaySources;
        now_s: as Sequencing."""
        self._rows, self._vault, self._book, self._stored = rows, vault, book, stored
        self._rules, self._grace_s, self._back_days = rules, grace_s, back_days
        self._vee, self._now_s, self._on_closed = vee, now_s, on_closed
        self._deriver: Deriver | None = None
        self._desk = _Desk()
        self._failure: GridsealError | None = None
        self._tick_us: int | None = None  # one that the deriver was not told yet
        self._looked_s = float("-inf")
        self._may_derive = False

    @property
    def alarm(self) -> str:
        """The code of the deriver's alarm, while it stands."""
        deriver = self._deriver
        return deriver.alarm if deriver is not None else ""

    def health(self) -> str:
        """`ok`, or the alarm with its code."""
        deriver = self._deriver
        return deriver.health() if deriver is not None else "ok"

    def begin(self) -> None:
        """This process is the active one."""
        desk, known = _Desk(), RegistryOf(self._stored)
        self._desk, self._tick_us, self._may_derive = desk, None, False
        self._deriver = Deriver(
            DaySources(self._rows, self._vault, self._book, known.at, self._vee),
            zones=known.zones,
            stored_size=self._stored.size,
            commit=desk.put,
            grace_s=self._grace_s,
            back_days=self._back_days,
            on_stop=lambda error: self._fail(desk, error),
        )
        self._deriver.start()

    def end(self) -> None:
        """It no longer is. What is being derived is derived for nobody."""
        deriver, self._deriver = self._deriver, None
        self._desk.end()
        if deriver is not None:  # which may be within a close of minutes
            deriver.end()  # who waits behind that is told at once, and who comes now
            Thread(target=deriver.stop, name="deriver ends", daemon=True).start()

    def tick(self, now_us: int) -> None:
        """Time went on."""
        self._tick_us = now_us

    def close(self, day: date, now_us: int) -> "Future[Close]":
        """Close one day now; done once the close is visible. From any thread.

        The future raises Rejected("day-not-over"), and Unavailable where another process is the
        active one or the last close is not stored yet.
        """
        deriver, future = self._deriver, Future[Close]()
        if deriver is None:
            future.set_exception(_no_longer())
        elif not self._may_derive:
            text = "the last close is not stored yet"
            future.set_exception(Unavailable(text, retry_after_s=2))
        else:
            return deriver.close(day, now_us)
        return future

    def step(self, sequencing: Sequencing) -> bool:
        """Commit what was derived and tell of what became visible; whether anything was committed.

        Raises Stop where deriving stopped the platform; else as Sequencing.step.
        """
        if self._failure is not None:
            raise self._failure
        done = False
        while self._desk.waiting:
            closed, future = self._desk.waiting[0]
            if closed.k == sequencing.last_close() + 1:
                self._may_derive = False  # a command that comes now would be for the same k
                close, _ = closed.booked(sequencing.commit_close(closed, self._rules))
                self._desk.committed.append((sequencing.heads.size, close, future))
                self._on_closed(closed)
                done = True
            else:
                future.set_exception(Unavailable("the last close is not stored yet"))
            self._desk.waiting.popleft()
        if self._now_s() - self._looked_s >= LOOK_S:
            self._looked_s = self._now_s()
            self._look(sequencing)
        return done

    def _look(self, sequencing: Sequencing) -> None:
        """Whether the last close is stored; and tell the deriver the time once it is."""
        try:
            self._tell_visible(sequencing)
            last = sequencing.last_close()
            self._may_derive = last == 0 or bool(self._book.closes(last - 1))
        except Unavailable as error:
            logger.debug("what is stored is not known now: %s", error)
            return
        if self._may_derive and self._tick_us is not None and self._deriver is not None:
            now_us, self._tick_us = self._tick_us, None
            self._deriver.tick(now_us)

    def _tell_visible(self, sequencing: Sequencing) -> None:
        desk = self._desk
        if not desk.committed or sequencing.published is None:
            return
        visible = min(self._stored.size(), sequencing.published.size)
        for needed, close, future in desk.committed:
            if needed <= visible:
                future.set_result(close)
        desk.committed = [one for one in desk.committed if one[0] > visible]

    def _fail(self, desk: _Desk, error: GridsealError) -> None:
        if desk is self._desk and not desk.has_ended:  # else it was derived for nobody
            self._failure = error
