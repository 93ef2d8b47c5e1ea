"""Closes days: when a tick says that one is over, when late data came, or when the operator asks.

What a close says is computed in a thread of its own, from what is stored below a prefix of the log
(bal/closing.py); the engine commits it. docs/spec/completeness.md.
"""

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import date, timedelta
from queue import SimpleQueue
from threading import Thread
from typing import Any

from bal.certify.book import EMPTY
from bal.closing import ClosedDay, close_day
from bal.derive.local_day import date_at, day_number, local_day
from bal.errors import GridsealError, Rejected, Stop, Unavailable
from bal.model import Close
from bal.ports import Book, DayRows, Vault
from bal.registry import Registry

logger = logging.getLogger("gridseal.deriver")

LATE_GATHER_US = 3_600_000_000  # late data wait so long for more of it: each close is a transaction
GO_ON_DAYS = 31  # a day without records is closed by itself if it is no longer ago
DAYS_AT_ONCE = 16  # of those due; then an operator who asks for one has a turn

_DAY_US = 86_400_000_000
_WESTERNMOST_US = 12 * 3_600_000_000  # where a day ends last on this earth


@dataclass(frozen=True, slots=True)
class DaySources:
    """What a close is made from."""

    rows: DayRows
    vault: Vault
    book: Book
    registry_at: Callable[[int], Registry]  # as of a log size

    def close(self, day: date, k: int, prefix: int, time_us: int) -> ClosedDay:
        """What closing `day` says; see `bal.closing.close_day`."""
        registry = self.registry_at(prefix)
        return close_day(
            self.rows, registry, self.vault, self.book,
            day=day, k=k, prefix=prefix, time_us=time_us,
        )  # fmt: skip

    def again(self, header: Mapping[str, Any]) -> ClosedDay:
        """What a derived batch's header names, made again. Raises ValueError, KeyError."""
        named = header["inputs"]
        day = date.fromisoformat(named["date"])
        return self.close(day, int(named["k"]), int(named["prefix"]), int(named["time_us"]))


@dataclass(slots=True)
class _Ask:
    now_us: int
    day: date | None = None  # None: whatever is due
    answer: "Future[Close] | None" = None


class Deriver:
    """One thread. `tick` and `close` may be called from any."""

    def __init__(
        self,
        sources: DaySources,
        *,
        zones: Callable[[], frozenset[str]],
        stored_size: Callable[[], int],
        commit: Callable[[ClosedDay], "Future[Close]"],
        grace_s: int,
        on_stop: Callable[[GridsealError], None],
    ) -> None:
        """zones: of all devices; commit: `Engine.close`; grace_s: between a day's end and its close
        by itself."""
        self._sources, self._zones, self._stored_size = sources, zones, stored_size
        self._commit, self._grace_us, self._on_stop = commit, grace_s * 1_000_000, on_stop
        self._queue: SimpleQueue[_Ask | None] = SimpleQueue()
        self._tried: dict[date, tuple[int, int]] = {}  # touched index and time of the last try
        self._thread = Thread(target=self._run, name="deriver", daemon=True)

    def start(self) -> None:
        """Begin to close days."""
        self._thread.start()

    def stop(self) -> None:
        """End once the close at hand is committed."""
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def tick(self, now_us: int) -> None:
        """Time went on."""
        self._queue.put(_Ask(now_us))

    def close(self, day: date, now_us: int) -> "Future[Close]":
        """Close one day now; done once the close is visible.

        The future raises Rejected("day-not-over") where it is not over in every device's zone.
        """
        answer: Future[Close] = Future()
        self._queue.put(_Ask(now_us, day, answer))
        return answer

    def _run(self) -> None:
        while (ask := self._queue.get()) is not None:
            try:
                self._do(ask)
            except GridsealError as error:
                self._failed(ask, error)
            except Exception as error:
                logger.critical("unexpected", exc_info=error)
                self._failed(ask, Stop("internal-error", f"{type(error).__name__}: {error}"))

    def _failed(self, ask: _Ask, error: GridsealError) -> None:
        if ask.answer is not None:
            ask.answer.set_exception(error)
        elif isinstance(error, Unavailable):
            logger.error("a day waits to be closed: %s", error)
        if isinstance(error, Stop):
            logger.critical("%s", error)
            self._on_stop(error)

    def _do(self, ask: _Ask) -> None:
        if ask.day is None or ask.answer is None:
            self._close_due(ask.now_us)
            return
        if not ask.answer.set_running_or_notify_cancel():
            return  # nobody waits for it any more; from here on nobody can take it back
        if day_number(ask.day) < 0:
            raise Rejected("parameter-invalid", "books begin with 1970-01-01", field="date")
        if self._end_us(ask.day) > ask.now_us:
            raise Rejected("day-not-over", f"{ask.day} is not over everywhere", field="date")
        ask.answer.set_result(self._close(ask.day, ask.now_us))

    def _close(self, day: date, now_us: int) -> Close:
        """Close a day, again if it was; where nothing is new its last close stands."""
        book = self._sources.book
        closes = book.closes()
        touched, prefix = book.touched().get(day.isoformat(), -1), self._stored_size()
        closed = self._sources.close(day, len(closes) + 1, prefix, now_us)
        self._tried[day] = (touched, now_us)
        before = [close for close in closes if close.date == day.isoformat()]
        if before and not closed.made:
            return before[-1]
        close = self._commit(closed).result()
        logger.info("closed %s: close %d, %d device-days", day, close.k, closed.device_days)
        return close

    def _close_due(self, now_us: int) -> None:
        """Close all that is due and over."""
        newest = {date.fromisoformat(close.date): close for close in self._sources.book.closes()}
        touched = {date.fromisoformat(on): at for on, at in self._sources.book.touched().items()}
        today = date_at(now_us, "UTC")
        lately = {today - timedelta(days=ago) for ago in range(GO_ON_DAYS)}
        closed = 0
        for day in sorted(touched.keys() | lately):  # each may go on from the one before
            due = self._is_due(day, touched.get(day, -1), newest, now_us)
            if due and self._end_us(day) + self._grace_us <= now_us:
                if closed == DAYS_AT_ONCE:
                    self._queue.put(_Ask(now_us))
                    return
                newest[day] = self._close(day, now_us)
                closed += 1

    def _is_due(self, day: date, touched: int, newest: Mapping[date, Close], now_us: int) -> bool:
        """Whether a date has records that no close has read, or none and meters that go on."""
        last, before = newest.get(day), newest.get(day - timedelta(days=1))
        if touched >= (last.prefix if last else 0):
            tried = self._tried.get(day)
            return tried is None or (tried[0] < touched and now_us - tried[1] >= LATE_GATHER_US)
        return last is None and before is not None and before.day_book != EMPTY

    def _end_us(self, day: date) -> int:
        """When a date is over in every device's zone; without devices, in any zone."""
        anywhere_us = (day_number(day) + 1) * _DAY_US + _WESTERNMOST_US
        if day == date.max:
            return anywhere_us
        return max((local_day(day, zone)[1] for zone in self._zones()), default=anywhere_us)
