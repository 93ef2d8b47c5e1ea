"""Opens all of a platform that lies on disk and belongs together: for up, fsck and replay."""

from dataclasses import dataclass
from pathlib import Path

from bal.ports import Clock
from bal.registry import Registry
from infra.data_folder import DataFolder
from infra.file_log import FileLog
from infra.projector import Projector
from infra.receipts import Anchored, Receipts
from infra.sqlite_archive import SqliteArchive
from infra.sqlite_bus import SqliteBus
from infra.sqlite_customer_db import SqliteCustomerDb
from infra.sqlite_vault import SqliteVault


@dataclass(slots=True)
class Stores:
    """The embedded adapters over one data folder."""

    bus: SqliteBus
    log: FileLog
    customer_db: SqliteCustomerDb
    archive: SqliteArchive
    vault: SqliteVault
    projector: Projector
    registry: Registry
    anchored: Anchored | None = None

    @classmethod
    def open(cls, folder: DataFolder, clock: Clock) -> "Stores":
        """Open or make them all. The registry is as of what the projection has stored."""
        vault = SqliteVault(folder.vault, clock)
        archive = SqliteArchive(folder.archive, vault.archive_key(), vault.salt_key)
        bus = SqliteBus(folder.bus)
        customer_db = SqliteCustomerDb(folder.customer_db)
        projector = Projector(folder.customer_db, bus, customer_db, archive)
        registry = Registry()
        for record in projector.registry_records(projector.progress().size):
            registry.apply(record)
        log = FileLog(folder.log, clock)
        return cls(bus, log, customer_db, archive, vault, projector, registry)

    def receipts(self) -> Receipts:
        """Receipts over these stores; anchored ones once `anchored` is set."""
        return Receipts(self.customer_db, self.log, self.vault, lambda: self.anchored)

    def close(self) -> None:
        """Let go of all files."""
        for store in (
            self.log, self.projector, self.customer_db, self.archive, self.vault, self.bus,
        ):  # fmt: skip
            store.close()


def folder_of(path: Path) -> DataFolder:
    """The data folder at `path`, which must be one."""
    folder = DataFolder(path)
    folder.check()
    return folder
