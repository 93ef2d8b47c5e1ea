"""Reading the segments of the customer database in one unchanging state (docs/spec/store.md)."""

import json
import sqlite3
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from bal.model import PHASORS, ReadingsQuery
from bal.store import index_map, versions
from bal.store.index_map import Home
from bal.store.segment import DAY_US, Key, KeyTable, day_of
from bal.store.stretches import Span, Stretch, split
from infra.sqlite_file import SqliteFile
from infra.squeezed import unsqueezed

PLATFORM_GROUP = "$platform"  # its rows are nobody's readings
CHUNKS_MAX = 1 << 20  # of a segment; chunk n of segment s is row s x CHUNKS_MAX + n
CHUNKS_HELD_MAX = 128  # by one reader; 4 MiB
INT64_MAX = (1 << 63) - 1
DECODING_ERRORS = (ValueError, TypeError, struct.error, IndexError)


class Snapshot:
    """One unchanging state of the file, and what has been read of it so far."""

    def __init__(self, db: sqlite3.Connection, file: SqliteFile, chunk_bytes: int) -> None:
        self._db = db
        self._file = file
        self._chunk_bytes = chunk_bytes
        self._found: dict[int, list[Key]] = {}  # of the query in hand, by segment
        self._chunks: dict[int, bytes] = {}  # by row

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
        found = self._db.execute("SELECT keys FROM segment WHERE id = ?", (number,)).fetchone()
        with self._decoding(number):
            table = KeyTable(found[0], number)
            keys = table.rows(
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
            except DECODING_ERRORS as error:
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
                    keys = table.rows()
                    found += [keys[at] for at in wanted]
                else:
                    found += [table.rows(at, at + 1)[0] for at in wanted]
        return found

    def records(self, keys: Sequence[Key]) -> list[bytes]:
        """The bytes of each key's row, in the order of `keys`."""
        return self._each(keys, lambda key: self._cut(key.segment, key.start, key.stop))

    def certified(self, keys: Sequence[Key]) -> list[bytes]:
        """As `records`, but of windows of phasors without the frames, which are many and unread."""
        return self._each(
            keys,
            lambda key: (self._line if key.kind == PHASORS else self._cut)(
                key.segment, key.start, key.stop
            ),
        )

    @staticmethod
    def _each(keys: Sequence[Key], read: Callable[[Key], bytes]) -> list[bytes]:
        """Segment by segment, so that each of its chunks is read once."""
        found = [b""] * len(keys)
        for at in sorted(range(len(keys)), key=lambda at: keys[at].segment):
            found[at] = read(keys[at])
        return found

    def _line(self, segment: int, start: int, stop: int) -> bytes:
        """What stands in front of the first line feed."""
        found, step = b"", self._chunk_bytes
        for at in range(start // step * step, max(stop, 1), step):
            piece = self._cut(segment, max(start, at), min(stop, at + step))
            line, end, _ = piece.partition(b"\n")
            found += line
            if end:
                break
        return found

    def _cut(self, segment: int, start: int, stop: int) -> bytes:
        first, step = start // self._chunk_bytes, self._chunk_bytes
        last = max(first, (stop - 1) // step)
        if first == last:
            data = self._chunk(segment, first)
        else:
            data = b"".join(self._chunk(segment, number) for number in range(first, last + 1))
        record = data[start - first * step : stop - first * step]
        if len(record) != stop - start:
            raise self._file.damaged(f"segment {segment} lacks bytes {start} to {stop}")
        return record

    def _chunk(self, segment: int, number: int) -> bytes:
        """One chunk of a segment; empty where there is none, as behind a record without bytes."""
        row = segment * CHUNKS_MAX + number
        chunk = self._chunks.get(row)
        if chunk is None:
            found = self._db.execute("SELECT data FROM chunk WHERE id = ?", (row,)).fetchone()
            with self._decoding(segment):
                chunk = b"" if found is None else unsqueezed(found[0])
            if len(self._chunks) >= CHUNKS_HELD_MAX:
                self._chunks.clear()
            self._chunks[row] = chunk
        return chunk

    @contextmanager
    def _decoding(self, number: int) -> Iterator[None]:
        try:
            yield
        except DECODING_ERRORS as error:
            raise self._file.damaged(f"segment {number}: {error}") from error


def whole_records(db: sqlite3.Connection, number: int) -> bytes:
    """All records of one segment. Raises one of DECODING_ERRORS where a chunk is damaged."""
    first = number * CHUNKS_MAX
    return b"".join(
        unsqueezed(data)
        for (data,) in db.execute(
            "SELECT data FROM chunk WHERE id >= ? AND id < ? ORDER BY id",
            (first, first + CHUNKS_MAX),
        )
    )


def readable_shards(db: sqlite3.Connection, query: ReadingsQuery) -> dict[int, str]:
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
        if (group == PLATFORM_GROUP) == query.of_platform
        and (query.groups is None or group in query.groups)
    }


def stretches(
    db: sqlite3.Connection,
    names: dict[int, str],
    query: ReadingsQuery,
    after: versions.SortKey | None,
) -> Iterator[Stretch]:
    """The parts of the query's period that hold rows, in time order; each day asked for in turn."""
    lo = -INT64_MAX if query.from_us is None else max(query.from_us, -INT64_MAX)
    hi = INT64_MAX if query.to_us is None else min(query.to_us, INT64_MAX)
    if after is not None:
        lo = max(lo, after[0])
    shards = json.dumps(list(names))
    # A device's rows are few in any segment: its day is one stretch.
    rows_goal = query.limit if query.device is None else INT64_MAX
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
            (shards, day, max(0, min(query.as_of_size, INT64_MAX)), hi, lo),
        ).fetchall()
        yield from split(list(map(Span._make, spans)), lo, hi, rows_goal)
        day += 1
