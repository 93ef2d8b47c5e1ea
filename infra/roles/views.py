"""The stores of a data folder as a collector, a gateway or an anchorer looks at them.

Others write them meanwhile. Only the vault is written here: an enrolment makes pseudonyms.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from bal.ports import Clock
from bal.registry import Registry
from infra.day_proofs import DayProofs
from infra.file_log import FileLog
from infra.outside import OpenCustomerDb, open_customer_db, open_log
from infra.projector import Projector
from infra.receipts import Receipts
from infra.roles.anchors_seen import AnchorsSeen, journal_of
from infra.roles.channels import open_channels
from infra.roles.making import Made
from infra.roles.ports import Channels, Stored
from infra.sqlite_archive import SqliteArchive
from infra.sqlite_book import SqliteBook
from infra.sqlite_vault import SqliteVault


@dataclass(frozen=True, slots=True)
class Views:
    """`infra.services.Readable`, and what else a process without a part in the pipeline needs."""

    channels: Channels
    log: FileLog
    customer_db: OpenCustomerDb
    archive: SqliteArchive
    vault: SqliteVault
    book: SqliteBook
    stored: Stored
    registry: Registry  # empty until a Follower fills it
    anchored: AnchorsSeen
    close: Callable[[], None]

    def receipts(self) -> Receipts:
        """Receipts over these stores."""
        return Receipts(self.customer_db, self.log, self.vault, lambda: self.anchored)

    def day_proofs(self) -> DayProofs:
        """Proofs of devices' days over these stores."""
        return DayProofs(self.customer_db, self.book, self.log, self.vault, lambda: self.anchored)


def open_views(made: Made, clock: Clock) -> Views:
    """Open what `begin` made. Raises Stop, Unavailable."""
    folder, registry = made.folder, Registry()
    with ExitStack() as opened:
        vault = SqliteVault(folder.vault, clock)
        opened.callback(vault.close)
        archive = SqliteArchive(folder.archive, vault.archive_key(), vault.salt_key)
        opened.callback(archive.close)
        customer_db = open_customer_db(made.outside, folder)
        opened.callback(customer_db.close)
        book = SqliteBook(folder.customer_db)
        opened.callback(book.close)
        projector = Projector(
            folder.customer_db,
            bus=None,
            customer_db=customer_db,
            archive=archive,
            book=book,
            registry=Registry(),
        )
        opened.callback(projector.close)
        log = open_log(folder, clock, read_only=True)
        opened.callback(log.close)
        anchored = AnchorsSeen(journal_of(folder, made.facts))
        opened.callback(anchored.close)

        def is_bulk(credential: str) -> bool:
            sender = registry.senders.get(credential)
            return sender is not None and sender.bulk

        channels = open_channels(made, is_bulk)
        opened.callback(channels.close)
        close = opened.pop_all().close
    return Views(
        channels, log, customer_db, archive, vault, book, projector, registry, anchored, close
    )
