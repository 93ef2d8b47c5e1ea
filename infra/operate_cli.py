"""The commands of operation: doctor, findings, drill, backup, restore (docs/operations.md)."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bal.errors import Stop
from infra import trust_cli
from infra.addresses import address


def add_commands(commands: Any) -> None:
    """Add them to the command line."""
    _add_doctor(commands)
    _add_findings(commands)
    _add_drill(commands)
    _add_backup(commands)
    trust_cli.add_commands(commands)
    _add_edit(commands)


def _data(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data", type=Path, required=True, metavar="DIR", help="data folder")


# -- doctor -----------------------------------------------------------------------------------


def _add_doctor(commands: Any) -> None:
    text = "is all well? one sentence and one remedy each"
    doctor = commands.add_parser(
        "doctor", help=text, description=f"{text}. Exit: 0 yes, 1 no, 2 not for long."
    )
    _data(doctor)
    doctor.add_argument("--config", type=Path, metavar="FILE", help="as of `gridseal up`")
    for option, default in (("--http", "127.0.0.1:8443"), ("--mqtt", "127.0.0.1:8883")):
        doctor.add_argument(
            option, default=default, metavar="HOST:PORT", help="as of `gridseal up`"
        )
    doctor.add_argument("--json", action="store_true", help="one JSON object")
    doctor.set_defaults(run=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    from infra.config import load  # noqa: PLC0415
    from infra.doctor import MARKS, examine, exit_of  # noqa: PLC0415

    addresses = (address(arguments.http), address(arguments.mqtt))
    checks = examine(arguments.data, load(arguments.config), addresses)
    code = exit_of(checks)
    if arguments.json:
        body = {"exit": code, "checks": [asdict(check) for check in checks]}
        sys.stdout.write(json.dumps(body, ensure_ascii=False, indent=1) + "\n")
        return code
    for check in checks:
        sys.stdout.write(f"{MARKS[check.state]} {check.name:<12}  {check.text}\n")
        if check.remedy:
            sys.stdout.write(f"  {'':<12}  → {check.remedy}\n")
    return code


# -- findings ---------------------------------------------------------------------------------


def _add_findings(commands: Any) -> None:
    text = "list what was refused or doubtful in messages and days, the newest first, with names"
    found = commands.add_parser("findings", help=text, description=text)
    _data(found)
    found.add_argument("--code", help="as in docs/spec/limits-and-codes.md")
    found.add_argument("--severity", choices=("refused", "warning", "info"))
    for option, whom in (("--device", "device"), ("--sender", "sender")):
        found.add_argument(option, metavar="NAME|PSEUDONYM", help=f"of this {whom} only")
    found.add_argument(
        "--limit", type=int, default=100, metavar="N", help="so many; 0 for all: %(default)s"
    )
    found.add_argument("--json", action="store_true", help="one JSON object a line")
    found.set_defaults(run=_findings)


def _findings(arguments: argparse.Namespace) -> int:
    from infra.findings_list import line, listing  # noqa: PLC0415 - as infra/cli.py

    if arguments.limit < 0:
        raise Stop("usage", "--limit is a number, 0 for all")
    asked = {name: getattr(arguments, name) for name in ("code", "severity", "device", "sender")}
    shown, limit = 0, arguments.limit
    for told in listing(arguments.data, **asked, limit=limit and limit + 1):
        if limit and shown == limit:
            sys.stderr.write(f"gridseal: the newest {limit}; there are more: --limit 0 lists all\n")
            break
        sys.stdout.write((json.dumps(told) if arguments.json else line(told)) + "\n")
        shown += 1
    if not shown:
        given = ", ".join(f"{name} {text}" for name, text in asked.items() if text is not None)
        sys.stderr.write(f"gridseal: no finding{f' of {given}' if given else ''}\n")
    return 0


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


# -- backup, restore --------------------------------------------------------------------------


def _add_backup(commands: Any) -> None:
    text = "write a data folder to one file, also while a platform runs on it"
    made = commands.add_parser("backup", help=text, description=text)
    _data(made)
    made.add_argument(
        "--to", type=Path, required=True, metavar="FILE.tar",
        help="a new file, made 0600; of a folder, one in it that the time names",
    )  # fmt: skip
    made.add_argument(
        "--keep", type=int, default=0, metavar="N",
        help="with a folder: so many files stay there, the newest; all if not given",
    )  # fmt: skip
    made.add_argument(
        "--without-keys", action="store_true",
        help="leave the keys of CA, chain and tokens out: senders must be enrolled anew then",
    )  # fmt: skip
    made.add_argument(
        "--without-rows", action="store_true",
        help="leave out what is projected of the log: `restore` makes it again, which takes long",
    )  # fmt: skip
    made.set_defaults(run=_backup)
    text = "make a data folder of a backup: a successor log, under a new name and key"
    again = commands.add_parser("restore", help=text, description=text)
    again.add_argument("file", type=Path, metavar="FILE.tar")
    again.add_argument("--data", type=Path, required=True, metavar="DIR", help="a new data folder")
    again.add_argument("--origin", default="", metavar="NAME", help="the successor's; else made")
    again.add_argument(
        "--config", type=Path, metavar="FILE", help="rows go to the Cassandra that it names, if any"
    )
    again.add_argument("--json", action="store_true", help="one JSON object")
    again.set_defaults(run=_restore)


def _backup(arguments: argparse.Namespace) -> int:
    from infra.backup import backup, backup_in  # noqa: PLC0415 - as infra/cli.py

    keys, rows, to = not arguments.without_keys, not arguments.without_rows, arguments.to
    if arguments.keep < 0 or (arguments.keep and not to.is_dir()):
        raise Stop("usage", "--keep is a number, and --to a folder then")
    if to.is_dir():
        to, made = backup_in(to, arguments.data, arguments.keep, keys=keys, rows=rows)
    else:
        made = backup(arguments.data, to, keys=keys, rows=rows)
    held = "the keys of CA, chain and tokens and the vault" if keys else "the vault"
    sys.stdout.write(
        f"{to}: {made.origin} as of {made.size} entries, {made.time}\n"
        f"It holds {held}: who can read it can open every record and name every customer.\n"
        "It holds no key of the log: `gridseal restore` opens a successor log.\n"
    )
    if not keys:
        sys.stdout.write("Without the CA's key, senders must be enrolled anew after a restore.\n")
    return 0


def _restore(arguments: argparse.Namespace) -> int:
    from infra.backup import described, restore  # noqa: PLC0415 - as infra/cli.py
    from infra.config import is_origin, load  # noqa: PLC0415

    if not is_origin(arguments.origin):
        raise Stop("usage", "--origin must be like example.org/log: no scheme, space or +")
    config = load(arguments.config)
    done = restore(arguments.file, arguments.data, arguments.origin, config)
    if arguments.json:
        sys.stdout.write(json.dumps(described(done)) + "\n")
        return 0
    sys.stdout.write(
        f"{arguments.data}: the log {done.origin}, whose first {done.of.size} entries are those of"
        f" {done.of.origin} as of {done.of.time}\n"
        "Give verifiers the new policy, beside the old: gridseal policy --data DIR\n"
    )
    if not done.on_chain:
        whom = done.anchorer or "the anchorer's address"
        sys.stdout.write(
            "Its contract must be told, by the contract's admin, before anything is anchored:\n"
            f"  open({done.log}, {whom}, 0x{40 * '0'}, 0)\n"
        )
    return 0


# -- edit -------------------------------------------------------------------------------------

EDIT = """
What was measured stays in the log, and its receipt stays valid: the new version stands beside it,
ranks above it, and says by whom and why it was made.
"""
EDIT_EXAMPLE = """example:
  gridseal edit --data data --device Zm9v… --register 0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0 \\
      --begin 2026-01-15T10:00:00Z --end 2026-01-15T10:15:00Z --value 210 \\
      --by "A. Reader" --why "read at the meter, its display was misread"
"""


def _add_edit(commands: Any) -> None:
    text = "put a value in the place of a reading's, as a further version with who and why"
    edit = commands.add_parser(
        "edit", help=text, description=f"{text}.\n{EDIT}", epilog=EDIT_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    _data(edit)
    for option, meaning in (
        ("--device", "pseudonym of the meter"),
        ("--register", "ReadingType of 18 fields, its multiplier 0, as readings show it"),
        ("--end", "RFC 3339: the end of the interval, or the instant"),
        ("--value", "decimal in the register's base unit (Wh, W, …)"),
        ("--by", "who; stands in the record"),
        ("--why", "why; stands in the record"),
    ):
        edit.add_argument(option, required=True, metavar="TEXT", help=meaning)
    edit.add_argument("--begin", default="", metavar="TEXT", help="the begin of the interval")
    edit.set_defaults(run=_edit)


def _edit(arguments: argparse.Namespace) -> int:
    from bal.edits import MEMBERS  # noqa: PLC0415 - as infra/cli.py
    from infra.control import call  # noqa: PLC0415

    asked = {name: getattr(arguments, name) for name in MEMBERS}
    made = call(arguments.data, "reading-edit", **asked)
    sys.stdout.write(f"{made['value']} from {made['begin']} to {made['end']}, by {made['by']}\n")
    return 0
