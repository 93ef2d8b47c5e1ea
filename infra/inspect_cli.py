"""`gridseal inspect`: what a message means, reading by reading, for whoever writes the sender.

No platform, no data folder, no network: docs/inspect.md.
"""

import argparse
import json
import sys
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bal.errors import Stop

if TYPE_CHECKING:
    from bal.inspected import Inspected

FILE_BYTES_MAX = 64 * 1024 * 1024  # what is longer is no message by a factor of ten
EPILOG = """
exit code: 0 all is taken, 1 something is refused or left out, 3 wrong use

what only a platform knows is not judged: whether the sender may speak for the devices, and what
was sent before
"""


def add_commands(commands: Any) -> None:
    """Add it to the command line."""
    text = "what does a message mean? reading by reading, with all that is wrong; needs no platform"
    inspected = commands.add_parser(
        "inspect",
        help="explain a message, reading by reading, with all that is wrong with it",
        description=text,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    inspected.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="- is standard input"
    )
    inspected.add_argument(
        "--format", metavar="NAME", help="as in the topic it is sent to; guessed if not given"
    )
    inspected.add_argument("--all", action="store_true", help="every reading, not the first few")
    inspected.add_argument("--json", action="store_true", help="one JSON object a file and line")
    inspected.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Explain each file; 1 where something is not taken. Raises Stop("usage")."""
    from bal.harmonise import FORMATS  # noqa: PLC0415 - as infra/cli.py
    from bal.inspection import guess, inspect  # noqa: PLC0415
    from bal.model import Finding  # noqa: PLC0415
    from bal.recognition import is_capture  # noqa: PLC0415
    from infra.system_clock import SystemClock  # noqa: PLC0415

    form = arguments.format
    if form is not None and form not in FORMATS:
        raise Stop("usage", f"--format is one of {', '.join(FORMATS)}")
    refused = False
    now_us = SystemClock().now_us()
    for number, path in enumerate(arguments.files):
        raw = _read(path)
        malformed = None
        if form is None and is_capture(raw):
            try:
                refused = _capture(path, raw, arguments, after=number) or refused
                continue
            except Stop as error:
                malformed = Finding(error.code, "refused", error.text, "message", None, "")
        told = (
            guess(raw, received_us=now_us)
            if form is None
            else inspect(raw, form, received_us=now_us)
        )
        told.refused += [malformed] if malformed is not None else []
        refused = refused or bool(told.refused or told.left_out or not told.taken)
        advices = advice_of(told)
        if arguments.json:
            from infra.inspect_json import as_json  # noqa: PLC0415

            one = as_json(str(path), told, advices, guessed=form is None)
            sys.stdout.write(json.dumps(one, ensure_ascii=False) + "\n")
            continue
        from infra.inspect_text import show  # noqa: PLC0415

        if number:
            sys.stdout.write("\n")
        show(str(path), raw, told, advices, guessed=form is None, everything=arguments.all)
    return 1 if refused else 0


def _capture(path: Path, raw: bytes, arguments: argparse.Namespace, *, after: int) -> bool:
    """Explain a capture; whether anything of it can't be sent. Raises Stop("capture-malformed").

    after: how many files were explained before.
    """
    from infra import inspect_capture  # noqa: PLC0415 - as infra/cli.py

    capture = inspect_capture.capture_of(raw)
    if arguments.json:
        one = inspect_capture.as_json(str(path), capture, everything=arguments.all)
        sys.stdout.write(json.dumps(one, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write("\n" if after else "")
        inspect_capture.show(str(path), capture, everything=arguments.all)
    return not inspect_capture.is_taken(capture)


def _read(path: Path) -> bytes:
    try:
        if str(path) == "-":
            raw = sys.stdin.buffer.read(FILE_BYTES_MAX + 1)
        else:
            with path.open("rb") as file:
                raw = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise Stop("usage", f"{path} can't be read: {error.strerror}") from error
    if len(raw) > FILE_BYTES_MAX:
        raise Stop("usage", f"{path} is over {FILE_BYTES_MAX} bytes: no message is that long")
    return raw


def advice_of(told: "Inspected") -> Mapping[str, str]:
    """`advice`, with what is better known of this file."""
    if not told.do:
        return advice()
    return {**advice(), told.refused[0].code: told.do}


@cache
def advice() -> Mapping[str, str]:
    """What whoever sent it does about a code; infra/inspect_advice.toml."""
    text = files("infra").joinpath("inspect_advice.toml").read_text(encoding="utf-8")
    found: dict[str, str] = tomllib.loads(text)
    return found
