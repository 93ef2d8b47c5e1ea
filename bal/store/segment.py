"""Segments: many rows of one shard and UTC day in two blobs (docs/spec/store.md).

`keys` is a table that is searched without the records; `records` are the certified bytes, one
after the other. Rows stand in order of (device, end, kind, register, begin, index), so that one
device's rows of a day are neighbours in both.
"""

import struct
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, repeat
from operator import itemgetter
from typing import NamedTuple
from zlib import crc32

from bal.model import Pseudonym, Rank, StoredRecord

DAY_US = 86_400_000_000
DEVICE_BYTES = 43  # a pseudonym; shorter names are padded with NUL

_MAGIC = b"GSSG\x01"
_HEADER = struct.Struct(">5sIIH")  # magic, rows, devices, series
_RANKS = tuple(Rank)
_device = itemgetter(0)


class Key(NamedTuple):
    """One row without its bytes. The first six fields are the order in which rows are given."""

    end_us: int
    device: str
    kind: str
    register: str
    begin_us: int
    log_index: int
    rank: int
    type: bytes
    year: int
    start: int  # of its record in the segment's records
    stop: int
    segment: int  # whose records; the database's own number


@dataclass(frozen=True, slots=True)
class Segment:
    """An encoded segment and what a database needs to know to find it."""

    keys: bytes
    records: bytes
    count: int
    first: int  # lowest and highest log index
    last: int
    end_min_us: int
    end_max_us: int


def day_of(end_us: int) -> int:
    """Days since 1970-01-01 (UTC) of an interval's end; the slice that a row belongs to."""
    return end_us // DAY_US


def encode(rows: Iterable[StoredRecord]) -> Segment:
    """One segment of at least one row; which shard and day they share is the caller's to know.

    Raises ValueError for a device that is not 1 to 43 ASCII characters or a type that is not one
    byte, struct.error for a number that does not fit its column.
    """
    ordered = sorted(rows, key=_device)
    if len(set(map(_device, ordered))) < len(ordered):
        ordered.sort()
    # A column at a time: each is one call into C, and a search by index reads one column only.
    devices, ends, kinds, registers, begins, indexes, ranks, types, years, records, _ = zip(
        *ordered, strict=True
    )
    count = len(devices)
    names = list(dict.fromkeys(devices))
    starts = _starts(devices, names)
    pairs = list(zip(kinds, registers, strict=True))
    series = sorted(set(pairs))
    ordinal = {pair: number for number, pair in enumerate(series)}
    type_column = b"".join(types)
    if len(type_column) != count:
        raise ValueError("a record's type is one byte")
    keys = b"".join((
        _HEADER.pack(_MAGIC, count, len(names), len(series)),
        _device_table(names),
        struct.pack(f">{len(names) + 1}I", *starts),
        struct.pack(f">{count}q", *ends),
        struct.pack(f">{count}q", *begins),
        struct.pack(f">{count}Q", *indexes),
        struct.pack(f">{count + 1}I", *accumulate(map(len, records), initial=0)),
        struct.pack(f">{count}H", *map(ordinal.__getitem__, pairs)),
        struct.pack(f">{count}H", *years),
        bytes(ranks),
        type_column,
        *(_pascal(text) for pair in series for text in pair),
    ))  # fmt: skip
    return Segment(
        keys=keys + struct.pack(">I", crc32(keys)),
        records=b"".join(records),
        count=count,
        first=min(indexes),
        last=max(indexes),
        end_min_us=min(ends),
        end_max_us=max(ends),
    )


class KeyTable:
    """The key table of one segment. Raises ValueError where the bytes are not one."""

    def __init__(self, keys: bytes, segment: int = 0) -> None:
        """Check form and checksum; `segment` is given back in every Key."""
        if len(keys) < _HEADER.size + 4 or keys[: len(_MAGIC)] != _MAGIC:
            raise ValueError("not a segment's key table")
        if crc32(memoryview(keys)[:-4]) != int.from_bytes(keys[-4:], "big"):
            raise ValueError("a segment's key table does not match its checksum")
        self._keys = keys
        self._segment = segment
        _, self.count, self._device_count, self._series_count = _HEADER.unpack_from(keys)
        at = _HEADER.size
        self._devices_at = at
        self._starts_at = at = at + DEVICE_BYTES * self._device_count
        self._ends_at = at = at + 4 * (self._device_count + 1)
        self._begins_at = at = at + 8 * self.count
        self._indexes_at = at = at + 8 * self.count
        self._offsets_at = at = at + 8 * self.count
        self._series_at = at = at + 4 * (self.count + 1)
        self._years_at = at = at + 2 * self.count
        self._ranks_at = at = at + 2 * self.count
        self._types_at = at = at + self.count
        self._names_at = at + self.count
        if self._names_at + 4 * self._series_count > len(keys) - 4:
            raise ValueError("a segment's key table is shorter than it says")
        self._names: list[tuple[str, str]] | None = None

    def of_device(self, device: str) -> tuple[int, int]:
        """The positions [start, stop) of one device's rows; equal where it has none."""
        wanted = device.encode().ljust(DEVICE_BYTES, b"\0")
        at = bisect_left(range(self._device_count), wanted, key=self._device)
        if at == self._device_count or self._device(at) != wanted:
            return 0, 0
        start, stop = struct.unpack_from(">II", self._keys, self._starts_at + 4 * at)
        return start, stop

    def ends(self) -> tuple[int, ...]:
        """`end_us` of every row, by position."""
        return struct.unpack_from(f">{self.count}q", self._keys, self._ends_at)

    def indexes(self) -> tuple[int, ...]:
        """Log index of every row, by position."""
        return struct.unpack_from(f">{self.count}Q", self._keys, self._indexes_at)

    def rows(self, start: int = 0, stop: int | None = None) -> list[Key]:
        """The rows at positions [start, stop), by position."""
        try:
            return self._rows(start, stop)
        except IndexError:
            raise _contradicts_itself() from None

    def _rows(self, start: int, stop: int | None) -> list[Key]:
        stop = self.count if stop is None else stop
        if start == stop:
            return []
        many, table = stop - start, self._keys
        offsets = struct.unpack_from(f">{many + 1}I", table, self._offsets_at + 4 * start)
        series = struct.unpack_from(f">{many}H", table, self._series_at + 2 * start)
        names = self._series()
        types = table[self._types_at + start : self._types_at + stop]
        return list(map(Key._make, zip(
            struct.unpack_from(f">{many}q", table, self._ends_at + 8 * start),
            self._device_column(start, stop),
            [names[number][0] for number in series],
            [names[number][1] for number in series],
            struct.unpack_from(f">{many}q", table, self._begins_at + 8 * start),
            struct.unpack_from(f">{many}Q", table, self._indexes_at + 8 * start),
            table[self._ranks_at + start : self._ranks_at + stop],
            [types[at : at + 1] for at in range(many)],
            struct.unpack_from(f">{many}H", table, self._years_at + 2 * start),
            offsets,
            offsets[1:],
            (self._segment,) * many,
            strict=False,  # `offsets` is one longer
        )))  # fmt: skip

    def stored(self, records: bytes, shard: str) -> list[StoredRecord]:
        """All rows with their bytes; half the price of `rows` and `row`."""
        try:
            return self._stored(records, shard)
        except IndexError:
            raise _contradicts_itself() from None

    def _stored(self, records: bytes, shard: str) -> list[StoredRecord]:
        many, table = self.count, self._keys
        offsets = struct.unpack_from(f">{many + 1}I", table, self._offsets_at)
        if not many or offsets[-1] != len(records):
            raise ValueError("a segment's records are not as long as its key table says")
        series = struct.unpack_from(f">{many}H", table, self._series_at)
        names = self._series()
        types = table[self._types_at : self._types_at + many]
        columns = zip(
            self._device_column(0, many),
            struct.unpack_from(f">{many}q", table, self._ends_at),
            [names[number][0] for number in series],
            [names[number][1] for number in series],
            struct.unpack_from(f">{many}q", table, self._begins_at),
            struct.unpack_from(f">{many}Q", table, self._indexes_at),
            map(_RANKS.__getitem__, table[self._ranks_at : self._ranks_at + many]),
            [types[at : at + 1] for at in range(many)],
            struct.unpack_from(f">{many}H", table, self._years_at),
            map(records.__getitem__, map(slice, offsets, offsets[1:])),
            repeat(shard, many),
            strict=True,
        )
        return list(map(tuple.__new__, repeat(StoredRecord), columns))

    def _device(self, at: int) -> bytes:
        start = self._devices_at + DEVICE_BYTES * at
        return self._keys[start : start + DEVICE_BYTES]

    def _device_column(self, start: int, stop: int) -> list[str]:
        if self._device_count == self.count:  # one row a device: what a head-end's message is
            size = DEVICE_BYTES
            names = self._keys[self._devices_at + size * start : self._devices_at + size * stop]
            text = names.decode()
            cut = [text[at : at + size] for at in range(0, len(text), size)]
            return [name.rstrip("\0") for name in cut] if "\0" in text else cut
        starts = struct.unpack_from(f">{self._device_count + 1}I", self._keys, self._starts_at)
        at = bisect_left(starts, start + 1) - 1  # the device that holds position `start`
        column: list[str] = []
        while start < stop:
            until = min(starts[at + 1], stop)
            name = self._device(at).rstrip(b"\0").decode()
            column += [name] * (until - start)
            start, at = until, at + 1
        return column

    def _series(self) -> list[tuple[str, str]]:
        if self._names is None:
            texts = []
            at = self._names_at
            for _ in range(2 * self._series_count):
                size = int.from_bytes(self._keys[at : at + 2], "big")
                texts.append(self._keys[at + 2 : at + 2 + size].decode())
                at += 2 + size
            self._names = list(zip(texts[::2], texts[1::2], strict=True))
        return self._names


def _contradicts_itself() -> ValueError:
    return ValueError("a segment's key table names what is not in it")


def row(key: Key, shard: str, record: bytes) -> StoredRecord:
    """The row that a key and its record's bytes make."""
    return StoredRecord(
        Pseudonym(key.device),
        key.end_us,
        key.kind,
        key.register,
        key.begin_us,
        key.log_index,
        _RANKS[key.rank],
        key.type,
        key.year,
        record,
        shard,
    )


def decode(keys: bytes, records: bytes, shard: str) -> list[StoredRecord]:
    """All rows of a segment, in its order. Raises ValueError where it is damaged."""
    return KeyTable(keys).stored(records, shard)


def _starts(devices: Sequence[str], names: Sequence[str]) -> list[int]:
    """First position of each name in the sorted column, and the column's length."""
    if len(names) == len(devices):  # one row a device: what a head-end's message looks like
        return list(range(len(names) + 1))
    starts, at = [], 0
    for name in names:
        starts.append(at)
        at = bisect_left(devices, name + "\0", lo=at)
    return [*starts, len(devices)]


def _device_table(names: Sequence[str]) -> bytes:
    """The names, each padded to DEVICE_BYTES with NUL, which sorts before every other sign."""
    lengths = set(map(len, names))
    table = "".join(names).encode("ascii")
    if not 0 < min(lengths) <= max(lengths) <= DEVICE_BYTES or b"\0" in table:
        raise ValueError(f"a device's name is 1 to {DEVICE_BYTES} ASCII characters")
    if lengths == {DEVICE_BYTES}:
        return table
    return b"".join(name.encode().ljust(DEVICE_BYTES, b"\0") for name in names)


def _pascal(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">H", len(data)) + data
