"""Workers as processes of their own: two on two cores, held against one, in turn.

CIM messages of 1,000 readings wait in four partitions of the files' channels; the sequencer runs
beside. The store is a stub: it says that it has all that is published, so that nobody waits for
it. `python -m tests.bench.roles`.
"""

import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from threading import Event, Thread

from bal import jcs
from bal.model import Identity
from bal.pipeline import COMMAND_FORMAT, OPERATOR
from bal.ports import Intake
from infra.config import Config
from infra.data_folder import DataFolder
from infra.roles.bench import WorkerPorts
from infra.roles.making import Made, begin
from infra.roles.positions import SqlitePositions
from infra.roles.sqlite_channels import SqliteChannels
from infra.roles.storer import StorerRole
from infra.roles.stores import open_stores
from infra.roles.storing import storer_ports
from infra.roles.worker import ROLE, WorkerRole
from infra.rules import running_rules
from infra.stores import Stores
from infra.system_clock import SystemClock
from tests.bench.pipeline import METERS, message

REPOSITORY = Path(__file__).resolve().parents[2]
PARTITIONS = 4
MESSAGES = 40  # of a turn, in each partition
WARM = 4  # of them, before the clock runs
ROUNDS = 3
PATIENCE_S = 300
SENDER = "headend"


class StubStored:
    """Port Stored of a store that has everything at once; the registry is what was stored."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self.registry_records = stores.stored.registry_records

    def size(self) -> int:
        """As far as is published."""
        published = self._stores.log.checkpoint()
        return published[0].size if published else 0


def worker_ports(made_root: Path, *, stub: bool, opened: ExitStack) -> WorkerPorts:
    """What a worker of that folder works with."""
    folder, clock = DataFolder(made_root), SystemClock()
    channels = opened.enter_context(closing(SqliteChannels.open(folder.bus)))
    stores = opened.enter_context(closing(open_stores(folder, clock, ROLE)))
    positions = opened.enter_context(closing(SqlitePositions(made_root)))
    return WorkerPorts(
        channels=channels, log=stores.log, vault=stores.vault, archive=stores.archive,
        stored=StubStored(stores) if stub else stores.stored, positions=positions, clock=clock,
        rules=running_rules(), elapsed_s=time.monotonic, random_bits=secrets.randbits,
    )  # fmt: skip


def run_worker(root: Path) -> None:
    """In a process of its own, until SIGTERM."""
    stopping = Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    with ExitStack() as opened:
        ports = worker_ports(root, stub=True, opened=opened)
        WorkerRole(ports, ports.channels.members(ROLE, PARTITIONS)).run(stopping)


@contextmanager
def child(*command: str) -> Iterator[None]:
    """A process that ends with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command], cwd=REPOSITORY, stdout=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def wait_for(done: Callable[[], bool]) -> None:
    """Look often, and give up late."""
    until = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < until, "it takes too long"
        time.sleep(0.005)


class Ground:
    """The folder with its topics."""

    def __init__(self, root: Path, opened: ExitStack) -> None:
        self.root = root
        self.made: Made = begin(root, Config(), SystemClock(), partitions=PARTITIONS)
        opened.callback(self.made.folder.unlock)
        self.channels = opened.enter_context(closing(SqliteChannels.open(self.made.folder.bus)))
        self.stores = opened.enter_context(
            closing(open_stores(self.made.folder, SystemClock(), ROLE))
        )
        self._sent = [0] * PARTITIONS
        self._number = 0

    def send(self, credential: str, form: str, raw: bytes, partition: int) -> None:
        """One message into a partition."""
        registry = self.stores.stored.size()
        intake = Intake(credential, form, time.time_ns() // 1000, raw)
        self.channels.raw.append([intake], registry, partition)
        self._sent[partition] += 1

    def fill(self, count: int) -> None:
        """So many messages of the head-end into each partition."""
        for _ in range(count):
            for partition in range(PARTITIONS):
                self.send(SENDER, "cim", message(self._number), partition)
                self._number += 1

    def taken(self) -> list[int]:
        """Messages of each partition that are in the log."""
        taken = self.stores.log.heads().taken
        source = f"{self.made.layout.epoch}/"
        return [taken.get(f"{source}{one}", -1) + 1 for one in range(PARTITIONS)]

    def all_taken(self) -> bool:
        """Nothing waits."""
        return self.taken() == self._sent

    def enrol(self) -> None:
        """A head-end, and all that it speaks for, by a worker and a storer of this process."""
        identity = Identity(f"name:gridseal/sender/{SENDER}")
        command = {
            "command": "enrol", "name": SENDER, "certificate": "", "password": "",
            "subject": self.stores.vault.pseudonyms([identity])[identity], "subjects": "any",
            "allowed": [], "group": "grid", "zone": "UTC", "bulk": "true", "devices": [],
        }  # fmt: skip
        with ExitStack() as opened:
            ports = worker_ports(self.root, stub=False, opened=opened)
            its = opened.enter_context(
                closing(open_stores(self.made.folder, SystemClock(), "storer"))
            )
            storing = storer_ports(its, ports.channels, ports.positions, time.monotonic)
            roles = (
                WorkerRole(ports, ports.channels.members(ROLE, PARTITIONS)),
                StorerRole(storing, ports.channels.members("storer", 1)),
            )
            stopping = Event()
            threads = [Thread(target=role.run, args=(stopping,)) for role in roles]
            for thread in threads:
                thread.start()
            try:
                self.send(OPERATOR, COMMAND_FORMAT, jcs.encode(command), 0)
                wait_for(lambda: self.all_taken() and self._all_stored())
                self.fill(1)
                wait_for(lambda: self.all_taken() and self._all_stored())
            finally:
                stopping.set()
                for thread in threads:
                    thread.join()

    def _all_stored(self) -> bool:
        return self.stores.stored.size() == self.stores.log.heads().size

    def rate(self, workers: int) -> float:
        """Readings a second, from when each partition moves to when nothing waits."""
        before = self.taken()
        self.fill(MESSAGES)
        with ExitStack() as running:
            for _ in range(workers):
                running.enter_context(child("tests.bench.roles", str(self.root)))
            wait_for(
                lambda: all(
                    now - then >= WARM for now, then in zip(self.taken(), before, strict=True)
                )
            )
            first, began = sum(self.taken()), time.perf_counter()
            wait_for(self.all_taken)
            took_s = time.perf_counter() - began
        return (sum(self._sent) - first) * METERS / took_s


def main() -> list[tuple[float, float]]:
    """Readings a second of one worker, and of two, in turn."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as opened:
        ground = Ground(Path(name) / "data", opened)
        opened.enter_context(child("infra.cli", "run", "sequencer", "--data", str(ground.root)))
        ground.enrol()
        return [(ground.rate(1), ground.rate(2)) for _ in range(ROUNDS)]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run_worker(Path(sys.argv[1]))
    else:
        turns = main()
        for one, two in turns:
            print(f"one worker {one:>9,.0f}/s   two {two:>9,.0f}/s   {two / one:.2f} ×")
        print(f"median {statistics.median(two / one for one, two in turns):.2f} × (≥ 1.6)")
