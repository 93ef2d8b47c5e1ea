"""The demo's burglar: changes one character of a receipt, one digit in a copied data folder."""

import base64
import binascii
import json
import shutil
import sqlite3
import zlib
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

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


def alter_stored_digit(
    copy: Path, records: Iterable[Mapping[str, Any]]
) -> tuple[Path, Mapping[str, Any], str]:
    """Change one digit of the first of these records that is found in the customer database.

    As somebody with access to the disk could. Returns the file, the record as it was, and the
    value that it has now. Raises Failure where none is found.
    """
    for path in sorted((copy / "scd").rglob("*.db")):
        with closing(sqlite3.connect(path)) as db:
            columns = _blob_columns(db)
            for record in records:
                value = str(record["value"])
                if any(_overwrite(db, place, record, value) for place in columns):
                    return path, record, other_digit(value)
    raise Failure("no reading was found in the copied customer database")


def _overwrite(
    db: sqlite3.Connection, place: tuple[str, str], record: Mapping[str, Any], value: str
) -> bool:
    """Overwrite the value's first digit where the record's bytes are deflated; whether they are."""
    table, column = place
    data = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    opening = b'"value":"'
    for number, stored in db.execute(f'SELECT rowid, "{column}" FROM "{table}"'):  # noqa: S608 - the schema's own
        try:
            content = bytearray(zlib.decompress(stored))
        except (zlib.error, TypeError):
            continue
        if (start := content.find(data)) >= 0:
            at = start + data.rindex(opening + value.encode() + b'"') + len(opening)
            content[at] = ord(other_digit(value)[0])
            db.execute(
                f'UPDATE "{table}" SET "{column}" = ? WHERE rowid = ?',  # noqa: S608
                (zlib.compress(content), number),
            )
            db.commit()
            return True
    return False


def _blob_columns(db: sqlite3.Connection) -> list[tuple[str, str]]:
    """(table, column) of every BLOB in a table with row ids."""
    tables = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
    return [
        (table, column)
        for table, made_by in tables
        if "WITHOUT ROWID" not in made_by.upper()
        for _, column, kind, *_ in db.execute(f'PRAGMA table_info("{table}")').fetchall()
        if kind == "BLOB"
    ]
