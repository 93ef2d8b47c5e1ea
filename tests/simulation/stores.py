"""Vault, customer database, book and archive in memory, as kind as a remote store is on a bad day.

The customer database writes segments (bal/store/segment.py) one at a time: a crash within a store
leaves some of them, a repeated one brings them again, cut differently. Of what is not synced yet
a power cut takes some.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from operator import attrgetter, itemgetter
from random import Random

from cramjam import zstd

from bal.certify.commitment import pseudonym
from bal.errors import Unavailable
from bal.found import StoredFinding, VeeFindings
from bal.model import Close, Identity, Pseudonym, RawMessage, StoredRecord
from bal.ports import ArchiveItem, BookEntry
from bal.store import versions
from bal.store.segment import DAY_US, Key, decode, encode
from tests.simulation.topics import RawTopic
from tests.simulation.world import Failed, World

Place = tuple[str, int, int]  # epoch, partition, offset
MEASURED = frozenset({"reading", "telemetry", "finding"})


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

    def epochs(self, identity: Identity) -> list[Pseudonym]:
        return list(self.find([identity]).values())

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
    records: bytes  # compressed
    shard: str
    first: int
    last: int


Home = tuple[str, int]  # shard, UTC day


class SimDb:
    """Ports CustomerDb and DayRows. What is not synced may be gone after a power cut."""

    def __init__(self, world: World, lanes: int) -> None:
        self.world = world
        self._sizes = [0] * lanes  # log sizes
        self._synced = [0] * lanes
        self._homes: dict[Home, list[_Stored]] = defaultdict(list)
        self._before: dict[Home, list[_Stored]] = {}  # as of the last sync, of those that changed

    def store(
        self,
        rows: Sequence[StoredRecord],
        size: int,
        lane: int = 0,
        crash: Callable[[], None] = lambda: None,
    ) -> None:
        """Write rows that may be there already, in any order of segments.

        crash: called between writes, and may end the process.
        """
        homes: dict[Home, list[StoredRecord]] = defaultdict(list)
        for row in rows:
            homes[row.shard, row.end_us // DAY_US].append(row)
        order = list(homes)
        self.world.random(f"order{self.world.now_us}").shuffle(order)
        for home in order:
            self._write(home, homes[home])
            crash()
        self._sizes[lane] = max(self._sizes[lane], size)

    def stored(self, lane: int) -> int:
        return self._sizes[lane]

    def sync(self) -> None:
        """All that is stored survives a power cut."""
        self._before.clear()
        self._synced = list(self._sizes)

    def power_cut(self, dice: Random) -> None:
        """Of some homes all is lost that was not synced, of some the newest, of others nothing."""
        for home, before in sorted(self._before.items()):
            fate = dice.random()
            kept = self._homes[home]
            if fate < 0.5:
                self.world.seen["homes as before a power cut"] += kept != before
                self._homes[home] = before
            elif fate < 0.7 and kept[:-1] and not set(before) - set(kept[:-1]):
                del kept[-1]
        if dice.random() < 0.5:
            self._sizes = list(self._synced)
        self.sync()

    def _write(self, home: Home, rows: list[StoredRecord]) -> None:
        kept = self._homes[home]
        self._before.setdefault(home, list(kept))
        segment = encode(rows)
        if any(one.first <= segment.last and segment.first <= one.last for one in kept):
            segment = encode(self._with_known(home, rows, segment.first, segment.last))
        packed = bytes(zstd.compress(segment.records, 1))
        stored = _Stored(segment.keys, packed, home[0], segment.first, segment.last)
        self._homes[home].append(stored)

    def _with_known(
        self, home: Home, rows: list[StoredRecord], first: int, last: int
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
        return min(self._sizes)

    def of_home(self, home: Home, size: int) -> list[StoredRecord]:
        """All rows of a shard and UTC day below `size`."""
        rows = [row for one in self._homes.get(home, ()) for row in _decoded(one)]
        return [row for row in rows if row.index < size]

    def homes(self) -> list[Home]:
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

    def latest(self, home: Home, size: int) -> list[StoredRecord]:
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
    return decode(stored.keys, bytes(zstd.decompress(stored.records)), stored.shard)


class SimBook:
    """Port Book."""

    def __init__(self) -> None:
        self._closes: list[Close] = []
        self._entries: dict[str, list[tuple[int, dict[bytes, BookEntry]]]] = defaultdict(list)
        self._touched: dict[str, int] = {}
        self._synced: tuple[int, dict[str, int]] = 0, {}

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

    def sync(self) -> None:
        self._synced = len(self._closes), dict(self._touched)

    def power_cut(self, dice: Random) -> None:
        """Perhaps all is as it was when it was synced last."""
        if dice.random() < 0.5:
            many, self._touched = self._synced[0], dict(self._synced[1])
            del self._closes[many:]
            for made in self._entries.values():
                made[:] = [one for one in made if one[0] <= many]


class SimArchive:
    """Port RawArchive: summaries by (credential, message id). The raw bytes are the raw topic's."""

    def __init__(self, world: World, raw: RawTopic) -> None:
        self._world, self._raw = world, raw
        self.by_key: dict[tuple[str, bytes], bytes] = {}
        self.by_place: dict[Place, tuple[str, bytes]] = {}  # its key
        self.by_vee: dict[int, dict[int, StoredFinding]] = {}  # by index, number within the record
        self.replaced: dict[int, int] = {}  # index of a finding's record → of the one after it
        self._new: list[Place] = []  # since the last sync
        self._new_by_vee: list[int] = []
        self._new_replaced: list[int] = []

    def put_many(self, items: Sequence[ArchiveItem]) -> None:
        """Keep messages with their summaries, all or none; one that is there must be the same."""
        for item in items:
            message, key = item.message, (item.message.credential, item.message_id)
            place = message.epoch, message.partition, message.offset
            if self._raw.message(*place[1:]) != message:
                raise Failed(f"{place} is archived as another message than was sent")
            if item.parts[0][0] or item.parts[-1][1] != len(message.raw):
                raise Failed(f"the parts of {place} are not all of it")
            if self.by_place.setdefault(place, key) != key:
                raise Failed(f"{place} is archived as two messages")
            if self.by_key.setdefault(key, item.summary) != item.summary:
                raise Failed(f"the message at {place} has two summaries")
            self._new.append(place)

    def put_vee(self, found: VeeFindings) -> None:
        """Keep what a close found; whoever brings it again brings the same."""
        for one in found.items:
            index, number = one.place[0], one.place[3]
            if index not in self.by_vee:
                self._new_by_vee.append(index)
            if self.by_vee.setdefault(index, {}).setdefault(number, one) != one:
                raise Failed(f"the finding at {index} is listed as two")
        for index, by in found.replaced.items():
            if index not in self.replaced:
                self._new_replaced.append(index)
            if self.replaced.setdefault(index, by) != by:
                raise Failed(f"the finding at {index} is replaced by two")

    def sync(self) -> None:
        self._new.clear()
        self._new_by_vee.clear()
        self._new_replaced.clear()

    def power_cut(self, dice: Random) -> None:
        """The newest of what is not synced is gone."""
        for place in self._new[dice.randrange(len(self._new) + 1) :]:
            key = self.by_place.pop(place, None)
            if key is not None:
                del self.by_key[key]
        for index in self._new_by_vee[dice.randrange(len(self._new_by_vee) + 1) :]:
            del self.by_vee[index]
        for index in self._new_replaced[dice.randrange(len(self._new_replaced) + 1) :]:
            del self.replaced[index]
        self.sync()

    def summaries(self, keys: Collection[tuple[str, bytes]]) -> dict[tuple[str, bytes], bytes]:
        if keys and self._world.hit("archive refused", 0.001, 0.02):
            raise Unavailable("the archive does not answer")
        found = {key: self.by_key[key] for key in keys if key in self.by_key}
        self._world.seen["retries found"] += len(found)
        return found

    def raw(self, epoch: str, partition: int, offset: int) -> RawMessage | None:
        if (epoch, partition, offset) not in self.by_place:
            return None
        return self._raw.message(partition, offset)


def refuse(world: World, what: str) -> None:
    """Perhaps a store does not answer now."""
    if world.hit(f"{what} refused", 0.001, 0.01):
        raise Unavailable(f"no answer of the {what}")


def digest_of(row: StoredRecord) -> int:
    """A row's own number; rows of a table are summed, whatever their order."""
    device, end, kind, register, begin, index, rank, type_, year, record, shard = row
    text = f"{device} {end} {kind} {register} {begin} {index} {rank:d} {type_[0]} {year} {shard} "
    return int.from_bytes(sha256(text.encode() + record).digest()[:16], "big")
