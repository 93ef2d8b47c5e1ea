"""`gridseal vault backup` and `restore`: the identity vault alone, sealed under a passphrase.

Without the vault no record can be opened and nobody is known any more, so it is worth a copy more
often and in another place than the rest (docs/operations.md). A copy is of one moment; subjects and
key years that were made later are not in it.

The file: one line of JSON, then the database as SQLite serialises it, in chunks of AES-256-GCM. The
key is scrypt's (RFC 7914 §6) of the passphrase; a chunk's nonce is its number, and whether it is
the last; the line is authenticated with each, so that nothing can be cut, swapped or put together.
"""

import json
import os
import sqlite3
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from bal.errors import Stop
from bal.times import rfc3339
from infra.data_folder import DataFolder
from infra.files import look_at_sqlite, make_folder, sync_folder, write_new
from infra.sqlite_vault import VAULT_FILE, SqliteVault
from infra.system_clock import SystemClock

VERSION = "gridseal.vault/1"
PASSPHRASE_MIN = 16  # characters: what seals a vault is made by a password manager
CHUNK_BYTES = 1 << 20
_TAG_BYTES = 16
_HEADER_BYTES_MAX = 4_096
_SCRYPT = {"n": 1 << 17, "r": 8, "p": 1}  # 128 MiB and half a second a try


@dataclass(frozen=True, slots=True)
class VaultCopy:
    """What a file is of."""

    origin: str
    time: str  # RFC 3339
    subjects: int


def passphrase(path: Path) -> bytes:
    """The first line of a file. Raises Stop("usage") where it is too short, OSError."""
    first = path.read_bytes().split(b"\n", 1)[0].strip()
    if len(first.decode("utf-8", "replace")) < PASSPHRASE_MIN:
        text = f"the first line of {path} is the passphrase: at least {PASSPHRASE_MIN} characters"
        raise Stop("usage", text)
    return first


def backup(data: Path, to: Path, secret: bytes) -> VaultCopy:
    """Write a copy of the vault, also while a platform runs on it; the file is 0600.

    Raises Stop("out-exists"), Stop("usage") where there is no vault, OSError.
    """
    if to.exists():
        raise Stop("out-exists", f"{to} exists already: name a new file")
    facts = DataFolder(data).facts()
    place = data / "vault" / VAULT_FILE
    if facts is None or not place.exists():
        raise Stop("usage", f"{data} is no data folder of Gridseal with a vault")
    with closing(look_at_sqlite(place, "")) as live, closing(sqlite3.connect(":memory:")) as copy:
        live.backup(copy)
        (subjects,) = copy.execute("SELECT count(*) FROM subject").fetchone()
        database = copy.serialize()
    made = VaultCopy(facts.origin, rfc3339(SystemClock().now_us()), subjects)
    write_new(to, b"".join(_sealed(database, made, secret)))
    return made


def restore(file: Path, data: Path, secret: bytes) -> VaultCopy:
    """Put the vault of a copy where a stopped platform's is lost.

    Raises Stop: `backup-invalid` for no such file or another platform's, `backup-damaged` where it
    was altered or the passphrase is another one, `out-exists` where there is a vault.
    """
    folder = DataFolder(data)
    facts = folder.facts()
    if facts is None:
        raise Stop("usage", f"{data} is no data folder of Gridseal")
    header, database = _opened(file, secret)
    made = VaultCopy(header["origin"], header["time"], int(header["subjects"]))
    if made.origin != facts.origin:
        text = f"the vault is that of {made.origin}, and the platform is {facts.origin}"
        raise Stop("backup-invalid", text)
    place = data / "vault" / VAULT_FILE
    folder.lock()
    try:
        # A write-ahead log that was left would be taken for the copy's own, and change it.
        if any(place.with_name(f"{VAULT_FILE}{tail}").exists() for tail in ("", "-wal", "-shm")):
            text = f"{place} is there: move it away with its -wal and -shm, if it is to be replaced"
            raise Stop("out-exists", text)
        make_folder(place.parent)
        write_new(place, database)
        sync_folder(place.parent)
        with closing(SqliteVault(place.parent, SystemClock(), read_only=True)) as vault:
            if vault.misnamed():
                raise Stop("backup-damaged", f"{file}: pseudonyms are not those of their keys")
    finally:
        folder.unlock()
    return made


# -- the file -----------------------------------------------------------------------------------


def _key(secret: bytes, header: dict[str, Any]) -> AESGCM:
    kdf = header["scrypt"]
    if {name: kdf[name] for name in _SCRYPT} != _SCRYPT:  # a file must not say how much we compute
        raise Stop("backup-invalid", "the copy of the vault is of another version")
    salt = b64decode(kdf["salt"], validate=True)
    return AESGCM(Scrypt(salt=salt, length=32, **_SCRYPT).derive(secret))


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def _sealed(database: bytes, made: VaultCopy, secret: bytes) -> Iterator[bytes]:
    header = {
        "v": VERSION,
        "origin": made.origin,
        "time": made.time,
        "subjects": str(made.subjects),
        "scrypt": {**_SCRYPT, "salt": b64encode(os.urandom(16)).decode()},
    }
    line = json.dumps(header).encode()
    yield line + b"\n"
    key = _key(secret, header)
    ends = range(0, len(database), CHUNK_BYTES)
    for number, at in enumerate(ends):
        nonce = _nonce(number, last=number == len(ends) - 1)
        yield key.encrypt(nonce, database[at : at + CHUNK_BYTES], line)


def _opened(file: Path, secret: bytes) -> tuple[dict[str, Any], bytes]:
    with file.open("rb") as stream:
        line, sealed = stream.readline(_HEADER_BYTES_MAX), stream.read()
    try:
        header: dict[str, Any] = json.loads(line)
        if header["v"] != VERSION:
            raise ValueError(header["v"])
        key = _key(secret, header)
    except (ValueError, TypeError, KeyError) as error:
        text = f"{file} is no copy of a vault, or of another version"
        raise Stop("backup-invalid", text) from error
    starts = range(0, len(sealed), CHUNK_BYTES + _TAG_BYTES)
    try:
        chunks = [
            key.decrypt(
                _nonce(number, last=number == len(starts) - 1),
                sealed[at : at + CHUNK_BYTES + _TAG_BYTES],
                line.removesuffix(b"\n"),
            )
            for number, at in enumerate(starts)
        ]
        if not chunks:
            raise InvalidTag
    except InvalidTag as error:
        text = f"{file} is cut or altered, or the passphrase is another one: nothing was restored"
        raise Stop("backup-damaged", text) from error
    return header, b"".join(chunks)
