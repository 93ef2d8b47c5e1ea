"""Reading the customer database in Cassandra (decision 0014).

Nothing is locked: what is visible is a matter of log indexes below a size that only grows, a piece
never changes, and where settling moves rows from one piece to another they are in both or in the
new one. A piece that was listed and is gone was settled in between: the page is made again.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from operator import attrgetter
from typing import Any

from bal.errors import Unavailable
from bal.model import ReadingsPage, ReadingsQuery, StoredRecord
from bal.store import versions
from bal.store.segment import DEVICE_BYTES, Key, day_of, row
from bal.store.stretches import Span, split
from infra.cassandra_directory import Directory, may_have
from infra.cassandra_layout import Decoding, Home, Loaded, where
from infra.cassandra_session import CassandraSession, Statement

INT64_MAX = (1 << 63) - 1
DAYS_UNLISTED_MAX = 8  # so few of one device are asked for without looking up which there are
OWNERS_REMEMBERED_MAX = 1 << 14  # devices, about 300 bytes each
DAY_ROWS = 90  # about; to guess how many days a page of one device needs
DAYS_AHEAD_MAX = 16
PIECES_ASKED = 64  # in one request
TRIES = 8

META = (
    "SELECT tier, slot, first, mark, piece, last, count, end_min_us, end_max_us FROM segment"
    " WHERE scd = ? AND shard = ? AND owner = ? AND slice = ?"
)
_BLOBS = (
    "SELECT tier, slot, first, mark, piece, last, end_min_us, end_max_us, keys, records"
    " FROM segment WHERE scd = ? AND shard = ? AND owner = ? AND slice = ?"
)
_FRAMES = (
    "SELECT frames FROM segment WHERE scd = ? AND shard = ? AND owner = ? AND slice = ?"
    " AND tier = ? AND slot = ? AND first = ? AND mark = ? AND piece = ?"
)
OF_SLOTS = " AND (tier, slot) IN ?"
OF_PIECES = " AND (tier, slot, first, mark, piece) IN ?"

PieceKey = tuple[int, int, int, int, int]
Blobs = Sequence[tuple[Any, ...]]  # rows of _BLOBS


class Moved(Exception):
    """A piece that was listed was settled before it was read."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A query with its bounds made such that they fit a column."""

    query: ReadingsQuery
    after: versions.SortKey | None
    as_of: int
    lo_us: int
    hi_us: int

    def takes(self, key: Key) -> bool:
        """Whether a key is one of those that are asked for."""
        query = self.query
        kinds = versions.MEASUREMENTS if query.kind is None else {query.kind}
        return (
            key.log_index < self.as_of
            and self.lo_us <= key.end_us < self.hi_us
            and key.kind in kinds
            and (query.register is None or key.register == query.register)
        )


@dataclass(slots=True)
class _Pieces:
    """What one page has read so far, by number."""

    loaded: list[Loaded] = field(default_factory=list)
    keys: list[PieceKey] = field(default_factory=list)

    def add(self, home: Home, key: PieceKey, keys: bytes, records: bytes) -> Loaded:
        made = Loaded(home, len(self.loaded), keys, records)
        self.loaded.append(made)
        self.keys.append(key)
        return made


class Reads:
    """The questions of CustomerDb and DayRows (bal.ports), asked as the role `reader`."""

    def __init__(self, session: CassandraSession, scd: str, lanes: int) -> None:
        self._session, self._scd, self._lanes = session, scd, lanes
        self._directory = Directory(session, scd)
        self._size_seen = 0
        self._owners_seen: dict[str, list[tuple[str, str]]] = {}  # of devices, at the last look

    def size(self) -> int:
        """Log size up to which the rows of every lane are stored."""
        found = self._stored()
        self._size_seen = min(found.get(lane, 0) for lane in range(self._lanes))
        return self._size_seen

    def stored_of(self, lane: int) -> int:
        """Log size up to which the rows of one lane are stored."""
        return self._stored().get(lane, 0)

    def _stored(self) -> dict[int, int]:
        cql = "SELECT lane, size FROM progress WHERE scd = ?"
        return {int(lane): int(size) for lane, size in self._session.rows(cql, (self._scd,))}

    def note_stored(self, size: int) -> None:
        """Note what this process stored itself, as the only lane, and was acknowledged."""
        self._size_seen = max(self._size_seen, size)

    def visible(self, size: int) -> int:
        """`size`, or what is stored where that is less; asked only above a size seen before."""
        # The size only grows: below one that was seen all is there for good.
        return size if size <= self._size_seen else min(size, self.size())

    # -- a page of readings -----------------------------------------------------------------

    def readings(self, query: ReadingsQuery) -> ReadingsPage:
        """One page of the port's order. Raises Rejected, ValueError as the port says."""
        query.check()
        after = None if query.after is None else versions.as_sort_key(query.after)
        as_of = self.visible(query.as_of_size)
        lo = -INT64_MAX if query.from_us is None else max(query.from_us, -INT64_MAX)
        hi = INT64_MAX if query.to_us is None else min(query.to_us, INT64_MAX)
        asked = Asked(query, after, as_of, lo if after is None else max(lo, after[0]), hi)
        if as_of <= 0 or asked.lo_us >= hi:
            return ReadingsPage([], None)
        for _ in range(TRIES):
            try:
                return self._page(asked)
            except Moved:
                continue
        raise Unavailable("Cassandra: what is read is being settled")

    def _page(self, asked: Asked) -> ReadingsPage:
        query, after = asked.query, asked.after
        shown: Iterator[StoredRecord]
        if query.device is None:
            owners, read = self._directory.of_groups(query), dict[Home, Blobs]()
        else:
            owners, read = self._of_directory(query.device, asked)
        if query.device is None or any(owner for _, owner in owners):
            days = self._directory.days(owners, asked.lo_us, asked.hi_us)
            shown = (one for day in days for one in self._of_day(day, asked))
        else:
            shown = self._of_device(self._blobs(owners, query.device, asked, read), asked)
        behind = (one for one in shown if after is None or _sort_key(one) > after)
        found = list(islice(behind, query.limit + 1))
        page = found[: query.limit]
        more = len(found) > query.limit
        return ReadingsPage(page, list(_sort_key(page[-1])) if more else None)

    def _of_directory(
        self, device: str, asked: Asked
    ) -> tuple[list[tuple[str, str]], dict[Home, Blobs]]:
        """As `_of_groups`, of one device; and what its homes hold, where that was asked for, too.

        That is, where few days are: by what the directory said last, at the same time as it is
        asked again, since only its word now counts.
        """
        if not _is_name(device):
            return [], {}
        if asked.query.of_platform:
            return self._directory.of_platform(device), {}
        query, seen = asked.query, self._owners_seen.get(device, ())
        listed = self._session.prepared(
            "SELECT shard, owner FROM device WHERE scd = ? AND device = ?"
        )
        statement, slots = self._session.prepared(_BLOBS + OF_SLOTS), where(device)
        likely = [
            Home(shard, "", day)
            for day in _few_days(asked)
            for shard, owner in seen
            if not owner and may_have(query, shard, owner)
        ]
        owners, *blobs = self._session.each([
            (listed, (self._scd, device)),
            *((statement, (self._scd, *home, slots)) for home in likely),
        ])  # fmt: skip
        if len(self._owners_seen) >= OWNERS_REMEMBERED_MAX:
            self._owners_seen.clear()
        found = [(shard, owner) for shard, owner in owners]
        self._owners_seen[device] = found
        homes = [one for one in found if may_have(query, *one)]
        return homes, dict(zip(likely, blobs, strict=True))

    def _blobs(
        self,
        owners: Sequence[tuple[str, str]],
        device: str,
        asked: Asked,
        read: Mapping[Home, Blobs],
    ) -> Iterator[tuple[Home, Blobs]]:
        """What the homes of a device without windows hold of its slot; each day is one request."""
        if not owners:
            return
        few = _few_days(asked)
        days: Iterable[list[Home]]
        if few:  # an empty partition costs less than to ask which there are
            days = [[Home(shard, owner, day) for shard, owner in owners] for day in few]
            if all(home in read for day in days for home in day):
                yield from ((home, read[home]) for day in days for home in day)
                return
        else:
            days = self._directory.days(owners, asked.lo_us, asked.hi_us)
        statement, slots = self._session.prepared(_BLOBS + OF_SLOTS), where(device)
        ahead = max(1, min(asked.query.limit // DAY_ROWS, DAYS_AHEAD_MAX))
        homes: deque[Home] = deque()

        def requests() -> Iterator[tuple[Statement, Sequence[object]]]:
            for day in days:
                homes.extend(day)
                yield from ((statement, (self._scd, *home, slots)) for home in day)

        for rows in self._session.each(requests(), ahead=ahead):
            yield homes.popleft(), rows

    def _of_device(
        self, blobs: Iterable[tuple[Home, Blobs]], asked: Asked
    ) -> Iterator[StoredRecord]:
        """The rows to show of a device without windows."""
        for _, day in groupby(blobs, key=lambda one: one[0].slice):
            pieces, gathered = _Pieces(), list[Key]()
            for home, rows in day:
                gathered += self._keys(home, rows, asked.query.device, asked, pieces)
            yield from self._shown(gathered, pieces, asked)

    def _keys(
        self,
        home: Home,
        rows: Blobs,
        device: str | None,
        asked: Asked,
        pieces: _Pieces,
    ) -> list[Key]:
        found: list[Key] = []
        for tier, slot, first, mark, piece, _, end_min, end_max, keys, records in rows:
            if first < asked.as_of and end_min < asked.hi_us and end_max >= asked.lo_us:
                with Decoding(home):
                    loaded = pieces.add(home, (tier, slot, first, mark, piece), keys, records)
                    found += filter(asked.takes, loaded.keys(device))
        return found

    def _of_day(self, homes: Sequence[Home], asked: Asked) -> Iterator[StoredRecord]:
        """The rows to show of one UTC day, through stretches of about a page."""
        device = asked.query.device
        listed = self._list(homes, device)
        spans: list[Span] = []
        sources: list[tuple[Home, PieceKey]] = []
        for home, (*key, _, count, end_min, end_max) in listed:
            if key[2] < asked.as_of and end_min < asked.hi_us and end_max >= asked.lo_us:
                spans.append(Span(len(sources), 0, count, end_min, end_max))
                sources.append((home, tuple(key)))  # type: ignore[arg-type]
        spans.sort(key=attrgetter("end_min_us"))
        pieces = _Pieces()
        found: dict[int, list[Key]] = {}  # of the pieces in hand, by number of the span
        for stretch in split(spans, asked.lo_us, asked.hi_us, asked.query.limit):
            numbers = [span.number for span in stretch.spans]
            found = {number: found[number] for number in numbers if number in found}
            missing = [number for number in numbers if number not in found]
            for number, loaded in self._load([sources[n] for n in missing], missing, pieces):
                with Decoding(loaded.home):
                    found[number] = list(filter(asked.takes, loaded.keys(device)))
            lo, hi = stretch.lo_us, stretch.hi_us
            keys = [key for keys in found.values() for key in keys if lo <= key.end_us < hi]
            yield from self._shown(keys, pieces, asked)

    def _list(
        self, homes: Sequence[Home], device: str | None
    ) -> Iterator[tuple[Home, tuple[int, ...]]]:
        """Every piece of some homes without its blobs."""
        plain = self._session.prepared(META)
        narrow = self._session.prepared(META + OF_SLOTS)
        asked: list[tuple[Statement, Sequence[object]]] = [
            (plain, (self._scd, *home))
            if device is None or home.owner
            else (narrow, (self._scd, *home, where(device)))
            for home in homes
        ]
        for home, rows in zip(homes, self._session.each(asked), strict=True):
            for one in rows:
                yield home, one

    def _load(
        self, wanted: Sequence[tuple[Home, PieceKey]], numbers: Sequence[int], pieces: _Pieces
    ) -> Iterator[tuple[int, Loaded]]:
        """Read pieces that were listed. Raises Moved."""
        statement = self._session.prepared(_BLOBS + OF_PIECES)
        by_home: defaultdict[Home, dict[PieceKey, int]] = defaultdict(dict)
        for (home, key), number in zip(wanted, numbers, strict=True):
            by_home[home][key] = number
        parts = [
            (home, list(keys)[at : at + PIECES_ASKED], keys)
            for home, keys in by_home.items()
            for at in range(0, len(keys), PIECES_ASKED)
        ]
        asked = ((statement, (self._scd, *home, part)) for home, part, _ in parts)
        for (home, part, of), rows in zip(parts, self._session.each(asked), strict=True):
            if len(rows) != len(part):
                raise Moved
            for *head, _, _, _, keys, records in rows:
                one: PieceKey = (head[0], head[1], head[2], head[3], head[4])
                with Decoding(home):
                    loaded = pieces.add(home, one, keys, records)
                yield of[one], loaded

    def _shown(self, keys: Sequence[Key], pieces: _Pieces, asked: Asked) -> Iterator[StoredRecord]:
        """The rows to show of keys that hold whole slots; one index counts once."""
        once = {key.log_index: key for key in keys}

        def whole(some: Sequence[Key]) -> list[bytes]:
            return [self._whole(key, pieces) for key in some]

        shown = versions.shown(once.values(), asked.query.versions, whole)
        for number, some in groupby(shown, key=attrgetter("segment")):
            loaded = pieces.loaded[number]
            with Decoding(loaded.home):
                found = [row(key, loaded.home.shard, loaded.certified(key)) for key in some]
            yield from found

    def _whole(self, key: Key, pieces: _Pieces) -> bytes:
        loaded, frames = pieces.loaded[key.segment], None
        home = loaded.home
        if home.owner:
            found = self._session.rows(_FRAMES, (self._scd, *home, *pieces.keys[key.segment]))
            if not found:
                raise Moved
            frames = found[0][0]
        with Decoding(home):
            return loaded.whole(key, frames)

    # -- by shard -------------------------------------------------------------

    def shard_rows(
        self, shard: str, from_us: int, to_us: int, size: int
    ) -> dict[int, StoredRecord]:
        """By index the rows of a shard's days that end in [from_us, to_us], below `size`."""
        statement = self._session.prepared(_BLOBS)
        homes = [
            home for day in self._directory.days([(shard, "")], from_us, to_us + 1) for home in day
        ]
        found: dict[int, StoredRecord] = {}
        asked = ((statement, (self._scd, *home)) for home in homes)
        for home, rows in zip(homes, self._session.each(asked, ahead=2), strict=True):
            for _, _, first, _, _, _, end_min, end_max, keys, records in rows:
                if first < size and end_min <= to_us and end_max > from_us:
                    with Decoding(home):
                        decoded = Loaded(home, 0, keys, records).rows(None)
                    found |= {one.index: one for one in decoded}
        return found


def _few_days(asked: Asked) -> range:
    """The UTC days that are asked for, where they are few; else none."""
    days = range(day_of(asked.lo_us), day_of(asked.hi_us - 1) + 1)
    return days if len(days) <= DAYS_UNLISTED_MAX else range(0)


def _sort_key(one: StoredRecord) -> versions.SortKey:
    return one.end_us, one.device, one.kind, one.register, one.begin_us, one.index


def _is_name(device: str) -> bool:
    return 0 < len(device) <= DEVICE_BYTES and device.isascii() and "\0" not in device
