"""What somebody who may write the customer database could do to it: for the drill's copies.

Segments and index map are written as the platform writes them, so that nothing but the log
contradicts what was altered.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from bal.model import StoredRecord
from bal.store import index_map
from bal.store.index_map import Home
from bal.store.segment import KeyTable, decode, encode
from infra.sqlite_snapshot import CHUNKS_MAX, whole_records
from infra.squeezed import squeeze

Rows = list[StoredRecord]


def change(scd: Path, index: int, made: Callable[[StoredRecord], Sequence[StoredRecord]]) -> None:
    """Put what `made` gives in the place of the row of entry `index`: others, several or none.

    scd: the folder. The rows given stay in the segment of the one they replace.
    """
    with _opened(scd) as db:
        home = _home(db, index)
        number, rows = _segment(db, home, index)
        new: Rows = []
        for row in rows:
            new += made(row) if row.index == index else [row]
        _write(db, number, new)
        _place(db, home, remove={index}, add={row.index for row in new} - {r.index for r in rows})


@contextmanager
def _opened(scd: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(scd / "customer.db")) as db, db:
        yield db


def _home(db: sqlite3.Connection, index: int) -> Home:
    return dict(_map(db, index)[1])[index]


def _map(db: sqlite3.Connection, index: int) -> tuple[int, list[tuple[int, Home]]]:
    """The map that has an index, or would: its key and content."""
    sql = "SELECT first, map FROM place WHERE first <= ? ORDER BY first DESC LIMIT 1"
    found = db.execute(sql, (index,)).fetchone()
    found = found or db.execute("SELECT first, map FROM place ORDER BY first LIMIT 1").fetchone()
    return found[0], index_map.decode(found[1])


def _segment(db: sqlite3.Connection, home: Home, index: int) -> tuple[int, Rows]:
    (name,) = db.execute("SELECT name FROM shard WHERE id = ?", (home[0],)).fetchone()
    sql = "SELECT id, keys FROM segment WHERE shard = ? AND day = ? AND first <= ? AND last >= ?"
    for number, keys in db.execute(sql, (*home, index, index)):
        if index in KeyTable(keys, number).indexes():
            return number, list(decode(keys, whole_records(db, number), name))
    raise KeyError(index)


def _write(db: sqlite3.Connection, number: int, rows: Rows) -> None:
    at = number * CHUNKS_MAX
    db.execute("DELETE FROM chunk WHERE id >= ? AND id < ?", (at, at + CHUNKS_MAX))
    if not rows:
        db.execute("DELETE FROM segment WHERE id = ?", (number,))
        return
    new = encode(rows)
    db.execute(
        "UPDATE segment SET count = ?, first = ?, last = ?, end_min_us = ?, end_max_us = ?,"
        " keys = ? WHERE id = ?",
        (new.count, new.first, new.last, new.end_min_us, new.end_max_us, new.keys, number),
    )
    (step,) = db.execute("SELECT chunk_bytes FROM progress").fetchone()
    cut = [new.records[start : start + step] for start in range(0, len(new.records), step)]
    db.executemany(
        "INSERT INTO chunk VALUES(?, ?)", [(at + n, squeeze(one)) for n, one in enumerate(cut)]
    )


def _place(db: sqlite3.Connection, home: Home, *, remove: set[int], add: set[int]) -> None:
    """Let the index map say where the rows are now."""
    for index in sorted(remove | add):
        first, places = _map(db, index)
        new = dict(places)
        if _has(db, home, index):
            new[index] = home
        else:
            new.pop(index, None)
        db.execute("DELETE FROM place WHERE first = ?", (first,))
        if new:
            db.execute(
                "INSERT INTO place VALUES(?, ?)", (min(new), index_map.encode(sorted(new.items())))
            )


def _has(db: sqlite3.Connection, home: Home, index: int) -> bool:
    try:
        _segment(db, home, index)
    except KeyError:
        return False
    return True
