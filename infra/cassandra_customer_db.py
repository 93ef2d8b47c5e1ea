"""CustomerDb on Cassandra 5: pieces by shard and UTC day (docs/decisions/0014-cassandra-layout.md).

What one `store` brings is a few large rows a shard and day, written in unlogged batches of one
partition each; then, alone, the size up to which all is stored is raised (infra.cassandra_stored):
nothing above it is shown. No counter, no index.

What landed in pieces of many devices is *settled* after some batches: written again by device, in
the same mutation that removes it where it landed.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from threading import Lock

from bal.derive.vee_record import FINDING
from bal.errors import Unavailable
from bal.model import Pseudonym, ReadingsPage, ReadingsQuery, StoredRecord
from infra.cassandra_by_index import ByIndex
from infra.cassandra_layout import (
    PIECE,
    PLATFORM_GROUP,
    Home,
    Layout,
    Piece,
    group_of,
    home_of,
    pieces,
    places,
    slot_of,
)
from infra.cassandra_reads import Reads
from infra.cassandra_recent import RecentRows, Stretch, WaitingRows
from infra.cassandra_schema import check
from infra.cassandra_session import CassandraAddress, CassandraSession, Statement
from infra.cassandra_settling import BATCH_BYTES, Blocks, Settling
from infra.cassandra_stored import StoredSize
from infra.settling_process import SettlingProcess

logger = logging.getLogger("gridseal.cassandra")

TRIES = 8  # to raise a lane's number while others raise it
RECENT_BYTES = 1 << 26  # of rows that were stored last, for who reads them at once
DEVICE_DAY_KINDS = frozenset({"reading", "telemetry", FINDING})
_KNOWN_MAX = 1 << 18  # directory entries that are remembered, about 200 bytes each

_PLACE = (
    "INSERT INTO place(scd, lane, bucket, first, homes, map, slots) VALUES(?, ?, ?, ?, ?, ?, ?)"
    " USING TIMESTAMP ?"  # of two that begin together the longer one has all of the other
)
_DIRECTORY = {
    "shard": "INSERT INTO shard(scd, in_group, name) VALUES(?, ?, ?)",
    "owner": "INSERT INTO owner(scd, shard, owner) VALUES(?, ?, ?)",
    "device": "INSERT INTO device(scd, device, shard, owner) VALUES(?, ?, ?, ?)",
    "home": "INSERT INTO home(scd, shard, owner, slice) VALUES(?, ?, ?, ?)",
}


class CassandraCustomerDb:
    """CustomerDb and DayRows (bal.ports) over one keyspace."""

    def __init__(
        self,
        scd: str,
        reader: CassandraSession,
        writer: CassandraSession | None = None,
        *,
        lanes: int = 1,
        layout: Layout = Layout(),  # noqa: B008 - frozen
        recent_bytes: int = RECENT_BYTES,
        waiting: WaitingRows | None = None,
        apart: SettlingProcess | None = None,
    ) -> None:
        """Raises Unavailable, or Stop("store-version") where the tables are not made.

        scd: names the database; several (another log's, one that is being rebuilt) share tables.
        reader, writer: whoever opened them closes them; writer None to read only. lanes: as many as
        ever store, each the rows of its own entries; what is visible is what all have stored.
        waiting: rows that another process stored and gave to this one. apart: where `tidy`
        settles; None: here.
        """
        self._scd, self._layout = scd, layout
        self._writer, self._lanes = writer, lanes
        self._recent = RecentRows(recent_bytes)
        self._at_hand = waiting or self._recent
        check(reader, "SELECT size FROM progress")
        self._reads, self._by_index = Reads(reader, scd, lanes), ByIndex(reader, scd, lanes)
        self._opened: list[CassandraSession] = []
        self._storing = Lock()
        self._known: set[tuple[str, ...]] = set()  # directory entries that are there
        self._number = StoredSize(writer, scd) if writer else None
        self._apart = apart
        self._settling = None
        if writer is not None:
            here = Blocks(writer, scd, layout, self._reads.visible)
            self._settling = Settling(layout, here.settle, apart.settle if apart else None)

    @classmethod
    def connect(
        cls,
        scd: str,
        reader: CassandraAddress,
        writer: CassandraAddress | None = None,
        *,
        lanes: int = 1,
        waiting: WaitingRows | None = None,
    ) -> "CassandraCustomerDb":
        """Over connections of its own, which `close` ends; otherwise as the constructor.

        Raises Stop("cassandra-refuses") where a role is refused, too.
        """
        with ExitStack() as stack:
            sessions: list[CassandraSession] = []
            for at in (reader, writer):
                if at is not None:
                    sessions.append(CassandraSession(at))
                    stack.callback(sessions[-1].close)
            layout = Layout()
            apart = SettlingProcess(writer, scd, lanes, layout) if writer is not None else None
            made = cls(scd, *sessions, lanes=lanes, layout=layout, waiting=waiting, apart=apart)
            stack.pop_all()
        made._opened = sessions
        return made

    def close(self) -> None:
        """End the connections, if they were opened here."""
        if self._apart is not None:
            self._apart.close()
        for session in self._opened:
            session.close()

    # -- writing ----------------------------------------------------------------------------

    def store(self, rows: Sequence[StoredRecord], size: int, lane: int = 0) -> None:
        """Take a lane's rows of all entries below `size` that are not yet stored; idempotent.

        Two may do so at once. Raises ValueError where two rows claim one index; Unavailable where
        Cassandra does not answer: what was written by then nobody sees; the call may be repeated.
        """
        writer, number = self._writer, self._number
        if writer is None or number is None:
            raise ValueError("opened to read only")
        with self._storing:
            stored = number.of(lane)
            for _ in range(TRIES):
                if size <= stored:
                    return
                made, entries = self._write(writer, rows, stored, size, lane)
                if number.swap(lane, stored, size):
                    self._note_written(made, entries, (stored, size), rows)
                    return
                # Somebody else stored of this lane meanwhile, with a cut of his own. An index map
                # begins where a cut does and is found by that: ours has to begin behind his.
                stored = number.settled(lane)
        raise Unavailable(f"Cassandra: others store rows of lane {lane}", retry_after_s=1)

    def _write(
        self,
        writer: CassandraSession,
        rows: Sequence[StoredRecord],
        stored: int,
        size: int,
        lane: int,
    ) -> tuple[dict[Home, list[Piece]], list[tuple[str, ...]]]:
        """Write what lies between; nobody sees it yet. What was made, and directory entries."""
        homes: defaultdict[Home, list[StoredRecord]] = defaultdict(list)
        first = size
        for item in rows:
            if stored <= item.index < size:
                homes[home_of(item)].append(item)
                first = min(first, item.index)
        made: dict[Home, list[Piece]] = {}
        entries = self._entries(homes)

        def requests() -> Iterator[tuple[Statement, Sequence[object] | None]]:
            for table, *values in entries:
                yield writer.prepared(_DIRECTORY[table]), (self._scd, *values)
            for home, members in homes.items():  # Cassandra syncs one while the next is made
                # From the first of these rows on, which no other lane has: lanes share homes.
                made[home] = pieces(home, members, (first, size), self._layout)
                for batch in self._batches(writer, home, made[home]):
                    yield batch, None
            yield from self._places(writer, homes, size, lane)

        writer.all(requests())
        return made, entries

    def _note_written(
        self,
        made: dict[Home, list[Piece]],
        entries: list[tuple[str, ...]],
        span: tuple[int, int],
        rows: Sequence[StoredRecord],
    ) -> None:
        """Remember what is there now."""
        if self._lanes == 1:  # else others' rows lie between
            self._reads.note_stored(span[1])
            self._recent.add(*span, rows)
        if len(self._known) > _KNOWN_MAX:
            self._known.clear()
        self._known.update(entries)
        if self._settling is not None:
            self._settling.note(made)
            self._settling.keep_up(len(made))

    def sync(self) -> None:
        """Nothing is left to do: commitlog_sync `group` or `batch` acknowledges what is on disk."""

    def _places(
        self, writer: CassandraSession, homes: dict[Home, list[StoredRecord]], size: int, lane: int
    ) -> Iterator[tuple[Statement, Sequence[object]]]:
        slots: dict[str, int] = {}
        rows = []
        for home, members in homes.items():
            for item in members:
                slot = slots.get(item[0])
                if slot is None:
                    slot = slots[item[0]] = slot_of(item[0])
                rows.append((item[5], home, slot))
        statement = writer.prepared(_PLACE)
        for place in places(rows):
            yield statement, (self._scd, lane, *place, size)

    def _entries(self, homes: dict[Home, list[StoredRecord]]) -> list[tuple[str, ...]]:
        """Directory entries that these rows need and that are not known to be there."""
        new: dict[tuple[str, ...], None] = {}
        for (shard, owner, slice_), members in homes.items():
            group = group_of(shard)
            new["shard", group, shard] = None
            new["owner", shard, owner] = None
            new["home", shard, owner, slice_] = None  # type: ignore[index]
            if group != PLATFORM_GROUP:
                for device in {item[0] for item in members}:
                    new["device", device, shard, owner] = None
        return [entry for entry in new if entry not in self._known]

    def _batches(
        self, writer: CassandraSession, home: Home, members: Iterable[Piece]
    ) -> Iterator[Statement]:
        """The pieces of one home, in mutations of a bearable size."""
        statement = writer.prepared(PIECE)
        pairs: list[tuple[Statement, Sequence[object]]] = []
        size = 0
        for piece in members:
            weight = len(piece.keys) + len(piece.records) + len(piece.frames)
            if pairs and size + weight > BATCH_BYTES:
                yield writer.batch(pairs)
                pairs, size = [], 0
            pairs.append((statement, (self._scd, *home, *piece)))
            size += weight
        if pairs:
            yield writer.batch(pairs)

    def tidy(self) -> bool:
        """As the port: settle one block. What Cassandra does not take now is settled later."""
        return self._settling is not None and self._settling.one()

    @property
    def unsettled(self) -> int:
        """As OpenCustomerDb."""
        return 0 if self._settling is None else self._settling.waiting

    # -- reading ----------------------------------------------------------------------------

    def size(self) -> int:
        """Log size up to which rows are stored."""
        return self._reads.size()

    def stored(self, lane: int) -> int:
        """Log size up to which a lane's rows are stored."""
        return self._reads.stored_of(lane)

    def readings(self, query: ReadingsQuery) -> ReadingsPage:
        """One page of the port's order; kind=None means reading, telemetry, event and phasors.

        Raises Rejected where `query.after` is no cursor of ours, ValueError where the query can't
        be.
        """
        return self._reads.readings(query)

    def record(self, index: int) -> StoredRecord | None:
        """The row of one entry; None where the entry is public, erased or not yet stored."""
        found = self.records(index, index + 1)
        return found[0] if found else None

    def records(self, start: int, stop: int) -> list[StoredRecord]:
        """All rows with start <= index < stop, by index; of every group, the platform's too."""
        start, stop = max(start, 0), self._reads.visible(stop)
        if start >= stop:
            return []
        found = self._at_hand.records(start, stop)
        return self._by_index.records(start, stop) if found is None else found

    def recent(self, index: int) -> list[Stretch]:
        """What is remembered of the entries from `index` on, for another process."""
        return self._recent.since(index)

    def note_stored(self, size: int) -> None:
        """Another process, which is the only lane, has stored so far and was acknowledged."""
        self._reads.note_stored(size)

    def of_shard(
        self, shard: str, from_us: int, to_us: int, size: int
    ) -> Iterator[tuple[Pseudonym, Sequence[StoredRecord]]]:
        """DayRows (bal.ports): the rows with from_us <= begin, end <= to_us and index < size.

        Of kinds reading, telemetry and finding, all versions, one device after the other, by
        pseudonym.
        """
        size = min(size, self._reads.size())
        devices: defaultdict[Pseudonym, list[StoredRecord]] = defaultdict(list)
        found = self._reads.shard_rows(shard, from_us, to_us, size)
        for index in sorted(found):
            item = found[index]
            if (
                item.begin_us >= from_us
                and item.end_us <= to_us
                and index < size
                and item.kind in DEVICE_DAY_KINDS
            ):
                devices[item.device].append(item)
        del found
        for device in sorted(devices):
            yield device, devices.pop(device)
