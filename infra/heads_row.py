"""The heads row: the sequencer's whole memory, replaced by compare-and-swap (ARCHITECTURE §4).

The only fence of a commit. On one host it is a row of SQLite; on several, a row of Cassandra
(infra/cassandra_heads.py).
"""

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Protocol

from bal.certify.tree import EMPTY_ROOT
from bal.errors import Stop
from bal.model import Digest
from bal.ports import Heads
from infra.files import look_at_sqlite, open_sqlite
from infra.sqlite_file import transaction, translated

FIRST = Heads(0, 0, EMPTY_ROOT, {})
_SCHEMA = """
CREATE TABLE IF NOT EXISTS heads(
    id INTEGER PRIMARY KEY CHECK(id = 1), version INTEGER, size INTEGER, root BLOB, taken TEXT);
"""


class HeadsRow(Protocol):
    """Where the heads row is kept; each call is durable when it returns."""

    def read(self) -> Heads:
        """The row as it is now, from storage; version 0 and an empty tree where there is none.

        Raises Stop("store-damaged") where it can't be read, Unavailable where it can't be reached.
        """
        ...

    def swap(self, old: Heads, new: Heads) -> None:
        """Replace `old`, recognised by version and root, by `new`.

        Raises Stop("lost-swap") where the row is another by now: of all who replace one row,
        exactly one returns. After Unavailable it may or may not have happened: `swap` again, with
        the same arguments and on the same object, tells.
        """
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class SqliteHeads:
    """HeadsRow over `heads.db` in a folder; every swap is fsynced."""

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        """Raises Stop where the file is damaged."""
        path = folder / "heads.db"
        with translated(path.name):
            self._db: sqlite3.Connection = (
                look_at_sqlite(path, _SCHEMA)
                if read_only
                else open_sqlite(path, _SCHEMA, synchronous="FULL")
            )
        self._lock = Lock()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def read(self) -> Heads:
        """The heads row."""
        with self._lock, translated("heads.db"):
            row = self._db.execute("SELECT version, size, root, taken FROM heads").fetchone()
        return FIRST if row is None else heads_of("heads.db", *row)

    def swap(self, old: Heads, new: Heads) -> None:
        """Replace the heads row, by version; Stop("lost-swap") when another was quicker."""
        values = (new.version, new.size, new.root, taken_text(new.taken))
        with self._lock, translated("heads.db"), transaction(self._db):
            row = self._db.execute("SELECT version, root FROM heads").fetchone()
            if (row or (FIRST.version, FIRST.root)) != (old.version, old.root):
                raise lost(new)
            self._db.execute("REPLACE INTO heads VALUES(1,?,?,?,?)", values)


def heads_of(where: str, version: object, size: object, root: object, taken: object) -> Heads:
    """A row's columns as Heads. Raises Stop("store-damaged") about `where`."""
    try:
        if not isinstance(version, int) or not isinstance(size, int):
            raise TypeError("version and size are numbers")
        if not isinstance(root, bytes) or not isinstance(taken, str):
            raise TypeError("root is bytes, taken is text")
        return Heads(version, size, Digest(root), json.loads(taken))
    except (TypeError, ValueError) as error:
        raise Stop("store-damaged", f"{where}: the row can't be read: {error}") from error


def taken_text(taken: Mapping[str, int]) -> str:
    """How `Heads.taken` stands in a column."""
    return json.dumps(dict(taken))


def lost(new: Heads) -> Stop:
    """What is raised where another process wrote this version."""
    return Stop("lost-swap", f"version {new.version} is another sequencer's")
