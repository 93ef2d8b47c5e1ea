"""`gridseal trust`: whose signatures on messages a platform believes (docs/spec/cls.md)."""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from bal.errors import Stop
from bal.trust import Trust, as_texts, of_texts
from bal.trust_check import loaded

_PEM = b"-----BEGIN "


def add_commands(commands: Any) -> None:
    """Add it to the command line."""
    text = "say, or show, whose signatures on messages are believed"
    trust = commands.add_parser(
        "trust",
        help=text,
        description=f"{text}: certificates of CAs and their revocation lists, PEM or DER, each a"
        " file or a folder of files. What is given takes the place of all that was; without"
        " --anchors it is shown.",
    )
    add = trust.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="data folder")
    add("--anchors", type=Path, nargs="+", metavar="PATH", help="certificates of trusted CAs")
    add("--crls", type=Path, nargs="+", default=[], metavar="PATH", help="revocation lists")
    add("--none", action="store_true", help="believe nobody any more")
    add("--json", action="store_true", help="one JSON object a certificate or list, where shown")
    trust.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from infra.control import call  # noqa: PLC0415 - each command imports what it needs

    if arguments.none and (arguments.anchors or arguments.crls):
        raise Stop("usage", "--none stands without --anchors and --crls")
    if arguments.crls and not arguments.anchors:
        raise Stop("usage", "--crls needs --anchors: what is given takes the place of all")
    if not arguments.anchors and not arguments.none:
        shown = call(arguments.data, "trust-show")
        _show(of_texts(shown["anchors"], shown["crls"]), as_json=arguments.json)
        return 0
    anchors = [one for path in arguments.anchors or () for one in _certificates(path)]
    crls = [one for path in arguments.crls for one in _lists(path)]
    made = call(arguments.data, "trust-set", anchors=as_texts(anchors), crls=as_texts(crls))
    sys.stdout.write(f"trusted CAs: {made['anchors']}; revocation lists: {made['crls']}\n")
    return 0


def _files(path: Path) -> list[bytes]:
    try:
        paths = sorted(one for one in path.iterdir() if one.is_file()) if path.is_dir() else [path]
        return [one.read_bytes() for one in paths]
    except OSError as error:
        raise Stop("usage", f"{path}: {error.strerror}") from error


def _certificates(path: Path) -> list[bytes]:
    found: list[bytes] = []
    for data in _files(path):
        try:
            pem = x509.load_pem_x509_certificates(data) if _PEM in data else []
        except ValueError as error:
            raise Stop("usage", f"{path}: no certificates: {error}") from error
        found += [one.public_bytes(Encoding.DER) for one in pem] or [data]
    return found


def _lists(path: Path) -> list[bytes]:
    found: list[bytes] = []
    for data in _files(path):
        try:
            crl = x509.load_pem_x509_crl(data) if _PEM in data else None
        except ValueError as error:
            raise Stop("usage", f"{path}: no revocation list: {error}") from error
        found.append(data if crl is None else crl.public_bytes(Encoding.DER))
    return found


def _show(trust: Trust, *, as_json: bool) -> None:
    now = loaded(trust)
    rows: list[Sequence[str]] = [
        ("ca", one.subject.rfc4514_string(), _time(one.not_valid_after_utc),
         one.fingerprint(hashes.SHA256()).hex())
        for one in now.anchors
    ]  # fmt: skip
    rows += [
        ("crl", one.issuer.rfc4514_string(), _time(one.next_update_utc),
         one.fingerprint(hashes.SHA256()).hex())
        for one in now.crls
    ]  # fmt: skip
    for row in rows:
        if as_json:
            names = ("kind", "name", "until", "sha256")
            sys.stdout.write(json.dumps(dict(zip(names, row, strict=True))) + "\n")
        else:
            sys.stdout.write("\t".join(row) + "\n")


def _time(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%dT%H:%M:%SZ}"
