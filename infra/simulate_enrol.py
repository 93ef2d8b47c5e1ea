"""The senders of a simulated day become known to a platform: here, or by commands run there."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from field.day import Sender
from field.profiles import ZONE
from infra.client_files import prepare, write_client
from infra.control import call
from infra.simulate import sending_of, wheel_of


def run(arguments: argparse.Namespace) -> None:
    """Print the commands that enrol, or enrol what is missing at the platform on this host."""
    console = Console(highlight=False, stderr=True)
    sending = sending_of(wheel_of(console, arguments.cache), arguments)
    group = arguments.group or arguments.grid.lower()
    if arguments.commands:
        _commands(sending, group, arguments.files)
        return
    enrolled = _enrol(sending, group, arguments.files, arguments.enrol)
    console.print(f"{enrolled} senders enrolled, {len(sending)} in {arguments.files}")


def _commands(sending: Sequence[Sender], group: str, files: Path) -> None:
    """Print a command a sender; lists of subjects are written beside the enrolments."""
    files.mkdir(parents=True, exist_ok=True)
    for sender in sending:
        subjects = sender.subjects if sender.subjects != "list" else f"{files / sender.name}.csv"
        if sender.subjects == "list":
            Path(subjects).write_text(sender.subject_list(group), encoding="utf-8")
        bulk = " --bulk" if sender.subjects == "any" else ""
        sys.stdout.write(
            f"gridseal device enrol {sender.name} --subjects {subjects} --group {group}"
            f" --zone {ZONE}{bulk} --data DATA --out {files / sender.name}\n"
        )


def _enrol(sending: Sequence[Sender], group: str, files: Path, data: Path) -> int:
    """Enrol the senders that have no folder yet; how many those were."""
    missing = [one for one in sending if not (files / one.name / "client.json").exists()]
    for sender in missing:
        prepare(files / sender.name)
        listed = sender.subject_list(group) if sender.subjects == "list" else ""
        made = call(
            data, "enrol", name=sender.name, subjects=sender.subjects, list=listed,
            group=group, zone=ZONE, bulk=sender.subjects == "any",
        )  # fmt: skip
        write_client(files / sender.name, sender.name, made)
    return len(missing)
