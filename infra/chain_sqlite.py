"""The one file of the embedded chain: py-evm's nodes, an index of events, and where it began."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec
from eth.abc import AtomicWriteBatchAPI
from eth.db.atomic import AtomicDBWriteBatch
from eth.db.backends.base import BaseAtomicDB

from bal.errors import Stop
from infra.chain_json import LogFilter

FORMAT_VERSION = 1  # PRAGMA user_version of the file

_TABLES = """
CREATE TABLE IF NOT EXISTS node(k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS origin(
    chain_id INTEGER NOT NULL, funded TEXT NOT NULL, genesis BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS log(
    block INTEGER NOT NULL, position INTEGER NOT NULL, address BLOB NOT NULL,
    topic0 BLOB, topic1 BLOB, topic2 BLOB, topic3 BLOB, json BLOB NOT NULL,
    PRIMARY KEY(block, position)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a chain began with; written once."""

    chain_id: int
    funded: str  # hex of the funded addresses, sorted, blanks between
    genesis: bytes  # hash of block 0


@dataclass(frozen=True, slots=True)
class Event:
    """One log of a block, with the JSON that eth_getLogs answers."""

    block: int
    position: int  # in the block
    address: bytes
    topics: Sequence[bytes]  # at most 4
    json: dict[str, object]


def _alone(path: Path) -> int:
    """Hold the file for this process: two would each build on their own head.

    By a lock beside it and not by SQLite's own, so that a backup may read meanwhile.
    """
    try:
        lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Stop("chain-locked", f"{path} cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise Stop("chain-locked", f"{path} cannot be opened: another process has it") from error
    return lock


class NodeStore(BaseAtomicDB):
    """py-evm's key-value database."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __getitem__(self, key: bytes) -> bytes:
        row = self._connection.execute("SELECT v FROM node WHERE k=?", (bytes(key),)).fetchone()
        if row is None:
            raise KeyError(key)
        return cast("bytes", row[0])

    def __setitem__(self, key: bytes, value: bytes) -> None:
        statement = "INSERT INTO node VALUES(?,?) ON CONFLICT(k) DO UPDATE SET v=excluded.v"
        self._connection.execute(statement, (bytes(key), bytes(value)))

    def __delitem__(self, key: bytes) -> None:
        self._connection.execute("DELETE FROM node WHERE k=?", (bytes(key),))

    def _exists(self, key: bytes) -> bool:
        row = self._connection.execute("SELECT 1 FROM node WHERE k=?", (bytes(key),)).fetchone()
        return row is not None

    @contextmanager
    def atomic_batch(self) -> Iterator[AtomicWriteBatchAPI]:
        """Writes land together; the SQLite transaction of `ChainFile.writing` surrounds them."""
        with AtomicDBWriteBatch._commit_unless_raises(self) as batch:
            yield batch


class ChainFile:
    """The SQLite file; no call is thread-safe by itself, EmbeddedChain takes turns."""

    def __init__(self, path: Path) -> None:
        """Open or make it, for this process alone.

        Raises Stop("chain-locked") where another process has it or it can't be written,
        Stop("chain-foreign") where it is no file of this format.
        """
        self._lock = _alone(path)
        self._connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=1
        )
        try:
            self._prepare(path)
        except BaseException:
            self.close()
            raise
        self.nodes = NodeStore(self._connection)

    def _prepare(self, path: Path) -> None:
        try:
            for pragma in ("journal_mode=WAL", "synchronous=FULL"):
                self._connection.execute(f"PRAGMA {pragma}")
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, FORMAT_VERSION):
                raise Stop("chain-foreign", f"{path} has format {version}, not {FORMAT_VERSION}")
            self._connection.executescript(f"BEGIN IMMEDIATE;{_TABLES}COMMIT;")
        except sqlite3.OperationalError as error:
            raise Stop("chain-locked", f"{path} cannot be opened: {error}") from error
        except sqlite3.DatabaseError as error:
            raise Stop("chain-foreign", f"{path} is no chain: {error}") from error

    def close(self) -> None:
        """Release the file."""
        self._connection.close()
        os.close(self._lock)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """All writes inside land together and durably, or none does."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def origin(self) -> Origin | None:
        """What the chain began with; None in a new file."""
        row = self._connection.execute("SELECT chain_id, funded, genesis FROM origin").fetchone()
        return row and Origin(*row)

    def begin(self, origin: Origin) -> None:
        """Keep the origin; inside `writing`, together with the genesis block."""
        row = (origin.chain_id, origin.funded, origin.genesis)
        self._connection.execute("INSERT INTO origin VALUES(?,?,?)", row)
        self._connection.execute(f"PRAGMA user_version={FORMAT_VERSION}")

    def add_events(self, events: Sequence[Event]) -> None:
        """Index the events of one block; inside `writing`, together with the block."""
        rows = [
            (
                *(event.block, event.position, event.address),
                *(*event.topics, *[None] * (4 - len(event.topics))),
                msgspec.json.encode(event.json),
            )
            for event in events
        ]
        self._connection.executemany("INSERT INTO log VALUES(?,?,?,?,?,?,?,?)", rows)

    def events(self, wanted: LogFilter, limit: int) -> list[dict[str, object]]:
        """The JSON of at most `limit` matching events, in chain order."""
        where = ["block BETWEEN ? AND ?"]
        values: list[int | bytes] = [wanted.first, wanted.last]
        columns = [("address", wanted.addresses)]
        columns += [(f"topic{place}", options) for place, options in enumerate(wanted.topics)]
        for column, options in columns:
            if options:
                where.append(f"{column} IN ({','.join('?' * len(options))})")
                values.extend(options)
        statement = (
            f"SELECT json FROM log WHERE {' AND '.join(where)} "  # noqa: S608  no value in it
            "ORDER BY block, position LIMIT ?"
        )
        rows = self._connection.execute(statement, [*values, limit])
        return [msgspec.json.decode(row[0]) for row in rows]
