"""The demo's burglar: changes one character of a receipt, and copies a data folder to drill on."""

import base64
import binascii
import json
import shutil
from pathlib import Path

from infra.demo_platform import Failure, gridseal

# What belongs to the running process and not to the data.
_LEFT_OUT = shutil.ignore_patterns("control.sock", "lock", "demo")
_COPIES = 3


def other_digit(text: str) -> str:
    """The same decimal number with its first digit changed."""
    return ("7" if text[0] != "7" else "1") + text[1:]


def changed_receipt(receipt: str) -> tuple[str, str, str]:
    """A receipt that says another value, and the value before and after.

    One character of the certified record is another; everything else, the signature included,
    is as it was.
    """
    for line in receipt.splitlines():
        if line.startswith("extra "):
            try:
                extra = json.loads(base64.b64decode(line.removeprefix("extra "), validate=True))
                record = str(extra["record"])
                value = str(json.loads(record)["value"])
            except (binascii.Error, ValueError, KeyError) as error:
                raise Failure(f"the receipt's extra line can't be read: {error}") from error
            before, after = f'"value":"{value}"', f'"value":"{other_digit(value)}"'
            if record.count(before) != 1:
                raise Failure("the receipt's record has no value of its own")
            extra["record"] = record.replace(before, after)
            data = json.dumps(extra, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            swapped = "extra " + base64.b64encode(data.encode()).decode()
            return receipt.replace(line, swapped), value, other_digit(value)
    raise Failure("the receipt has no extra line, so it shows no record")


def copy_folder(data: Path, copy: Path) -> None:
    """Copy a data folder that a platform is running on, until `fsck` finds the copy whole.

    A copy of files that are being written may be torn, which is no fault of theirs; a quiet
    moment comes soon. Raises Failure when none of several copies is whole.
    """
    said = ""
    for _ in range(_COPIES):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(data, copy, ignore=_LEFT_OUT)
        code, said = gridseal("fsck", "--data", str(copy), allowed=(0, 1))
        if code == 0:
            return
    raise Failure(f"fsck finds fault with an untouched copy of the data: {said.strip()[-300:]}")
