"""What a register of SunSpec holds: a number exactly as sent, or that the point isn't there."""

import re
from typing import Any

from bal.errors import Rejected
from bal.harmonise.der_json import Constant, Number
from bal.harmonise.instant import Instant, of_us, parse
from bal.harmonise.pmu_number import exact
from bal.harmonise.quantity import decimal_text

SCALE_MAX = 10  # sunssf: -10 to 10
CLAUSE = "SunSpec Device Information Model Specification, point types"

_U16, _U32, _U64 = (1 << 16) - 1, (1 << 32) - 1, (1 << 64) - 1
_TYPES: dict[str, tuple[int, int, frozenset[int]]] = {
    # type → lowest and highest value; those that say that the device has not got the point, a
    # signed one also as the register's bits
    "int16": (-(1 << 15), 1 << 15, frozenset({-(1 << 15), 1 << 15})),
    "sunssf": (-(1 << 15), 1 << 15, frozenset({-(1 << 15), 1 << 15})),
    "uint16": (0, _U16, frozenset({_U16})),
    "enum16": (0, _U16, frozenset({_U16})),
    "bitfield16": (0, _U16, frozenset({_U16, 1 << 15})),
    "uint32": (0, _U32, frozenset({_U32})),
    "bitfield32": (0, _U32, frozenset({_U32, 1 << 31})),
    "uint64": (0, _U64, frozenset({_U64})),
    "acc32": (0, _U32, frozenset({0})),  # accumulators begin at 1
    "acc64": (0, _U64, frozenset({0})),
}
_HEX = re.compile(r"0[xX][0-9A-Fa-f]{1,16}")
_EPOCH = re.compile(r"[0-9]{1,14}(?:\.[0-9]{1,9})?")
_SECONDS_DIGITS = 10  # of a time up to the year 2200; more are milliseconds
_SPACE = " \t\r\n"


def held(value: Any, kind: str) -> str | None:
    """The number in a register of type `kind`, a normalised decimal; None where there is none.

    value: as `der_json.read(…, constants=True)` gives it. A number may be a string, too, also a
    hexadecimal one.
    Raises Rejected: member-type, value-not-decimal, value-not-integer.
    """
    if value is None or (isinstance(value, str) and value.strip(f"{_SPACE}\0") in {"", "NaN"}):
        return None
    if not isinstance(value, str):
        raise Rejected("member-type", "a point is no number", clause=CLAUSE)
    text = value.strip(_SPACE)
    if not isinstance(value, Number | Constant) and _HEX.fullmatch(text) is not None:
        text = str(int(text, 16))
    number = exact(text)
    if kind == "float32":
        return number
    lowest, highest, absent = _TYPES[kind]
    if "." in number or not lowest <= int(number) <= highest:
        raise Rejected(
            "value-not-integer",
            f"a register of type {kind} holds no such number: values are sent as the register has"
            " them, and its scale factor beside them",
            clause=CLAUSE,
        )
    return None if int(number) in absent else number


def scale(value: Any) -> int | None:
    """The power of ten in a scale factor; None where there is none from -10 to 10."""
    try:
        number = held(value, "sunssf")
    except Rejected:
        return None
    return int(number) if number is not None and abs(int(number)) <= SCALE_MAX else None


def instant(value: Any) -> Instant:
    """RFC 3339, or seconds since 1970 in UTC; with more than ten digits they are milliseconds.

    Raises Rejected: member-type, time-malformed and those of `instant.parse`.
    """
    if not isinstance(value, str) or isinstance(value, Constant):
        raise Rejected("member-type", "a time is neither a string nor a number")
    text = value.strip(_SPACE)
    if _EPOCH.fullmatch(text) is None:
        if isinstance(value, Number):
            raise Rejected("time-malformed", "a time is no number of seconds since 1970")
        return parse(text)
    digits = len(text.partition(".")[0].lstrip("0"))
    us, _, finer = decimal_text(text, 3 if digits > _SECONDS_DIGITS else 6).partition(".")
    return of_us(int(us))._replace(cut=bool(finer))
