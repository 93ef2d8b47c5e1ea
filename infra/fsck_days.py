"""The part of fsck that looks at closed days: device-days, books, and what the log says of them."""

from collections.abc import Mapping
from datetime import date

from bal import jcs
from bal.certify import device_day
from bal.certify.book import Book as Tree
from bal.certify.book import Growing, day_key
from bal.closing import DERIVED, DEVICE_DAY
from bal.derive.local_day import date_at, day_number
from bal.model import Close, Digest, Rank, StoredRecord
from bal.ports import BookEntry
from infra.audit import Audit
from infra.fsck_log import LogCheck
from infra.stores import Stores

_ROWS_AT_ONCE = 4096


class DaysCheck:
    """One run over the closes below a log size up to which rows are stored."""

    def __init__(
        self, audit: Audit, stores: Stores, log: LogCheck, stored: int, taken: Mapping[str, int]
    ) -> None:
        """taken: of the heads row of `log`; a platform may be closing days meanwhile."""
        self._audit, self._stores, self._log, self._stored = audit, stores, log, stored
        self._taken = _closes(taken)

    def run(self) -> None:
        """Each close that the log has is in book.db, as its record says and as its keys hash to."""
        all_closes = self._stores.book.closes()
        taken = _closes(self._stores.log.heads().taken)  # looked at later: the book never leads
        closes = [close for close in all_closes if close.index < self._log.size]
        if len(all_closes) > taken:
            text = f"book.db has {len(all_closes)} closes, the log {taken}"
            self._audit.differ("book-differs", "scd/book.db", text)
        elif len(closes) < self._taken and self._stored == self._log.size:
            text = (
                f"book.db has {len(closes)} closes, the log {self._taken}: remove it, and the next"
            )
            text += " start, once the other files of its folder are gone, too, makes it again"
            self._audit.differ("book-differs", "scd/book.db", text)
        days = Growing()
        before, made = -1, 0  # of the closes so far: entry of the last record, device-days
        for close in closes[: self._taken]:
            with self._audit.guarded(f"close {close.k}"):
                days.put(day_key(day_number(date.fromisoformat(close.date))), close.day_book)
                entries = self._close(close, days.root())
                new = [entry for entry in entries if entry.log_index > before]
                self._rows(new, f"close {close.k}")
                before, made = close.index, made + len(new)
        count = self._stores.book.count()
        if count != made and len(self._stores.book.closes()) == len(closes) <= self._taken:
            text = f"it has other device-days than the {made} that its closes made"
            self._audit.differ("book-differs", "scd/book.db", text)

    def touched(self, wanted: Mapping[str, int]) -> None:
        """Each date that a row is of is noted, so that it will be closed.

        wanted: the highest index of a row by local date; a note may be ahead of it.
        """
        noted = self._stores.book.touched()
        for day, index in sorted(wanted.items()):
            if noted.get(day, -1) < index:
                text = f"book.db notes entry {noted.get(day, 'none')} as the newest of this date,"
                text += f" and the row of entry {index} is of it: it may never be closed"
                self._audit.differ("book-differs", f"date {day}", text)

    def _rows(self, new: list[BookEntry], where: str) -> None:
        """What the book notes of the device-days of a close is what their rows say."""
        ordered = sorted(new, key=_log_index)
        for cut in range(0, len(ordered), _ROWS_AT_ONCE):
            part = ordered[cut : cut + _ROWS_AT_ONCE]
            first, last = part[0].log_index, part[-1].log_index
            if last - first >= len(new):
                text = f"it notes device-days at entries {first} to {last}, which are not all its"
                self._audit.differ("book-differs", where, text)
                return
            rows = {row.index: row for row in self._stores.customer_db.records(first, last + 1)}
            for entry in part:
                row = rows.get(entry.log_index)  # that a row is missing is told with the rows
                if row is not None and _noted(row, entry.commitment) != entry:
                    text = f"its note of entry {entry.log_index} is not what the row there says"
                    self._audit.differ("book-differs", where, text)

    def _close(self, close: Close, book: bytes) -> list[BookEntry]:
        self._audit.counts["closes"] += 1
        where = f"close {close.k}"
        entry = self._log.entry(close.index)
        record = jcs.decode(entry) if len(entry) != 32 else {}
        ours = {
            "k": str(close.k), "date": close.date, "prefix": str(close.prefix),
            "day_book": close.day_book.hex(), "book": close.book.hex(),
        }  # fmt: skip
        if record.get("type") != "close" or any(record[name] != ours[name] for name in ours):
            text = f"its record, entry {close.index}, says other than book.db"
            self._audit.differ("book-differs", where, text)
        entries = self._stores.book.entries(close.date, close.k)
        keys: dict[bytes, bytes] = {entry.key: entry.commitment for entry in entries}
        if Tree(keys).root() != close.day_book or book != close.book:
            text = "its keys do not lead to the roots that it names"
            self._audit.differ("book-differs", where, text)
        for made in entries:
            if self._log.entry(made.log_index) != made.commitment:
                text = f"the log has no such device-day at {made.log_index}"
                self._audit.differ("book-differs", where, text)
        return entries


def _closes(taken: Mapping[str, int]) -> int:
    """How many closes a log has, by its heads row."""
    return taken.get(f"{DERIVED}/0", -1) + 1


def _noted(row: StoredRecord, made: Digest) -> BookEntry | None:
    """The book's note of a device-day; None where the row is none."""
    if row.kind != DEVICE_DAY:
        return None
    day, content = device_day.decode(row.record), device_day.content(row.record)
    return BookEntry(
        day.key, row.device, row.register, day.slot_s, day.version, made, content, row.index
    )


def _log_index(entry: BookEntry) -> int:
    return entry.log_index


def day_in_place(row: StoredRecord, zone: str) -> bool:
    """Whether a device-day's row stands where its bytes say."""
    day = device_day.decode(row.record)
    number = day_number(date_at(row.begin_us, zone))
    slots, past = divmod(row.end_us - row.begin_us, day.slot_s * 1_000_000)
    return (
        day.key == device_day.key(number, row.device, row.register)
        and day.start_s * 1_000_000 == row.begin_us
        and slots + (past > 0) == len(day.slots)
        and row.rank == Rank.MEASURED
    )
