"""The bus on Kafka (mTLS, one broker that fsyncs) against the bus in SQLite, in one run.

`python -m tests.bench.kafka_bus`: Kafka is started for it, in a folder of its own.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from bal.ports import Bus, Intake
from infra.kafka_bus import KafkaBus, ensure_topic
from infra.kafka_client import KafkaAccess
from infra.servers import stack
from infra.servers.connect import read
from infra.sqlite_bus import SqliteBus

CACHE = Path(__file__).resolve().parents[2] / ".cache"
MESSAGE_BYTES = 300
SIZES = {1: 400, 100: 200, 1_000: 60}  # messages in a group: groups
READ = 1_000  # messages at a time
ROUNDS = 3


class ClosableBus(Bus, Protocol):
    def close(self) -> None: ...


def appended(bus: Bus, size: int, groups: int) -> float:
    """Messages a second, in groups of `size`, one after the other."""
    made = [
        [Intake("meter-17", "cim", 1, os.urandom(MESSAGE_BYTES)) for _ in range(size)]
        for _ in range(groups)
    ]
    started = time.perf_counter()
    for group in made:
        bus.append(group)
    return size * groups / (time.perf_counter() - started)


def read_through(bus: Bus) -> float:
    """Messages a second, from the first one on."""
    at, end = 0, bus.end()
    started = time.perf_counter()
    while at < end:
        at += len(bus.read(at, READ))
    return end / (time.perf_counter() - started)


@contextmanager
def kafka(folder: Path) -> Iterator[KafkaAccess]:
    """A broker as `gridseal servers up` starts it."""
    (seen,) = stack.up(folder, ["kafka"], CACHE, lambda *_: None)
    assert seen.is_up, seen.state
    try:
        at = read(folder).kafka
        assert at is not None
        one = at.principals["admin"]
        yield KafkaAccess(at.bootstrap, at.ca, one.certificate, one.key)
    finally:
        stack.down(folder, ["kafka"], lambda *_: None)


def measured(bus: ClosableBus) -> dict[str, float]:
    """Messages a second of one bus."""
    try:
        appended(bus, 100, 50)  # the first ones, that nobody counts
        found = {f"append, {size} a group": appended(bus, size, n) for size, n in SIZES.items()}
        return found | {"read": read_through(bus)}
    finally:
        bus.close()


def main() -> list[tuple[str, float, float]]:
    """What, medians of SQLite and of Kafka in messages a second; the two take turns."""
    ours: list[dict[str, float]] = []
    theirs: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as name, kafka(Path(name)) as access:
        for turn in range(ROUNDS):
            ours.append(measured(SqliteBus(Path(name) / f"bus-{turn}")))
            topic = ensure_topic(access, prefix=f"bench-{turn}.raw")
            theirs.append(measured(KafkaBus(access, topic)))
    return [
        (
            what,
            statistics.median(one[what] for one in ours),
            statistics.median(one[what] for one in theirs),
        )
        for what in ours[0]
    ]


if __name__ == "__main__":
    for what, sqlite, broker in main():
        print(f"{what}: SQLite {sqlite:,.0f}/s, Kafka {broker:,.0f}/s, {broker / sqlite:.2f}")
