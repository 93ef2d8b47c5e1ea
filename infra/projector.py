"""The storer: projects what the log committed into archive, registry journal and database.

It may be repeated from any point: `progress.db` says up to where everything is synced, and what
lies beyond is made again from the bus by the same `Worker`, and compared with the log.
"""

import sqlite3
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, replace
from hashlib import sha256
from operator import itemgetter
from pathlib import Path
from threading import Lock
from typing import Any

from bal import jcs
from bal.certify.log import OWN_SOURCE
from bal.closing import DERIVED, ClosedDay
from bal.derive.fold import KINDS as KINDS_OF_SLOTS
from bal.derive.touched import touched_dates
from bal.errors import Stop
from bal.model import RawMessage, StoredRecord
from bal.pipeline import WINDOW_FORMATS, Worked, Worker
from bal.ports import ArchiveItem, Book, Bus, CustomerDb, RawArchive, TileReader
from bal.registry import KINDS, Registry
from bal.store.merge import housed
from infra.committed import Committed, CommittedClose, Progress
from infra.files import look_at_sqlite, make_folder, open_sqlite, sync_file
from infra.log_reader import batch_headers
from infra.rules import differs
from infra.sqlite_file import translated

CATCH_UP_MESSAGES = 256  # stored in one go
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_FILE = "progress.db"
_kind_and_period, _index = itemgetter(2, 4, 1), itemgetter(5)  # of a StoredRecord
_SCHEMA = """
CREATE TABLE IF NOT EXISTS registry(log_index INTEGER PRIMARY KEY, record BLOB);
CREATE TABLE IF NOT EXISTS progress(id INTEGER PRIMARY KEY CHECK(id = 1), version INTEGER,
    size INTEGER, next_offset INTEGER, needed_from INTEGER, needed_version INTEGER);
CREATE TABLE IF NOT EXISTS stored_since_boot(
    id INTEGER PRIMARY KEY CHECK(id = 1), size INTEGER, boot TEXT);
"""
# Neither goes back, though a storer that was stopped for long goes on beside the next one.
_STORED = (
    "INSERT INTO stored_since_boot VALUES(1, ?, ?) ON CONFLICT(id) DO UPDATE"
    " SET size = excluded.size, boot = excluded.boot"
    " WHERE excluded.size > size OR excluded.boot <> boot"
)
# After a power cut this file may have more than archive and rows have: only what is synced counts.
_SIZE = (
    "SELECT max(ifnull((SELECT size FROM stored_since_boot WHERE boot = ?), 0),"
    " ifnull(max(size), 0)) FROM progress"
)
_SYNCED = (
    "REPLACE INTO progress SELECT 1, ?1, ?2, ?3, ?4, ?5"
    " WHERE NOT EXISTS (SELECT 1 FROM progress WHERE version > ?1)"
)


class Projector:
    """Stores commits in order; `store` is called by one thread."""

    def __init__(
        self,
        folder: Path,
        *,
        bus: Bus | None,
        customer_db: CustomerDb,
        archive: RawArchive,
        book: Book,
        registry: Registry,
        read_only: bool = False,
        applies: bool = False,
    ) -> None:
        """bus: what `catch_up` reads, None where it is not called for.

        read_only: look at `progress.db` and store nothing, for an audit. applies: the registry is
        this one's own, as of what is stored, and rows are put where it says (bal/store/merge.py).
        """
        self._path, self._boot = folder / _FILE, _boot()
        with translated(_FILE):
            if read_only:
                self._db = look_at_sqlite(self._path, _SCHEMA)
            else:
                self._db = open_sqlite(make_folder(folder) / _FILE, _SCHEMA, synchronous="NORMAL")
        self._lock = Lock()
        self._bus = bus
        self._customer_db = customer_db
        self._archive = archive
        self._book = book
        self._applies = applies
        self._refed = False
        self.begin(registry)

    def begin(self, registry: Registry) -> None:
        """Go on behind what is synced, which the registry is as of: others stored meanwhile."""
        self._registry = registry
        self._stored = stored = self.progress()
        self._marks = deque([(stored.needed_from, stored.needed_version)])  # offset, version

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def progress(self) -> Progress:
        """Up to where everything is stored and synced."""
        with self._lock, translated(_FILE):
            row = self._db.execute(
                "SELECT version, size, next_offset, needed_from, needed_version FROM progress"
            ).fetchone()
        return Progress(*row) if row else Progress(0, 0, 0, 0)

    def size(self) -> int:
        """Size of the log below which rows, archive and registry records are there (Stored)."""
        with self._lock, translated(_FILE):
            found: int = self._db.execute(_SIZE, (self._boot,)).fetchone()[0]
        return found

    def registry_records(self, size: int, first: int = 0) -> dict[int, bytes]:
        """The registry's records with first <= index < `size`, by index, in log order."""
        sql = "SELECT log_index, record FROM registry WHERE log_index >= ? AND log_index < ?"
        with self._lock, translated(_FILE):
            return dict(self._db.execute(f"{sql} ORDER BY log_index", (first, size)))

    def store(
        self,
        commits: Sequence[Committed],
        progress: Progress,
        closes: Sequence[CommittedClose] = (),
    ) -> None:
        """Store the messages and closed days that led from the last progress to this one."""
        rows: list[StoredRecord] = []
        items: list[ArchiveItem] = []
        registry: list[tuple[int, bytes]] = []
        for commit in commits:
            worked = commit.worked
            if worked.again:
                continue
            items.append(commit.archived())
            rows += self._rows(commit)
            if not KINDS.isdisjoint(draft.kind for draft in worked.drafts):
                registry += [
                    (commit.first + i, draft.record)
                    for i, draft in enumerate(worked.drafts)
                    if draft.kind in KINDS
                ]
        if items:
            self._archive.put_many(items)
        newest = dict(zip(map(_kind_and_period, rows), map(_index, rows), strict=True))  # ascending
        slots = (
            (begin_us, end_us, index)
            for (kind, begin_us, end_us), index in newest.items()
            if kind in KINDS_OF_SLOTS
        )
        dates = touched_dates(slots, self._registry.zones)
        for close in closes:
            rows += close.closed.rows(close.first)
        self._customer_db.store(rows, progress.size)
        if dates:
            self._book.touch(dates)
        for close in closes:
            self._book.add(*close.closed.booked(close.first))
        with self._lock, translated(_FILE):
            self._note(registry, progress.size)
            self._stored = self._marked(progress)

    def _rows(self, commit: Committed) -> list[StoredRecord]:
        rows = commit.worked.rows(commit.first)
        if not self._applies:
            return rows
        for row in rows:
            if row.kind in KINDS:
                self._registry.apply(row.record)
        return housed(rows, self._registry.device)

    def _note(self, registry: Sequence[tuple[int, bytes]], size: int) -> None:
        """Whoever sees the size sees the registry's records below it."""
        if not registry and not self._applies:
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany("INSERT OR REPLACE INTO registry VALUES(?,?)", registry)
            if self._applies:  # 30 µs that nobody in this process needs
                self._db.execute(_STORED, (size, self._boot))
            self._db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # it rolls back by itself on some errors
                self._db.execute("ROLLBACK")
            raise

    def _marked(self, progress: Progress) -> Progress:
        """With the log version behind which all messages are that are still needed."""
        marks = self._marks
        marks.append((self._stored.next_offset, self._stored.version))
        while len(marks) > 1 and marks[1][0] <= progress.needed_from:
            marks.popleft()
        return replace(progress, needed_version=marks[0][1])

    def sync(self) -> Progress:
        """Make all that is stored survive a power cut, then note it as progress.

        What was stored since the last time would be made again from the bus after one.
        """
        with self._lock:
            stored = self._stored
        if stored != self.progress():
            self._archive.sync()
            self._customer_db.sync()
            self._book.sync()
            with self._lock, translated(_FILE):
                self._db.execute(_SYNCED, astuple(stored))
                # Waits for no reader: one that was stopped would hold up all storing.
                self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
                # A reader may have kept the checkpoint back; then the log alone must hold it.
                sync_file(self._path.with_name(f"{_FILE}-wal"))
        return stored

    def catch_up(
        self,
        tiles: TileReader,
        worker: Worker,
        *,
        version: int,
        size: int,
        rules: str,
        derive: Callable[[Mapping[str, Any]], ClosedDay],
    ) -> int:
        """Make and store what the log has and the projection has not; return the next offset.

        rules: digest of those that `worker` goes by; derive: makes again the close that a derived
        batch's header names, of rows that are stored. Where there is no projection at all, it is
        made from the raw archive. Raises Stop("bus-went-backwards") where neither bus nor archive
        has a message that is needed, Stop("worker-differs") where the same message leads to other
        entries than the log holds, or Stop("rules-differ") where other rules made those, and
        Stop("projection-differs") where the database is not the one that was projected into.
        """
        progress = self.progress()
        self.check(version, size)
        self._feed_again(progress, tiles, worker)
        next_offset, at = progress.next_offset, progress.version
        commits: list[Committed] = []
        closes: list[CommittedClose] = []
        expected: list[str] = []  # of the parts of the last message that are still to come
        made_by = rules  # the last message

        def check(ours: Sequence[str], logged: Sequence[str]) -> None:
            if list(ours) != list(logged):
                raise differs(tiles, size, made_by, rules)

        for place, header in batch_headers(tiles, after=at):
            data = jcs.decode(header)
            if place[0] != at:
                check(expected, [])
                if len(commits) >= CATCH_UP_MESSAGES or data["epoch"] == DERIVED:
                    needed = worker.windows.needed_from(next_offset)
                    done = Progress(at, int(data["first"]), next_offset, needed)
                    self.store(commits, done, closes)
                    commits, closes = [], []
                at = place[0]
            if data["epoch"] == OWN_SOURCE:
                continue
            if data["part"] == "0":
                check(expected, [])
                made_by = data["inputs"].get("rules", "")
            if data["epoch"] == DERIVED:
                if data["part"] == "0":
                    close = CommittedClose(derive(data), int(data["first"]))
                    closes.append(close)
                    expected = close.closed.row_digests()
            elif data["part"] == "0":
                commit = self._again(data, worker)
                commits.append(commit)
                expected = [] if commit.worked.again else commit.worked.row_digests()
                next_offset = int(data["offset"]) + 1
            if "again" not in data:
                check(expected[:1], [data["rows"]])
                expected = expected[1:]
        check(expected, [])
        if version > progress.version:
            needed = worker.windows.needed_from(next_offset)
            self.store(commits, Progress(version, size, next_offset, needed), closes)
            self.sync()
        return next_offset

    def _feed_again(self, progress: Progress, tiles: TileReader, worker: Worker) -> None:
        """Make the windows again that were open, or might have been opened again, at `progress`.

        Each message is read with the registry that it was read with then.
        """
        if self._refed or progress.needed_from == progress.next_offset:
            return
        self._refed = True
        registry = Registry()
        reader = worker.with_registry(registry)
        known = deque(self.registry_records(progress.size).items())
        wanted = range(progress.needed_from, progress.next_offset)
        since, last = progress.needed_version, progress.version
        for _, header in batch_headers(tiles, after=since, last=last):
            data = jcs.decode(header)
            if data["epoch"] in {OWN_SOURCE, DERIVED} or "again" in data or data["part"] != "0":
                continue
            if int(data["offset"]) in wanted:
                message = self._message(data)
                if message.format in WINDOW_FORMATS:
                    while known and known[0][0] < int(data["inputs"]["registry"]):
                        registry.apply(known.popleft()[1])
                    reader.process(message)

    def check(self, version: int, size: int) -> None:
        """Raises Stop where the projection is not of the log that is at this version and size."""
        progress, stored = self.progress(), self._customer_db.size()
        if stored < progress.size:
            raise Stop(
                "projection-differs",
                f"{_FILE} says that rows up to {progress.size} are stored, the customer database"
                f" has them up to {stored}: it was replaced. Restore it, or remove both files, and"
                " the next start makes them again from the log and the raw archive",
            )
        if progress.version > version or max(progress.size, stored) > size:
            raise Stop(
                "projection-ahead", f"rows are stored up to {stored}, the log ends at {size}"
            )

    def _again(self, header: dict[str, Any], worker: Worker) -> Committed:
        """One message made again; its entries are compared by the caller."""
        first, message = int(header["first"]), self._message(header)
        if "again" in header:
            return Committed(Worked(message, again=header["again"]), first, b"")
        worked = worker.process(message)
        worker.apply(worked.drafts)
        return Committed(worked, first, sha256(message.raw).digest())

    def _message(self, header: dict[str, Any]) -> RawMessage:
        """From the bus or, where it is forgotten there, from the archive."""
        place = (header["epoch"], int(header["partition"]), int(header["offset"]))
        if self._bus is not None and place[0] == self._bus.epoch:
            with suppress(Stop):  # trimmed
                for message in self._bus.read(place[2], 1):
                    return message
        if "again" in header:  # never archived, and nothing is made of it
            return RawMessage(*place, "", "", 0, b"")
        return self.archived(*place)

    def archived(self, epoch: str, partition: int, offset: int) -> RawMessage:
        """A message that the log took. Raises Stop("bus-went-backwards")."""
        found = self._archive.raw(epoch, partition, offset)
        if found is None:
            text = f"the log took message {offset}, which bus and archive no longer have"
            raise Stop("bus-went-backwards", text)
        return found


def _boot() -> str:
    """Names the kernel's run: what is written in it is there to its end, synced or not."""
    return BOOT_ID.read_text().strip() if BOOT_ID.exists() else ""
