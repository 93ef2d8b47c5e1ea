"""Instants as field devices write them: RFC 3339 or xsd:dateTime with its offset, to UTC."""

import re
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from bal.errors import Rejected
from bal.times import rfc3339

TIME_LENGTH_MAX = 48  # characters
YEAR_MIN, YEAR_MAX = 1970, 2200  # of the instant in UTC

_FORM = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:(Z)|([+-])([0-9]{2}):([0-9]{2}))?"
)
# What means the same and is written otherwise: ISO 8601-1 §4.2, §5.4.2 and SQL's space for the T.
_LOOSE = re.compile(
    r"([0-9]{4})(-?)([0-9]{2})\2([0-9]{2})[Tt ]"
    r"([0-9]{2})(:?)([0-9]{2})(?:\6([0-9]{2})(?:[.,]([0-9]+))?)?"
    r" ?(?:([Zz])|([+-])([0-9]{2})(?::?([0-9]{2}))?)?"
)
_SPACE = " \t\r\n"
_DAY_ZERO = date(1970, 1, 1).toordinal()
_OFFSET_MAX_MIN = 14 * 60  # XML Schema 1.1 part 2 §3.3.7.2: offsets reach from -14:00 to +14:00
_US_PER_S = 1_000_000


class Instant(NamedTuple):
    """One instant, in both forms that a record and its row need."""

    us: int  # microseconds since 1970-01-01T00:00:00Z
    text: str  # RFC 3339 in UTC with `Z`
    cut: bool  # finer than a microsecond as sent; cut off towards the past
    loose: bool = False  # of no form of RFC 3339's, though of no other meaning


@lru_cache(maxsize=4096)
def _parse(text: str) -> Instant:
    match = _FORM.fullmatch(text)
    if match is None:
        raise _malformed("is not of the form YYYY-MM-DDThh:mm:ss[.f](Z|±hh:mm)")
    year, month, day, hour, minute, second = (int(field) for field in match.groups()[:6])
    fraction, zulu, sign, offset_hours, offset_minutes = match.groups()[6:]
    if zulu is None and sign is None:
        # RFC 3339 §4.4: a local time without its offset names no instant
        raise Rejected(
            "time-without-offset",
            "the time has no offset from UTC",
            field="timeStamp",
            clause="RFC 3339 §4.4",
        )
    if second == 60:
        # RFC 3339 §5.7 allows it; 0.9 s of a quarter-hour are not worth a table of leap seconds
        raise Rejected(
            "time-leap-second",
            "the second is 60: a leap second has no place on the time scale used here",
            field="timeStamp",
            clause="RFC 3339 §5.7",
        )
    # XML Schema 1.1 part 2 §3.3.7.2: 24:00:00 is the midnight at which the day ends
    ends_day = hour == 24 and not minute and not second and not (fraction or "").strip("0")
    if (hour > 23 and not ends_day) or minute > 59 or second > 59:
        raise _malformed("has an hour above 23, or a minute or second above 59")
    try:
        days = date(year, month, day).toordinal() - _DAY_ZERO
    except ValueError:
        raise _malformed("names a day that is not in the calendar") from None
    offset_min = 0
    if sign is not None:
        if int(offset_minutes) > 59:
            raise _malformed("has an offset with more than 59 minutes")
        offset_min = int(offset_hours) * 60 + int(offset_minutes)
        if offset_min > _OFFSET_MAX_MIN:
            raise _malformed("has an offset of more than 14 hours")
        if sign == "-":
            offset_min = -offset_min
    seconds = days * 86_400 + hour * 3_600 + (minute - offset_min) * 60 + second
    digits = fraction or ""
    us = seconds * _US_PER_S + int(digits[:6].ljust(6, "0"))
    return Instant(us, _text(us), digits[6:].strip("0") != "")


def parse(text: str) -> Instant:
    """The instant that `text` names; spaces around it are allowed.

    Raises Rejected with one of time-malformed, time-without-offset,
    time-leap-second, time-out-of-range. Digits beyond the microsecond are cut off and told.
    """
    stripped = text.strip(_SPACE)
    if len(stripped) > TIME_LENGTH_MAX:
        raise _malformed(f"is longer than {TIME_LENGTH_MAX} characters")
    return _parse(stripped)


def parse_loose(text: str) -> Instant:
    """As `parse`; and `loose`, what can be read in one way only, in whatever form of ISO 8601.

    2026-01-15 11:15+0100, for one: seconds that are absent are 0. A date alone is no instant.
    Raises Rejected as `parse` does.
    """
    try:
        return parse(text)
    except Rejected:
        match = _LOOSE.fullmatch(text.strip(_SPACE)) if len(text) <= TIME_LENGTH_MAX else None
        if match is None:
            raise
    year, _, month, day, hour, _, minute, second, fraction, zulu, sign, *offset = match.groups()
    strict = f"{year}-{month}-{day}T{hour}:{minute}:{second or '00'}"
    strict += f".{fraction}" if fraction else ""
    strict += "Z" if zulu else f"{sign}{offset[0]}:{offset[1] or '00'}" if sign else ""
    return _parse(strict)._replace(loose=True)


def of_epoch(seconds: int) -> Instant:
    """The instant `seconds` after 1970-01-01T00:00:00Z.

    Raises Rejected("time-out-of-range") outside the years 1970 to 2200.
    """
    return _of_epoch(seconds)


@lru_cache(maxsize=4096)
def _of_epoch(seconds: int) -> Instant:
    us = seconds * _US_PER_S
    return Instant(us, _text(us), cut=False)


def of_us(us: int) -> Instant:
    """The instant `us` microseconds after 1970-01-01T00:00:00Z.

    Raises Rejected("time-out-of-range") outside the years 1970 to 2200.
    """
    return Instant(us, _text(us), cut=False)


def before(instant: Instant, seconds: int) -> Instant:
    """The instant `seconds` earlier. Raises Rejected("time-out-of-range") before 1970."""
    return _before(instant.us, seconds)


@lru_cache(maxsize=4096)
def _before(us: int, seconds: int) -> Instant:
    earlier = us - seconds * _US_PER_S
    return Instant(earlier, _text(earlier), cut=False)


_US_END = (date(YEAR_MAX + 1, 1, 1).toordinal() - _DAY_ZERO) * 86_400 * _US_PER_S


def _text(us: int) -> str:
    if not 0 <= us < _US_END:
        raise Rejected(
            "time-out-of-range",
            f"the time is outside the years {YEAR_MIN} to {YEAR_MAX} (UTC)",
            field="timeStamp",
        )
    return rfc3339(us)


def _malformed(what: str) -> Rejected:
    return Rejected("time-malformed", f"the time {what}", field="timeStamp", clause="RFC 3339 §5.6")
