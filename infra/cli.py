"""`gridseal`: the command line. Each command imports what it needs, so that each starts fast."""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bal.errors import GridsealError, Stop
from bal.provide.policy import SCOPES
from infra import log_output
from infra.addresses import address

USAGE = 3  # exit code of wrong use, as `gridseal verify` has it (ARCHITECTURE §5)
_WRONG_USE = {"usage", "config-invalid"}
EXAMPLES = """
examples:
  gridseal up --data DIR                          run a platform; prints one line of JSON
  gridseal device enrol meter-1 --data DIR --out meter-1/
  gridseal client add dso --scope "readings.read devices.read" --all-devices --data DIR
  gridseal client revoke dso --data DIR           its tokens are refused from now on
  gridseal policy --data DIR > policy.txt
  gridseal verify receipt.tlog-proof --policy policy.txt --accept-own-chain
  gridseal simulate --files DIR --enrol DATA      play a day of a real grid
  gridseal fsck --data DIR                        re-derive everything, name what differs
  gridseal drill --data DIR                       ten attacks on a copy, each to be caught
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. A wrong use is 3, a refusal or failure 1."""
    parser = _parser()
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as end:
        return USAGE if end.code else 0
    if not hasattr(arguments, "run"):
        parser.print_help()
        return USAGE
    try:
        code: int = arguments.run(arguments)
    except GridsealError as error:
        sys.stderr.write(f"gridseal: {error}\n")
        return USAGE if isinstance(error, Stop) and error.code in _WRONG_USE else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0
    except OSError as error:
        sys.stderr.write(f"gridseal: {error}\n")
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gridseal",
        description="Makes the electric grid's measurements provable.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_up(commands)
    _add_day(commands)
    _add_device(commands)
    _add_client(commands)
    from infra import cli_parts

    for name, text, run in (
        ("policy", "print the policy file of a platform", _policy),
        ("status", "print where a running platform stands", _status),
        ("fsck", "re-derive entries, tiles, roots, signatures and rows; name what differs", _fsck),
        ("replay", "make every entry again from its raw message; compare every root", _replay),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--data", type=Path, required=True, metavar="DIR", help="data folder")
        if name in {"fsck", "replay"}:
            command.add_argument("--json", action="store_true", help="findings as JSON")
        command.set_defaults(run=run)
    cli_parts.add_commands(commands)
    return parser


# -- up ---------------------------------------------------------------------------------------


def _add_up(commands: Any) -> None:
    up = commands.add_parser(
        "up",
        help="run a platform on a data folder",
        description="Runs everything in one process. The first start makes keys, CA and contract."
        " Prints one line of JSON once it serves; logs go to stderr. SIGTERM or Ctrl-C ends it.",
    )
    up.add_argument("--data", type=Path, required=True, metavar="DIR", help="data folder")
    for option, default, what in (
        ("--http", "127.0.0.1:8443", "REST gateway"),
        ("--mqtt", "127.0.0.1:8883", "MQTT intake"),
    ):
        text = f"{what}, %(default)s if not given; port 0 picks a free one"
        up.add_argument(option, default=default, metavar="HOST:PORT", help=text)
    up.add_argument("--config", type=Path, metavar="FILE", help="TOML; docs/configuration.md")
    text = "embedded (one folder, no server) or local (those of `gridseal servers up`)"
    up.add_argument("--profile", choices=("embedded", "local"), default="embedded", help=text)
    log_output.add_arguments(up)
    up.set_defaults(run=_up)


def _up(arguments: argparse.Namespace) -> int:
    http, mqtt = address(arguments.http), address(arguments.mqtt)
    log_output.begin(arguments.log_level, arguments.log_file, arguments.log_file_bytes)
    import asyncio

    from infra.app import run
    from infra.config import load
    from infra.ending import end
    from infra.interpreter import tune_interpreter

    tune_interpreter()
    config, complete = load(arguments.config), None
    if arguments.profile == "local":
        from infra.profile_local import local

        complete = partial(local, arguments.data)
    with asyncio.Runner() as runner:
        end(runner.run(run(arguments.data, http, mqtt, config, complete)))


# -- day --------------------------------------------------------------------------------------


def _add_day(commands: Any) -> None:
    day = commands.add_parser("day", help="close a day: what it had, and what is missing")
    verbs = day.add_subparsers(title="commands", metavar="COMMAND", required=True)
    close = verbs.add_parser(
        "close", help="write a day's device-days and close its book, now instead of by the clock"
    )
    close.add_argument("date", metavar="DATE", help="YYYY-MM-DD, each meter's own local date")
    close.add_argument("--data", type=Path, required=True, metavar="DIR", help="data folder")
    close.add_argument("--json", action="store_true", help="one JSON object")
    close.set_defaults(run=_day_close)


def _day_close(arguments: argparse.Namespace) -> int:
    from infra.control import call

    made = call(arguments.data, "day-close", timeout_s=660, date=arguments.date)
    if arguments.json:
        sys.stdout.write(json.dumps(made) + "\n")
    else:
        sys.stdout.write(
            f"{made['date']} is closed: close {made['k']}, of the log's first {made['prefix']}"
            f" entries; its record is entry {made['index']}, the book's root {made['book']}\n"
        )
    return 0


# -- device, client ---------------------------------------------------------------------------


ENROL = """
Make a certificate, its key and a password for a sender, and enrol the devices that it speaks for.
DIR gets device.crt, device.key, ca.crt, password and client.json: hand them to the sender."""
ENROL_EXAMPLE = """example:
  gridseal device enrol head-end --data data --out head-end --subjects meters.csv --bulk"""


def _add_device(commands: Any) -> None:
    from infra import device_list_cli

    device = commands.add_parser("device", help="enrol, revoke and list senders and devices")
    verbs = device.add_subparsers(title="commands", metavar="COMMAND", required=True)
    enrol = verbs.add_parser(
        "enrol", help="make certificate and password for a sender", description=ENROL,
        epilog=ENROL_EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    enrol.add_argument("name", metavar="NAME", help="CN of the certificate and MQTT user name")
    enrol.add_argument("--data", type=Path, required=True, metavar="DIR", help="data folder")
    enrol.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write")
    enrol.add_argument(
        "--subjects", default="self", metavar="self|any|FILE",
        help="whom it may speak for: itself (the default), any device (a head-end), or the"
        " devices of a CSV file identity,group,zone,kind",
    )  # fmt: skip
    enrol.add_argument(
        "--group", default="default", help="group of its devices, for access rights: %(default)s"
    )
    enrol.add_argument(
        "--zone", default="UTC", help="IANA time zone of the metering point: %(default)s"
    )
    enrol.add_argument("--bulk", action="store_true", help="a head-end or DSO server")
    enrol.set_defaults(run=_enrol)
    revoke = verbs.add_parser(
        "revoke",
        help="take a sender's right to send, or end a device, at once",
        description="A name is a sender's, whose own device ends with it; the other devices that it"
        " spoke for stay. A pseudonym, as `device list` has it, is a device's: nobody speaks"
        " for it any more, and its days end. One that begins with - stands last, behind --.",
    )
    revoke.add_argument("name", metavar="NAME|PSEUDONYM")
    revoke.add_argument("--data", type=Path, required=True, metavar="DIR", help="data folder")
    revoke.set_defaults(run=_revoke)
    restore = verbs.add_parser("restore", help="take a revoked device back into service")
    restore.add_argument("name", metavar="PSEUDONYM")
    restore.add_argument("--data", type=Path, required=True, metavar="DIR", help="data folder")
    restore.set_defaults(run=_restore)
    device_list_cli.add_command(verbs)


def _enrol(arguments: argparse.Namespace) -> int:
    from infra.client_files import prepare, write_client
    from infra.control import call

    subjects, listed = arguments.subjects, ""
    if subjects not in {"self", "any"}:
        try:
            listed = Path(subjects).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = (error.strerror or "") if isinstance(error, OSError) else "it is not UTF-8"
            text = f"--subjects is self, any or a CSV file; {subjects}: {why}"
            raise Stop("usage", text) from error
    prepare(arguments.out)
    made = call(
        arguments.data, "enrol", name=arguments.name,
        subjects=subjects if subjects in {"self", "any"} else "list", list=listed,
        group=arguments.group, zone=arguments.zone, bulk=arguments.bulk,
    )  # fmt: skip
    write_client(arguments.out, arguments.name, made)
    sys.stdout.write(f"{arguments.name} may send; its files are in {arguments.out}\n")
    if made["warning"]:
        sys.stderr.write(f"gridseal: {made['warning']}\n")
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    from infra.control import call

    done = call(arguments.data, "revoke", name=arguments.name)
    if done["sender"] is None:
        sys.stdout.write(f"the device {arguments.name} is revoked: nobody may speak for it\n")
        return 0
    closed = done["sessions_closed"]
    sys.stdout.write(f"{done['sender']} is revoked; {closed} open sessions were closed\n")
    if done["warning"]:
        sys.stderr.write(f"gridseal: {done['warning']}\n")
    return 0


def _restore(arguments: argparse.Namespace) -> int:
    from infra.control import call

    call(arguments.data, "restore", name=arguments.name)
    sys.stdout.write(f"the device {arguments.name} is active: senders may speak for it\n")
    return 0


def _add_client(commands: Any) -> None:
    client = commands.add_parser("client", help="callers of the REST gateway")
    verbs = client.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add = verbs.add_parser("add", help="add a client; its secret is shown once")
    add.add_argument("name", metavar="NAME")
    add.add_argument(
        "--scope", required=True, help=f"one or several, in quotation marks: {', '.join(SCOPES)}"
    )
    groups = add.add_mutually_exclusive_group()
    groups.add_argument("--group", action="extend", nargs="+", default=None, help="its groups")
    groups.add_argument("--all-devices", action="store_true", help="every group")
    add.add_argument(
        "--zone", default="UTC", help="IANA time zone of the metering points it sends for, where"
        " it has the scope messages.write: %(default)s"
    )  # fmt: skip
    add.add_argument("--kafka", action="store_true", help="at Kafka, too, by a certificate")
    add.add_argument("--data", type=Path, required=True, metavar="DIR", help="data folder")
    add.set_defaults(run=_client_add)
    listing = verbs.add_parser("list", help="every client, its scopes and groups; no secret")
    listing.add_argument("--data", type=Path, required=True, metavar="DIR", help="data folder")
    listing.add_argument("--json", action="store_true", help="one JSON object a line")
    listing.set_defaults(run=_client_list)
    revoke = verbs.add_parser("revoke", help="withdraw a client and its tokens, at once")
    revoke.add_argument("name", metavar="NAME|CLIENT_ID")
    revoke.add_argument("--data", type=Path, required=True, metavar="DIR", help="data folder")
    revoke.set_defaults(run=_client_revoke)


def _client_add(arguments: argparse.Namespace) -> int:
    from infra.control import call

    groups = None if arguments.all_devices else (arguments.group or [])
    scopes = arguments.scope.replace(",", " ").split()
    made = call(
        arguments.data, "client-add", name=arguments.name, scopes=scopes, groups=groups,
        zone=arguments.zone,
    )  # fmt: skip
    size = made.pop("visible_size")
    failed: GridsealError | None = None
    if arguments.kafka:
        from infra.consumers_local import admit

        try:
            made["kafka"] = admit(arguments.data, made["client_id"], scopes, groups, size)
        except GridsealError as error:  # the client is there, and its secret is shown once
            failed = error
    sys.stdout.write(json.dumps(made) + "\n")
    if groups == []:
        sys.stderr.write("gridseal: no --group and no --all-devices: it will see no row\n")
    if failed is not None:
        text = "it may not read from Kafka yet; revoke it and add it again"
        sys.stderr.write(f"gridseal: {text}: {failed}\n")
        return 1
    return 0


def _client_list(arguments: argparse.Namespace) -> int:
    from infra.control import call

    for item in call(arguments.data, "client-list"):
        if arguments.json:
            sys.stdout.write(json.dumps(item) + "\n")
        else:
            groups = item["groups"]
            shown = "(every device)" if groups is None else " ".join(groups) or "(no device)"
            cells = (item["client_id"], item["name"], " ".join(item["scopes"]), shown)
            sys.stdout.write("\t".join((*cells, item["state"])) + "\n")
    return 0


def _client_revoke(arguments: argparse.Namespace) -> int:
    from infra.control import call

    try:
        done = call(arguments.data, "client-revoke", name=arguments.name)
    except Stop as error:  # Kafka may have been away when its client was revoked
        if error.code != "name-unknown" or not _dismissed(arguments.data, arguments.name):
            raise
        sys.stdout.write(f"{arguments.name} was revoked before; it reads nothing from Kafka\n")
        return 0
    ended = done["requests_ended"]
    requests = "1 open request was" if ended == 1 else f"{ended} open requests were"
    sys.stdout.write(f"{done['client_id']} is revoked; {requests} ended\n")
    try:
        _dismissed(arguments.data, done["client_id"])
    except GridsealError as error:
        text = f"at Kafka it may read as before; repeat this with {done['client_id']}"
        sys.stderr.write(f"gridseal: {text}: {error}\n")
        return 1
    return 0


def _dismissed(data: Path, client_id: str) -> bool:
    """Take a client's rights at the Kafka of `data`; whether it ever had any."""
    if not (data / "servers" / "kafka").exists():
        return False
    from infra.consumers_local import dismiss

    return dismiss(data, client_id)


# -- reading a data folder --------------------------------------------------------------------


def _policy(arguments: argparse.Namespace) -> int:
    from infra.policy_file import policy_of_folder

    sys.stdout.write(policy_of_folder(arguments.data))
    return 0


def _status(arguments: argparse.Namespace) -> int:
    from infra.control import call

    sys.stdout.write(json.dumps(call(arguments.data, "status"), indent=1) + "\n")
    return 0


def _fsck(arguments: argparse.Namespace) -> int:
    from infra.audit import report
    from infra.control import settle
    from infra.fsck import fsck

    settle(arguments.data)
    return report("fsck", fsck(arguments.data), as_json=arguments.json)


def _replay(arguments: argparse.Namespace) -> int:
    from infra.audit import report
    from infra.control import settle
    from infra.replay import replay

    settle(arguments.data)
    return report("replay", replay(arguments.data), as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
