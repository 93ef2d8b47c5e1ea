"""Opens all of a platform that lies on disk and belongs together: for up, fsck and replay."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from bal.errors import Stop
from bal.ports import Clock, Vault
from bal.registry import Registry
from infra.data_folder import DataFolder
from infra.day_proofs import DayProofs
from infra.deriver import DaySources
from infra.file_log import FileLog
from infra.outside import OpenBus, OpenCustomerDb, open_bus, open_customer_db, open_log
from infra.outside import read as outside_of
from infra.projector import Projector
from infra.receipts import Anchored, Receipts
from infra.sqlite_archive import SqliteArchive
from infra.sqlite_book import SqliteBook
from infra.sqlite_vault import VAULT_FILE, SqliteVault


@dataclass(slots=True)
class Stores:
    """The adapters of one data folder: its files, and the servers that it names."""

    bus_of_up: OpenBus | None  # None where roles run on the folder
    log: FileLog
    customer_db: OpenCustomerDb
    archive: SqliteArchive
    vault: SqliteVault
    book: SqliteBook
    projector: Projector
    registry: Registry
    anchored: Anchored | None = None
    _history: tuple[int, Registry] = field(default_factory=lambda: (0, Registry()))

    @classmethod
    def open(cls, folder: DataFolder, clock: Clock, *, read_only: bool = False) -> "Stores":
        """Open or make them all. Raises Stop("store-damaged") where one is not what it was.

        The registry is as of what the projection has stored. read_only: for an audit, also of a
        folder that roles run on (infra/roles/stores.py opens it for them); nothing is made or
        written, a file that is absent is looked at as an empty one, and the registry is left empty.
        """
        outside = outside_of(folder)
        with_bus = not (read_only and folder.has_roles)
        opened = cls.over(
            folder,
            clock,
            bus=(lambda: open_bus(outside, folder, read_only=read_only)) if with_bus else None,
            customer_db=lambda: open_customer_db(outside, folder, read_only=read_only),
            log=lambda: open_log(folder, clock, read_only=read_only),
            read_only=read_only,
        )
        if not read_only:
            projector = opened.projector
            apply(projector.registry_records(projector.progress().size), opened.registry)
        return opened

    @classmethod
    def over(
        cls,
        folder: DataFolder,
        clock: Clock,
        *,
        bus: Callable[[], OpenBus] | None,
        customer_db: Callable[[], OpenCustomerDb],
        log: Callable[[], FileLog],
        read_only: bool = False,
    ) -> "Stores":
        """Those that these three open, and the files that belong to them; an empty registry.

        read_only: as `open`.
        """
        with ExitStack() as opened:
            if not read_only:
                _check_vault(folder, log)
            vault = SqliteVault(folder.vault, clock, read_only=read_only)
            opened.callback(vault.close)
            archive = SqliteArchive(
                folder.archive, vault.archive_key(), vault.salt_key, read_only=read_only
            )
            opened.callback(archive.close)
            its_bus = bus() if bus else None
            if its_bus is not None:
                opened.callback(its_bus.close)
            rows = customer_db()
            opened.callback(rows.close)
            book = SqliteBook(folder.customer_db, read_only=read_only)
            opened.callback(book.close)
            known = Registry()
            projector = Projector(
                folder.customer_db,
                bus=its_bus,
                customer_db=rows,
                archive=archive,
                book=book,
                registry=known,
                read_only=read_only,
                lanes=folder.partitions,
            )
            opened.callback(projector.close)
            its_log = log()
            opened.pop_all()
        return cls(its_bus, its_log, rows, archive, vault, book, projector, known)

    @property
    def bus(self) -> OpenBus:
        """The bus of `gridseal up`. Raises Stop where roles run on the folder."""
        if self.bus_of_up is None:
            raise Stop("stores-differ", "roles run on this data folder: it has topics, no bus")
        return self.bus_of_up

    @property
    def stored(self) -> Projector:
        """What is stored of the log, as other processes see it (infra/roles/ports.py)."""
        return self.projector

    def receipts(self) -> Receipts:
        """Receipts over these stores; anchored ones once `anchored` is set."""
        return Receipts(self.customer_db, self.log, self.vault, lambda: self.anchored)

    def day_proofs(self) -> DayProofs:
        """Proofs of devices' days over these stores."""
        return DayProofs(self.customer_db, self.book, self.log, self.vault, lambda: self.anchored)

    def close(self) -> None:
        """Let go of all files, of each whatever another one raises."""
        stores = (
            self.log, self.projector, self.book, self.customer_db, self.archive, self.vault,
            self.bus_of_up,
        )  # fmt: skip
        with ExitStack() as all_of_them:
            for store in reversed(stores):
                if store is not None:
                    all_of_them.callback(store.close)

    def registry_at(self, size: int) -> Registry:
        """The registry as of a log size up to which rows are stored; it holds until the next call.

        A later one than the last is made of that: 10,000 devices take 130 ms.
        """
        first, registry = self._history
        if size < first:
            first, registry = 0, Registry()
        self._history = 0, Registry()  # until all is applied
        apply(self.projector.registry_records(size, first), registry)
        self._history = size, registry
        return registry

    def day_sources(self, vault: Vault | None = None) -> DaySources:
        """What closes are made from; `vault`: another look at it than the own one."""
        return DaySources(self.customer_db, vault or self.vault, self.book, self.registry_at)


def _check_vault(folder: DataFolder, log: Callable[[], FileLog]) -> None:
    """A vault that is lost is not begun anew: each meter would pass for one never seen.

    Raises Stop("vault-lost"). The vault is made before the log has its first entry.
    """
    if (folder.vault / VAULT_FILE).exists():
        return
    with closing(log()) as begun:
        size = begun.heads().size
    if size:
        text = f"{folder.vault} has no {VAULT_FILE}, and the log has {size} entries"
        raise Stop("vault-lost", f"{text}: bring it back by `gridseal vault restore`")


def apply(records: Mapping[int, bytes], registry: Registry) -> None:
    """Apply the registry's records, by index. Raises Stop("store-damaged")."""
    for index, record in records.items():
        try:
            registry.apply(record)
        except (ValueError, TypeError, KeyError) as error:
            text = f"progress.db is damaged: the registry's record {index}: {error}"
            raise Stop("store-damaged", text) from error


def folder_of(path: Path) -> DataFolder:
    """The data folder at `path`, which must be one."""
    folder = DataFolder(path)
    folder.check()
    return folder
