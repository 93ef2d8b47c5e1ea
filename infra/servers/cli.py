"""`gridseal servers up|down|status`: the real servers on loopback, for the local profile."""

import argparse
import json
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from bal.errors import Stop
from infra.servers.place import NAMES, Say, Seen

_LOOK_S = 1.0


def add_commands(commands: Any) -> None:
    """Add `servers` and its three commands to the command line's parser."""
    text = "start and stop Kafka, Cassandra, Mosquitto, Anvil and Ganache on this machine"
    servers = commands.add_parser("servers", help=text, description=text)
    below = servers.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, what, run in (
        ("up", "fetch what is missing, start, and return once all of them answer", _up),
        ("down", "stop them; data, ports, passwords and certificates are kept", _down),
        ("status", "which of them run, answer and are ours", _status),
    ):
        one = below.add_parser(name, help=what, description=what)
        one.add_argument("--data", type=Path, required=True, metavar="DIR", help="data folder")
        one.add_argument("--only", default=",".join(NAMES), metavar="NAMES", help="%(default)s")
        one.add_argument("--json", action="store_true", help="the result as one line of JSON")
        one.set_defaults(run=run)
        if name == "up":
            one.add_argument("--cache", type=Path, metavar="FOLDER", help="for what is fetched")
            one.add_argument("--foreground", action="store_true", help="stay, stop all on Ctrl-C")


def _names(arguments: argparse.Namespace) -> list[str]:
    asked = [name for name in str(arguments.only).split(",") if name]
    unknown = sorted(set(asked) - set(NAMES))
    if unknown or not asked:
        raise Stop("usage", f"servers are {', '.join(NAMES)}, not {' '.join(unknown) or 'none'}")
    return [name for name in NAMES if name in asked]


def _up(arguments: argparse.Namespace) -> int:
    from infra.servers import fetch, stack

    _quiet()
    names, data = _names(arguments), arguments.data.resolve()
    cache = arguments.cache or fetch.default_cache()
    seen = _shown(names, lambda say: stack.up(data, names, cache.resolve(), say))
    told = _told_to_end() if arguments.foreground else None  # before anybody reads that they are up
    _print(seen, as_json=arguments.json)
    up = [one.name for one in seen if one.is_up]
    failed = [one for one in seen if not one.is_up]
    for one in failed:
        sys.stderr.write(f"gridseal: {one.name}: {one.state}\n")
    if failed or told is None:
        return int(bool(failed))
    return _stay(data, up, told)


def _told_to_end() -> SimpleQueue[int]:
    """The signals that say so; an Event's `set` would wait for the thread that it came upon."""
    told: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: told.put(number))
    return told


def _stay(data: Path, names: Sequence[str], told: SimpleQueue[int]) -> int:
    """Until a signal comes, or one of them ends; then stop all."""
    from infra.servers import stack

    lost: set[str] = set()
    while not lost:
        with suppress(Empty):
            told.get(timeout=_LOOK_S)
            break
        lost = set(names) - set(stack.running(data, names))
    _shown(names, lambda say: stack.down(data, names, say))
    if lost:
        raise Stop("servers-down", f"{', '.join(sorted(lost))} ended; the others were stopped")
    return 0


def _down(arguments: argparse.Namespace) -> int:
    from infra.servers import stack

    names, data = _names(arguments), arguments.data.resolve()
    if not (data / "servers").is_dir():
        raise Stop("servers-state", f"no servers were started for {data}")
    seen = _shown(names, lambda say: stack.down(data, names, say))
    _print(seen, as_json=arguments.json)
    return 0


def _quiet() -> None:
    """Client libraries tell of each try that fails; what counts we say ourselves."""
    for name in ("aiokafka", "cassandra"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _status(arguments: argparse.Namespace) -> int:
    from infra.servers import stack

    _quiet()
    seen = stack.status(arguments.data.resolve(), _names(arguments))
    _print(seen, as_json=arguments.json)
    return 0 if all(one.is_up for one in seen) else 1


def _shown(names: Sequence[str], work: Callable[[Say], list[Seen]]) -> list[Seen]:
    """Do it with a line a server on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn

    console = Console(stderr=True, highlight=False)
    columns = (SpinnerColumn(), TextColumn("{task.fields[server]:<10}"), BarColumn(20))
    with Progress(*columns, TextColumn("{task.description}"), console=console) as progress:
        tasks: dict[str, TaskID] = {
            name: progress.add_task("waiting", server=name, total=None) for name in names
        }

        def say(name: str, what: str, done: int, of: int) -> None:
            text = f"{what} {done}/{of}" if of > 1 else what
            progress.update(tasks[name], description=text, completed=done, total=of or None)

        return work(say)


def _print(seen: Sequence[Seen], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps({one.name: asdict(one) for one in seen}) + "\n")
        sys.stdout.flush()
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("server", "version", "state", "address", "pid", "memory")
    for one in seen:
        memory = f"{one.memory_bytes >> 20} MB" if one.memory_bytes else ""
        pid = str(one.pid) if one.pid else ""
        table.add_row(one.name, one.version, one.state, one.address, pid, memory)
    Console(highlight=False).print(table)
