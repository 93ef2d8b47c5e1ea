"""`progress.db`: up to where the log is stored, and the registry's records below that.

`gridseal up` stores all in one; of roles each partition of the rows has a storer, and a *lane*
here: a row of what is synced and of what was stored since the kernel started. No number of a lane
goes back, whoever writes it late: each says what its writer had done before.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple
from pathlib import Path
from threading import Lock

from infra.committed import Progress
from infra.files import look_at_sqlite, make_folder, open_sqlite, sync_file
from infra.sqlite_file import translated

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

FILE = "progress.db"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS registry(log_index INTEGER PRIMARY KEY, record BLOB);
CREATE TABLE IF NOT EXISTS progress(id INTEGER PRIMARY KEY CHECK(id = 1), version INTEGER,
    size INTEGER, next_offset INTEGER, needed_from INTEGER, needed_version INTEGER);
CREATE TABLE IF NOT EXISTS lane(number INTEGER PRIMARY KEY, version INTEGER NOT NULL,
    size INTEGER NOT NULL, stored INTEGER NOT NULL, boot TEXT NOT NULL);
"""
_PROGRESS = "SELECT version, size, next_offset, needed_from, needed_version FROM progress"
_SYNCED = (
    "REPLACE INTO progress SELECT 1, ?1, ?2, ?3, ?4, ?5"
    " WHERE NOT EXISTS (SELECT 1 FROM progress WHERE version > ?1)"
)
_LANE_SYNCED = (
    "INSERT INTO lane VALUES(?1, ?2, ?3, 0, '') ON CONFLICT(number) DO UPDATE"
    " SET version = max(version, ?2), size = max(size, ?3)"
)
_LANE_STORED = (
    "INSERT INTO lane VALUES(?1, 0, 0, ?2, ?3) ON CONFLICT(number) DO UPDATE"
    " SET stored = ?2, boot = ?3 WHERE stored < ?2 OR boot <> ?3"
)
# After a power cut this file may have more than archive and rows have: only what is synced counts.
_LANES = (
    "SELECT number, max(size, CASE WHEN boot = ? THEN stored ELSE 0 END) FROM lane ORDER BY number"
)


class ProgressFile:
    """The file, for any thread of this process and for other processes."""

    def __init__(self, folder: Path, *, lanes: int = 0, read_only: bool = False) -> None:
        """lanes: of roles, as many as partitions; 0: of `gridseal up`.

        read_only: look at it and write nothing, for an audit. Raises Unavailable,
        Stop("store-damaged").
        """
        self._path, self.lanes = folder / FILE, lanes
        self.boot = _boot()  # what was stored in another run of the kernel does not count
        with translated(FILE):
            if read_only:
                self._db = look_at_sqlite(self._path, _SCHEMA)
            else:
                self._db = open_sqlite(make_folder(folder) / FILE, _SCHEMA, synchronous="NORMAL")
        self._lock = Lock()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    # -- reading ----------------------------------------------------------------------------

    def progress(self) -> Progress:
        """Up to where everything is stored and synced; of lanes, what all of them have."""
        if self.lanes:
            each = self._each_synced()
            return Progress(min(v for v, _ in each), min(size for _, size in each), 0, 0)
        with self._lock, translated(FILE):
            row = self._db.execute(_PROGRESS).fetchone()
        return Progress(*row) if row else Progress(0, 0, 0, 0)

    def synced(self, lane: int) -> Progress:
        """Up to where a lane's part of the log is stored and synced."""
        return Progress(*self._each_synced()[lane], 0, 0)

    def size(self) -> int:
        """Size of the log below which rows, archive and registry records are there (Stored)."""
        return min(self.sizes()) if self.lanes else self.progress().size

    def sizes(self) -> list[int]:
        """Of each lane: the size of the log below which its part is there."""
        with self._lock, translated(FILE):
            found = dict(self._db.execute(_LANES, (self.boot,)).fetchall())
        return [found.get(lane, 0) for lane in range(self.lanes)]

    def registry_records(self, size: int, first: int = 0) -> dict[int, bytes]:
        """The registry's records with first <= index < `size`, by index, in log order."""
        sql = "SELECT log_index, record FROM registry WHERE log_index >= ? AND log_index < ?"
        with self._lock, translated(FILE):
            return dict(self._db.execute(f"{sql} ORDER BY log_index", (first, size)))

    def _each_synced(self) -> list[tuple[int, int]]:
        with self._lock, translated(FILE):
            rows = self._db.execute("SELECT number, version, size FROM lane").fetchall()
        found = {number: (version, size) for number, version, size in rows}
        return [found.get(lane, (0, 0)) for lane in range(self.lanes)]

    # -- writing ----------------------------------------------------------------------------

    def note(self, registry: Sequence[tuple[int, bytes]]) -> None:
        """Records of the registry, by index, that are stored."""
        if registry:
            with self._writing() as db:
                db.executemany("INSERT OR REPLACE INTO registry VALUES(?,?)", registry)

    def note_stored(self, lane: int, registry: Sequence[tuple[int, bytes]], size: int) -> None:
        """A lane's part below `size` is there; whoever sees that sees these records, too."""
        with self._writing() as db:
            db.executemany("INSERT OR REPLACE INTO registry VALUES(?,?)", registry)
            db.execute(_LANE_STORED, (lane, size, self.boot))

    def note_synced(self, progress: Progress, lane: int | None = None) -> None:
        """All up to there survives a power cut, and so does this note when it returns."""
        with self._lock, translated(FILE):
            if lane is None:
                self._db.execute(_SYNCED, astuple(progress))
            else:
                self._db.execute(_LANE_SYNCED, (lane, progress.version, progress.size))
            # Waits for no reader: one that was stopped would hold up all storing.
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
            # A reader may have kept the checkpoint back; then the log alone must hold it.
            sync_file(self._path.with_name(f"{FILE}-wal"))

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, translated(FILE):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # it rolls back by itself on some errors
                    self._db.execute("ROLLBACK")
                raise


def _boot() -> str:
    """Names the kernel's run: what is written in it is there to its end, synced or not."""
    return BOOT_ID.read_text().strip() if BOOT_ID.exists() else ""
