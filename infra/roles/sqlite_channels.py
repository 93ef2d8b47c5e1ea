"""The topics between the roles as files of one host: journals in SQLite, for several processes.

`raw.db` has all partitions, so that a group of messages is one transaction; each partition of rows
is a file of its own, because each has a writer of its own.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from sqlite3 import Connection
from typing import Any

from bal.collect.partition import dealt
from bal.errors import Stop
from bal.model import RawMessage
from bal.ports import Intake
from infra.roles.sqlite_members import SqliteMembers
from infra.sqlite_file import SqliteFile

TRIM_STEP = 200  # items in one transaction: who appends waits for no more than that,
TRIM_BYTES = 8 * 1024 * 1024  # nor for more than one item beyond so many bytes
READ_BYTES = 32 * 1024 * 1024  # a read ends with the item that reaches it
PARTITION_BITS = 16
_POLLS_S = (0.001, 0.001, 0.002, 0.002, 0.005)  # then the last again; idle costs little
_SHIFT = 63 - PARTITION_BITS  # an item's key: partition and position in one integer

_SCHEMA = """
CREATE TABLE topic(name TEXT NOT NULL, epoch TEXT NOT NULL);
CREATE TABLE ends(partition INTEGER PRIMARY KEY, low INTEGER NOT NULL, next INTEGER NOT NULL);
CREATE TABLE items(id INTEGER PRIMARY KEY, {columns});
INSERT INTO topic VALUES('{name}', '{epoch}');
"""
_ITEM = ("data BLOB NOT NULL",)
_RAW = (
    "credential TEXT NOT NULL", "format TEXT NOT NULL", "received_us INTEGER NOT NULL",
    "registry INTEGER NOT NULL", "raw BLOB NOT NULL",
)  # fmt: skip


class _Journal:
    """Partitions of items in one file; the last column of an item is its bytes."""

    def __init__(self, folder: Path, name: str, columns: Sequence[str], epoch: str | None) -> None:
        """epoch: of the one that must be there, or is made; None takes the one that is there."""
        path = folder / f"{name}.db"
        if not path.is_file():
            text = f"{folder.name} lacks {path.name}: it is gone, or was never made"
            raise Stop("bus-went-backwards", text)
        self._name, self._columns = name, len(columns)
        self._bytes = columns[-1].split()[0]
        self._file = SqliteFile(path, "", form=1, wipe=True)  # rows and messages name meters
        with self._file.reading() as db:
            found, self.epoch = db.execute("SELECT name, epoch FROM topic").fetchone()
            self.partitions = db.execute("SELECT count(*) FROM ends").fetchone()[0]
        if found != name or epoch not in {None, self.epoch}:
            self.close()
            raise Stop("bus-went-backwards", f"{path.name} is another topic's than it was")
        self._seen = [0] * self.partitions

    @staticmethod
    def make(folder: Path, name: str, columns: Sequence[str], epoch: str, partitions: int) -> None:
        """Make it unless it is there."""
        schema = _SCHEMA.format(columns=", ".join(columns), name=name, epoch=epoch)
        for partition in range(partitions):
            schema += f"INSERT INTO ends VALUES({partition}, 0, 0);"
        SqliteFile(folder / f"{name}.db", schema, form=1).close()

    def append(self, items: Mapping[int, Sequence[tuple[Any, ...]]]) -> dict[int, int]:
        """Make all durable in one transaction; by partition the position of the first."""
        first = {}
        sql = f"INSERT INTO items VALUES(?{',?' * self._columns})"
        with self._file.writing() as db:
            for partition, rows in items.items():
                _, first[partition] = self._ends(db, partition)
                rowid = partition << _SHIFT | first[partition]
                db.executemany(sql, ((rowid + at, *row) for at, row in enumerate(rows)))
                end = first[partition] + len(rows)
                db.execute("UPDATE ends SET next = ? WHERE partition = ?", (end, partition))
        return first

    def read(
        self, partition: int, position: int, limit: int, wait_s: float
    ) -> list[tuple[Any, ...]]:
        """Items from a position on, as rows that begin with their positions."""
        until = time.monotonic() + wait_s
        polls = 0
        while not (found := self._read(partition, position, limit)):
            left_s = until - time.monotonic()
            if left_s <= 0 or limit <= 0:
                break
            time.sleep(min(_POLLS_S[min(polls, len(_POLLS_S) - 1)], left_s))
            polls += 1
        return found

    def _read(self, partition: int, position: int, limit: int) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        seen = self._seen[partition]  # before the look: other threads may see further meanwhile
        with self._file.reading() as db:
            low, end = self._ends(db, partition)
            self._check(partition, low, position, end, seen)
            rowid, size = partition << _SHIFT, 0
            until = rowid + min(end, position + limit)
            sql = "SELECT * FROM items WHERE id >= ? AND id < ? ORDER BY id"
            for row in db.execute(sql, (rowid + position, until)):
                rows.append((row[0] - rowid, *row[1:]))
                size += len(row[-1])
                if size >= READ_BYTES:
                    break
        if [row[0] for row in rows] != list(range(position, position + len(rows))):
            raise self._file.damaged(f"it lacks items behind {position}")
        if not rows and position < end and limit > 0:
            raise self._file.damaged(f"it lacks item {position}")
        return rows

    def _check(self, partition: int, low: int, position: int, end: int, seen: int) -> None:
        if end < seen or position > end:
            text = f"{self._name} ends at {end} in partition {partition}"
            raise Stop("bus-went-backwards", f"{text}; it had {max(seen, position)} items")
        self._seen[partition] = max(end, self._seen[partition])
        if position < low:
            raise Stop("bus-trimmed", f"item {position} of {self._name} is no longer there")

    def ends(self) -> list[int]:
        """By partition the position of the next item."""
        with self._file.reading() as db:
            found = db.execute("SELECT next FROM ends ORDER BY partition").fetchall()
        return [row[0] for row in found]

    def trim(self, partition: int, position: int) -> None:
        """Forget what is below `position`, in steps."""
        while True:
            with self._file.reading() as db:
                low, end = self._ends(db, partition)
            if low >= min(position, end):
                return
            with self._file.writing() as db:
                self._trim(db, partition, position)

    def _trim(self, db: Connection, partition: int, position: int) -> None:
        """One step."""
        low, end = self._ends(db, partition)
        until = max(low, min(position, end, low + TRIM_STEP))
        rowid, size = partition << _SHIFT, 0
        lengths = f"SELECT id, length({self._bytes}) FROM items WHERE id >= ? AND id < ?"  # noqa: S608
        for at, length in db.execute(f"{lengths} ORDER BY id", (rowid + low, rowid + until)):
            size += length
            if size >= TRIM_BYTES:
                until = at - rowid + 1
                break
        span = (rowid + low, rowid + until)
        db.execute("DELETE FROM items WHERE id >= ? AND id < ?", span)
        db.execute("UPDATE ends SET low = ? WHERE partition = ?", (until, partition))

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _ends(self, db: Connection, partition: int) -> tuple[int, int]:
        row = db.execute("SELECT low, next FROM ends WHERE partition = ?", (partition,)).fetchone()
        if row is None:
            raise self._file.damaged(f"it has no partition {partition}")
        return row[0], row[1]


class SqliteTopic:
    """Topic (infra/roles/ports.py): a file; WAL, synchronous=FULL. An append is there whole or not.

    Raises Unavailable where the disk refuses, Stop("store-damaged") where items are missing.
    """

    def __init__(self, folder: Path, name: str, epoch: str) -> None:
        """Raises Stop("bus-went-backwards") where another epoch's is there."""
        self._journal = _Journal(folder, name, _ITEM, epoch)

    def append(self, items: Sequence[bytes]) -> None:
        """All are durable, in this order, when it returns."""
        if items:
            self._journal.append({0: [(item,) for item in items]})

    def read(self, position: int, limit: int, wait_s: float = 0.0) -> list[tuple[int, bytes]]:
        """At most `limit` items from `position` on; see the port."""
        return [(row[0], row[1]) for row in self._journal.read(0, position, limit, wait_s)]

    def end(self) -> int:
        """The position behind the last item."""
        return self._journal.ends()[0]

    def trim(self, position: int) -> None:
        """Forget what is below `position`."""
        self._journal.trim(0, position)

    def close(self) -> None:
        """Let go of the file."""
        self._journal.close()


class SqliteRawTopic:
    """RawTopic (infra/roles/ports.py): one file of all partitions. An append is there whole or not.

    Raises as SqliteTopic.
    """

    def __init__(
        self, folder: Path, name: str, epoch: str | None, is_bulk: Callable[[str], bool]
    ) -> None:
        self._journal = _Journal(folder, name, _RAW, epoch)
        self._is_bulk = is_bulk

    @property
    def epoch(self) -> str:
        """16 hex digits."""
        return str(self._journal.epoch)

    @property
    def partitions(self) -> int:
        """How many; never changes."""
        return int(self._journal.partitions)

    def append(
        self, messages: Sequence[Intake], registry: int, partition: int | None = None
    ) -> list[tuple[int, int]]:
        """Make all durable; partition and offset of each. partition: instead of the key's."""
        groups, places = dealt(messages, self.partitions, self._is_bulk, partition)
        rows = {
            to: [(m.credential, m.format, m.received_us, registry, m.raw) for m in group]
            for to, group in groups.items()
        }
        first = self._journal.append(rows) if rows else {}
        return [(to, first[to] + at) for to, at in places]

    def read(
        self, partition: int, offset: int, limit: int, wait_s: float = 0.0
    ) -> list[tuple[RawMessage, int]]:
        """Messages from `offset` on without a gap, each with `registry`."""
        return [
            (RawMessage(self.epoch, partition, at, credential, form, received_us, raw), registry)
            for at, credential, form, received_us, registry, raw in self._journal.read(
                partition, offset, limit, wait_s
            )
        ]

    def ends(self) -> list[int]:
        """By partition the offset of the next message."""
        return self._journal.ends()

    def trim(self, partition: int, offset: int) -> None:
        """Forget the messages of a partition below `offset`."""
        self._journal.trim(partition, offset)

    def close(self) -> None:
        """Let go of the file."""
        self._journal.close()


class SqliteChannels:
    """Channels (infra/roles/ports.py) over the files of `folder`. Any thread may use it."""

    def __init__(
        self,
        folder: Path,
        *,
        epoch: str | None = None,
        is_bulk: Callable[[str], bool] = lambda credential: False,
    ) -> None:
        """folder: as `make` left it; is_bulk: whether a credential's messages need no order.

        epoch: what it must be, None for any. Raises Stop("bus-went-backwards") where files are
        missing or of another epoch.
        """
        self._folder = folder
        self._raw = SqliteRawTopic(folder, "raw", epoch, is_bulk)
        self._commitments = SqliteTopic(folder, "commitments", self._raw.epoch)
        self._announcements = SqliteTopic(folder, "announcements", self._raw.epoch)
        self._rows: dict[int, SqliteTopic] = {}
        self._members: list[SqliteMembers] = []

    @staticmethod
    def make(folder: Path, epoch: str, partitions: int) -> None:
        """Make the files where they are missing. epoch: 16 hex digits.

        Two may do so at once. Raises Stop("bus-went-backwards") where there are files of another
        epoch, Stop("bus-settings") where they have another number of partitions.
        """
        if not re.fullmatch(r"[0-9a-f]{16}", epoch):
            raise ValueError(f"an epoch has 16 hex digits, not {epoch!r}")
        if not 1 <= partitions < 1 << PARTITION_BITS:
            raise ValueError(f"{partitions} partitions can't be")
        for partition in range(partitions):
            _Journal.make(folder, f"rows-{partition}", _ITEM, epoch, 1)
        for name in ("commitments", "announcements"):
            _Journal.make(folder, name, _ITEM, epoch, 1)
        _Journal.make(folder, "raw", _RAW, epoch, partitions)
        with closing(_Journal(folder, "raw", _RAW, epoch)) as raw:
            if raw.partitions != partitions:
                text = f"{folder.name} has {raw.partitions} partitions, not {partitions}"
                raise Stop("bus-settings", text)

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        epoch: str | None = None,
        is_bulk: Callable[[str], bool] = lambda credential: False,
    ) -> "SqliteChannels":
        """As the constructor."""
        return cls(folder, epoch=epoch, is_bulk=is_bulk)

    @property
    def raw(self) -> SqliteRawTopic:
        """Raw messages."""
        return self._raw

    @property
    def commitments(self) -> SqliteTopic:
        """Offers and claims."""
        return self._commitments

    @property
    def announcements(self) -> SqliteTopic:
        """One item a version of the log."""
        return self._announcements

    def rows(self, partition: int) -> SqliteTopic:
        """One partition of rows; opened once."""
        if partition not in self._rows:
            self._rows[partition] = SqliteTopic(self._folder, f"rows-{partition}", self._raw.epoch)
        return self._rows[partition]

    def members(self, role: str, shares: int) -> SqliteMembers:
        """Join the processes of a role."""
        member = SqliteMembers(self._folder / "members", role, shares)
        self._members.append(member)
        return member

    def close(self) -> None:
        """Let go of all."""
        for member in self._members:
            member.close()
        for rows in self._rows.values():
            rows.close()
        for topic in (self._commitments, self._announcements):
            topic.close()
        self._raw.close()
