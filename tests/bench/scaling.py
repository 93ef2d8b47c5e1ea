"""`python -m tests.bench.scaling --meters 1000000 --interval-s 900`: what such a grid needs.

Arithmetic over costs a reading that were measured on one machine; each is an option, so that a
reader's own figure can stand in its place. `--measure` takes the sizes anew on this machine.
docs/scaling.md says where each default comes from and what nobody knows yet.
"""

import argparse
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

DAY_S = 86_400
YEAR_DAYS = 365
TB = 1_000_000_000_000
BULK_KEYS = 64  # of one bulk sender: credential and hash(raw) mod 64


@dataclass(frozen=True, slots=True)
class Costs:
    """What one reading costs, and what else is assumed; the option of each is its name."""

    interval_s: int = 900  # between two readings of a meter
    burst_s: int = 300  # within which what was measured in an interval arrives
    load_percent: int = 50  # of a core that is planned for, at the burst
    collector_us: float = 5.2  # CPU: collector 1.7, guard 1.3, Kafka's client 2.2
    worker_us: float = 30.0  # harmonise, commitments, root over the parts; rows to a topic
    sequencer_us: float = 8.0  # leaf hashes, tree, staging, tiles
    storer_us: float = 27.4  # storer 18.1, Cassandra's driver 7.3, settler 2.0
    feeder_us: float = 32.0  # of Kafka's consumers, its rows read back from Cassandra
    cassandra_us: float = 34.9  # of each replica, settling included
    device_day_us: float = 470.0  # closing one device's day, its rows read
    raw_bytes: float = 259.0  # of the message, a reading
    archive_bytes: float = 334.0  # encrypted by part, with its summary
    scd_bytes: float = 124.0  # of segments and index maps in Cassandra, a reading
    log_bytes: float = 66.7  # bundle 34, tiles 32.1, batch header 0.6
    vault_bytes: float = 274.0  # of a meter, with its keys of one year
    device_day_bytes: float = 1_900.0  # 93 + 18 × 96, its key, its entry; not compressed
    bus_days: int = 7  # raw messages kept on Kafka
    replicas: int = 3  # of Kafka and Cassandra
    spare_percent: int = 50  # of a Cassandra disk that compaction and growth are left
    node_tb: float = 4.0  # disk of a Cassandra node
    node_cores: int = 4  # of a Cassandra node
    anchor_interval_s: int = 600
    gas_head: int = 82_873  # at 2^20 entries
    gas_doubling: int = 1_200  # for each doubling of the log above
    gas_close: int = 79_453  # a day; late data costs another one
    closes_a_day: int = 2


# Those of one thread each, on SQLite and in quiet; docs/benchmarks.md, 2026-11-21
EMBEDDED = Costs(
    collector_us=3.1,  # guard 2.3, bus 0.8
    worker_us=10.0,  # harmonise and parts 6.1, records 2.7, roots 1.2
    sequencer_us=2.9,
    storer_us=8.5,  # archive 2.2, rows 0.7, segments 5.6
    scd_bytes=237.0,
)


@dataclass(frozen=True, slots=True)
class Needs:
    """What a grid needs; sizes are of one year unless a name says otherwise."""

    meters: int
    readings_a_year: int
    readings_s: float  # mean
    burst_readings_s: float
    collector_cores: int
    worker_cores: int
    sequencer_share: float  # of one core, at the burst: there is one sequencer
    storer_cores: int
    feeder_share: float  # of one core, at the burst: one process feeds
    cassandra_cores: int  # of all nodes
    closing_hours: float  # of one core, a day
    partitions: int
    kafka_tb: float
    log_tb: float
    archive_tb: float
    scd_tb: float  # one copy
    cassandra_tb: float  # all copies, with spare room
    cassandra_nodes: int
    vault_gb: float
    gas: float
    gas_a_reading: float


def needs(meters: int, costs: Costs) -> Needs:
    """The arithmetic; nothing else is in it."""
    a_day = meters * DAY_S // costs.interval_s
    readings = a_day * YEAR_DAYS
    burst = meters / costs.burst_s

    def cores(us: float) -> int:
        exact = burst * us / 1e6 / (costs.load_percent / 100)
        return max(1, math.ceil(round(exact, 6)))  # 2.0000000000000004 is two

    workers = cores(costs.worker_us)
    device_days = meters * YEAR_DAYS
    scd = readings * costs.scd_bytes + device_days * costs.device_day_bytes
    copies = scd * costs.replicas / (1 - costs.spare_percent / 100)
    cassandra_cores = cores(costs.replicas * costs.cassandra_us)
    by_storage = math.ceil(copies / TB / costs.node_tb)
    nodes = max(costs.replicas, by_storage, math.ceil(cassandra_cores / costs.node_cores))
    heads = YEAR_DAYS * DAY_S // costs.anchor_interval_s
    doublings = max(0.0, math.log2(max(readings, 2)) - 20)
    gas = heads * (costs.gas_head + costs.gas_doubling * doublings)
    gas += YEAR_DAYS * costs.closes_a_day * costs.gas_close
    return Needs(
        meters=meters,
        readings_a_year=readings,
        readings_s=a_day / DAY_S,
        burst_readings_s=burst,
        collector_cores=cores(costs.collector_us),
        worker_cores=workers,
        sequencer_share=burst * costs.sequencer_us / 1e6,
        storer_cores=cores(costs.storer_us),
        feeder_share=burst * costs.feeder_us / 1e6,
        cassandra_cores=cassandra_cores,
        closing_hours=meters * costs.device_day_us / 1e6 / 3600,
        partitions=1 << (2 * workers - 1).bit_length(),
        kafka_tb=a_day * costs.bus_days * costs.raw_bytes * costs.replicas / TB,
        log_tb=readings * costs.log_bytes / TB,
        archive_tb=readings * costs.archive_bytes / TB,
        scd_tb=scd / TB,
        cassandra_tb=copies / TB,
        cassandra_nodes=nodes,
        vault_gb=meters * costs.vault_bytes / 1e9,
        gas=gas,
        gas_a_reading=gas / readings,
    )


ROWS = (
    ("readings a year", "readings_a_year", "{:,.0f}"),
    ("readings a second, mean", "readings_s", "{:,.0f}"),
    ("readings a second, in the burst", "burst_readings_s", "{:,.0f}"),
    ("collectors, cores", "collector_cores", "{:,}"),
    ("workers, cores", "worker_cores", "{:,}"),
    ("sequencer, of its one core, in the burst", "sequencer_share", "{:.1%}"),
    ("storers, cores", "storer_cores", "{:,}"),
    ("feed of Kafka's consumers, of its one core, in the burst", "feeder_share", "{:.1%}"),
    ("Cassandra, cores of all nodes", "cassandra_cores", "{:,}"),
    ("closing a day, hours of one core", "closing_hours", "{:,.2f}"),
    ("partitions of `bal.raw`", "partitions", "{:,}"),
    ("Kafka, a week of raw messages, all copies, TB", "kafka_tb", "{:,.2f}"),
    ("log, a year, one copy, TB", "log_tb", "{:,.2f}"),
    ("raw archive, a year, one copy, TB", "archive_tb", "{:,.1f}"),
    ("customer database, a year, one copy, TB", "scd_tb", "{:,.1f}"),
    ("– in Cassandra, all copies and spare room, TB", "cassandra_tb", "{:,.0f}"),
    ("Cassandra nodes after a year", "cassandra_nodes", "{:,}"),
    ("vault, GB", "vault_gb", "{:,.2f}"),
    ("gas a year", "gas", "{:,.0f}"),
    ("gas a reading", "gas_a_reading", "{:,.6f}"),
)
EMBEDDED_ROWS = tuple(
    row
    for row in ROWS
    if row[1]
    in {
        "collector_cores",
        "worker_cores",
        "sequencer_share",
        "storer_cores",
        "partitions",
        "scd_tb",
    }
)


def table(sizes: Sequence[int], costs: Costs, rows: Sequence[tuple[str, str, str]] = ROWS) -> str:
    """A Markdown table, a column a size."""
    found = [needs(meters, costs) for meters in sizes]
    lines = ["| meters | " + " | ".join(f"{meters:,}" for meters in sizes) + " |"]
    lines.append("|---" * (len(sizes) + 1) + "|")
    for name, field, form in rows:
        cells = " | ".join(form.format(getattr(one, field)) for one in found)
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines) + "\n"


def measure(messages: int = 150) -> dict[str, float]:
    """Bytes a reading of raw message, log, archive, database and vault, on this machine."""
    from tests.bench.pipeline import METERS, Bench, message

    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "platform"
        bench = Bench(root)
        bench.play("headend", "cim", [message(0)])
        vault = _bytes(root / "vault")
        raws = [message(1 + number) for number in range(messages)]
        bench.play("headend", "cim", raws)
        bench.close()
        many = (messages + 1) * METERS
        return {
            "raw_bytes": sum(map(len, raws)) / messages / METERS,
            "archive_bytes": _bytes(root / "archive") / many,
            "scd_bytes": _bytes(root / "scd") / many,
            "log_bytes": _bytes(root / "log") / many,
            "vault_bytes": vault / METERS,
        }


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scaling", description=__doc__)
    parser.add_argument("--meters", type=int, action="append", help="a column; may be repeated")
    parser.add_argument("--measure", action="store_true", help="measure the sizes, print them")
    parser.add_argument("--embedded", action="store_true", help="costs of the embedded stores")
    for one in fields(Costs):
        kind = type(one.default)
        parser.add_argument("--" + one.name.replace("_", "-"), type=kind)
    asked = vars(parser.parse_args())
    if asked.pop("measure"):
        for name, value in measure().items():
            print(f"{name:<16}{value:,.1f}")
        return
    sizes = asked.pop("meters") or [1_000_000, 10_000_000, 100_000_000]
    embedded = asked.pop("embedded")
    costs, rows = (EMBEDDED, EMBEDDED_ROWS) if embedded else (Costs(), ROWS)
    own = {name: value for name, value in asked.items() if value is not None}
    print(table(sizes, replace(costs, **own), rows), end="")


if __name__ == "__main__":
    main()
