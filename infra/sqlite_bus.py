"""The bus of one host: a journal of raw messages in SQLite, fsynced before anybody is answered."""

import secrets
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from bal.errors import Stop, Unavailable
from bal.model import RawMessage
from bal.ports import Intake
from infra.files import look_at_sqlite, make_folder, open_sqlite
from infra.sqlite_file import transaction, translated

TRIM_STEP = 200  # messages in one transaction: a sender waits for no more than that
INSERT_ROWS = 100  # messages in one statement

_FILE = "bus.db"
_PAGE_BYTES = 8192  # a quarter less work than 4096, where messages have tens of kilobytes
_SCHEMA = """
CREATE TABLE IF NOT EXISTS topic(epoch TEXT PRIMARY KEY, next INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS raw(offset INTEGER PRIMARY KEY, credential TEXT, format TEXT,
    received_us INTEGER, raw BLOB);
"""


class SqliteBus:
    """Bus (bal.ports): topic `bal.raw.<epoch>` with one partition; WAL, synchronous=FULL."""

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        """read_only: look at it and make nothing, for an audit."""
        self._lock, self._read_lock = Lock(), Lock()
        self._keeper: sqlite3.Connection | None = None
        with translated(_FILE):
            if read_only:
                self._db = look_at_sqlite(folder / _FILE, _SCHEMA)
                self._reader = look_at_sqlite(folder / _FILE, _SCHEMA)
            else:
                make_folder(folder)
                self._db = open_sqlite(folder / _FILE, _SCHEMA, page_bytes=_PAGE_BYTES)
                self._db.execute("PRAGMA secure_delete=ON")  # raw messages name meters in clear
                # Whoever appends would copy megabytes into the file now and then, and all senders
                # would wait for it; `trim` does that, beside them.
                self._db.execute("PRAGMA wal_autocheckpoint=0")
                self._reader = open_sqlite(folder / _FILE, _SCHEMA)
                self._keeper = open_sqlite(folder / _FILE, _SCHEMA)
            row = self._db.execute("SELECT epoch FROM topic").fetchone()
            if row is None:
                row = (secrets.token_hex(8),)
                self._db.execute("INSERT INTO topic VALUES(?, 0)", row)
        self._epoch = str(row[0])

    @property
    def epoch(self) -> str:
        """Random, made with the journal: a journal made anew is another topic."""
        return self._epoch

    def close(self) -> None:
        """Let go of the file."""
        for connection in (self._keeper, self._reader, self._db):
            if connection is not None:
                connection.close()

    def give_up(self) -> None:
        """Nothing here waits for a server."""

    def append(self, messages: Sequence[Intake]) -> list[int]:
        """All or none, durable when it returns. Raises Unavailable when the disk refuses."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                sql = "UPDATE topic SET next = next + ? RETURNING next"
                first = int(self._db.execute(sql, (len(messages),)).fetchall()[0][0]) - len(
                    messages
                )
                for at in range(0, len(messages), INSERT_ROWS):
                    self._insert(first + at, messages[at : at + INSERT_ROWS])
                self._db.execute("COMMIT")
            except sqlite3.DatabaseError as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise Unavailable(f"the bus refuses: {error}", retry_after_s=5) from error
        return list(range(first, first + len(messages)))

    def _insert(self, first: int, messages: Sequence[Intake]) -> None:
        """All in one statement: at each the thread lets go of the interpreter, and waits for it."""
        values: list[object] = []
        for offset, m in enumerate(messages, first):
            values += (offset, m.credential, m.format, m.received_us, m.raw)
        self._db.execute(
            "INSERT INTO raw VALUES" + ",".join(["(?,?,?,?,?)"] * len(messages)), values
        )

    def read(self, offset: int, limit: int) -> list[RawMessage]:
        """Messages from `offset` on, without a gap.

        Raises Stop("bus-trimmed") where the first is forgotten already, Stop("store-damaged") where
        a later one is missing.
        """
        one_moment = transaction(self._reader, "DEFERRED")
        with self._read_lock, translated(_FILE), one_moment:
            (end,) = self._reader.execute("SELECT next FROM topic").fetchone()
            rows = self._reader.execute(
                "SELECT offset, credential, format, received_us, raw FROM raw"
                " WHERE offset >= ? ORDER BY offset LIMIT ?",
                (offset, limit),
            ).fetchall()
        wanted = range(offset, min(end, offset + limit))
        if wanted and (not rows or rows[0][0] != offset):
            raise Stop("bus-trimmed", f"message {offset} is no longer on the bus")
        if [row[0] for row in rows] != list(wanted):
            raise Stop("store-damaged", f"{_FILE} lacks messages behind {offset}")
        return [RawMessage(self._epoch, 0, *row) for row in rows]

    def end(self) -> int:
        """The offset of the next message."""
        with self._read_lock, translated(_FILE):
            return int(self._reader.execute("SELECT next FROM topic").fetchone()[0])

    def trim(self, offset: int) -> None:
        """Forget what lies below `offset`, in steps, and tidy the write-ahead log."""
        assert self._keeper is not None, "opened to look at only"
        while True:
            with self._lock, translated(_FILE):
                (low,) = self._db.execute("SELECT min(offset) FROM raw").fetchone()
                if low is None or low >= offset:
                    break
                until = min(offset, low + TRIM_STEP)
                self._db.execute("DELETE FROM raw WHERE offset < ?", (until,))
        with translated(_FILE):
            self._keeper.execute("PRAGMA wal_checkpoint(PASSIVE)")
