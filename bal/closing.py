"""Closing a day: derive → certify, over all devices (docs/spec/completeness.md).

`close_day` is a function of the rows below a prefix of the log, the registry, the vault, the book
so far, date, k and time; the engine commits what it gives, replay and fsck compare with it. Like
bal/pipeline.py it sees more than one stage.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import NamedTuple

from bal import jcs
from bal.certify import device_day
from bal.certify.book import Book as Tree
from bal.certify.book import day_key
from bal.certify.commitment import COMMITMENT_BYTES, commitments
from bal.certify.device_day import NO_VERSION, SLOTS_MAX, DeviceDay
from bal.certify.log import Batch
from bal.derive.fold import SeriesDay, series_days
from bal.derive.local_day import day_number, local_day
from bal.derive.vee import Derived
from bal.derive.vee_rules import VeeRules
from bal.errors import Stop
from bal.model import (
    TYPE_DEVICE_DAY,
    TYPE_RECORD,
    Close,
    DeviceInfo,
    Digest,
    Pseudonym,
    Rank,
    StoredRecord,
)
from bal.ports import Book, BookEntry, DayRows, Registry, Vault
from bal.slots import SLOT_S_MAX
from bal.times import rfc3339
from bal.vee import Shard

DERIVED = "derive"  # the epoch of derived batches, whose offsets are k - 1
DEVICE_DAY = "device-day"  # kind of their rows
BATCH_ENTRIES_MAX = 8_192
CLOSE_V1 = "gridseal/close/v1"

_DAY_US = 86_400_000_000
_DAY_US_MIN, _DAY_US_MAX = 79_200_000_000, 93_600_000_000  # 22 h, 26 h
_OVERHANG_US = SLOT_S_MAX * 1_000_000


class MadeRecord(NamedTuple):
    """What a close derives beside device-days (docs/spec/vee.md), before it has a place."""

    derived: Derived
    commitment: Digest
    shard: str


class Made(NamedTuple):
    """A new version of a device-day, before it has a place in the log."""

    entry: BookEntry
    begin_us: int
    end_us: int
    shard: str
    data: bytes


@dataclass(frozen=True, slots=True)
class ClosedDay:
    """What one close makes: 2 kB a device-day of quarter-hours."""

    k: int
    day: date
    prefix: int
    time_us: int
    device_days: int  # keys in the date's book
    day_book: Digest
    book: Digest  # root of the book of days
    made: Sequence[Made]  # in ascending order of key: the order of their entries
    records: Sequence[MadeRecord] = ()  # findings and estimates; their entries come first
    vee: VeeRules | None = None  # by which they were made

    @property
    def entries(self) -> list[Digest]:
        """The commitments, in log order; the close record follows them."""
        records = [made.commitment for made in self.records]
        return records + [made.entry.commitment for made in self.made]

    @property
    def record(self) -> bytes:
        """The public close record, RFC 8785."""
        return jcs.encode(
            {
                "book": self.book.hex(),
                "date": self.day.isoformat(),
                "day_book": self.day_book.hex(),
                "device_days": str(self.device_days),
                "k": str(self.k),
                "prefix": str(self.prefix),
                "time": rfc3339(self.time_us),
                "type": "close",
                "v": CLOSE_V1,
            }
        )

    def batches(self, inputs: Mapping[str, str]) -> list[Batch]:
        """The derived batch in parts of ≤ 8,192 entries, without the close record.

        inputs: `rules`; date, k, prefix and time_us are added, and the limits of the checks.
        """
        entries = self.entries
        named = {
            "date": self.day.isoformat(),
            "k": str(self.k),
            "prefix": str(self.prefix),
            "time_us": str(self.time_us),
        }
        if self.vee is not None:
            named["vee"] = jcs.encode(self.vee.as_inputs()).decode()
        offset = self.k - 1
        return [
            Batch(
                DERIVED,
                0,
                offset,
                offset - 1,
                entries[cut : cut + BATCH_ENTRIES_MAX],
                {**inputs, **named},
                part,
            )
            for part, cut in enumerate(range(0, max(1, len(entries)), BATCH_ENTRIES_MAX))
        ]

    def row_digests(self) -> list[str]:
        """What the header of each part names as `rows`."""
        return [batch.rows for batch in self.batches({})]

    def rows(self, first: int) -> list[StoredRecord]:
        """The database rows, once the log gave the first entry its index."""
        records = [
            StoredRecord(
                one.device, one.end_us, one.kind, one.register, one.begin_us, index, one.rank,
                TYPE_RECORD, self.day.year, one.record, shard,
            )
            for index, (one, _, shard) in enumerate(self.records, first)
        ]  # fmt: skip
        return records + [
            StoredRecord(
                made.entry.device,
                made.end_us,
                DEVICE_DAY,
                made.entry.register,
                made.begin_us,
                index,
                Rank.MEASURED,
                TYPE_DEVICE_DAY,
                self.day.year,
                made.data,
                made.shard,
            )
            for index, made in enumerate(self.made, first + len(records))
        ]

    def booked(self, first: int) -> tuple[Close, list[BookEntry]]:
        """What `Book.add` takes, once the log gave the first entry its index."""
        first += len(self.records)
        entries = [made.entry._replace(log_index=at) for at, made in enumerate(self.made, first)]
        index = first + len(entries)
        date_ = self.day.isoformat()
        return Close(self.k, date_, self.prefix, index, self.day_book, self.book), entries


def is_close(entry: bytes) -> bool:
    """Whether a log entry is a close record."""
    return len(entry) > COMMITMENT_BYTES and b'"type":"close"' in entry


def close_day(
    rows: DayRows,
    registry: Registry,
    vault: Vault,
    book: Book,
    *,
    day: date,
    k: int,
    prefix: int,
    time_us: int,
    vee: VeeRules | None = None,
) -> ClosedDay:
    """Close `day`, by the rows below `prefix`, as the k-th close of any date.

    vee: limits of the checks and estimates that go with it; None: there are none.
    book: only what it says as of close k - 1 counts. Raises ValueError where k or prefix do not
    follow the last close or the date is before 1970, Stop("zone-unknown") where tzdata lacks a
    device's zone; whatever the ports raise.
    """
    closes = [close for close in book.closes() if close.k < k]
    if len(closes) != k - 1 or day_number(day) < 0:
        raise ValueError(f"no close {k} of {day.isoformat()} can follow close {len(closes)}")
    if closes and prefix < closes[-1].prefix:
        raise ValueError("a close reads no less of the log than the one before")
    own = book.entries(day.isoformat(), k - 1)
    before = book.entries((day - timedelta(days=1)).isoformat(), k - 1)
    closing = _Closing(rows, vault, day, prefix, own, vee=vee)
    closing.go_on(before, registry)
    made = sorted(one for shard in _by_shard(registry).items() for one in closing.shard(*shard))
    keys: dict[bytes, bytes] = {entry.key: entry.commitment for entry in own}
    keys.update((one.entry.key, one.entry.commitment) for one in made)
    day_book = Tree(keys).root()
    roots = {close.date: close.day_book for close in closes} | {day.isoformat(): day_book}
    days = {day_key(day_number(date.fromisoformat(at))): root for at, root in roots.items()}
    root = Tree(days).root()
    return ClosedDay(
        k, day, prefix, time_us, len(keys), Digest(day_book), Digest(root), made,
        closing.records, vee,
    )  # fmt: skip


class _Closing:
    """One close under way; one shard is in memory at a time, but for what it makes."""

    def __init__(
        self,
        rows: DayRows,
        vault: Vault,
        day: date,
        prefix: int,
        own: Sequence[BookEntry],
        *,
        vee: VeeRules | None,
    ) -> None:
        self._rows = rows
        self._vault = vault
        self._day = day
        self._prefix = prefix
        self._own = {entry.key: entry for entry in own}
        self._known: dict[Pseudonym, dict[str, int]] = defaultdict(dict)
        self._vee = vee
        self.records: list[MadeRecord] = []  # of the shards so far

    def go_on(self, before: Sequence[BookEntry], registry: Registry) -> None:
        """Note the series that get a device-day without a row, too, and their slot_s.

        before: device-days of the date before; those of revoked devices, and of subject epochs
        that are over, end there.
        """
        for entry in before:
            info = registry.device(entry.device)
            if info is not None and info.state == "active" and not _is_over(self._day, info):
                self._known[entry.device][entry.register] = entry.slot_s
        for entry in self._own.values():
            self._known[entry.device][entry.register] = entry.slot_s

    def shard(self, name: str, devices: Mapping[Pseudonym, DeviceInfo]) -> list[Made]:
        """The new versions of one shard's device-days."""
        spans = {device: _local_day(self._day, info) for device, info in devices.items()}
        spans = {device: span for device, span in spans.items() if _is_day(*span)}
        if not spans:
            return []
        lo = min(begin for begin, _ in spans.values())
        hi = max(_rows_until(*span) for span in spans.values())
        found: list[tuple[BookEntry, bytes]] = []
        silent = {device for device in spans if device in self._known}
        checks = self._checks(name)
        for device, rows in self._rows.of_shard(name, lo, hi, self._prefix):
            if device in spans:
                silent.discard(device)
                found += self._changed(device, rows, spans[device])
                if checks is not None:
                    checks.take(devices[device], rows, _rows_until(*spans[device]))
        for device in sorted(silent):
            found += self._changed(device, (), spans[device])
            if checks is not None:
                checks.take(devices[device], (), _rows_until(*spans[device]))
        if checks is not None:
            self.records += self._committed_records(checks.derived(), name)
        return list(self._committed(found, spans, name))

    def _checks(self, name: str) -> Shard | None:
        if self._vee is None:
            return None
        known = self._known
        return Shard(self._rows, self._day, self._prefix, self._vee, name=name, known=known)

    def _committed_records(self, found: Sequence[Derived], shard: str) -> Iterator[MadeRecord]:
        salt_keys = self._salt_keys(sorted({one.device for one in found}))
        kept = [one for one in found if one.device in salt_keys]
        keys, records = [salt_keys[one.device] for one in kept], [one.record for one in kept]
        for one, commitment in zip(kept, commitments(TYPE_RECORD, keys, records), strict=True):
            yield MadeRecord(one, commitment, shard)

    def _changed(
        self, device: Pseudonym, rows: Sequence[StoredRecord], span: tuple[int, int]
    ) -> Iterator[tuple[BookEntry, bytes]]:
        number = day_number(self._day)
        for series in series_days(rows, *span, self._known.get(device, {})):
            if len(series.slots) > SLOTS_MAX:
                continue
            key = device_day.key(number, device, series.register)
            last = self._own.get(key)
            data = self._encoded(key, last, span[0], series)
            content = device_day.content(data)
            if last is None or last.content != content:
                version = 1 if last is None else last.version + 1
                yield BookEntry(
                    key, device, series.register, series.slot_s, version, _NONE, content, -1
                ), data  # fmt: skip

    def _encoded(
        self, key: bytes, last: BookEntry | None, begin_us: int, series: SeriesDay
    ) -> bytes:
        return device_day.encode_checked(
            DeviceDay(
                key,
                1 if last is None else last.version + 1,
                NO_VERSION if last is None else last.commitment,
                self._prefix,
                begin_us // 1_000_000,
                series.slot_s,
                tuple(series.slots),
            )
        )

    def _committed(
        self,
        found: Sequence[tuple[BookEntry, bytes]],
        spans: Mapping[Pseudonym, tuple[int, int]],
        shard: str,
    ) -> Iterator[Made]:
        salt_keys = self._salt_keys(sorted({entry.device for entry, _ in found}))
        kept = [(entry, data) for entry, data in found if entry.device in salt_keys]
        made = commitments(
            TYPE_DEVICE_DAY,
            [salt_keys[entry.device] for entry, _ in kept],
            [data for _, data in kept],
        )
        for (entry, data), commitment in zip(kept, made, strict=True):
            yield Made(entry._replace(commitment=commitment), *spans[entry.device], shard, data)

    def _salt_keys(self, devices: Sequence[Pseudonym]) -> dict[Pseudonym, bytes]:
        """K of each device for the date's year, but for those that were erased."""
        try:
            return self._vault.salt_keys(devices, self._day.year)
        except KeyError:
            found: dict[Pseudonym, bytes] = {}
            for device in devices:
                try:
                    found |= self._vault.salt_keys([device], self._day.year)
                except KeyError:
                    continue  # erased: what can't be opened says nothing new
            return found


_NONE = Digest(bytes(32))  # until it is committed to


def _by_shard(registry: Registry) -> dict[str, dict[Pseudonym, DeviceInfo]]:
    shards: dict[str, dict[Pseudonym, DeviceInfo]] = defaultdict(dict)
    for info in registry.devices(None):
        shards[info.shard][info.device] = info
    return dict(sorted(shards.items()))


def _local_day(day: date, info: DeviceInfo) -> tuple[int, int]:
    try:
        return local_day(day, info.zone)
    except ValueError as error:
        raise Stop(
            "zone-unknown",
            f"device {info.device} is in {info.zone}, which this release of tzdata has not: "
            "install another one.",
        ) from error


def _is_over(day: date, info: DeviceInfo) -> bool:
    """Whether another subject epoch has this day, which moves begin with."""
    return 0 < info.until_us <= _local_day(day, info)[0]


def _is_day(begin_us: int, end_us: int) -> bool:
    """False where a zone skipped a date, or had one twice: such a day has no device-days."""
    return _DAY_US_MIN <= end_us - begin_us <= _DAY_US_MAX


def _rows_until(begin_us: int, end_us: int) -> int:
    """How late a record of the day may end: its last slot hangs over when the clock was changed."""
    return end_us if (end_us - begin_us) % _DAY_US == 0 else end_us + _OVERHANG_US
