"""The part of fsck that looks at closed days: device-days, books, and what the log says of them."""

from datetime import date

from bal import jcs
from bal.certify import device_day
from bal.certify.book import Book as Tree
from bal.certify.book import day_key
from bal.closing import DERIVED
from bal.derive.local_day import date_at, day_number
from bal.model import Close, Digest, StoredRecord
from infra.audit import Audit
from infra.fsck_log import LogCheck
from infra.stores import Stores


class DaysCheck:
    """One run over the closes below a log size up to which rows are stored."""

    def __init__(self, audit: Audit, stores: Stores, log: LogCheck, stored: int) -> None:
        self._audit, self._stores, self._log, self._stored = audit, stores, log, stored

    def run(self) -> None:
        """Each close that the log has is in book.db, as its record says and as its keys hash to."""
        taken = self._stores.log.heads().taken.get(f"{DERIVED}/0", -1) + 1
        closes = self._stores.book.closes()
        if len(closes) > taken:
            text = f"book.db has {len(closes)} closes, the log {taken}"
            self._audit.differ("book-differs", "scd/book.db", text)
        elif len(closes) < taken and self._stored == self._log.size:
            text = f"book.db has {len(closes)} closes, the log {taken}: remove it, and the next"
            text += " start, once the other files of its folder are gone, too, makes it again"
            self._audit.differ("book-differs", "scd/book.db", text)
        roots: dict[str, Digest] = {}
        for close in closes[:taken]:
            roots[close.date] = close.day_book
            with self._audit.guarded(f"close {close.k}"):
                self._close(close, roots)

    def _close(self, close: Close, roots: dict[str, Digest]) -> None:
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
        days = {day_key(day_number(date.fromisoformat(at))): root for at, root in roots.items()}
        if Tree(keys).root() != close.day_book or Tree(days).root() != close.book:
            text = "its keys do not lead to the roots that it names"
            self._audit.differ("book-differs", where, text)
        for made in entries:
            if self._log.entry(made.log_index) != made.commitment:
                text = f"the log has no such device-day at {made.log_index}"
                self._audit.differ("book-differs", where, text)


def day_in_place(row: StoredRecord, zone: str) -> bool:
    """Whether a device-day's row stands where its bytes say."""
    day = device_day.decode(row.record)
    number = day_number(date_at(row.begin_us, zone))
    return (
        day.key == device_day.key(number, row.device, row.register)
        and day.start_s * 1_000_000 == row.begin_us
    )
