"""CustomerDb on SQLite: segments by shard and UTC day (docs/spec/store.md).

A B-tree row a reading would cost more than all the hashing, so the rows that one `store` brings
for a shard and day become one segment. Segments of few rows (messages of a single reading) are
merged, `MERGE_AT` of a level at a time, in the same transaction: a row is rewritten about once a
level, and a shard's day stays a few hundred segments at most.
"""

import json
import sqlite3
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby, islice
from operator import attrgetter
from pathlib import Path

from bal.model import ReadingsPage, ReadingsQuery, StoredRecord
from bal.store import index_map, versions
from bal.store.index_map import Home
from bal.store.segment import DAY_US, Key, KeyTable, Segment, day_of, decode, encode, row
from bal.store.stretches import Span, Stretch, split
from infra.sqlite_file import SqliteFile

MERGE_AT = 32  # segments of one level that become one of the next
SMALL_BYTES = 64 * 1024  # a segment with more records is not merged any more
CHUNK_BYTES = 32 * 1024  # of records, read at once
PLATFORM_GROUP = "$platform"  # its rows are nobody's readings

_LEVEL_FINAL = 255
_CHUNKS_MAX = 1 << 20  # of a segment
_FORM = 1
_PAGE_BYTES = 8192
_DEVICES_KNOWN_MAX = 1 << 18  # in memory, about 150 bytes each
_INT64_MAX = (1 << 63) - 1
_DECODING_ERRORS = (ValueError, struct.error, IndexError)

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


class SqliteCustomerDb:
    """CustomerDb (bal.ports) over one file `customer.db` in a folder of its own."""

    def __init__(
        self,
        folder: Path,
        *,
        merge_at: int = MERGE_AT,
        small_bytes: int = SMALL_BYTES,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        """Raises Stop where the file is damaged; `chunk_bytes` counts when the file is made."""
        self._file = SqliteFile(
            folder / "customer.db",
            _SCHEMA.replace(":chunk_bytes", str(chunk_bytes)),
            form=_FORM,
            page_bytes=_PAGE_BYTES,
        )
        self._merge_at = merge_at
        self._small_bytes = small_bytes
        with self._file.reading() as db:
            self._chunk_bytes = _progress(db)[1]
        self._shards: dict[str, int] = {}
        self._devices: set[tuple[str, int]] = set()  # that the table `device` is known to have

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    # -- writing ----------------------------------------------------------------------------

    def store(self, rows: Sequence[StoredRecord], size: int) -> None:
        """Take the rows of all entries below `size` that are not yet stored; idempotent.

        Raises ValueError where two rows claim one index, Unavailable where the disk refuses;
        nothing is stored then.
        """
        shards: dict[str, int] = {}
        seen: set[tuple[str, int]] = set()
        with self._file.writing() as db:
            stored = _progress(db)[0]
            if size <= stored:
                return
            homes: dict[tuple[str, int], list[StoredRecord]] = defaultdict(list)
            for item in rows:
                if stored <= item.index < size:
                    homes[item.shard, item.end_us // DAY_US].append(item)
            places: list[tuple[int, Home]] = []
            for (name, day), members in homes.items():
                shard = self._shards.get(name) or shards.get(name)
                if shard is None:
                    shard = shards[name] = _shard_number(db, name)
                seen |= self._note_devices(db, members, shard)
                self._insert(db, shard, day, 0, encode(members))
                self._merge(db, shard, name, day)
                home_numbers = (shard, day)
                places += [(item.index, home_numbers) for item in members]
            if places:
                self._map(db, places)
            db.execute("UPDATE progress SET size = ?", (size,))
        # Only what was committed may be relied on by the next call.
        self._shards |= shards
        if len(self._devices) > _DEVICES_KNOWN_MAX:
            self._devices.clear()
        self._devices |= seen

    def _note_devices(
        self, db: sqlite3.Connection, rows: Iterable[StoredRecord], shard: int
    ) -> set[tuple[str, int]]:
        new = {(str(item.device), shard) for item in rows} - self._devices
        if new:
            db.executemany("INSERT OR IGNORE INTO device VALUES(?, ?)", new)
        return new

    def _insert(
        self, db: sqlite3.Connection, shard: int, day: int, level: int, new: Segment
    ) -> None:
        if len(new.records) > self._small_bytes:
            level = _LEVEL_FINAL
        cursor = db.execute(
            "INSERT INTO segment(shard, day, level, count, first, last, end_min_us, end_max_us,"
            " keys) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (shard, day, level, new.count, new.first, new.last, new.end_min_us, new.end_max_us,
             new.keys),
        )  # fmt: skip
        number = cursor.lastrowid
        assert number is not None
        step, records = self._chunk_bytes, memoryview(new.records)
        chunk = number * _CHUNKS_MAX
        db.executemany(
            "INSERT INTO chunk VALUES(?, ?)",
            [(chunk + at // step, records[at : at + step]) for at in range(0, len(records), step)],
        )

    def _merge(self, db: sqlite3.Connection, shard: int, name: str, day: int) -> None:
        """Make one segment of a level's many, level by level, until no level has too many."""
        level = 0
        while level < _LEVEL_FINAL:
            place = (shard, day, level)
            where = "FROM segment WHERE shard = ? AND day = ? AND level = ?"
            if db.execute(f"SELECT count(*) {where}", place).fetchone()[0] < self._merge_at:
                return
            members: list[StoredRecord] = []
            numbers = []
            for number, keys in db.execute(
                f"SELECT id, keys {where} ORDER BY id", place
            ).fetchall():
                try:
                    members += decode(keys, _whole(db, number), name)
                except _DECODING_ERRORS as error:
                    raise self._file.damaged(f"segment {number}: {error}") from error
                numbers.append(number)
            for number in numbers:
                db.execute("DELETE FROM segment WHERE id = ?", (number,))
                chunk = number * _CHUNKS_MAX
                db.execute(
                    "DELETE FROM chunk WHERE id >= ? AND id < ?", (chunk, chunk + _CHUNKS_MAX)
                )
            level += 1
            self._insert(db, shard, day, level, encode(members))

    def _map(self, db: sqlite3.Connection, places: list[tuple[int, Home]]) -> None:
        places.sort()
        if len(dict(places)) < len(places):
            raise ValueError("two rows claim one index")
        db.execute("INSERT INTO place VALUES(?, ?)", (places[0][0], index_map.encode(places)))

    # -- reading ----------------------------------------------------------------------------

    def size(self) -> int:
        """Log size up to which rows are stored."""
        with self._file.reading() as db:
            return _progress(db)[0]

    def readings(self, query: ReadingsQuery) -> ReadingsPage:
        """One page of the port's order; kind=None means reading, telemetry, event and phasors.

        Rows of the platform's own group are never among them. Works through one UTC day after the
        other and, of a busy day, through stretches of about `limit` rows. Raises Rejected where
        `query.after` is no cursor of ours, ValueError where the limit is below 1.
        """
        if query.limit < 1:
            raise ValueError("a page has at least one row")
        after = None if query.after is None else versions.as_sort_key(query.after)
        with self._file.reading() as db:
            snapshot = _Snapshot(db, self._file, self._chunk_bytes)
            names = _readable_shards(db, query)
            shown: Iterator[tuple[Key, str]] = (
                (key, names[shard_of[key.segment]])
                for stretch in _stretches(db, names, query, after)
                for shard_of in [{span.number: span.shard for span in stretch.spans}]
                for key in versions.shown(
                    snapshot.keys(stretch, query), query.versions, snapshot.records
                )
                if after is None or versions.sort_key(key) > after
            )
            page = list(islice(shown, query.limit))
            more = next(shown, None) is not None
            records = snapshot.records([key for key, _ in page])
        rows = [row(key, shard, record) for (key, shard), record in zip(page, records, strict=True)]
        return ReadingsPage(rows, list(versions.sort_key(page[-1][0])) if more else None)

    def record(self, index: int) -> StoredRecord | None:
        """The row of one entry; None where the entry is public, erased or not yet stored."""
        found = self.records(index, index + 1)
        return found[0] if found else None

    def records(self, start: int, stop: int) -> list[StoredRecord]:
        """All rows with start <= index < stop, by index; of every group, the platform's too.

        Raises Stop where the index map and the segments disagree.
        """
        start, stop = max(start, 0), min(stop, _INT64_MAX)
        with self._file.reading() as db:
            snapshot = _Snapshot(db, self._file, self._chunk_bytes)
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


class _Snapshot:
    """One unchanging state of the file, and what has been read of it so far."""

    def __init__(self, db: sqlite3.Connection, file: SqliteFile, chunk_bytes: int) -> None:
        self._db = db
        self._file = file
        self._chunk_bytes = chunk_bytes
        self._found: dict[int, list[Key]] = {}  # of the query in hand, by segment

    def keys(self, stretch: Stretch, query: ReadingsQuery) -> list[Key]:
        """The keys of a stretch that the query asks for, all versions below its as-of size."""
        # A segment that reaches over several stretches is searched once, and then forgotten.
        self._found = {
            span.number: self._found[span.number]
            if span.number in self._found
            else self._search(span.number, query)
            for span in stretch.spans
        }
        lo, hi = stretch.lo_us, stretch.hi_us
        return [key for keys in self._found.values() for key in keys if lo <= key.end_us < hi]

    def _search(self, number: int, query: ReadingsQuery) -> list[Key]:
        kinds = versions.MEASUREMENTS if query.kind is None else {query.kind}
        (data,) = self._db.execute("SELECT keys FROM segment WHERE id = ?", (number,)).fetchone()
        with self._decoding(number):
            table = KeyTable(data, number)
            keys = table.keys(
                *((0, None) if query.device is None else table.of_device(query.device))
            )
        return [
            key
            for key in keys
            if key.log_index < query.as_of_size
            and key.kind in kinds
            and (query.register is None or key.register == query.register)
        ]

    def homes(self, start: int, stop: int) -> dict[int, Home]:
        """Shard and day of every row with start <= index < stop."""
        homes: dict[int, Home] = {}
        for first, data in self._db.execute(
            "SELECT first, map FROM place WHERE first < ?2"
            " AND first >= coalesce((SELECT max(first) FROM place WHERE first <= ?1), 0)",
            (start, stop),
        ):
            try:
                places = index_map.decode(data)
            except ValueError as error:
                raise self._file.damaged(f"index map {first}: {error}") from error
            homes.update((index, home) for index, home in places if start <= index < stop)
        return homes

    def keys_by_index(self, shard: int, day: int, start: int, stop: int) -> list[Key]:
        """The keys of one shard and day with start <= index < stop."""
        found: list[Key] = []
        for number, data in self._db.execute(
            "SELECT id, keys FROM segment WHERE shard = ? AND day = ? AND first < ? AND last >= ?",
            (shard, day, stop, start),
        ):
            with self._decoding(number):
                table = KeyTable(data, number)
                wanted = [at for at, i in enumerate(table.indexes()) if start <= i < stop]
                if len(wanted) * 4 > table.count:
                    keys = table.keys()
                    found += [keys[at] for at in wanted]
                else:
                    found += [table.keys(at, at + 1)[0] for at in wanted]
        return found

    def records(self, keys: Sequence[Key]) -> list[bytes]:
        """The certified bytes of each key, in the order of `keys`."""
        records = [b""] * len(keys)
        order = sorted(range(len(keys)), key=lambda at: keys[at].segment)
        for segment, members in groupby(order, key=lambda at: keys[at].segment):
            chunks: dict[int, bytes] = {}
            for at in members:
                records[at] = self._cut(segment, keys[at].start, keys[at].stop, chunks)
        return records

    def _cut(self, segment: int, start: int, stop: int, chunks: dict[int, bytes]) -> bytes:
        first, step = start // self._chunk_bytes, self._chunk_bytes
        for number in range(first, (stop + step - 1) // step):
            if number not in chunks:
                found = self._db.execute(
                    "SELECT data FROM chunk WHERE id = ?", (segment * _CHUNKS_MAX + number,)
                ).fetchone()
                chunks[number] = b"" if found is None else found[0]
        last = max(first, (stop - 1) // step)
        data = b"".join(chunks.get(number, b"") for number in range(first, last + 1))
        record = data[start - first * step : stop - first * step]
        if len(record) != stop - start:
            raise self._file.damaged(f"segment {segment} lacks bytes {start} to {stop}")
        return record

    @contextmanager
    def _decoding(self, number: int) -> Iterator[None]:
        try:
            yield
        except _DECODING_ERRORS as error:
            raise self._file.damaged(f"segment {number}: {error}") from error


def _progress(db: sqlite3.Connection) -> tuple[int, int]:
    """Log size up to which rows are stored, and the bytes of a chunk."""
    size, chunk_bytes = db.execute("SELECT size, chunk_bytes FROM progress").fetchone()
    return size, chunk_bytes


def _shard_number(db: sqlite3.Connection, name: str) -> int:
    group = name.rsplit("/", 1)[0]
    db.execute("INSERT OR IGNORE INTO shard(name, in_group) VALUES(?, ?)", (name, group))
    number: int = db.execute("SELECT id FROM shard WHERE name = ?", (name,)).fetchone()[0]
    return number


def _whole(db: sqlite3.Connection, number: int) -> bytes:
    """All records of one segment."""
    first = number * _CHUNKS_MAX
    return b"".join(
        data
        for (data,) in db.execute(
            "SELECT data FROM chunk WHERE id >= ? AND id < ? ORDER BY id",
            (first, first + _CHUNKS_MAX),
        )
    )


def _readable_shards(db: sqlite3.Connection, query: ReadingsQuery) -> dict[int, str]:
    """Name by number of the shards whose rows may be given, and that can have any."""
    shards = "SELECT id, name, in_group FROM shard"
    if query.device is None:
        rows = db.execute(shards)
    elif query.device.isascii():
        rows = db.execute(
            f"{shards} JOIN device ON device.shard = shard.id WHERE device.device = ?",
            (query.device,),
        )
    else:
        return {}
    return {
        number: name
        for number, name, group in rows
        if group != PLATFORM_GROUP and (query.groups is None or group in query.groups)
    }


def _stretches(
    db: sqlite3.Connection,
    names: dict[int, str],
    query: ReadingsQuery,
    after: versions.SortKey | None,
) -> Iterator[Stretch]:
    """The parts of the query's period that hold rows, in time order; each day asked for in turn."""
    lo = -_INT64_MAX if query.from_us is None else max(query.from_us, -_INT64_MAX)
    hi = _INT64_MAX if query.to_us is None else min(query.to_us, _INT64_MAX)
    if after is not None:
        lo = max(lo, after[0])
    shards = json.dumps(list(names))
    # A device's rows are few in any segment: its day is one stretch.
    rows_goal = query.limit if query.device is None else _INT64_MAX
    day: int | None = day_of(lo)
    while lo < hi:
        day = db.execute(
            "SELECT min((SELECT min(day) FROM segment WHERE shard = s.value AND day >= ?))"
            " FROM json_each(?) AS s",
            (day, shards),
        ).fetchone()[0]
        if day is None or day * DAY_US >= hi:
            return
        spans = db.execute(
            "SELECT segment.id, shard, count, end_min_us, end_max_us FROM json_each(?) AS s"
            " CROSS JOIN segment ON segment.shard = s.value"
            " WHERE day = ? AND first < ? AND end_min_us < ? AND end_max_us >= ?"
            " ORDER BY end_min_us",
            (shards, day, min(query.as_of_size, _INT64_MAX), hi, lo),
        ).fetchall()
        yield from split(list(map(Span._make, spans)), lo, hi, rows_goal)
        day += 1
