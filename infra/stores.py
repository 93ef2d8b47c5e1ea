"""Opens all of a platform that lies on disk and belongs together: for up, fsck and replay."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bal.errors import Stop
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
            bus = SqliteBus(folder.bus, read_only=read_only)
            opened.callback(bus.close)
            customer_db = SqliteCustomerDb(folder.customer_db, read_only=read_only)
            opened.callback(customer_db.close)
            projector = Projector(
                folder.customer_db, bus, customer_db, archive, read_only=read_only
            )
            opened.callback(projector.close)
            known = Registry() if read_only else _registry(projector)
            log = FileLog(folder.log, clock, read_only=read_only)
            opened.pop_all()
        return cls(bus, log, customer_db, archive, vault, projector, known)

    def receipts(self) -> Receipts:
        """Receipts over these stores; anchored ones once `anchored` is set."""
        return Receipts(self.customer_db, self.log, self.vault, lambda: self.anchored)

    def close(self) -> None:
        """Let go of all files."""
        for store in (
            self.log, self.projector, self.customer_db, self.archive, self.vault, self.bus,
        ):  # fmt: skip
            store.close()


def _registry(projector: Projector) -> Registry:
    registry = Registry()
    for index, record in projector.registry_records(projector.progress().size).items():
        try:
            registry.apply(record)
        except (ValueError, TypeError, KeyError) as error:
            text = f"progress.db is damaged: the registry's record {index}: {error}"
            raise Stop("store-damaged", text) from error
    return registry


def folder_of(path: Path) -> DataFolder:
    """The data folder at `path`, which must be one."""
    folder = DataFolder(path)
    folder.check()
    return folder
