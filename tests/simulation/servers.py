"""What is outside of all processes, and outlives them."""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import bal.registry
from bal import jcs
from bal.registry import Registry
from infra.projector import Projector
from infra.roles.closes import RegistryOf
from infra.roles.ports import Position
from infra.rules import running_rules
from tests.simulation.channels import ProcessChannels
from tests.simulation.log_store import LogDisk
from tests.simulation.stores import SimArchive, SimBook, SimDb, SimVault
from tests.simulation.topics import RawTopic, Topic
from tests.simulation.world import SECOND_US, Process, World

RULES = running_rules()  # the storer makes messages again by these

# A process that begins anew decodes 100,000 records, a second each time: once is enough here.
bal.registry.jcs = SimpleNamespace(  # type: ignore[assignment, attr-defined]
    decode=lru_cache(maxsize=1 << 18)(jcs.decode), encode=jcs.encode
)


@dataclass(slots=True)
class Servers:
    """Bus, log disk, vault, archive, customer database, book, and a folder with `progress.db`."""

    world: World
    raw: RawTopic
    rows: Topic[bytes]
    commitments: Topic[bytes]
    announcements: Topic[bytes]
    disk: LogDisk
    vault: SimVault
    archive: SimArchive
    db: SimDb
    book: SimBook
    folder: Path
    stored: Projector  # whoever does not store looks at it: port Stored
    registry: RegistryOf  # as of any stored size
    positions: dict[str, Position] = field(default_factory=dict)
    promises: list[tuple[str, bytes, str]] = field(default_factory=list)
    closes_looked_us: int = -(1 << 60)  # when it was last looked at what is to be closed
    boots: int = 0  # of the kernel, as progress.db asks for it

    def channels(self, process: Process) -> ProcessChannels:
        """The topics as a process enters them."""
        return ProcessChannels(process, self.raw, self.rows, self.commitments, self.announcements)

    def elapsed_s(self) -> float:
        """Seconds since the world began."""
        return self.world.now_us / SECOND_US

    def power_cut(self) -> None:
        """The host of the data folder: what is not fsynced may be gone."""
        dice = self.world.random(f"cut {self.world.now_us}")
        self.boots += 1
        boot_of(self.stored, self.boots)
        for store in (self.disk, self.db, self.archive, self.book):
            store.power_cut(dice)

    def close(self) -> None:
        """Let go of the file."""
        self.stored.close()


def servers_of(world: World, epoch: str, partitions: int, folder: Path) -> Servers:
    """All of them, empty."""
    raw = RawTopic(world, epoch, partitions)
    db, book, archive = SimDb(world, partitions), SimBook(), SimArchive(world, raw)
    stored = Projector(
        folder,
        bus=None,
        customer_db=db,  # type: ignore[arg-type]  # never asked for
        archive=archive,
        book=book,
        registry=Registry(),
        lanes=partitions,
    )
    boot_of(stored, 0)
    return Servers(
        world, raw, Topic(world, "rows", partitions, loses=True), Topic(world, "commitments"),
        Topic(world, "announcements"), LogDisk(world), SimVault(world), archive, db, book,
        folder, stored, RegistryOf(stored),
    )  # fmt: skip


def boot_of(projector: Projector, boots: int) -> None:
    """In the place of the kernel's own: this one is not started anew within a test."""
    projector.file.boot = f"boot {boots}"
