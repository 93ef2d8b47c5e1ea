"""Opens all of a platform that lies on disk and belongs together: for up, fsck and replay."""

from collections.abc import Mapping
from contextlib import ExitStack
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
from infra.sqlite_vault import SqliteVault


@dataclass(slots=True)
class Stores:
    """The adapters of one data folder: its files, and the servers that it names."""

    bus: OpenBus
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

        The registry is as of what the projection has stored. read_only: for an audit; nothing is
        made or written, a file that is absent is looked at as an empty one, and the registry is
        left empty.
        """
        with ExitStack() as opened:
            vault = SqliteVault(folder.vault, clock, read_only=read_only)
            opened.callback(vault.close)
            archive = SqliteArchive(
                folder.archive, vault.archive_key(), vault.salt_key, read_only=read_only
            )
            opened.callback(archive.close)
            outside = outside_of(folder)
            bus = open_bus(outside, folder, read_only=read_only)
            opened.callback(bus.close)
            customer_db = open_customer_db(outside, folder, read_only=read_only)
            opened.callback(customer_db.close)
            book = SqliteBook(folder.customer_db, read_only=read_only)
            opened.callback(book.close)
            known = Registry()
            projector = Projector(
                folder.customer_db,
                bus=bus,
                customer_db=customer_db,
                archive=archive,
                book=book,
                registry=known,
                read_only=read_only,
            )
            opened.callback(projector.close)
            if not read_only:
                _apply(projector.registry_records(projector.progress().size), known)
            log = open_log(folder, clock, read_only=read_only)
            opened.pop_all()
        return cls(bus, log, customer_db, archive, vault, book, projector, known)

    def receipts(self) -> Receipts:
        """Receipts over these stores; anchored ones once `anchored` is set."""
        return Receipts(self.customer_db, self.log, self.vault, lambda: self.anchored)

    def day_proofs(self) -> DayProofs:
        """Proofs of devices' days over these stores."""
        return DayProofs(self.customer_db, self.book, self.log, self.vault, lambda: self.anchored)

    def close(self) -> None:
        """Let go of all files."""
        for store in (
            self.log, self.projector, self.book, self.customer_db, self.archive, self.vault,
            self.bus,
        ):  # fmt: skip
            store.close()

    def registry_at(self, size: int) -> Registry:
        """The registry as of a log size up to which rows are stored; it holds until the next call.

        A later one than the last is made of that: 10,000 devices take 130 ms.
        """
        first, registry = self._history
        if size < first:
            first, registry = 0, Registry()
        self._history = 0, Registry()  # until all is applied
        _apply(self.projector.registry_records(size, first), registry)
        self._history = size, registry
        return registry

    def day_sources(self, vault: Vault | None = None) -> DaySources:
        """What closes are made from; `vault`: another look at it than the own one."""
        return DaySources(self.customer_db, vault or self.vault, self.book, self.registry_at)


def _apply(records: Mapping[int, bytes], registry: Registry) -> None:
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
