"""Workers as processes of their own: two on two cores, held against one, in turn.

CIM messages of 1,000 readings wait in four partitions of the files' channels; the sequencer runs
beside. The store is a stub: it says that it has all that is published, so that nobody waits for
it. `python -m tests.bench.roles`.
"""

import os
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

from bal import jcs
from bal.model import Identity
from bal.pipeline import COMMAND_FORMAT, OPERATOR
from bal.ports import Intake
from infra.config import Config
from infra.data_folder import DataFolder
from infra.roles.making import Made, begin
from infra.roles.positions import SqlitePositions
from infra.roles.sqlite_channels import SqliteChannels
from infra.roles.storer import StorerRole
from infra.roles.stores import open_stores
from infra.roles.storing import storer_ports
from infra.roles.worker import ROLE, WorkerRole
from infra.roles.worker_state import WorkerPorts
from infra.rules import running_rules
from infra.stores import Stores
from infra.system_clock import SystemClock
from tests.bench.pipeline import METERS, message
from tests.bench.processors import spent_s
from tests.stop_signal import stopped_by

REPOSITORY = Path(__file__).resolve().parents[2]
PARTITIONS = 4
MESSAGES = 40  # of a turn, in each partition
WARM = 4  # of them, before the clock runs
ROUNDS = 3
PATIENCE_S = 300
SENDER = "headend"
LOOK_S = 0.01
READY, GO = "bench-ready-", "bench-go"  # files by which workers begin together


@dataclass(frozen=True, slots=True)
class Turn:
    """One measurement: readings a second, and processor time of a reading in microseconds."""

    rate: float
    worker_us: float  # of all workers together
    sequencer_us: float

    def of_cores(self) -> float:
        """Cores that were had: workers and sequencer, of each second."""
        return self.rate * (self.worker_us + self.sequencer_us) / 1e6


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
    """In a process of its own, until SIGTERM; it begins with the others."""
    stopping = stopped_by(signal.SIGTERM)
    with ExitStack() as opened:
        ports = worker_ports(root, stub=True, opened=opened)
        role = WorkerRole(ports, ports.channels.members(ROLE, PARTITIONS))
        ready = root / f"{READY}{os.getpid()}"
        ready.touch()
        while not (root / GO).exists() and not stopping.is_set():
            time.sleep(0.01)
        ready.unlink()
        role.run(stopping)


@contextmanager
def child(*command: str) -> Iterator[int]:
    """A process that ends with the block; its id."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command], cwd=REPOSITORY, stdout=subprocess.DEVNULL
    )
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def wait_for(done: Callable[[], bool]) -> None:
    """Look often, and give up late."""
    until = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < until, "it takes too long"
        time.sleep(LOOK_S)


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
                StorerRole(storing, ports.channels.members("storer", PARTITIONS)),
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

    def turn(self, workers: int, sequencer: int) -> Turn:
        """From when each partition moves to when nothing waits. sequencer: its process."""
        before = self.taken()
        self.fill(MESSAGES)
        with ExitStack() as running:
            command = "tests.bench.roles", str(self.root)
            pids = [running.enter_context(child(*command)) for _ in range(workers)]
            wait_for(lambda: len(list(self.root.glob(f"{READY}*"))) == workers)
            (self.root / GO).touch()
            running.callback((self.root / GO).unlink)
            wait_for(
                lambda: all(
                    now - then >= WARM for now, then in zip(self.taken(), before, strict=True)
                )
            )
            first, began = sum(self.taken()), time.perf_counter()
            spent = sum(map(spent_s, pids)), spent_s(sequencer)
            wait_for(self.all_taken)
            took_s = time.perf_counter() - began
            worker_s, sequencer_s = (
                sum(map(spent_s, pids)) - spent[0],
                spent_s(sequencer) - spent[1],
            )
        readings = (sum(self._sent) - first) * METERS
        return Turn(readings / took_s, worker_s / readings * 1e6, sequencer_s / readings * 1e6)


def main() -> list[tuple[Turn, Turn]]:
    """One worker, and two, in turn."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as opened:
        ground = Ground(Path(name) / "data", opened)
        sequencer = opened.enter_context(
            child("infra.cli", "run", "sequencer", "--data", str(ground.root))
        )
        ground.enrol()
        return [(ground.turn(1, sequencer), ground.turn(2, sequencer)) for _ in range(ROUNDS)]


def rows(turns: Sequence[tuple[Turn, Turn]]) -> list[tuple[str, str, str]]:
    """What, figure and goal, as docs/benchmarks.md has them."""
    ratios = sorted(two.rate / one.rate for one, two in turns)
    lines = []
    for many, some in zip(("one worker", "two workers"), zip(*turns, strict=True), strict=True):
        rate, worker_us, sequencer_us, cores = (
            statistics.median(values)
            for values in zip(
                *((one.rate, one.worker_us, one.sequencer_us, one.of_cores()) for one in some),
                strict=True,
            )
        )
        lines.append((f"{many}, stub store, sequencer beside", f"{rate:,.0f}/s", ""))
        figure = f"{worker_us:.1f} + {sequencer_us:.1f} µs, {cores:.2f} cores"
        lines.append(("  processors a reading: workers + sequencer; cores had", figure, ""))
    figure = f"{ratios[0]:.2f} / {statistics.median(ratios):.2f} / {ratios[-1]:.2f} ×"
    lines.append((f"  two / one (min / median / max of {len(turns)})", figure, "≥ 1.6 ×"))
    return lines


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run_worker(Path(sys.argv[1]))
    else:
        for one in rows(main()):
            sys.stdout.write("{:<60} {:>28}   {}\n".format(*one))
