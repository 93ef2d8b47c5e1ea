"""CustomerDb on SQLite: segments by shard and UTC day (docs/spec/store.md).

A B-tree row a reading would cost more than all the hashing, so the rows that one `store` brings
for a shard and day become one segment. Segments of few rows (messages of a single reading) are
merged, `MERGE_AT` of a level at a time, in the same transaction: a row is rewritten about once a
level, and a shard's day stays a few hundred segments at most.

Of several *lanes* (docs/decisions/0018) each has the rows of entries of its own; what is visible
is what all of them have stored.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby, islice
from operator import attrgetter, itemgetter
from pathlib import Path

from bal.derive.vee_record import FINDING
from bal.model import Pseudonym, ReadingsPage, ReadingsQuery, StoredRecord
from bal.store import index_map, versions
from bal.store.index_map import Home
from bal.store.segment import DAY_US, Key, Segment, decode, encode, row
from infra.sqlite_file import SqliteFile
from infra.sqlite_snapshot import (
    CHUNKS_MAX,
    DECODING_ERRORS,
    INT64_MAX,
    Snapshot,
    readable_shards,
    stretches,
    whole_records,
)
from infra.squeezed import squeeze

MERGE_AT = 32  # segments of one level that become one of the next
SMALL_BYTES = 64 * 1024  # a segment with more records is not merged any more
CHUNK_BYTES = 32 * 1024  # of records, read at once

DEVICE_DAY_KINDS = frozenset({"reading", "telemetry", FINDING})

_LEVEL_FINAL = 255
_FORM = 2
_PAGE_BYTES = 8192
_kind, _begin_us, _index = itemgetter(2), itemgetter(4), itemgetter(5)
_end_and_shard = itemgetter(1, 10)
_DEVICES_KNOWN_MAX = 1 << 18  # in memory, about 150 bytes each

_SCHEMA = """
CREATE TABLE progress(
    id INTEGER PRIMARY KEY CHECK(id = 1), size INTEGER NOT NULL, chunk_bytes INTEGER NOT NULL);
INSERT INTO progress VALUES(1, 0, :chunk_bytes);
CREATE TABLE shard(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, in_group TEXT NOT NULL);
CREATE TABLE device(device TEXT, shard INTEGER, PRIMARY KEY(device, shard)) WITHOUT ROWID;
CREATE TABLE segment(
    id INTEGER PRIMARY KEY, shard INTEGER NOT NULL, day INTEGER NOT NULL, level INTEGER NOT NULL,
    count INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    end_min_us INTEGER NOT NULL, end_max_us INTEGER NOT NULL, keys BLOB NOT NULL);
CREATE INDEX segment_place ON segment(shard, day, level);
CREATE TABLE chunk(id INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE place(first INTEGER PRIMARY KEY, map BLOB NOT NULL);
"""


# Lanes of a file that had none yet begin with what is visible in it.
_LANES = """
CREATE TABLE IF NOT EXISTS lane(number INTEGER PRIMARY KEY, size INTEGER NOT NULL);
"""


class SqliteCustomerDb:
    """CustomerDb (bal.ports) over one file `customer.db` in a folder of its own."""

    def __init__(
        self,
        folder: Path,
        *,
        merge_at: int = MERGE_AT,
        small_bytes: int = SMALL_BYTES,
        chunk_bytes: int = CHUNK_BYTES,
        read_only: bool = False,
        lanes: int = 1,
    ) -> None:
        """Raises Stop where the file is damaged; `chunk_bytes` counts when the file is made.

        read_only: look at it and store nothing, for an audit. lanes: as many as ever store.
        """
        self._file = SqliteFile(
            folder / "customer.db",
            _SCHEMA.replace(":chunk_bytes", str(chunk_bytes)),
            form=_FORM,
            page_bytes=_PAGE_BYTES,
            lazy=True,
            read_only=read_only,
        )
        self._merge_at = merge_at
        self._small_bytes = small_bytes
        self._lanes = lanes
        with self._file.reading() as db:
            self._chunk_bytes = _progress(db)[1]
        self._shards: dict[str, int] = {}
        # By shard, the devices that the table `device` is known to have.
        self._devices: defaultdict[int, set[Pseudonym]] = defaultdict(set)
        self._devices_known = 0

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    # -- writing ----------------------------------------------------------------------------

    def store(self, rows: Sequence[StoredRecord], size: int, lane: int = 0) -> None:
        """Take a lane's rows of all entries below `size` that are not yet stored; idempotent.

        Raises ValueError where two rows claim one index, Unavailable where the disk refuses;
        nothing is stored then.
        """
        shards: dict[str, int] = {}
        seen: dict[int, set[Pseudonym]] = {}
        with self._file.writing() as db:
            stored = self._stored(db, lane)
            if size <= stored:
                return
            rows = [item for item in rows if stored <= item[5] < size]
            slices = [(shard, end_us // DAY_US) for end_us, shard in map(_end_and_shard, rows)]
            in_slice: dict[tuple[str, int], list[StoredRecord]] = defaultdict(list)
            for where, item in zip(slices, rows, strict=True):
                in_slice[where].append(item)
            for shard, _ in in_slice:
                if shard not in self._shards and shard not in shards:
                    shards[shard] = _shard_number(db, shard)
            numbers = self._shards | shards
            home_of: dict[tuple[str, int], Home] = {
                (shard, day): (numbers[shard], day) for shard, day in in_slice
            }
            places = list(zip(map(_index, rows), map(home_of.__getitem__, slices), strict=True))
            for where, members in in_slice.items():
                home = home_of[where]
                self._note_devices(db, members, home[0], seen)
                self._insert(db, home, 0, encode(members))
                self._merge(db, home, members[0].shard)
            places.sort()
            for run in self._runs(places):
                db.execute("INSERT INTO place VALUES(?, ?)", (run[0][0], index_map.encode(run)))
            self._note_stored(db, lane, size)
        # Only what was committed may be relied on by the next call.
        self._shards |= shards
        self._devices_known += sum(map(len, seen.values()))
        if self._devices_known > _DEVICES_KNOWN_MAX:
            self._devices_known = 0
            self._devices.clear()
        for number, devices in seen.items():
            self._devices[number] |= devices

    def stored(self, lane: int) -> int:
        """Log size up to which a lane's rows are stored."""
        with self._file.reading() as db:
            if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'lane'").fetchone():
                row = db.execute("SELECT size FROM lane WHERE number = ?", (lane,)).fetchone()
                return int(row[0]) if row else _progress(db)[0]
            return _progress(db)[0]

    def _stored(self, db: sqlite3.Connection, lane: int) -> int:
        size = _progress(db)[0]
        if self._lanes == 1:
            return size
        db.execute(_LANES)
        each = [(number, size) for number in range(self._lanes)]
        db.executemany("INSERT OR IGNORE INTO lane VALUES(?, ?)", each)
        found = db.execute("SELECT size FROM lane WHERE number = ?", (lane,)).fetchone()
        return int(found[0])

    def _note_stored(self, db: sqlite3.Connection, lane: int, size: int) -> None:
        if self._lanes > 1:
            db.execute("UPDATE lane SET size = ? WHERE number = ?", (size, lane))
            size = db.execute("SELECT min(size) FROM lane").fetchone()[0]
        db.execute("UPDATE progress SET size = ?", (size,))

    def _runs(self, places: Sequence[tuple[int, Home]]) -> Iterator[list[tuple[int, Home]]]:
        """What one index map covers: between two indexes of it is none of another lane's."""
        if self._lanes == 1:
            if places:
                yield list(places)
            return
        if len({index for index, _ in places}) < len(places):
            raise ValueError("two rows claim one index")
        for _, run in groupby(enumerate(places), key=lambda one: one[1][0] - one[0]):
            yield [place for _, place in run]

    def _note_devices(
        self,
        db: sqlite3.Connection,
        rows: Iterable[StoredRecord],
        shard: int,
        seen: dict[int, set[Pseudonym]],
    ) -> None:
        """Note in `device` who has rows in the shard; the new ones come to stand in `seen`."""
        new: set[Pseudonym] = {row.device for row in rows} - self._devices[shard]
        if new:
            db.executemany(
                "INSERT OR IGNORE INTO device VALUES(?, ?)", [(device, shard) for device in new]
            )
            seen[shard] = seen.get(shard, set()) | new

    def _insert(self, db: sqlite3.Connection, home: Home, level: int, new: Segment) -> None:
        if len(new.records) > self._small_bytes:
            level = _LEVEL_FINAL
        cursor = db.execute(
            "INSERT INTO segment(shard, day, level, count, first, last, end_min_us, end_max_us,"
            " keys) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*home, level, new.count, new.first, new.last, new.end_min_us, new.end_max_us,
             new.keys),
        )  # fmt: skip
        number = cursor.lastrowid
        assert number is not None
        step, records = self._chunk_bytes, memoryview(new.records)
        chunk = number * CHUNKS_MAX
        db.executemany(
            "INSERT INTO chunk VALUES(?, ?)",
            [
                (chunk + at // step, squeeze(records[at : at + step]))
                for at in range(0, len(records), step)
            ],
        )

    def _merge(self, db: sqlite3.Connection, home: Home, name: str) -> None:
        """Make one segment of a level's many, level by level, until no level has too many."""
        level = 0
        while level < _LEVEL_FINAL:
            place = (*home, level)
            where = "FROM segment WHERE shard = ? AND day = ? AND level = ?"
            if db.execute(f"SELECT count(*) {where}", place).fetchone()[0] < self._merge_at:
                return
            members: list[StoredRecord] = []
            numbers = []
            for number, keys in db.execute(
                f"SELECT id, keys {where} ORDER BY id", place
            ).fetchall():
                try:
                    members += decode(keys, whole_records(db, number), name)
                except DECODING_ERRORS as error:
                    raise self._file.damaged(f"segment {number}: {error}") from error
                numbers.append(number)
            for number in numbers:
                db.execute("DELETE FROM segment WHERE id = ?", (number,))
                chunk = number * CHUNKS_MAX
                db.execute(
                    "DELETE FROM chunk WHERE id >= ? AND id < ?", (chunk, chunk + CHUNKS_MAX)
                )
            level += 1
            self._insert(db, home, level, encode(members))

    @property
    def unsettled(self) -> int:
        """As OpenCustomerDb: none."""
        return 0

    def tidy(self) -> bool:
        """Nothing waits: what is stored is merged on the way."""
        return False

    # -- reading ----------------------------------------------------------------------------

    def sync(self) -> None:
        """Make what was stored survive a power cut."""
        self._file.sync()

    def size(self) -> int:
        """Log size up to which rows are stored."""
        with self._file.reading() as db:
            return _progress(db)[0]

    def readings(self, query: ReadingsQuery) -> ReadingsPage:
        """One page of the port's order; kind=None means reading, telemetry, event and phasors.

        Works through one UTC day after the other and, of a busy day, through stretches of about
        `limit` rows. Raises Rejected where `query.after` is no cursor of ours, ValueError where
        the query can't be.
        """
        query.check()
        after = None if query.after is None else versions.as_sort_key(query.after)
        with self._file.reading() as db:
            query = replace(query, as_of_size=min(query.as_of_size, _progress(db)[0]))
            snapshot = Snapshot(db, self._file, self._chunk_bytes)
            names = readable_shards(db, query)
            shown: Iterator[tuple[Key, str]] = (
                (key, names[shard_of[key.segment]])
                for stretch in stretches(db, names, query, after)
                for shard_of in [{span.number: span.shard for span in stretch.spans}]
                for key in versions.shown(
                    snapshot.keys(stretch, query), query.versions, snapshot.records
                )
                if after is None or versions.sort_key(key) > after
            )
            page = list(islice(shown, query.limit))
            more = next(shown, None) is not None
            records = snapshot.certified([key for key, _ in page])
        rows = [row(key, shard, record) for (key, shard), record in zip(page, records, strict=True)]
        return ReadingsPage(rows, list(versions.sort_key(page[-1][0])) if more else None)

    def of_shard(
        self, shard: str, from_us: int, to_us: int, size: int
    ) -> Iterator[tuple[Pseudonym, Sequence[StoredRecord]]]:
        """DayRows (bal.ports): the rows with from_us <= begin, end <= to_us and index < size.

        Of kinds reading, telemetry and finding, all versions, one device after the other, by
        pseudonym.
        """
        found: defaultdict[Pseudonym, list[StoredRecord]] = defaultdict(list)
        with self._file.reading() as db:
            size = min(size, _progress(db)[0])
            segments = db.execute(
                "SELECT segment.id, keys, end_max_us, last FROM segment"
                " JOIN shard ON segment.shard = shard.id"
                " WHERE name = ? AND day BETWEEN ? AND ? AND first < ?"
                " AND end_min_us <= ? AND end_max_us > ? ORDER BY first",
                (shard, from_us // DAY_US, to_us // DAY_US, size, to_us, from_us),
            )
            for number, keys, end_max, last in segments:
                try:
                    rows = decode(keys, whole_records(db, number), shard)
                except DECODING_ERRORS as error:
                    raise self._file.damaged(f"segment {number}: {error}") from error
                whole = end_max <= to_us and last < size and min(map(_begin_us, rows)) >= from_us
                if not (whole and DEVICE_DAY_KINDS.issuperset(map(_kind, rows))):
                    rows = [
                        item
                        for item in rows
                        if item.begin_us >= from_us
                        and item.end_us <= to_us
                        and item.index < size
                        and item.kind in DEVICE_DAY_KINDS
                    ]
                for item in rows:
                    found[item[0]].append(item)
        for device in sorted(found):
            members = found.pop(device)
            members.sort(key=_index)
            yield device, members

    def record(self, index: int) -> StoredRecord | None:
        """The row of one entry; None where the entry is public, erased or not yet stored."""
        found = self.records(index, index + 1)
        return found[0] if found else None

    def records(self, start: int, stop: int) -> list[StoredRecord]:
        """All rows with start <= index < stop, by index; of every group, the platform's too.

        Raises Stop where the index map and the segments disagree.
        """
        start, stop = max(start, 0), min(stop, INT64_MAX)
        if start >= stop:
            return []
        with self._file.reading() as db:
            stop = min(stop, _progress(db)[0])
            snapshot = Snapshot(db, self._file, self._chunk_bytes)
            homes = snapshot.homes(start, stop)
            names = dict(db.execute("SELECT id, name FROM shard"))
            found: list[StoredRecord] = []
            for shard, day in sorted(set(homes.values())):
                keys = snapshot.keys_by_index(shard, day, start, stop)
                records = snapshot.records(keys)
                found += [
                    row(key, names[shard], record)
                    for key, record in zip(keys, records, strict=True)
                ]
        if {item.index for item in found} != homes.keys():
            raise self._file.damaged(f"entries {start} to {stop} are not where they were put")
        return sorted(found, key=attrgetter("index"))


def _progress(db: sqlite3.Connection) -> tuple[int, int]:
    """Log size up to which rows are stored, and the bytes of a chunk."""
    found = db.execute("SELECT size, chunk_bytes FROM progress").fetchone()
    if found is None:
        raise sqlite3.DatabaseError("the table progress is empty")
    size, chunk_bytes = found
    return size, chunk_bytes


def _shard_number(db: sqlite3.Connection, name: str) -> int:
    group = name.rsplit("/", 1)[0]
    db.execute("INSERT OR IGNORE INTO shard(name, in_group) VALUES(?, ?)", (name, group))
    number: int = db.execute("SELECT id FROM shard WHERE name = ?", (name,)).fetchone()[0]
    return number
