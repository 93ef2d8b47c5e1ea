"""`python -m tests.bench.large`: what grows with the size of the log, and how fast.

At 10^4 … 10^7 entries: a commit of 1,000 entries, an inclusion proof of any entry (one whose tiles
are in memory, and by a reader that has just opened the log), one device's day with its proofs, and
the memory of a process that has the log open and does all that (without the chain).
A growth exponent is the slope of log(cost) over log(size): 1 would be a scan, 0 is no growth.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from math import log10
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bal.certify.log import Batch, Sequencer
from bal.certify.tiles import NodesAt, TileNodes
from bal.certify.tree import inclusion_path
from bal.closing import close_day
from bal.harmonise import quantity, record
from bal.harmonise.instant import parse
from bal.model import StoredRecord
from bal.ports import Clock
from bal.provide.device_days import DayRequest
from bal.registry import Registry
from bal.times import rfc3339
from infra.day_proofs import DayProofs
from infra.file_log import FileLog
from infra.key_signer import CheckpointSigner
from infra.sqlite_book import SqliteBook
from infra.sqlite_customer_db import SqliteCustomerDb
from infra.sqlite_vault import SqliteVault
from infra.system_clock import SystemClock
from tests.bench.device_days import REGISTER, SLOT_US, registered, rows_at

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
DEVICES = 64
FIRST_DAY = datetime(2016, 1, 1, tzinfo=UTC)
EXPONENT_MAX = 0.15
MEMORY_MAX = 256 * 1024 * 1024
SETTLE_ENTRIES = 1 << 20
RECENT = 256  # entries whose tiles are in memory


class Opened:
    """The stores of one folder, as a platform has them without gateways and chain."""

    def __init__(self, folder: Path) -> None:
        clock: Clock = SystemClock()
        self.log = FileLog(folder / "log", clock)
        self.customer_db = SqliteCustomerDb(folder / "scd")
        self.vault = SqliteVault(folder / "vault", clock)
        self.book = SqliteBook(folder / "book")
        self.registry: Registry = registered(self.vault, DEVICES)
        signer = CheckpointSigner("bench", b"k" * 32, folder / "signed")
        self.sequencer = Sequencer(self.log, self.log, signer, "bench")

    def commit(self, count: int) -> list[int]:
        """That many entries of random bytes; first indices of their batches."""
        taken = self.sequencer.heads.taken.get("b/0", -1)
        batches = []
        for number, start in enumerate(range(0, count, 8192), taken + 1):
            entries = [os.urandom(32) for _ in range(min(8192, count - start))]
            batches.append(Batch("b", 0, number, number - 1, entries, {}))
        return self.sequencer.commit(batches)

    def close(self) -> None:
        """Let go of all files."""
        for store in (self.log, self.customer_db, self.vault, self.book):
            store.close()


def build(folder: Path, size: int) -> None:
    """A log of `size` readings of 64 meters, day after day, its rows, and one day closed."""
    opened = Opened(folder)
    shape = record.shape("reading", REGISTER, REGISTER, quantity.ACTIVE_ENERGY, '["0.0.0"]')
    devices = opened.registry.devices(None)
    index, at_us = 0, int(FIRST_DAY.timestamp()) * 1_000_000
    settled = 0
    while index < size:
        rows: list[StoredRecord] = []
        first = index
        for _ in range(96):
            slot = record.slot(shape, parse(rfc3339(at_us)), parse(rfc3339(at_us + SLOT_US)))
            at_us += SLOT_US
            rows += rows_at(slot, devices[: size - index], index)
            index = first + len(rows)
        opened.commit(len(rows))
        opened.customer_db.store(rows, index)
        if index - settled >= SETTLE_ENTRIES:
            opened.log.settle()
            settled = index
    close_middle(opened, size)
    opened.log.settle()
    opened.sequencer.publish()
    opened.close()


def middle(size: int) -> date:
    """A date in the middle of the readings."""
    return (FIRST_DAY + timedelta(days=size // (96 * DEVICES) // 2)).date()


def close_middle(opened: Opened, size: int) -> None:
    """Close one date; its entries stand behind the readings."""
    closed = close_day(
        opened.customer_db, opened.registry, opened.vault, opened.book,
        day=middle(size), k=1, prefix=size, time_us=0,
    )  # fmt: skip
    [first] = opened.sequencer.commit(closed.batches({}), [closed.record])
    opened.customer_db.store(closed.rows(first), opened.sequencer.heads.size)
    opened.book.add(*closed.booked(first))


def median_us(run: Callable[[], object], repeats: int) -> float:
    """Median time of one call in µs."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e6


def measure(folder: Path, size: int) -> dict[str, float]:
    """Costs in µs and memory in bytes, of a process that has just opened the stores."""
    opened = Opened(folder)
    chance = random.Random(size)
    head = opened.sequencer.heads.size
    nodes = TileNodes(opened.log).at(head)
    day = DayRequest(middle(size), REGISTER, None)
    devices = opened.registry.devices(None)

    def one_day() -> object:
        proofs = DayProofs(opened.customer_db, opened.book, opened.log, opened.vault, lambda: None)
        return proofs.document(chance.choice(devices), day)

    one_day()
    recent = [chance.randrange(head) for _ in range(RECENT)]

    def proof(nodes: NodesAt, index: int) -> object:
        return inclusion_path(index, head, nodes)

    for index in recent:
        proof(nodes, index)
    found = {
        "proof": median_us(lambda: proof(nodes, chance.choice(recent)), 4000),
        "first": median_us(
            lambda: proof(TileNodes(opened.log).at(head), chance.randrange(head)), 401
        ),
        "day": median_us(one_day, 41),
        "append": median_us(lambda: opened.commit(1000), 21),  # few: the log grows by them
    }
    status = Path("/proc/self/status").read_text().splitlines()
    peak_kb = next(line.split()[1] for line in status if line.startswith("VmHWM"))
    found["memory"] = int(peak_kb) * 1024.0
    opened.close()
    return found


def exponent(costs: list[float], sizes: tuple[int, ...]) -> float:
    """Slope of log(cost) over log(size), least squares."""
    x, y = [log10(size) for size in sizes], [log10(cost) for cost in costs]
    slope, _ = statistics.linear_regression(x, y)
    return slope


def child(verb: str, folder: Path, size: int) -> str:
    """Run one step in a process of its own, so that memory is that step's."""
    command = [sys.executable, "-m", "tests.bench.large", "--step", verb, "--folder", folder]
    return subprocess.run([*command, str(size)], check=True, capture_output=True, text=True).stdout


def main(folder: Path, sizes: tuple[int, ...] = SIZES, rounds: int = 3) -> None:
    """Print the table; logs that the folder has already are taken as they are.

    The sizes are measured in turn, so that what else the machine does meets each of them.
    """
    console = Console(width=100)
    with console.status("") as status:
        for size in sizes:
            if not (folder / f"{size}.built").exists():
                status.update(f"a log of {size:,} readings")
                child("build", folder / str(size), size)
                (folder / f"{size}.built").touch()
        turns: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
        for size in sizes * rounds:
            status.update(f"measuring at {size:,}")
            turns[size].append(json.loads(child("measure", folder / str(size), size)))
    found = [
        {name: statistics.median(turn[name] for turn in turns[size]) for name in turns[size][0]}
        for size in sizes
    ]
    table = Table("what", *[f"{size:.0e}" for size in sizes], "exponent", "goal", title="growth")
    for name, text in (
        ("append", "commit of 1,000 entries, ms"),
        ("proof", "inclusion proof, tiles in memory, µs"),
        ("first", "inclusion proof, nothing in memory, ms"),
        ("day", "a device's day with its proofs, ms"),
    ):
        costs = [each[name] for each in found]
        scale = 1 if name == "proof" else 1000
        cells = [f"{cost / scale:,.1f}" for cost in costs]
        table.add_row(text, *cells, f"{exponent(costs, sizes):.3f}", f"≤ {EXPONENT_MAX}")
    memory = [each["memory"] for each in found]
    growth = memory[-1] / memory[sizes.index(1_000_000)] if 1_000_000 in sizes else float("nan")
    cells = [f"{value / 2**20:,.0f}" for value in memory]
    goal = f"≤ {MEMORY_MAX // 2**20} MiB; newest ≤ 1.1 × at 1e+06: {growth:.2f} ×"
    table.add_row("peak memory, MiB", *cells, "", goal)
    console.print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--step", choices=("build", "measure"), help="one step, of one size")
    parser.add_argument("--folder", type=Path, help="where the logs are made and stay")
    parser.add_argument("sizes", type=int, nargs="*", default=SIZES)
    given = parser.parse_args()
    if given.step == "build":
        build(given.folder, given.sizes[0])
    elif given.step == "measure":
        print(json.dumps(measure(given.folder, given.sizes[0])))
    elif given.folder:
        given.folder.mkdir(parents=True, exist_ok=True)
        main(given.folder, tuple(given.sizes))
    else:
        with tempfile.TemporaryDirectory() as name:
            main(Path(name), tuple(given.sizes))
