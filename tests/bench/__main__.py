"""`python -m tests.bench`: every figure of docs/benchmarks.md, taken in one run."""

import json
import os
import platform
import statistics
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import (
    c37118,
    day,
    device_days,
    latency,
    nquads,
    parsed,
    phasors,
    pipeline,
    proofs,
    servers,
    transactions,
)

REPOSITORY = Path(__file__).resolve().parents[2]


def of_bound(turns: Iterable[tuple[float, float]]) -> str:
    """The ratios of rounds of (bound, rate)."""
    ratios = sorted(rate / limit for limit, rate in turns)
    return f"{ratios[0]:.3f} / {statistics.median(ratios):.3f} / {ratios[-1]:.3f}"


def main() -> None:
    """Print the table; goals stand beside the figures, nothing fails here."""
    console = Console(width=100)
    console.print(
        f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.machine()}"
    )
    table = Table("what", "figure", "goal", title="make bench", expand=True)
    with console.status("CIM messages of 1,000 meters"):
        turns = pipeline.main()
    rate = statistics.median(rate for _, rate in turns)
    bound = statistics.median(limit for limit, _ in turns)
    table.add_row("bound: SHA-256 of 300 B, append, fdatasync per 1,000", f"{bound:,.0f}/s", "")
    table.add_row("CIM of 1,000 meters → certified, stored, checkpoint", f"{rate:,.0f}/s", "")
    table.add_row("  of bound (min / median / max of 5)", of_bound(turns), "≥ 0.05")
    with console.status("the same, parsed and harmonised alone"):
        turns = parsed.main()
    read = statistics.median(read for _, read in turns)
    table.add_row("CIM of 1,000 meters → records, one core", f"{read:,.0f}/s", "")
    table.add_row("  of bound (min / median / max of 5)", of_bound(turns), "≥ 0.10")
    with console.status("a day of a grid"):
        played = day.main()
    figure = f"{played:,.0f}/s, {played / rate:.2f}"
    table.add_row("a day of a grid, every format; of the rate above", figure, "≥ 0.7")
    with console.status("one transaction a reading"):
        sent = transactions.main()
    table.add_row(
        "one transaction a reading, web3.py on the chain in the process", f"{sent:,.1f}/s", ""
    )
    table.add_row("  certified / one transaction a reading", f"{rate / sent:,.0f} ×", "≥ 500 ×")
    with console.status("proofs"):
        found = proofs.main()
    table.add_row(
        "inclusion proofs made, cached tiles, one core", f"{found['made']:,.0f}/s", "≥ 20,000/s"
    )
    table.add_row("inclusion proofs checked, one core", f"{found['checked']:,.0f}/s", "≥ 40,000/s")
    canonical = found["canonical"] / found["rfc8785"]
    table.add_row("canonical form, ours / rfc8785 package, same bytes", f"{canonical:,.0f} ×", "")
    with console.status("records as N-Quads"):
        ours, theirs = nquads.main()
    table.add_row("readings as N-Quads, one core", f"{ours:,.0f}/s", "≥ 30,000/s")
    table.add_row("  of rdflib's writer, same quads", f"{ours / theirs:,.0f} ×", "")
    with console.status("device-days"):
        took_s = device_days.main()
    figure = f"{took_s * 100_000 / device_days.DEVICES:,.0f} s"
    what = f"device-days of 100,000 devices, {device_days.DEVICES:,} measured, rows read"
    table.add_row(what, figure, "≤ 60 s")
    with console.status("frames of C37.118"):
        floats, integers = c37118.main()
    figure = f"{floats:,.0f}/s, {integers:,.0f}/s"
    what = "C37.118 decode, frames split, checked and read by one core: floats, integers"
    table.add_row(what, figure, "≥ 20,000/s")
    with console.status("200 streams of phasor frames"):
        shares = sorted(phasors.main())
    figure = f"{shares[0]:.2f} / {statistics.median(shares):.2f} / {shares[-1]:.2f}"
    what = "200 × 50 phasor frames/s for a minute: reached / needed (min / median / max of 5)"
    table.add_row(what, figure, "≥ 1")
    with console.status("500 one-reading messages a second by MQTT"):
        disk_p99, disk_max = latency.disk()
        times = latency.main()
    table.add_row("the disk's own fdatasync", f"p99 {disk_p99:.1f}, max {disk_max:.1f} ms", "")
    for kind, goal in (("accepted", "p99 ≤ 20 ms"), ("certified", "p99 ≤ 150 ms")):
        p50, p99, most = times[kind]
        figure = f"p50 {p50:.1f}, p99 {p99:.1f}, max {most:.1f} ms"
        table.add_row(f"500/s by MQTT: {kind}", figure, goal)
    gas = json.loads((REPOSITORY / "contracts" / "gas.json").read_text())
    for size, goal in (("2^20", "≤ 85,000"), ("2^30", "≤ 100,000")):
        dearest = gas["anchor"][size]["dearest"]["gas"]
        table.add_row(f"gas per head at {size}, longest proof, checked", f"{dearest:,}", goal)
    console.print(table)
    servers.main(console)


if __name__ == "__main__":
    main()
