"""Vault, customer database, book and archive in memory, as kind as a remote store is on a bad day.

The customer database writes segments (bal/store/segment.py) one at a time and its progress last:
a crash within a store leaves some of them, a repeated one brings them again, cut differently.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from hashlib import sha256
from operator import attrgetter, itemgetter
from zlib import compress, decompress

from bal.certify.commitment import pseudonym
from bal.errors import Unavailable
from bal.model import Close, Identity, Pseudonym, StoredRecord
from bal.ports import BookEntry
from bal.registry import Registry
from bal.store import versions
from bal.store.segment import DAY_US, Key, decode, encode
from tests.simulation.world import Failed, World

MEASURED = frozenset({"reading", "telemetry"})


class SimVault:
    """Port Vault: get-or-create is atomic; its answer may be lost after it was made."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._names: dict[Identity, Pseudonym] = {}
        self._identities: dict[Pseudonym, Identity] = {}
        self._keys: dict[tuple[Pseudonym, int], bytes] = {}
        self._made = 0

    def pseudonyms(self, wanted: Sequence[Identity]) -> dict[Identity, Pseudonym]:
        missing = [name for name in wanted if name not in self._names]
        if missing:
            self._refuse()
            for name in missing:
                self._names[name] = made = pseudonym(self._random())
                self._identities[made] = name
            self._lose()
        return {name: self._names[name] for name in wanted}

    def salt_keys(self, wanted: Sequence[Pseudonym], year: int) -> dict[Pseudonym, bytes]:
        missing = [name for name in wanted if (name, year) not in self._keys]
        if missing:
            self._refuse()
            for name in missing:
                self._identities[name]
                self._keys[name, year] = self._random()
            self._lose()
        return {name: self._keys[name, year] for name in wanted}

    def find(self, identities: Sequence[Identity]) -> dict[Identity, Pseudonym]:
        return {name: self._names[name] for name in identities if name in self._names}

    def identity(self, name: Pseudonym) -> Identity | None:
        return self._identities.get(name)

    def _random(self) -> bytes:
        self._made += 1
        return sha256(f"{self._world.seed}/vault/{self._made}".encode()).digest()

    def _refuse(self) -> None:
        if self._world.hit("vault refused", 0.01, 0.1):
            raise Unavailable("the vault does not answer")

    def _lose(self) -> None:
        if self._world.hit("vault answer lost", 0.01, 0.1):
            raise Unavailable("no answer of the vault")


@dataclass(frozen=True, slots=True)
class _Stored:
    keys: bytes
    records: bytes  # deflated
    shard: str
    first: int
    last: int


class SimDb:
    """Ports CustomerDb and DayRows. `crash`: called between writes, and may end the process."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.stored = 0  # log size
        self.version = 0
        self.taken: dict[str, int] = {}
        self._homes: dict[tuple[str, int], list[_Stored]] = defaultdict(list)

    def write(self, rows: Sequence[StoredRecord], crash: Callable[[], None]) -> None:
        """Write rows that may be there already, in any order of segments."""
        homes: dict[tuple[str, int], list[StoredRecord]] = defaultdict(list)
        for row in rows:
            homes[row.shard, row.end_us // DAY_US].append(row)
        order = list(homes)
        self.world.random(f"order{self.world.now_us}").shuffle(order)
        for home in order:
            segment = encode(homes[home])
            kept = self._homes[home]
            if any(one.first <= segment.last and segment.first <= one.last for one in kept):
                segment = encode(self._with_known(home, homes[home], segment.first, segment.last))
            packed = compress(segment.records, 1)
            stored = _Stored(segment.keys, packed, home[0], segment.first, segment.last)
            self._homes[home].append(stored)
            crash()

    def progress(self, version: int, size: int, taken: Mapping[str, int]) -> None:
        """Up to where everything is stored; a late one of a paused storer changes nothing."""
        if version > self.version:
            self.version, self.stored, self.taken = version, size, dict(taken)

    def _with_known(
        self, home: tuple[str, int], rows: list[StoredRecord], first: int, last: int
    ) -> list[StoredRecord]:
        """An upsert by index: what is there must be the same, byte for byte."""
        known = {row.index: row for row in rows}
        for segment in self._homes[home]:
            if segment.first <= last and first <= segment.last:
                self.world.seen["segments stored again"] += 1
                for row in _decoded(segment):
                    if known.setdefault(row.index, row) != row:
                        raise Failed(f"two rows at index {row.index}")
        self._homes[home] = [
            one for one in self._homes[home] if one.last < first or last < one.first
        ]
        return list(known.values())

    # -- reads ----------------------------------------------------------------------------

    def size(self) -> int:
        return self.stored

    def of_home(self, home: tuple[str, int], size: int) -> list[StoredRecord]:
        """All rows of a shard and UTC day below `size`."""
        rows = [row for one in self._homes.get(home, ()) for row in _decoded(one)]
        return [row for row in rows if row.index < size]

    def homes(self) -> list[tuple[str, int]]:
        return sorted(self._homes)

    def of_shard(
        self, shard: str, from_us: int, to_us: int, size: int
    ) -> Iterator[tuple[Pseudonym, Sequence[StoredRecord]]]:
        """See bal.ports.DayRows."""
        found: dict[Pseudonym, list[StoredRecord]] = defaultdict(list)
        for day in range(from_us // DAY_US, to_us // DAY_US + 1):
            for row in self.of_home((shard, day), size):
                if from_us <= row.begin_us and row.end_us <= to_us and row.kind in MEASURED:
                    found[row.device].append(row)
        for device in sorted(found):
            yield device, sorted(found[device], key=attrgetter("index"))

    def latest(self, home: tuple[str, int], size: int) -> list[StoredRecord]:
        """What a read shows of a shard's day: one row a slot (bal/store/versions.py)."""
        rows = [row for row in self.of_home(home, size) if row.kind in versions.MEASUREMENTS]
        by_index = {row.index: row for row in rows}
        keys = [
            Key(row.end_us, row.device, row.kind, row.register, row.begin_us, row.index,
                int(row.rank), row.type, row.year, 0, len(row.record), 0)
            for row in rows
        ]  # fmt: skip
        shown = versions.shown(
            keys, "latest", lambda found: [by_index[key.log_index].record for key in found]
        )
        return [by_index[key.log_index] for key in shown]

    def all_rows(self) -> Iterator[list[StoredRecord]]:
        """Everything, a segment at a time."""
        for home in self.homes():
            for one in self._homes[home]:
                yield _decoded(one)


def _decoded(stored: _Stored) -> list[StoredRecord]:
    return decode(stored.keys, decompress(stored.records), stored.shard)


class SimBook:
    """Port Book."""

    def __init__(self) -> None:
        self._closes: list[Close] = []
        self._entries: dict[str, list[tuple[int, dict[bytes, BookEntry]]]] = defaultdict(list)
        self._touched: dict[str, int] = {}

    def add(self, close: Close, entries: Sequence[BookEntry] = ()) -> None:
        if close.k <= len(self._closes):
            if self._closes[close.k - 1] != close:
                raise ValueError("another close has this k")
            return
        if close.k != len(self._closes) + 1:
            raise ValueError("k does not follow")
        self._entries[close.date].append((close.k, {entry.key: entry for entry in entries}))
        self._closes.append(close)

    def closes(self, after: int = 0) -> list[Close]:
        return self._closes[after:]

    def entries(
        self, date: str, k: int, *, first_byte: int | None = None, device: Pseudonym | None = None
    ) -> list[BookEntry]:
        found: dict[bytes, BookEntry] = {}
        for at, made in self._entries.get(date, ()):
            if at <= k:
                found |= made
        return [
            entry
            for key, entry in sorted(found.items(), key=itemgetter(0))
            if (first_byte is None or key[0] == first_byte)
            and (device is None or entry.device == device)
        ]

    def touch(self, dates: Mapping[str, int]) -> None:
        for date, index in dates.items():
            self._touched[date] = max(index, self._touched.get(date, -1))

    def touched(self) -> dict[str, int]:
        return dict(self._touched)

    def sync(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Summary:
    """What the archive answers a retry with."""

    credential: str
    message_id: bytes
    batch: str
    first: int
    count: int
    refused: int


class SimArchive:
    """Summaries by (credential, message id) and by batch; the raw bytes are the raw topic's."""

    def __init__(self) -> None:
        self.by_key: dict[tuple[str, bytes], Summary] = {}
        self.by_batch: dict[str, Summary] = {}

    def put(self, summary: Summary) -> None:
        """The first one of a key stays; a batch has one summary for ever."""
        if self.by_batch.setdefault(summary.batch, summary) != summary:
            raise Failed(f"batch {summary.batch} has two summaries")
        self.by_key.setdefault((summary.credential, summary.message_id), summary)


class RegistryFeed:
    """The registry's records in log order, as workers and collectors follow them."""

    def __init__(self) -> None:
        self.records: list[tuple[int, bytes]] = []
        self.size = 0  # of the log: complete below it
        self._newest = Registry()
        self._applied = 0

    def newest(self) -> Registry:
        """A registry of one's own as of `size`: to apply 100,000 records takes four seconds."""
        for _, record in self.records[self._applied :]:
            self._newest.apply(record)
        self._applied = len(self.records)
        mine = copy(self._newest)
        for name, held in vars(self._newest).items():
            if isinstance(held, dict):
                setattr(mine, name, dict(held))
        return mine

    def add(self, records: Sequence[tuple[int, bytes]], size: int) -> None:
        """The next ones; what a repeated store brings again is known."""
        if size > self.size:
            self.records += [one for one in records if one[0] >= self.size]
            self.size = size


def digest_of(row: StoredRecord) -> int:
    """A row's own number; rows of a table are summed, whatever their order."""
    device, end, kind, register, begin, index, rank, type_, year, record, shard = row
    text = f"{device} {end} {kind} {register} {begin} {index} {rank:d} {type_[0]} {year} {shard} "
    return int.from_bytes(sha256(text.encode() + record).digest()[:16], "big")
