"""The files that a new sender gets: certificate, key, CA, password, and how to connect."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from bal.errors import Stop
from infra.files import make_folder, write_new

FILES = ("device.crt", "device.key", "ca.crt", "password", "client.json")


def prepare(folder: Path) -> None:
    """Make the folder, before anybody is enrolled whose key could then not be kept.

    Raises Stop("out-exists") where a file would be replaced, Stop("out") where none can be made.
    """
    if folder.exists() and not folder.is_dir():
        raise Stop("out", f"{folder} is no folder")
    there = [file for file in FILES if (folder / file).exists()]
    if there:
        raise Stop("out-exists", f"{folder / there[0]} is there already; name another folder")
    try:
        make_folder(folder)
    except OSError as error:
        raise Stop("out", f"{folder} can't be made: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Stop("out", f"{folder} can't be written to")


def write_client(folder: Path, name: str, made: Mapping[str, str]) -> None:
    """Write device.crt, device.key, ca.crt, password and client.json (0600) into `folder`.

    Raises Stop("out-exists") rather than replace a key.
    """
    described = {
        "name": name,
        "mqtt": made["mqtt"],
        "ca": "ca.crt",
        "certificate": "device.crt",
        "key": "device.key",
        "password_file": "password",
        "topic_in": f"in/{name}/{{format}}",
        "topic_receipts": f"receipts/{name}",
    }
    if made["broker"]:
        described["broker"] = made["broker"]
    try:
        for file, content in (
            ("device.crt", made["certificate"]),
            ("device.key", made["key"]),
            ("ca.crt", made["ca"]),
            ("password", made["password"]),
            ("client.json", json.dumps(described, indent=1) + "\n"),
        ):
            write_new(folder / file, content.encode())
    except FileExistsError as error:
        text = f"{error.filename} is there already; revoke {name} and enrol into an empty folder"
        raise Stop("out-exists", text) from error
    except OSError as error:
        raise Stop("out", f"{folder} can't be written: {error.strerror}") from error
