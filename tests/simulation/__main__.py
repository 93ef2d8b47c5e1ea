"""`python -m tests.simulation --seed N --meters M --days D`: one simulated world, or several."""

import argparse
import logging
import resource
import sys
import time
import traceback
from collections import Counter

from infra.interpreter import tune_interpreter
from tests.simulation.checks import check_all
from tests.simulation.simulation import Simulation
from tests.simulation.world import HOUR_US


def again(seed: int, meters: int, days: int) -> str:
    """The command that runs the same world again."""
    return f"python -m tests.simulation --seed {seed} --meters {meters} --days {days}"


def run(seed: int, meters: int, days: int, *, progress: bool = False) -> tuple[str, Simulation]:
    """One world to its end; the final root and what it went through."""
    simulation = Simulation(seed, meters, days)
    if progress:
        tell_hourly(simulation)
    simulation.run()
    if progress:
        print(f"  {time.process_time():,.0f} s of CPU: all is checked now", flush=True)
    return check_all(simulation), simulation


def tell_hourly(simulation: Simulation) -> None:
    """Print each virtual hour how far it is."""
    world, servers = simulation.world, simulation.servers
    hour = world.now_us // HOUR_US
    print(
        f"  hour {hour}: {servers.disk.row.size:,} entries, {servers.stored.size():,} stored,"
        f" {sum(world.injected.values()):,} faults, {time.process_time():,.0f} s of CPU",
        flush=True,
    )
    world.at(HOUR_US, lambda: tell_hourly(simulation))


def told(counts: Counter[str]) -> str:
    """Counts, one a line."""
    return "".join(f"    {count:>9,}  {name}\n" for name, count in sorted(counts.items()))


def main() -> int:
    """0: all that was promised holds; 1: it does not, and how to see it again."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1, help="so many, from --seed on")
    parser.add_argument("--meters", type=int, default=200)
    parser.add_argument("--days", type=int, default=1)
    parser.add_argument("--progress", action="store_true", help="tell each virtual hour")
    asked = parser.parse_args()
    tune_interpreter()
    logging.disable(logging.ERROR)  # what the roles tell of the faults
    for seed in range(asked.seed, asked.seed + asked.seeds):
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        try:
            root, simulation = run(seed, asked.meters, asked.days, progress=asked.progress)
        except Exception:  # noqa: BLE001 - whatever it is, it can be run again
            traceback.print_exc()
            print(f"seed {seed} fails; again: {again(seed, asked.meters, asked.days)}")
            return 1
        took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
        world, shape = simulation.world, simulation.shape
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        faults = sum(world.injected.values())
        print(
            f"seed {seed}: {shape.date_name}, {shape.partitions} partitions, {shape.workers} "
            f"workers, {shape.storers} storers, {simulation.servers.disk.row.size:,} entries, "
            f"{faults:,} faults, {took_s:.1f} s, {cpu_s:.1f} s of CPU, peak {peak_mb:,} MB, "
            f"root {root[:16]}"
        )
        if asked.seeds == 1:
            print(f"  injected\n{told(world.injected)}  seen\n{told(world.seen)}", end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
