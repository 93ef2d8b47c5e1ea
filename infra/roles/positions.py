"""Saved positions of the roles in one SQLite file that all processes of a host share."""

import logging
from collections.abc import Callable
from pathlib import Path

from infra.first_kept import first_kept
from infra.roles.ports import Position
from infra.sqlite_file import SqliteFile

FILE = "roles.db"
logger = logging.getLogger("gridseal.roles")

_SCHEMA = "CREATE TABLE positions(name TEXT PRIMARY KEY, offset INTEGER, version INTEGER);"


class SqlitePositions:
    """Positions (infra/roles/ports.py) in `<data>/roles.db`; WAL, synchronous=FULL.

    Of two positions the one with the lower offset is the lower; of one offset, that with the lower
    version. Raises Unavailable and Stop as SqliteFile does.
    """

    def __init__(self, data: Path) -> None:
        """data: the folder that has the file, or gets it."""
        self._file = SqliteFile(data / FILE, _SCHEMA, form=1)

    def get(self, name: str) -> Position:
        """The last one saved; Position(0) where there is none."""
        with self._file.reading() as db:
            sql = "SELECT offset, version FROM positions WHERE name = ?"
            row = db.execute(sql, (name,)).fetchone()
        return Position(*row) if row else Position(0)

    def save(self, name: str, position: Position) -> None:
        """Save it, durably, if it is no lower than the one that is there."""
        with self._file.writing() as db:
            db.execute(
                "INSERT INTO positions VALUES(?, ?, ?) ON CONFLICT(name) DO UPDATE"
                " SET offset = excluded.offset, version = excluded.version"
                " WHERE (excluded.offset, excluded.version) > (offset, version)",
                (name, position.offset, position.version),
            )

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def begun_at(saved: Position, name: str, read: Callable[[int], object], end: int) -> Position:
    """Where who has no saved position begins: with the first item that is kept.

    Only what nobody needs any more is ever trimmed, so nothing is missed where `roles.db` was lost.
    read: of one item below `end`; raises Stop("bus-trimmed") below what is kept.
    """
    if saved != Position(0):
        return saved
    low = first_kept(read, saved.offset, end)
    if low:
        text = "%s has no position of %s: it goes on at %d, the first that is kept"
        logger.warning(text, FILE, name, low)
    return Position(low)
