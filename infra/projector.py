"""The storer: projects what the log committed into archive, registry journal and database.

It may be repeated from any point: `progress.db` says up to where everything is synced, and what
lies beyond is made again from the bus by the same `Worker`, and compared with the log.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any

from bal import jcs
from bal.certify.log import OWN_SOURCE
from bal.errors import Stop
from bal.model import StoredRecord
from bal.pipeline import SLOT_KINDS, Worked, Worker
from bal.ports import ArchiveItem, Bus, CustomerDb, RawArchive, TileReader
from bal.registry import KINDS
from infra.files import make_folder, open_sqlite

_SCHEMA = """
CREATE TABLE IF NOT EXISTS registry(log_index INTEGER PRIMARY KEY, record BLOB);
CREATE TABLE IF NOT EXISTS progress(id INTEGER PRIMARY KEY CHECK(id = 1), version INTEGER,
    size INTEGER, next_offset INTEGER);
"""


@dataclass(frozen=True, slots=True)
class Progress:
    """Up to where everything is stored: log version, log size, first bus offset not stored."""

    version: int
    size: int
    next_offset: int


@dataclass(frozen=True, slots=True)
class Committed:
    """One message with its place in the log."""

    worked: Worked
    first: int
    message_id: bytes  # SHA-256 of the raw message

    @property
    def batch(self) -> str:
        """<epoch>/<partition>/<offset>."""
        m = self.worked.message
        return f"{m.epoch}/{m.partition}/{m.offset}"

    def archived(self) -> ArchiveItem:
        """The message as the archive takes it."""
        raw = self.worked.message
        parts = [(part.start, part.end, part.subject) for part in self.worked.parts]
        return ArchiveItem(raw, self.message_id, parts, self.summary())

    def summary(self) -> bytes:
        """What the archive keeps to answer a retry with."""
        return json.dumps(self.as_json()).encode()

    def as_json(self) -> dict[str, object]:
        """Where the message's entries are, and what was doubtful or refused."""
        return {
            "batch": self.batch,
            "first_index": self.first,
            "count": len(self.worked.entries),
            "good": sum(draft.kind in SLOT_KINDS for draft in self.worked.drafts),
            "findings": [finding.as_json() for finding in self.worked.findings],
            "refused": [finding.as_json() for finding in self.worked.refused],
        }


class Projector:
    """Stores commits in order; `store` is called by one thread."""

    def __init__(
        self, folder: Path, bus: Bus, customer_db: CustomerDb, archive: RawArchive
    ) -> None:
        make_folder(folder)
        self._db = open_sqlite(folder / "progress.db", synchronous="NORMAL")
        self._db.executescript(_SCHEMA)
        self._lock = Lock()
        self._bus = bus
        self._customer_db = customer_db
        self._archive = archive
        self._stored = self.progress()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def progress(self) -> Progress:
        """Up to where everything is stored and synced."""
        with self._lock:
            row = self._db.execute("SELECT version, size, next_offset FROM progress").fetchone()
        return Progress(*row) if row else Progress(0, 0, 0)

    def registry_records(self, size: int) -> list[bytes]:
        """The registry's records with an index below `size`, in log order."""
        sql = "SELECT record FROM registry WHERE log_index < ? ORDER BY log_index"
        with self._lock:
            return [row[0] for row in self._db.execute(sql, (size,))]

    def store(self, commits: Sequence[Committed], progress: Progress) -> None:
        """Store the messages that led from the last progress to this one."""
        rows: list[StoredRecord] = []
        items: list[ArchiveItem] = []
        registry: list[tuple[int, bytes]] = []
        for commit in commits:
            worked = commit.worked
            if worked.again:
                continue
            items.append(commit.archived())
            rows += worked.rows(commit.first)
            registry += [
                (commit.first + i, draft.record)
                for i, draft in enumerate(worked.drafts)
                if draft.kind in KINDS
            ]
        if items:
            self._archive.put_many(items)
        self._customer_db.store(rows, progress.size)
        with self._lock:
            self._db.executemany("INSERT OR REPLACE INTO registry VALUES(?,?)", registry)
            self._stored = progress

    def sync(self) -> Progress:
        """Make all that is stored survive a power cut, then note it as progress.

        What was stored since the last time would be made again from the bus after one.
        """
        with self._lock:
            stored = self._stored
        if stored != self.progress():
            self._archive.sync()
            self._customer_db.sync()
            with self._lock:
                values = (stored.version, stored.size, stored.next_offset)
                self._db.execute("REPLACE INTO progress VALUES(1,?,?,?)", values)
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return stored

    def catch_up(self, tiles: TileReader, worker: Worker, version: int, size: int) -> int:
        """Make and store what the log has and the projection has not; return the next offset.

        Raises Stop("bus-went-backwards") where the bus no longer has a message that is needed, and
        Stop("worker-differs") where the same message leads to other entries than the log holds.
        """
        progress = self.progress()
        next_offset, place = progress.next_offset, (progress.version, 1 << 60)
        commits: list[Committed] = []
        while found := tiles.headers(place, 256):
            place = found[-1][0]
            for _, header in found:
                data = jcs.decode(header)
                if data["epoch"] != OWN_SOURCE and data["part"] == "0":
                    commits.append(self._again(data, worker))
                    next_offset = int(data["offset"]) + 1
        if version > progress.version:
            self.store(commits, Progress(version, size, next_offset))
            self.sync()
        return next_offset

    def _again(self, header: dict[str, Any], worker: Worker) -> Committed:
        offset, first = int(header["offset"]), int(header["first"])
        messages = self._bus.read(offset, 1)
        if not messages:
            raise Stop(
                "bus-went-backwards",
                f"the log took message {offset}, which the bus no longer has",
            )
        if "again" in header:
            return Committed(Worked(messages[0], again=header["again"]), first, b"")
        worked = worker.process(messages[0])
        worker.apply(worked.drafts)
        entries = worked.batches(int(header["prev"]), {})[0].entries
        if sha256(b"".join(entries)).hexdigest() != header["rows"]:
            raise Stop("worker-differs", f"message {offset} leads to other entries than the log's")
        return Committed(worked, first, sha256(messages[0].raw).digest())
