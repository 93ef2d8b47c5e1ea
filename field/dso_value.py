"""One measured value as the DSO Data Server keeps it, and how a register says period and unit.

The field knows the platform by its wires only, so these few tables of IEC 61968-9 stand here too.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from bal.decimals import normalised
from bal.errors import Rejected

SECOND_US = 1_000_000
DAY_S = 86_400
TEXT_LENGTH_MAX = 256  # characters of a meter's name or one cell
QUALITIES_MAX = 16
QUESTIONABLE = "0.10.0"  # by whom is not said; category questionable, of no sort in particular
YEARS = range(1970, 2201)

READING_TYPE = "IEC 61968-9 annex C"
_FIELDS = 18
_CODE = re.compile(r"(?:0|[1-9][0-9]{0,5})(?:\.(?:-?(?:0|[1-9][0-9]{0,5}))){17,18}")
_MULTIPLIERS = frozenset({-12, -9, -6, -3, -2, -1, 0, 1, 2, 3, 6, 9, 12})
_PERIODS_S = {2: 900, 3: 60, 4: DAY_S, 5: 1_800, 6: 300, 7: 3_600, 10: 120, 14: 180, 1: 600}
_PERIODS_S |= {31: 1_200}
_MACRO_PERIODS_S = {11: DAY_S}  # daily; a month has no fixed length
_AT_INSTANT = frozenset({1, 2, 3, 9, 12, 13, 14})  # accumulations that hold at an instant
_NUMBER = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]{1,2}))?")
_EXPONENT_MAX = 40
_NUMBER_LENGTH_MAX = 40
_QUALITY = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,5}")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")

UNITS: dict[str, tuple[int, int]] = {  # as centres write them → unit's code, power of ten
    **{f"{p}Wh": (72, n) for p, n in (("", 0), ("k", 3), ("M", 6), ("G", 9))},
    **{f"{p}varh": (73, n) for p, n in (("", 0), ("k", 3), ("M", 6), ("G", 9))},
    **{f"{p}VAh": (71, n) for p, n in (("", 0), ("k", 3), ("M", 6), ("G", 9))},
    **{f"{p}W": (38, n) for p, n in (("", 0), ("k", 3), ("M", 6))},
    **{f"{p}var": (63, n) for p, n in (("", 0), ("k", 3), ("M", 6))},
    **{f"{p}VA": (61, n) for p, n in (("", 0), ("k", 3), ("M", 6))},
    **{f"{p}V": (29, n) for p, n in (("m", -3), ("", 0), ("k", 3))},
    **{f"{p}A": (5, n) for p, n in (("m", -3), ("", 0), ("k", 3))},
    "Hz": (33, 0),
}
BASE_UNITS = {code: name for name, (code, power) in UNITS.items() if power == 0}


class Meter(NamedTuple):
    """How a centre names a meter; `name` alone is what the query API asks by."""

    name: str
    mrid: bool = False  # the name is an mRID
    kind: str = ""  # NameType
    authority: str = ""  # NameTypeAuthority


@dataclass(frozen=True, slots=True)
class Value:
    """One value of one register of one meter, in the register's base unit."""

    meter: Meter
    register: str  # ReadingType with multiplier 0
    end_us: int  # of its interval, or its instant
    value: str  # normalised decimal
    qualities: tuple[str, ...] = ()  # ReadingQualityType codes, sorted
    begin_us: int | None = None  # of a day, which has 23 to 25 h; others are as the register says


class Register(NamedTuple):
    """A ReadingType code: the register in its base unit, and the power of ten to get there."""

    register: str
    multiplier: int
    unit: int  # code of the unit
    interval_s: int  # 0: values hold at an instant
    is_long: bool = False  # of 19 fields


def is_code(text: str) -> bool:
    """Whether a text is a code: of a ReadingType, or of a ReadingQualityType."""
    return _CODE.fullmatch(text) is not None or _QUALITY.fullmatch(text) is not None


def register_of(code: str) -> Register:
    """The register that a ReadingType code names. Raises Rejected("register-invalid").

    One of 19 fields, as figure 1 of Platone D2.9 prints it, is read from its end: nobody knows
    which of the others is too many, so its values hold at an instant.
    """
    if _CODE.fullmatch(code) is None:
        raise _no_register("not 18 numbers with points between")
    fields = code.split(".")
    multiplier, unit = int(fields[-3]), int(fields[-2])
    if multiplier not in _MULTIPLIERS:
        raise _no_register("the multiplier is none of IEC 61968-9's")
    base = ".".join([*fields[:-3], "0", *fields[-2:]])
    if len(fields) > _FIELDS:
        if unit not in BASE_UNITS:
            raise _no_register("19 numbers with points between, and a unit that says no quantity")
        return Register(base, multiplier, unit, 0, is_long=True)
    period = int(fields[2])
    interval_s = _PERIODS_S.get(period, 0) or _MACRO_PERIODS_S.get(int(fields[0]), 0)
    if int(fields[3]) in _AT_INSTANT:
        interval_s = 0
    return Register(base, multiplier, unit, interval_s)


def unit_of(register: str) -> str:
    """The base unit of a register's values; "" where it is none of `UNITS`."""
    return BASE_UNITS.get(int(register.split(".")[-2]), "")


def decimal_text(text: str, shift: int) -> str:
    """A decimal, perhaps with an exponent, times ten to the power `shift`, normalised.

    Raises Rejected("value-not-decimal").
    """
    number = text.strip()
    match = _NUMBER.fullmatch(number)
    digits = match is not None and (match[2] or match[3])
    power = int(match[4] or 0) if match is not None else 0
    if abs(power) > _EXPONENT_MAX:
        match = None
    if match is None or not digits or len(number) > _NUMBER_LENGTH_MAX or not number.isascii():
        text = f"the value is not a decimal number of at most {_NUMBER_LENGTH_MAX} characters"
        clause = "XML Schema 1.1 part 2 §3.3.3 decimal"
        raise Rejected("value-not-decimal", text, field="value", clause=clause)
    return normalised(match[2], match[3] or "", shift + power, negative=match[1] == "-")


def check_name(name: str) -> str:
    """The name, stripped. Raises Rejected("name-invalid") where no meter can be called so."""
    name = name.strip()
    if not name or len(name) > TEXT_LENGTH_MAX or _CONTROL.search(name) is not None:
        text = f"a meter's name has 1 to {TEXT_LENGTH_MAX} characters and no control character"
        raise Rejected("name-invalid", text, field="meter")
    return name


def qualities_of(words: Sequence[str], doubt: Callable[[Rejected], None]) -> tuple[str, ...]:
    """The codes among `words` as a sorted set; for any other word `QUESTIONABLE` stands.

    A value whose status nobody knows is a value still: it is kept, and the word told to `doubt`.
    Raises Rejected("quality-malformed") for more of them than a value may have.
    """
    sent = {word.strip() for word in words} - {""}
    found = {word for word in sent if _QUALITY.fullmatch(word) is not None}
    if found != sent:
        text = (
            "a status is neither system.category.index (IEC 61968-9 annex D) nor a word of"
            f" centre.toml; the value is kept as questionable, {QUESTIONABLE}"
        )
        doubt(Rejected("quality-malformed", text, field="quality"))
        found.add(QUESTIONABLE)
    if len(found) > QUALITIES_MAX:
        text = f"a value has at most {QUALITIES_MAX} qualities"
        raise Rejected("quality-malformed", text, field="quality")
    return tuple(sorted(found))


def us_of(instant: datetime) -> int:
    """Microseconds since 1970 of an instant with an offset. Raises Rejected, out of range."""
    if instant.year not in YEARS:
        text = f"the time is outside the years {YEARS[0]} to {YEARS[-1]}"
        raise Rejected("time-out-of-range", text, field="time")
    since = instant.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * SECOND_US + since.microseconds


def _no_register(why: str) -> Rejected:
    return Rejected("register-invalid", why, field="register", clause=READING_TYPE)
