"""`gridseal device list`: every device and sender; who they are only behind a record of the log."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from infra.control import call
from infra.subject_cli import user

TIMEOUT_S = 600  # a record of the log for each thousand names


def add_command(verbs: Any) -> None:
    """Add it to the verbs of `gridseal device`."""
    text = "every device and sender; with --why with their identities, too"
    listing = verbs.add_parser(
        "list", help=text, description=f"{text}. The log records who asked for these, and why."
    )
    listing.add_argument("--data", type=Path, required=True, metavar="DIR", help="data folder")
    listing.add_argument("--json", action="store_true", help="one JSON object a line")
    listing.add_argument("--why", default="", metavar="TEXT", help="the reason, recorded")
    listing.add_argument("--by", default=user(), metavar="NAME", help="who asks: %(default)s")
    listing.set_defaults(run=_list)


def _list(arguments: argparse.Namespace) -> int:
    named = {"why": arguments.why, "by": arguments.by}
    for item in call(arguments.data, "devices", timeout_s=TIMEOUT_S, **named):
        if arguments.json:
            sys.stdout.write(json.dumps(item) + "\n")
        else:
            nobody = "(erased)" if arguments.why else "-"
            cells = (item["identity"] or nobody, item["device"], item["group"], item["zone"])
            more = (item["kind"], item["sender"], item["state"])
            sys.stdout.write("\t".join((*cells, *more)) + "\n")
    return 0
