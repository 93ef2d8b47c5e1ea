"""The storers of `gridseal run storer` in the simulated world.

`StorerRole` and its projector are the production code, over the world's stores and a `progress.db`
on disk. A storer may end before, within and after a store, be stopped within one while another has
gone on, and store again what is there.
"""

from collections.abc import Collection, Mapping, Sequence

from bal.found import VeeFindings
from bal.model import Close, StoredRecord
from bal.ports import ArchiveItem, BookEntry
from bal.registry import Registry
from infra.deriver import DaySources
from infra.projector import Projector
from infra.roles.closes import RegistryOf
from infra.roles.storer import StorerRole
from infra.roles.storing import StorerPorts
from tests.simulation.log_store import LogReader
from tests.simulation.members import Group, Member, Positions
from tests.simulation.servers import Servers, boot_of
from tests.simulation.stores import SimArchive, SimBook, SimDb, refuse
from tests.simulation.world import Process


class StorerProcess(Process):
    """One storer process."""

    def __init__(self, servers: Servers, group: Group, name: str) -> None:
        self.servers, self.group = servers, group
        self._projector: Projector | None = None
        super().__init__(servers.world, name)

    def boot(self) -> None:
        servers = self.servers
        if self._projector is not None:
            self._projector.close()
        self._projector = projector = Projector(
            servers.folder,
            bus=None,
            customer_db=_Db(self, servers.db),  # type: ignore[arg-type]  # reads: never asked for
            archive=_Archive(self, servers.archive),
            book=_Book(self, servers.book),
            registry=Registry(),
            lanes=servers.raw.topic.partitions,
        )
        boot_of(projector, servers.boots)
        days = DaySources(servers.db, servers.vault, servers.book, RegistryOf(projector).at)
        ports = StorerPorts(
            servers.channels(self),
            LogReader(servers.disk),
            servers.vault,
            projector,
            days,
            Positions(servers.positions, self),
            servers.elapsed_s,
        )
        self.role = StorerRole(ports, Member(self.group, self))
        self._dropped = 0

    def step(self) -> float | None:
        before = self._remaking()
        busy = self.role.step()
        seen, dropped = self.world.seen, self.role.status.dropped
        seen["rows dropped"] += max(0, dropped - self._dropped)
        self._dropped = dropped
        seen["storer makes rows again"] += len(self._remaking() - before)
        if busy:
            return 0.02
        waits = self.role.status.held or self.servers.stored.size() < self.servers.disk.row.size
        return self.dice.uniform(1, 3) if waits else self.dice.uniform(10, 40)

    def _remaking(self) -> set[int]:
        return {n for n, share in self.role._shares.items() if share.remaking is not None}


class _Db:
    """What a storer asks of the customer database."""

    def __init__(self, process: StorerProcess, db: SimDb) -> None:
        self._process, self._db = process, db
        self.size, self.stored = db.size, db.stored

    def store(self, rows: Sequence[StoredRecord], size: int, lane: int) -> None:
        refuse(self._db.world, "customer database")
        self._process.point("storer before rows")
        self._db.store(
            rows, size, lane, lambda: self._process.crash_here("storer within rows", 0.0005, 0.005)
        )
        self._process.point("storer before progress")
        refuse(self._db.world, "customer database answer")

    def sync(self) -> None:
        self._process.crash_here("storer before sync", 0.0005, 0.005)
        self._db.sync()


class _Archive:
    """What a storer asks of the archive."""

    def __init__(self, process: StorerProcess, archive: SimArchive) -> None:
        self._process, self._archive = process, archive
        self.raw, self.sync = archive.raw, archive.sync

    def put_many(self, items: Sequence[ArchiveItem]) -> None:
        self._process.point("storer before archive")
        self._archive.put_many(items)

    def put_vee(self, found: VeeFindings) -> None:
        self._process.point("storer before list of findings", 0.01, 0.1)
        self._archive.put_vee(found)

    def summaries(self, keys: Collection[tuple[str, bytes]]) -> dict[tuple[str, bytes], bytes]:
        raise NotImplementedError("a worker's")


class _Book:
    """Port Book, of a storer."""

    def __init__(self, process: StorerProcess, book: SimBook) -> None:
        self._process, self._book = process, book
        self.closes, self.entries, self.touched = book.closes, book.entries, book.touched
        self.sync = book.sync

    def add(self, close: Close, entries: Sequence[BookEntry] = ()) -> None:
        self._process.point("storer before close", 0.01, 0.1)
        self._book.add(close, entries)

    def touch(self, dates: Mapping[str, int]) -> None:
        self._process.crash_here("storer before touch", 0.0005, 0.005)
        self._book.touch(dates)
