"""The file that names for whom a sender may speak: CSV identity,group,zone,kind."""

import csv
import io
from collections.abc import Iterator
from urllib.parse import unquote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from bal.errors import Rejected
from bal.harmonise.names import check_names
from bal.model import Identity
from bal.registry import DEVICE_TYPES
from bal.subjects import OWN_AUTHORITY, identity_of_name
from infra.certificates import check_name

SUBJECTS_MAX = 100_000
KINDS = tuple(DEVICE_TYPES)

_IDENTITY_FORM = "it is mrid:<mRID> or name:<authority>/<type>/<name>, each percent-encoded"


def read_list(text: str, group: str, zone: str) -> list[tuple[Identity, str, str, str]]:
    """CSV identity,group,zone,kind; the last three may be empty. A header line is passed over."""
    found: dict[Identity, tuple[Identity, str, str, str]] = {}
    for line, row in _csv_rows(text):
        if not row or not row[0].strip() or (line == 1 and row[0].strip() == "identity"):
            continue
        if len(row) > 4:
            sentence = "more cells than identity,group,zone,kind"
            raise Rejected("list-malformed", sentence, line=line)
        cells = [cell.strip() for cell in row] + [""] * 3
        identity = _listed_identity(cells[0], line)
        kind = cells[3] or "meter"
        if kind not in KINDS:
            sentence = f"the kind is one of {', '.join(KINDS)}"
            raise Rejected("kind-unknown", sentence, field="kind", line=line)
        check_group(cells[1] or group, line)
        check_zone(cells[2] or zone, line)
        found[identity] = (identity, cells[1] or group, cells[2] or zone, kind)
        if len(found) > SUBJECTS_MAX:
            raise Rejected("list-too-long", f"a sender speaks for at most {SUBJECTS_MAX} devices")
    if not found:
        raise Rejected("list-empty", "the file names no device", field="subjects")
    return list(found.values())


def _csv_rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Rows with the line on which each ends; spreadsheets begin a file with U+FEFF."""
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise Rejected("list-malformed", f"no CSV: {error}", line=reader.line_num) from error


def identity_of(text: str) -> Identity:
    """The identity that somebody typed: as in a list, or a bare name. Raises Rejected."""
    return _listed_identity(text, None)


def _listed_identity(text: str, line: int | None) -> Identity:
    """Raises Rejected for what no device can be known by: nobody would ever match it."""
    try:
        if not text.startswith(("mrid:", "name:")):
            check_names(None, (("", "", text),))
            return identity_of_name(text)
        parts = [unquote(part, errors="strict") for part in text[5:].split("/")]
        if text.startswith("mrid:"):
            (mrid,) = parts
            names = check_names(mrid, ())
        else:
            authority, kind, name = parts
            names = check_names(None, ((authority, kind, name),))
    except (Rejected, ValueError) as error:
        why = error.text if isinstance(error, Rejected) else _IDENTITY_FORM
        raise Rejected("identity-invalid", why, line=line) from error
    if any(authority == OWN_AUTHORITY for authority, _, _ in names.names):
        raise Rejected("identity-invalid", "the platform's own names are no devices", line=line)
    if names.identities() != (Identity(text),):
        raise Rejected("identity-invalid", _IDENTITY_FORM, line=line)
    return Identity(text)


def check_group(group: str, line: int | None = None) -> None:
    """Raises Rejected("group-invalid")."""
    try:
        check_name(group)
    except Rejected as error:
        raise Rejected("group-invalid", error.text, field="group", line=line) from error


def check_zone(zone: str, line: int | None = None) -> None:
    """Raises Rejected("zone-unknown")."""
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        text = "the zone is no IANA time zone such as Europe/Berlin"
        raise Rejected("zone-unknown", text, field="zone", line=line) from error
