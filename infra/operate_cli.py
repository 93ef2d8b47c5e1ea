"""The commands of operation: drill, doctor, backup, restore (docs/operations.md)."""

import argparse
import sys
from pathlib import Path
from typing import Any

from bal.errors import Stop


def add_commands(commands: Any) -> None:
    """Add them to the command line."""
    _add_drill(commands)


def _data(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data", type=Path, required=True, metavar="DIR", help="data folder")


# -- drill ------------------------------------------------------------------------------------


def _add_drill(commands: Any) -> None:
    text = "try ten attacks on a copy of a data folder; each must be caught"
    drill = commands.add_parser("drill", help=text, description=f"{text}. Writes to the copy only.")
    _data(drill)
    drill.add_argument(
        "--temp", type=Path, metavar="DIR", help="where the copies go; the system's if not given"
    )
    drill.add_argument("--json", action="store_true", help="one JSON object")
    drill.set_defaults(run=_drill)


def _drill(arguments: argparse.Namespace) -> int:
    """0: the untouched copy is clean and every attack was caught; 1: else."""
    from infra.drill import Row, drill, report  # noqa: PLC0415 - as infra/cli.py

    if arguments.temp is not None and not arguments.temp.is_dir():
        raise Stop("usage", f"--temp {arguments.temp} is no folder")
    shown = sys.stderr.isatty()

    def say(row: Row) -> None:
        if shown:
            sys.stderr.write(f"  {row.attack}\n")

    return report(drill(arguments.data, arguments.temp, say), as_json=arguments.json)
