"""The document that proves a device's day: `gridseal.day/1` (docs/spec/completeness.md).

Pure: what it is made of is handed in; the verifier trusts none of it.
"""

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import msgspec

from bal.errors import Rejected
from bal.model import Anchor, DeviceInfo
from bal.provide.parameters import check_known, decimal, matching, parameters

VERSION = "gridseal.day/1"
CLOSE_MAX = 2**53

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_REGISTER = re.compile(r"[!-~]{1,256}")
_FIRST_DATE = date(1970, 1, 1)

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class DayRequest:
    """What a caller asks for."""

    date: date
    register: str | None
    close: int | None  # None: the newest


@dataclass(frozen=True, slots=True)
class Opened:
    """An entry with what it takes to open it."""

    data: bytes
    salt: bytes
    index: int
    path: Sequence[bytes]  # in the tree of the document's checkpoint


@dataclass(frozen=True, slots=True)
class DayParts:
    """What a document is made of; `versions` is empty where the book has no such key."""

    info: DeviceInfo
    date: date
    register: str
    checkpoint: bytes
    close: Opened  # its salt is empty
    day_proof: Json
    key_proof: Json | None  # None where the book has no such date
    versions: Sequence[Opened]  # newest first
    slots: Mapping[int, Opened]  # by slot
    anchor: Anchor | None = None


def parse_request(date_text: str, query: bytes) -> DayRequest:
    """The request in the path's date and a raw query string; Rejected names what is at fault."""
    given = parameters(query)
    check_known(given, ("register", "close"))
    matching("date", date_text, _DATE, "a date like 2026-01-15")
    try:
        day = date.fromisoformat(date_text)
    except ValueError:
        raise Rejected("parameter-invalid", "There is no such date.", field="date") from None
    if not _FIRST_DATE <= day < date.max:
        raise Rejected("parameter-invalid", "Must be 1970-01-01 or later.", field="date")
    register = given.get("register")
    if register is not None:
        matching("register", register, _REGISTER, "1 to 256 characters without space")
    close = decimal("close", given["close"], 1, CLOSE_MAX) if "close" in given else None
    return DayRequest(day, register, close)


def one_register(asked: str | None, known: Sequence[str], *, closed: bool) -> str:
    """The register that a request means; "" where the date was not closed and none is named.

    known: registers of the device in the date's book. Raises Rejected("register-needed").
    """
    if asked is not None:
        return asked
    if len(known) == 1:
        return known[0]
    if known:
        text = f"The device has several: {', '.join(sorted(known))}."
    elif closed:
        text = "The device has none on this date: name the one whose absence is to be proved."
    else:
        return ""
    raise Rejected("register-needed", text, field="register")


def document(parts: DayParts) -> bytes:
    """The document as JSON, all leaves strings."""
    close = parts.close
    members: Json = {
        "v": VERSION,
        "device": parts.info.device,
        "date": parts.date.isoformat(),
        "register": parts.register,
        "zone": parts.info.zone,
        "checkpoint": parts.checkpoint.decode(),
        "close": {"record": close.data.decode(), **_place(close)},
        "day_proof": parts.day_proof,
    }
    if parts.key_proof is not None:
        members["key_proof"] = parts.key_proof
    if parts.versions:
        members["device_day"] = _packed(parts.versions[0])
    members["previous"] = [_packed(version) for version in parts.versions[1:]]
    members["slots"] = [
        {
            "slot": str(number),
            "record": opened.data.decode(),
            "salt": opened.salt.hex(),
            **_place(opened),
        }
        for number, opened in sorted(parts.slots.items())
    ]
    if parts.anchor is not None:
        members["anchor"] = parts.anchor.as_json()
    return msgspec.json.encode(members)


def _packed(opened: Opened) -> Json:
    return {
        "data": b64encode(opened.data).decode(),
        "salt": opened.salt.hex(),
        **_place(opened),
    }


def _place(opened: Opened) -> Json:
    path = [b64encode(node).decode() for node in opened.path]
    return {"index": str(opened.index), "path": path}
