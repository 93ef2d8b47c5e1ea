"""Where the rows of the customer database lie in Cassandra: pure, no driver (decision 0014).

A *home* is a partition: the rows of one shard and UTC day; of windows of phasors, which are large,
and of the platform's own rows, which are many, those of one device and hour. A *piece* is one row
of the table `segment`: a segment (bal.store.segment) in one of three tiers. What a piece holds
follows from its key, so writing it again, late or by two processes changes nothing; and a log index
names one row, so a reader takes it once wherever it met it. That is all that idempotence leans on.
"""

import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple
from zlib import crc32

from bal.errors import Stop
from bal.model import PHASORS, StoredRecord
from bal.store import index_map
from bal.store.segment import DAY_US, Key, KeyTable, encode
from infra.squeezed import squeeze, unsqueezed

HOUR_US = 3_600_000_000
PLATFORM_GROUP = "$platform"  # its rows are nobody's readings
LANDED, DIRECT, SETTLED = 0, 1, 2  # tiers; a reader meets them in this order
SLOTS = 1 << 16  # of devices in a shard: the piece that a device's rows are in
BLOCKS = 8  # of what landed: a shard of 256 devices lands in 8 pieces of about 32
BUCKET_ENTRIES = 1 << 18  # of the log, whose index maps are one partition
DECODING_ERRORS = (ValueError, TypeError, struct.error, IndexError, KeyError)

PIECE = (
    "INSERT INTO segment(scd, shard, owner, slice, tier, slot, first, mark, piece, last, count,"
    " end_min_us, end_max_us, keys, records, frames) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
    " ?, ?, ?)"
)


@dataclass(frozen=True, slots=True)
class Layout:
    """What goes where at once, and what is written again."""

    direct_devices: int = 8  # so few devices are written to their own slots at once
    direct_rows: int = 32  # rows a device, on average, that are worth a slot of their own at once
    piece_bytes: int = 512 * 1024  # of records, before they are squeezed
    settle_at: int = 32  # batches that landed in a home


class Home(NamedTuple):
    """A partition of the table `segment`."""

    shard: str
    owner: str  # "" for a shard's day; the device whose hour this is
    slice: int  # days since 1970-01-01, hours where there is an owner, of the end

    def day(self) -> int:
        """Days since 1970-01-01 in which its rows end."""
        return self.slice // 24 if self.owner else self.slice


class Piece(NamedTuple):
    """A row of the table `segment`, in the order of its columns behind the partition key."""

    tier: int
    slot: int
    first: int  # no log index is lower
    mark: int  # where the batch ended; of what is settled, a number of its own
    piece: int  # from 0, where one would be too large
    last: int  # highest log index
    rows: int
    end_min_us: int
    end_max_us: int
    keys: bytes
    records: bytes  # squeezed
    frames: bytes  # squeezed; empty but for phasors


class Place(NamedTuple):
    """Where the rows of a stretch of the log are: a row of the table `place`."""

    bucket: int
    first: int
    homes: list[str]  # shard and owner in turn
    map: bytes  # bal.store.index_map, homes numbered as in `homes`
    slots: bytes  # u16 of each row, in order of index


def home_of(row: StoredRecord) -> Home:
    """The partition that a row belongs to."""
    if row.kind == PHASORS or group_of(row.shard) == PLATFORM_GROUP:
        return Home(row.shard, row.device, row.end_us // HOUR_US)
    return Home(row.shard, "", row.end_us // DAY_US)


def group_of(shard: str) -> str:
    """The group that a shard is a part of."""
    return shard.rsplit("/", 1)[0]


@lru_cache(maxsize=1 << 17)  # a reading asks twice; about 150 bytes each
def slot_of(device: str) -> int:
    """The slot of a device's rows; two devices may have one."""
    return crc32(device.encode()) % SLOTS


def block_of(slot: int) -> int:
    """The slot that its rows share in the tier LANDED."""
    return slot * BLOCKS // SLOTS


def where(device: str) -> list[tuple[int, int]]:
    """(tier, slot) of all pieces that can have rows of a device."""
    return places_of(slot_of(device))


def places_of(slot: int) -> list[tuple[int, int]]:
    """(tier, slot) of all pieces that can have rows of a slot."""
    return [(LANDED, block_of(slot)), (DIRECT, slot), (SETTLED, slot)]


def pieces(
    home: Home, rows: Sequence[StoredRecord], batch: tuple[int, int], layout: Layout
) -> list[Piece]:
    """What one batch, the entries batch[0] <= index < batch[1], brings for a home.

    Rows of a head-end's message, one each of many devices, land in a few pieces and are settled
    later; what is one device's already is written to its slot at once.
    """
    slots = by_slot(rows)
    if (
        home.owner
        or len(slots) <= layout.direct_devices
        or len(rows) >= layout.direct_rows * len(slots)
    ):
        return [
            one
            for slot, members in slots.items()
            for one in _cut(home, (DIRECT, slot, *batch), members, layout)
        ]
    blocks: defaultdict[int, list[StoredRecord]] = defaultdict(list)
    for slot, members in slots.items():
        blocks[block_of(slot)] += members
    return [
        one
        for block, members in blocks.items()
        for one in _cut(home, (LANDED, block, *batch), members, layout)
    ]


def settled(home: Home, rows: Iterable[StoredRecord], mark: int, layout: Layout) -> list[Piece]:
    """The pieces that rows of one block become, by slot; `mark` is like no other's."""
    return [
        one
        for slot, members in by_slot(rows).items()
        for one in _cut(
            home, (SETTLED, slot, min(row.index for row in members), mark), members, layout
        )
    ]


def by_slot(rows: Iterable[StoredRecord]) -> dict[int, list[StoredRecord]]:
    """The rows of each slot."""
    known: dict[str, list[StoredRecord]] = {}
    slots: defaultdict[int, list[StoredRecord]] = defaultdict(list)
    for row in rows:
        members = known.get(row[0])
        if members is None:
            members = known[row[0]] = slots[slot_of(row[0])]
        members.append(row)
    return slots


def _cut(
    home: Home, key: tuple[int, int, int, int], rows: list[StoredRecord], layout: Layout
) -> Iterator[Piece]:
    rows.sort()
    number, begin, size = 0, 0, 0
    for at, row in enumerate(rows):
        if size and size + len(row.record) > layout.piece_bytes:
            yield _piece(home, rows[begin:at], (*key, number))
            number, begin, size = number + 1, at, 0
        size += len(row.record)
    yield _piece(home, rows[begin:], (*key, number))


def _piece(home: Home, rows: Sequence[StoredRecord], key: tuple[int, int, int, int, int]) -> Piece:
    new = encode(rows)
    records, frames = new.records, b""
    if home.owner:  # a page of windows is read without their frames
        lines = [row.certified for row in rows]
        rests = [row.record[len(line) :] for row, line in zip(rows, lines, strict=True)]
        frames = squeeze(_joined(rests))
        records = _joined(lines)
    return Piece(
        *key, new.last, new.count, new.end_min_us, new.end_max_us, new.keys,
        squeeze(records), frames,
    )  # fmt: skip


class Loaded:
    """A piece as it was read. Its methods raise one of DECODING_ERRORS where it is damaged."""

    def __init__(self, home: Home, number: int, keys: bytes, records: bytes) -> None:
        """`number` is given back in every Key."""
        self.home = home
        self.table = KeyTable(keys, number)
        self._squeezed = records
        self._records: bytes | None = None
        self._at: dict[int, int] = {}  # of windows: number by where its key begins

    def keys(self, device: str | None) -> list[Key]:
        """The keys of all rows, or of one device's."""
        return self.table.rows(*((0, None) if device is None else self.table.of_device(device)))

    def certified(self, key: Key) -> bytes:
        """The bytes that the log's entry is a commitment to."""
        if self._records is None:
            self._records = unsqueezed(self._squeezed)
        if self.home.owner:
            return _nth(self._records, self._number(key)) if key.stop > key.start else b""
        record = self._records[key.start : key.stop]
        if len(record) != key.stop - key.start:
            raise ValueError("a piece's records are shorter than its key table says")
        return record

    def whole(self, key: Key, frames: bytes | None) -> bytes:
        """The row's bytes; `frames` as they are stored."""
        record = self.certified(key)
        if self.home.owner and key.stop > key.start:
            record += _nth(_frames(frames), self._number(key))
        return record

    def rows(self, frames: bytes | None) -> list[StoredRecord]:
        """All rows with their bytes."""
        records = unsqueezed(self._squeezed)
        if self.home.owner:
            lines, rests = _split(records), _split(_frames(frames))
            records = b"".join(a + b for a, b in zip(lines, rests, strict=True))
        return self.table.stored(records, self.home.shard)

    def _number(self, key: Key) -> int:
        if not self._at:
            every = enumerate(self.table.rows())
            self._at = {other.start: at for at, other in every if other.stop > other.start}
        return self._at[key.start]


def _frames(frames: bytes | None) -> bytes:
    """Of a row's windows, as `_joined` made them. Raises ValueError where there are none."""
    return unsqueezed(frames or b"")


def _joined(items: Sequence[bytes]) -> bytes:
    """Count u32 | end of each u32 | all of them."""
    ends = accumulate(map(len, items))
    return struct.pack(f">{len(items) + 1}I", len(items), *ends) + b"".join(items)


def _split(data: bytes) -> list[bytes]:
    (count,) = struct.unpack_from(">I", data)
    ends = struct.unpack_from(f">{count}I", data, 4)
    body = 4 + 4 * count
    return [data[body + a : body + b] for a, b in zip((0, *ends), ends, strict=False)]


def _nth(data: bytes, number: int) -> bytes:
    (count,) = struct.unpack_from(">I", data)
    if not 0 <= number < count:
        raise ValueError("a piece has fewer windows than its key table says")
    body = 4 + 4 * count
    (end,) = struct.unpack_from(">I", data, 4 + 4 * number)
    begin = struct.unpack_from(">I", data, 4 * number)[0] if number else 0
    return data[body + begin : body + end]


def places(rows: Iterable[tuple[int, Home, int]]) -> list[Place]:
    """The index maps of a batch's rows (index, home, slot), one for each bucket.

    Raises ValueError where two rows claim one index.
    """
    made: list[Place] = []
    buckets: defaultdict[int, list[tuple[int, Home, int]]] = defaultdict(list)
    for row in sorted(rows):
        buckets[row[0] // BUCKET_ENTRIES].append(row)
    for bucket, members in buckets.items():
        names = list(dict.fromkeys(home[:2] for _, home, _ in members))
        numbers = {name: number for number, name in enumerate(names)}
        runs = [(index, (numbers[home[:2]], home.slice)) for index, home, _ in members]
        made.append(
            Place(
                bucket,
                members[0][0],
                [text for name in names for text in name],
                index_map.encode(runs),
                struct.pack(f">{len(members)}H", *(slot for _, _, slot in members)),
            )
        )
    return made


def placed(homes: Sequence[str], data: bytes, slots: bytes) -> Iterator[tuple[int, Home, int]]:
    """What `places` was given of one bucket. Raises one of DECODING_ERRORS."""
    names = list(zip(homes[::2], homes[1::2], strict=True))
    runs = index_map.decode(data)
    numbers = struct.unpack(f">{len(runs)}H", slots)
    for (index, (number, slice_)), slot in zip(runs, numbers, strict=True):
        yield index, Home(*names[number], slice_), slot


class Decoding:
    """Turns what decoding a damaged piece raises into Stop("store-damaged")."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, DECODING_ERRORS):
            text = f"Cassandra: a piece of {self._home.shard}, slice {self._home.slice}: {error}"
            raise Stop("store-damaged", text) from error
