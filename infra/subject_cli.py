"""`gridseal subject`: who lives where since when, who is behind a pseudonym, all about one."""

import argparse
import getpass
import json
import os
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from bal.errors import Stop
from infra.control import call

TIMEOUT_S = 120
FILES = {  # of an export, by the kind of the records in it; None: what a device measures or says
    None: "records.jsonl",
    "finding": "records.jsonl",
    "device": "platform.jsonl",
    "lookup": "platform.jsonl",
}
README = """What this platform holds about the subject of these pseudonyms.

subject.json            the pseudonyms, since when and until when each was used
<pseudonym>/records.jsonl   every reading and event, every version, in order of time, one a line;
                        behind them what was found of them when days were closed
<pseudonym>/platform.jsonl  what the platform recorded of it: `device`, when it was enrolled or
                        named first, and when a move, an exchange or a revocation changed it;
                        `lookup`, who asked whose it is, when and with what reason
<pseudonym>/receipts/       the proof of each record, by its index in the log
<pseudonym>/days/           what was closed of each day, with the proof that nothing is left out
policy.txt              what a verifier starts from; get it from the operator another way, too

Each receipt can be checked without the platform, by anybody:

    gridseal verify <pseudonym>/receipts/*.tlog-proof --policy policy.txt
"""


def add_commands(commands: Any) -> None:
    """Add them to the command line."""
    text = "subject epochs: moves, meter exchanges, who is behind a pseudonym, all about one"
    subject = commands.add_parser("subject", help=text, description=text)
    verbs = subject.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_epochs(verbs)
    _add_looks(verbs)
    _add_vault(commands)


def _data(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data", type=Path, required=True, metavar="DIR", help="data folder")


def _add_epochs(verbs: Any) -> None:
    meter = "identity (mrid:…, name:…/…/…, or a bare name) or pseudonym"
    from_ = "the first day, YYYY-MM-DD: counts from midnight at the metering point"
    for name, text in (
        ("move-in", "readings from a day on are another holder's, under a new pseudonym"),
        ("move-out", "readings from a day on are nobody's yet, under a new pseudonym"),
        ("exchange", "from a day on another meter measures for the same holder"),
        ("hold", "say whose a meter's present epoch is; nothing else changes"),
    ):
        command = verbs.add_parser(name, help=text, description=text)
        command.add_argument("meter", metavar="METER", help=meter)
        if name == "exchange":
            command.add_argument("new", metavar="NEW", help="identity of the new meter")
        if name in {"move-in", "hold"}:
            command.add_argument(
                "--holder", required=True, metavar="WORD",
                help="your own word for whose it is, a customer number; stays in the vault",
            )  # fmt: skip
        if name != "hold":
            command.add_argument("--from", dest="date", required=True, metavar="DATE", help=from_)
        _data(command)
        command.set_defaults(run=_hold if name == "hold" else _begin)


def _begin(arguments: argparse.Namespace) -> int:
    asked: dict[str, Any] = {"meter": arguments.meter, "date": arguments.date}
    if hasattr(arguments, "holder"):
        asked["holder"] = arguments.holder
    name = "subject-move"
    if hasattr(arguments, "new"):
        name, asked["new"] = "subject-exchange", arguments.new
    made = call(arguments.data, name, **asked)
    sys.stdout.write(
        f"what {made['ends']} measures ends at {made['at']};\n"
        f"from then on it is {made['begins']}'s. Late readings of before go to the former.\n"
    )
    return 0


def _hold(arguments: argparse.Namespace) -> int:
    made = call(arguments.data, "subject-hold", meter=arguments.meter, holder=arguments.holder)
    sys.stdout.write(f"{made['device']} is held by {arguments.holder}\n")
    return 0


VAULT_RESTORE = """
Put the identity vault back from a copy that `gridseal vault backup` made. Stop the platform first.
It refuses where there is a vault already, where the copy is another platform's, and where the
passphrase is not the copy's. Subjects and key years that were made after the copy are not in it.
"""
VAULT_EXAMPLE = """example:
  gridseal vault restore vault-2026-01-15.copy --passphrase-file passphrase.txt --data data
"""


def _add_vault(commands: Any) -> None:
    text = "copy the identity vault, sealed under a passphrase, or bring a lost one back"
    vault = commands.add_parser("vault", help=text, description=text)
    verbs = vault.add_subparsers(title="commands", metavar="COMMAND", required=True)
    made = verbs.add_parser("backup", help="write the vault to a file, also while it is used")
    made.add_argument(
        "--to", type=Path, required=True, metavar="FILE", help="a new file, made 0600"
    )
    again = verbs.add_parser(
        "restore",
        help="put it back where it is lost; the platform stopped",
        description=VAULT_RESTORE,
        epilog=VAULT_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    again.add_argument("file", type=Path, metavar="FILE")
    for command, run in ((made, _vault_backup), (again, _vault_restore)):
        command.add_argument(
            "--passphrase-file", type=Path, required=True, metavar="FILE",
            help="its first line, of at least 16 characters, seals and opens the copy",
        )  # fmt: skip
        _data(command)
        command.set_defaults(run=run)


def _vault_backup(arguments: argparse.Namespace) -> int:
    from infra.vault_backup import backup, passphrase  # noqa: PLC0415 - as infra/cli.py

    made = backup(arguments.data, arguments.to, passphrase(arguments.passphrase_file))
    sys.stdout.write(
        f"{arguments.to}: the vault of {made.origin} with {made.subjects} subjects, {made.time}\n"
        "Keep it and its passphrase in two places, neither of them with the data folder.\n"
    )
    return 0


def _vault_restore(arguments: argparse.Namespace) -> int:
    from infra.vault_backup import passphrase, restore  # noqa: PLC0415 - as infra/cli.py

    made = restore(arguments.file, arguments.data, passphrase(arguments.passphrase_file))
    sys.stdout.write(
        f"the vault of {made.origin} is back as of {made.time}, with {made.subjects} subjects.\n"
        "What was made later is lost: `gridseal replay` names the entries that can't be opened.\n"
    )
    return 0


def _add_looks(verbs: Any) -> None:
    for name, text in (
        ("show", "who is behind a pseudonym, or the pseudonyms of a meter or holder"),
        ("export", "write all about a subject to a file: records, days, and their proofs"),
    ):
        command = verbs.add_parser(
            name, help=text, description=f"{text}. The log records who asked, and why."
        )
        command.add_argument("who", metavar="WHO", help="pseudonym, identity or holder")
        command.add_argument("--why", required=True, metavar="TEXT", help="the reason, recorded")
        command.add_argument("--by", default=user(), metavar="NAME", help="who asks: %(default)s")
        if name == "export":
            command.add_argument(
                "--to", type=Path, required=True, metavar="FILE.zip", help="a new file, made 0600"
            )
        else:
            command.add_argument("--json", action="store_true", help="one JSON object a line")
        _data(command)
        command.set_defaults(run=_export if name == "export" else _show)


def _show(arguments: argparse.Namespace) -> int:
    epochs = call(
        arguments.data, "subject-show", who=arguments.who, why=arguments.why, by=arguments.by
    )
    for one in epochs:
        if arguments.json:
            sys.stdout.write(json.dumps(one, ensure_ascii=False) + "\n")
            continue
        span = f"{one['since'] or 'the first reading'} to {one['until'] or 'today'}"
        sys.stdout.write(
            f"{one['device']}  {one['identity']}\n"
            f"  {span}; holder: {one['holder'] or 'not said'};"
            f" group {one['group']}, {one['zone']}, {one['kind']}, {one['state']};"
            f" keys of {', '.join(one['key_years']) or 'no year'}\n"
        )
    return 0


def _export(arguments: argparse.Namespace) -> int:
    epochs = call(
        arguments.data, "subject-show",
        who=arguments.who, why=arguments.why, by=arguments.by, export=True,
    )  # fmt: skip
    policy = call(arguments.data, "policy")
    try:
        descriptor: BinaryIO = open(arguments.to, "xb", opener=_private)  # noqa: SIM115 - an opener
    except FileExistsError as error:
        raise Stop("usage", f"--to {arguments.to} is there already") from error
    try:
        with descriptor:
            records, days = _write(descriptor, arguments.data, epochs, policy)
    except BaseException:  # half of it would pass for all
        arguments.to.unlink(missing_ok=True)
        raise
    sys.stdout.write(
        f"{arguments.to}: {len(epochs)} pseudonyms, {records} records with their receipts,"
        f" {days} device-days; README.txt in it says how to check them\n"
    )
    if (holders := len({one["holder"] for one in epochs})) > 1:
        sys.stdout.write(f"It is all of {holders} holders: give nobody what is another's.\n")
    return 0


def _write(
    to: BinaryIO, data: Path, epochs: Sequence[dict[str, Any]], policy: str
) -> tuple[int, int]:
    """The file; how many records and device-days are in it."""
    records = days = 0
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("README.txt", README)
        made.writestr("subject.json", json.dumps(epochs, ensure_ascii=False, indent=1) + "\n")
        made.writestr("policy.txt", policy)
        for one in epochs:
            device = one["device"]
            lines: dict[str, list[str]] = {file: [] for file in FILES.values()}
            for file, item in _records(data, device):
                lines[file].append(item["record"] + "\n")
                made.writestr(f"{device}/receipts/{item['index']}.tlog-proof", item["receipt"])
                records += 1
            for file, members in lines.items():
                made.writestr(f"{device}/{file}", "".join(members))
            for day, register in call(data, "subject-days", device=device):
                text = call(
                    data, "subject-day", timeout_s=TIMEOUT_S,
                    device=device, date=day, register=register,
                )  # fmt: skip
                # A register may be a device's own word, with anything in it.
                name = f"{device}/days/{day}-{quote(register, safe='')}.json"
                made.writestr(name, text)
                days += 1
    return records, days


def user() -> str:
    """Who runs this; a container's user may have no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _records(data: Path, device: str) -> Iterator[tuple[str, dict[str, str]]]:
    """All of one pseudonym, each with its file, as of when the first page was made."""
    size = 0
    for kind, file in FILES.items():
        after, more = None, True
        while more:
            page = call(
                data, "subject-page", timeout_s=TIMEOUT_S,
                device=device, kind=kind, after=after, size=size,
            )  # fmt: skip
            yield from ((file, item) for item in page["items"])
            after, size = page["after"], page["size"]
            more = after is not None
