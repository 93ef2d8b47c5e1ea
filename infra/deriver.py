"""Closes days: when a tick says that one is over, when late data came, or when the operator asks.

What a close says is computed in a thread of its own, from what is stored below a prefix of the log
(bal/closing.py); the engine commits it. docs/spec/completeness.md.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, timedelta
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any

from bal import jcs
from bal.certify.book import EMPTY
from bal.closing import ClosedDay, close_day
from bal.derive.local_day import date_at, day_number, local_day
from bal.derive.vee_rules import VeeRules
from bal.errors import GridsealError, Rejected, Stop, Unavailable
from bal.model import Close
from bal.ports import Book, DayRows, Vault
from bal.registry import Registry

logger = logging.getLogger("gridseal.deriver")

LATE_GATHER_US = 3_600_000_000  # late data wait so long for more of it: each close is a transaction
DATES_SHOWN_MAX = 100  # of those that wait
NOT_CLOSED = "day-not-closed"
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
    vee: VeeRules | None = None  # by which closes from now on are checked; None: they are not

    def close(self, day: date, k: int, prefix: int, time_us: int) -> ClosedDay:
        """What closing `day` says; see `bal.closing.close_day`."""
        registry = self.registry_at(prefix)
        return close_day(
            self.rows, registry, self.vault, self.book,
            day=day, k=k, prefix=prefix, time_us=time_us, vee=self.vee,
        )  # fmt: skip

    def again(self, header: Mapping[str, Any]) -> ClosedDay:
        """What a derived batch's header names, made again. Raises ValueError, KeyError.

        By the limits that it names, whichever count now.
        """
        named = header["inputs"]
        day, vee = date.fromisoformat(named["date"]), named.get("vee")
        rules = None if vee is None else VeeRules.of_inputs(jcs.decode(vee.encode()))
        sources = replace(self, vee=rules)
        return sources.close(day, int(named["k"]), int(named["prefix"]), int(named["time_us"]))


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
        back_days: int,
        on_stop: Callable[[GridsealError], None],
    ) -> None:
        """zones: of all devices; commit: `Engine.close`; grace_s: between a day's end and its close
        by itself; back_days: for how long from then on it is closed by itself."""
        self._sources, self._zones, self._stored_size = sources, zones, stored_size
        self._commit, self._grace_us, self._on_stop = commit, grace_s * 1_000_000, on_stop
        self._back_us = back_days * _DAY_US
        self._under_way: date | None = None
        self.alarm = ""  # its code, while it stands
        self._alarm_text = ""
        self._queue: SimpleQueue[_Ask | None] = SimpleQueue()
        self._lock, self._ended = Lock(), False
        self._tried: dict[date, tuple[int, int]] = {}  # touched index and time of the last try
        self._thread = Thread(target=self._run, name="deriver", daemon=True)

    def start(self) -> None:
        """Begin to close days."""
        self._thread.start()

    def end(self) -> None:
        """Begin no further close; who waits for one is told."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
            with suppress(Empty):
                while True:
                    self._forget(self._queue.get_nowait())
            self._queue.put(None)

    def stop(self) -> None:
        """End once the close at hand is committed."""
        self.end()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def tick(self, now_us: int) -> None:
        """Time went on."""
        self._put(_Ask(now_us))

    def close(self, day: date, now_us: int) -> "Future[Close]":
        """Close one day now; done once the close is visible.

        The future raises Rejected("day-not-over") where it is not over in every device's zone,
        Unavailable where this was ended meanwhile.
        """
        answer: Future[Close] = Future()
        self._put(_Ask(now_us, day, answer))
        return answer

    def _put(self, ask: _Ask) -> None:
        """Behind the end nobody would look at it."""
        with self._lock:
            if self._ended:
                self._forget(ask)
            else:
                self._queue.put(ask)

    def _forget(self, ask: _Ask | None) -> None:
        answer = ask.answer if ask is not None else None
        if answer is not None and answer.set_running_or_notify_cancel():
            text = "no further day is closed here: another process goes on, or the next start"
            answer.set_exception(Unavailable(text, retry_after_s=5))

    def health(self) -> str:
        """For the health document: "ok", or the alarm with its code."""
        return f"{self.alarm}: {self._alarm_text}" if self.alarm else "ok"

    def status(self, now_us: int) -> dict[str, Any]:
        """The newest close, and which dates wait: for their turn, or for the operator's command.

        Of those that wait the first 100 are named, oldest first.
        """
        closes = self._sources.book.closes()
        newest = _by_date(closes)
        touched = self._touched()
        after = {day + timedelta(days=1) for day in newest}
        waiting: list[str] = []
        by_command: list[str] = []
        for day in sorted(touched.keys() | after):
            if self._has_news(day, touched.get(day, -1), newest) and self._end_us(day) <= now_us:
                (by_command if self._is_past(day, now_us) else waiting).append(day.isoformat())
        last = closes[-1] if closes else None
        return {
            "newest": last and {"k": str(last.k), "date": last.date, "prefix": str(last.prefix)},
            "waiting": _shown(waiting),
            "by_command": _shown(by_command),
        }

    def _run(self) -> None:
        while (ask := self._queue.get()) is not None:
            self._under_way = ask.day
            try:
                self._do(ask)
            except GridsealError as error:
                self._failed(ask, error)
            except Exception as error:
                logger.critical("unexpected", exc_info=error)
                # What a defect says may hold what a message said; this is shown to everybody.
                where = self._under_way or "no date yet"
                text = f"{where}: a defect ({type(error).__name__}); the log has it all"
                self._failed(ask, Rejected(NOT_CLOSED, text, field="date"))

    def _failed(self, ask: _Ask, error: GridsealError) -> None:
        """Closing halts, until the next tick or command; only a Stop is the whole platform's."""
        if ask.answer is not None:
            ask.answer.set_exception(error)
        if isinstance(error, Stop):
            logger.critical("%s", error)
            self._on_stop(error)
        elif ask.answer is None:
            text = f"{self._under_way or 'no date yet'}: {error}"
            if isinstance(error, Rejected) and error.code == NOT_CLOSED:
                text = error.text
            self._alarm_text, self.alarm = f"{text}; tried again at the next tick", NOT_CLOSED
            logger.error("%s", self.health())

    def _do(self, ask: _Ask) -> None:
        if ask.day is None or ask.answer is None:
            self._close_due(ask.now_us)
            if self.alarm:
                logger.info("days are closed again")
            self.alarm = ""
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
        before = [close for close in closes if close.date == day.isoformat()]
        if before and not closed.entries:
            close = before[-1]
        else:
            close = self._commit(closed).result()
            logger.info("closed %s: close %d, %d device-days", day, close.k, closed.device_days)
        # What is noted beyond the prefix was not read: some partitions are stored ahead of others.
        self._tried[day] = (min(touched, prefix - 1), now_us)
        return close

    def _close_due(self, now_us: int) -> None:
        """Close all that is due, over, and not long ago."""
        newest, touched = _by_date(self._sources.book.closes()), self._touched()
        first = date_at(max(0, now_us - self._grace_us - self._back_us - 3 * _DAY_US), "UTC")
        ago = range(day_number(date_at(now_us, "UTC")) - day_number(first) + 1)
        lately = {first + timedelta(days=n) for n in ago}
        closed = 0
        for day in sorted(lately):  # each may go on from the one before
            if self._is_due(day, touched.get(day, -1), newest, now_us):
                if closed == DAYS_AT_ONCE or self._ended:
                    self._put(_Ask(now_us))
                    return
                self._under_way = day
                newest[day] = self._close(day, now_us)
                closed += 1

    def _is_due(self, day: date, touched: int, newest: Mapping[date, Close], now_us: int) -> bool:
        """Whether a date is to be closed now, and by itself."""
        if not self._has_news(day, touched, newest):
            return False
        tried = self._tried.get(day)
        if tried is not None and now_us - tried[1] < LATE_GATHER_US:
            return False
        return self._end_us(day) + self._grace_us <= now_us and not self._is_past(day, now_us)

    def _has_news(self, day: date, touched: int, newest: Mapping[date, Close]) -> bool:
        """Whether a date has records that no close has read, or none and meters that go on."""
        last, before = newest.get(day), newest.get(day - timedelta(days=1))
        if touched >= (last.prefix if last else 0):
            tried = self._tried.get(day)
            return tried is None or tried[0] < touched
        return last is None and before is not None and before.day_book != EMPTY

    def _is_past(self, day: date, now_us: int) -> bool:
        """Whether it is too long ago for a date to be closed by itself: each is a transaction."""
        return self._end_us(day) + self._grace_us + self._back_us < now_us

    def _touched(self) -> dict[date, int]:
        return {date.fromisoformat(on): at for on, at in self._sources.book.touched().items()}

    def _end_us(self, day: date) -> int:
        """When a date is over in every device's zone; without devices, in any zone."""
        anywhere_us = (day_number(day) + 1) * _DAY_US + _WESTERNMOST_US
        if day == date.max:
            return anywhere_us
        return max((local_day(day, zone)[1] for zone in self._zones()), default=anywhere_us)


def _by_date(closes: Sequence[Close]) -> dict[date, Close]:
    """The newest close of each date."""
    return {date.fromisoformat(close.date): close for close in closes}


def _shown(dates: Sequence[str]) -> dict[str, object]:
    return {"count": str(len(dates)), "dates": list(dates[:DATES_SHOWN_MAX])}
