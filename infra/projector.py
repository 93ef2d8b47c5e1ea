"""The storer: projects what the log committed into archive, registry journal and database.

It may be repeated from any point: `progress.db` says up to where everything is synced, and what
lies beyond is made again from the bus by the same `Worker`, and compared with the log.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any

from bal import jcs
from bal.certify.log import OWN_SOURCE
from bal.closing import DERIVED, ClosedDay
from bal.errors import Stop
from bal.model import RawMessage
from bal.pipeline import WINDOW_FORMATS, Worked, Worker
from bal.ports import Book, Bus, RawArchive, TileReader
from bal.registry import Registry
from infra.committed import Committed, CommittedClose, Progress
from infra.log_reader import batch_headers
from infra.outside import OpenCustomerDb
from infra.progress_file import FILE, ProgressFile
from infra.projected import project
from infra.rules import differs

CATCH_UP_MESSAGES = 256  # stored in one go


class Projector:
    """Stores commits in order; `store` is called by one thread."""

    def __init__(
        self,
        folder: Path,
        *,
        bus: Bus | None,
        customer_db: OpenCustomerDb,
        archive: RawArchive,
        book: Book,
        registry: Registry,
        read_only: bool = False,
        lanes: int = 0,
    ) -> None:
        """bus: what `catch_up` reads, None where it is not called for.

        read_only: look at `progress.db` and store nothing, for an audit. lanes: as ProgressFile;
        where there are any, `store_lane` and `sync_lane` are for `store` and `sync`.
        """
        self.file = file = ProgressFile(folder, lanes=lanes, read_only=read_only)
        self.progress, self.size = file.progress, file.size
        self.registry_records = file.registry_records
        self._lock = Lock()
        self._unsynced = set[int]()  # lanes
        self._bus = bus
        self._customer_db = customer_db
        self._archive = archive
        self._book = book
        self._refed = False
        self._registry = registry
        self._stored = stored = self.progress()
        self._marks = deque([(stored.needed_from, stored.needed_version)])  # offset, version

    def close(self) -> None:
        """Let go of the file."""
        self.file.close()

    def store(
        self,
        commits: Sequence[Committed],
        progress: Progress,
        closes: Sequence[CommittedClose] = (),
    ) -> None:
        """Store the messages and closed days that led from the last progress to this one."""
        projected = project(commits, closes, self._registry)
        projected.keep(
            self._archive, lambda rows: self._customer_db.store(rows, progress.size), self._book
        )
        with self._lock:
            self.file.note(projected.registry)
            self._stored = self._marked(progress)

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
            self.file.note_synced(stored)
        return stored

    def tidy(self) -> bool:
        """As CustomerDb.tidy."""
        return self._customer_db.tidy()

    # -- of roles: a lane of each partition -------------------------------------------------

    def store_lane(
        self,
        lane: int,
        commits: Sequence[Committed],
        progress: Progress,
        closes: Sequence[CommittedClose],
        registry: Registry,
    ) -> None:
        """Store what a lane's part of the log brings up to `progress`; may be repeated at any time.

        registry: as of what all lanes have stored, and at least as of what the workers knew that
        made these; where one names a device, of all before it. Then whatever is known besides is
        of later entries, and of a device's records the first one counts.
        """
        projected = project(commits, closes, registry, registry.device)
        projected.keep(
            self._archive,
            lambda rows: self._customer_db.store(rows, progress.size, lane),
            self._book,
        )
        self._unsynced.add(lane)
        self.file.note_stored(lane, projected.registry, progress.size)

    def sync_lane(self, lane: int, stored: Progress) -> None:
        """Make all that a lane has stored survive a power cut, then note it."""
        # A message without entries is stored and no progress: it is in the archive alone.
        if lane in self._unsynced or stored != self.file.synced(lane):
            self._archive.sync()
            self._customer_db.sync()
            self._book.sync()
            self.file.note_synced(stored, lane)
            self._unsynced.discard(lane)

    def check_lane(self, lane: int, version: int, size: int) -> None:
        """Raises Stop as `check`, of one lane."""
        _check(self.file.synced(lane), self._customer_db.stored(lane), version, size)

    # -- of `up`: making again ---------------------------------------------------------------

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
        _check(self.progress(), self._customer_db.size(), version, size)

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


def _check(progress: Progress, stored: int, version: int, size: int) -> None:
    if stored < progress.size:
        raise Stop(
            "projection-differs",
            f"{FILE} says that rows up to {progress.size} are stored, the customer database"
            f" has them up to {stored}: it was replaced. Restore it, or remove both files, and"
            " the next start makes them again from the log and the raw archive",
        )
    if progress.version > version or max(progress.size, stored) > size:
        raise Stop("projection-ahead", f"rows are stored up to {stored}, the log ends at {size}")
