"""Makes the documents that prove a device's day, out of book, database, vault and log."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from threading import Lock

from bal.certify import device_day
from bal.certify.book import Book as Tree
from bal.certify.book import Parts, day_key
from bal.certify.commitment import salt
from bal.certify.note import checkpoint_head
from bal.certify.tiles import TileNodes
from bal.certify.tree import inclusion_path
from bal.closing import DEVICE_DAY
from bal.derive.local_day import day_number
from bal.errors import Rejected, Unavailable
from bal.model import Anchor, Close, DeviceInfo, Pseudonym, ReadingsQuery, StoredRecord
from bal.ports import Book, CustomerDb, TileReader, Vault
from bal.provide.device_days import DayParts, DayRequest, Opened, document, one_register
from bal.slots import NO_INDEX
from infra.log_reader import Entries
from infra.receipts import Anchored

BOOKS_KEPT_MAX = 1_000  # of a day as of a close each; 20 kB, however many device-days it has
DAYS_KEPT_MAX = 8  # books of days as of a close; 0.3 kB a date each

_DAY_US = 86_400_000_000
_PAGE_ROWS = 10_000


class DayProofs:
    """Documents on demand; the books last asked for are kept."""

    def __init__(
        self,
        customer_db: CustomerDb,
        book: Book,
        tiles: TileReader,
        vault: Vault,
        anchored: Callable[[], Anchored | None],
    ) -> None:
        self._customer_db = customer_db
        self._book = book
        self._tiles = tiles
        self._vault = vault
        self._anchored = anchored
        self._nodes = TileNodes(tiles)
        self._kept: OrderedDict[tuple[str, int], Parts] = OrderedDict()
        self._kept_days: OrderedDict[int, tuple[dict[str, int], Tree]] = OrderedDict()
        self._lock, self._making = Lock(), Lock()
        self._newest: tuple[int, dict[Pseudonym, list[str]]] = 0, {}  # close, and its registers

    def document(self, info: DeviceInfo, asked: DayRequest) -> bytes:
        """The day of a device as of a close, or the proof that there is none.

        Raises Rejected close-unknown or register-needed, Unavailable while rows or the checkpoint
        of the close are missing, KeyError where the device was erased.
        """
        closes = self._book.closes()
        k = len(closes) if asked.close is None else asked.close
        if not 1 <= k <= len(closes):
            raise Rejected("close-unknown", f"The newest close is {len(closes)}.", field="close")
        close = closes[k - 1]
        checkpoint, size, anchor = self._checkpoint(close.index)
        opening = _Opening(self._vault, self._nodes, info, size)
        last_k, days = self._days(closes[:k])
        parts = DayParts(
            info=info,
            date=asked.date,
            register=asked.register or "",
            checkpoint=checkpoint,
            close=opening.public(Entries(self._tiles, size)[close.index], close.index),
            day_proof=days.proof(_day_key(asked.date)).as_json(),
            key_proof=None,
            versions=(),
            slots={},
            anchor=anchor,
        )
        closed_k = last_k.get(asked.date.isoformat())
        if closed_k is not None:
            parts = self._with_device_day(parts, asked, close, closed_k, opening)
        return document(parts)

    def registers(self) -> Mapping[Pseudonym, Sequence[str]]:
        """By device the registers that the newest date's book has; none before the first close."""
        closes = self._book.closes()
        if not closes:
            return {}
        newest = max(closes, key=lambda close: (close.date, close.k))
        k, registers = self._newest
        if k != newest.k:
            registers = {}
            for entry in self._book.entries(newest.date, newest.k):
                registers.setdefault(entry.device, []).append(entry.register)
            self._newest = newest.k, registers
        return registers

    def _with_device_day(
        self, parts: DayParts, asked: DayRequest, close: Close, closed_k: int, opening: "_Opening"
    ) -> DayParts:
        at, device = (asked.date.isoformat(), closed_k), parts.info.device
        register = asked.register
        if register is None:
            known = [entry.register for entry in self._book.entries(*at, device=device)]
            register = one_register(None, known, closed=True)
        key = device_day.key(day_number(asked.date), device, register)
        entries = self._book.entries(*at, first_byte=key[0])
        proof = self._day_book(*at).proof(key, lambda byte: self._part(at, byte))
        parts = replace(parts, register=register, key_proof=proof.as_json())
        entry = next((entry for entry in entries if entry.key == key), None)
        if entry is None:
            return parts
        versions = self._versions(parts, key, close)
        if len(versions) != entry.version or versions[0].index != entry.log_index:
            raise Unavailable("The rows of this close are still being stored.")
        day = device_day.decode(versions[0].record)
        rows = self._measured(parts, day)
        slots = {
            number: opening.row(rows[slot.log_index])
            for number, slot in enumerate(day.slots)
            if slot.log_index != NO_INDEX
        }
        return replace(parts, versions=[opening.row(row) for row in versions], slots=slots)

    def _days(self, closes: Sequence[Close]) -> tuple[dict[str, int], Tree]:
        """The last close of each date, and the book of days, as of the last of these closes."""
        k = closes[-1].k
        found = self._kept_days.get(k)
        if found is None:
            roots = {close.date: close.day_book for close in closes}
            days = Tree({_day_key(date.fromisoformat(at)): root for at, root in roots.items()})
            days.root()  # makes what proofs take from it
            found = {close.date: close.k for close in closes}, days
            with self._lock:
                while len(self._kept_days) >= DAYS_KEPT_MAX:
                    self._kept_days.popitem(last=False)
                self._kept_days[k] = found
        return found

    def _day_book(self, date_: str, k: int) -> Parts:
        with self._lock:
            found = self._kept.get((date_, k))
        if found is None:
            with self._making:  # one at a time: the first look at 100,000 takes two seconds
                found = self._kept.get((date_, k)) or self._made(date_, k)
        with self._lock:
            self._kept[date_, k] = found
            self._kept.move_to_end((date_, k))
            while len(self._kept) > BOOKS_KEPT_MAX:
                self._kept.popitem(last=False)
        return found

    def _made(self, date_: str, k: int) -> Parts:
        entries = self._book.entries(date_, k)
        return Tree({entry.key: entry.commitment for entry in entries}).parts()

    def _part(self, at: tuple[str, int], byte: int) -> dict[bytes, bytes]:
        return {entry.key: entry.commitment for entry in self._book.entries(*at, first_byte=byte)}

    def _versions(self, parts: DayParts, key: bytes, close: Close) -> list[StoredRecord]:
        """The rows of a device-day as of a close, newest first."""
        around_us = day_number(parts.date) * _DAY_US
        rows = self._rows(
            ReadingsQuery(
                None,
                device=parts.info.device,
                kind=DEVICE_DAY,
                register=parts.register,
                from_us=around_us - _DAY_US,
                to_us=around_us + 4 * _DAY_US,  # its end, in whatever zone
                as_of_size=close.index,
                versions="all",
                limit=_PAGE_ROWS,
            )
        )
        of_key = [row for row in rows if device_day.decode(row.record).key == key]
        return sorted(of_key, key=_log_index, reverse=True)

    def _measured(self, parts: DayParts, day: device_day.DeviceDay) -> dict[int, StoredRecord]:
        """The rows that the slots name, by log index."""
        wanted = {slot.log_index for slot in day.slots} - {NO_INDEX}
        start_us = day.start_s * 1_000_000
        rows = self._rows(
            ReadingsQuery(
                None,
                device=parts.info.device,
                register=parts.register,
                from_us=start_us,
                to_us=start_us + len(day.slots) * day.slot_s * 1_000_000 + 1,
                as_of_size=day.prefix,
                versions="all",
                limit=_PAGE_ROWS,
            )
        )
        found = {row.index: row for row in rows if row.index in wanted}
        if len(found) != len(wanted):
            raise KeyError("a record that a slot names is not there: erased")
        return found

    def _rows(self, query: ReadingsQuery) -> list[StoredRecord]:
        rows: list[StoredRecord] = []
        page = self._customer_db.readings(query)
        rows += page.rows
        while page.after is not None:
            page = self._customer_db.readings(replace(query, after=page.after))
            rows += page.rows
        return rows

    def _checkpoint(self, index: int) -> tuple[bytes, int, Anchor | None]:
        """The smallest anchored checkpoint that contains an entry, else the newest published."""
        anchored = self._anchored()
        found = None if anchored is None else anchored.covering(index)
        if found is not None:
            return found[1], checkpoint_head(found[1])[1].size, found[0]
        published = self._tiles.checkpoint()
        if published is None or published[0].size <= index:
            raise Unavailable("The checkpoint of this close is not published yet.")
        return published[1], published[0].size, None


class _Opening:
    """Opens entries of one device in the tree of one size."""

    def __init__(self, vault: Vault, nodes: TileNodes, info: DeviceInfo, size: int) -> None:
        self._vault = vault
        self._node = nodes.at(size)
        self._info = info
        self._size = size
        self._keys: dict[int, bytes] = {}

    def public(self, data: bytes, index: int) -> Opened:
        """A public record, which has no salt."""
        return Opened(data, b"", index, inclusion_path(index, self._size, self._node))

    def row(self, row: StoredRecord) -> Opened:
        """A row of the device. Raises KeyError where its key was destroyed."""
        key = self._keys.get(row.year)
        if key is None:
            device = self._info.device
            key = self._keys[row.year] = self._vault.salt_keys([device], row.year)[device]
        path = inclusion_path(row.index, self._size, self._node)
        return Opened(row.record, salt(key, row.type, row.record), row.index, path)


def _day_key(day: date) -> bytes:
    return day_key(day_number(day))


def _log_index(row: StoredRecord) -> int:
    return row.index
