"""Dates in a metering point's own time zone (docs/spec/completeness.md).

The rules of the zones are those of the package tzdata, never the host's: a batch header names its
release, and the same rows must make the same device-days elsewhere and later.
"""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from zoneinfo import ZoneInfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)
_MINUTE_US = 60_000_000
_ORDINAL_1970 = date(1970, 1, 1).toordinal()


@lru_cache(maxsize=1024)
def local_day(day: date, zone: str) -> tuple[int, int]:
    """Begin and end of a date in a zone, microseconds since 1970-01-01T00:00:00Z.

    From local midnight to the next. A midnight that the clock skips is read with the offset before
    the change, one that comes twice is the first (RFC 5545 §3.3.5); so days follow each other
    without a gap. Equal where the zone skipped the date. Raises ValueError for an unknown zone,
    OverflowError on the last date that there is.
    """
    rules = _zone(zone)
    return _midnight_us(day, rules), _midnight_us(day + timedelta(days=1), rules)


@lru_cache(maxsize=1024)
def clock_change(day: date, zone: str) -> tuple[int, int] | None:
    """When the clock is changed on a local date, and by how much, in microseconds; or None.

    Positive where it is put forward and the day is shorter, negative where a stretch comes twice.
    Of two changes in one day, which no zone has had since 1970, one is told. Raises ValueError for
    an unknown zone.
    """
    begin_us, end_us = local_day(day, zone)
    before = _offset_us(begin_us, zone)
    shift_us = _offset_us(end_us, zone) - before
    if begin_us >= end_us or shift_us == 0:
        return None
    low, high = begin_us // _MINUTE_US, -(-end_us // _MINUTE_US)  # offset of low: before
    while high - low > 1:
        middle = (low + high) // 2
        if _offset_us(middle * _MINUTE_US, zone) == before:
            low = middle
        else:
            high = middle
    return high * _MINUTE_US, shift_us


def _offset_us(us: int, zone: str) -> int:
    offset = (_EPOCH + timedelta(microseconds=us)).astimezone(_zone(zone)).utcoffset()
    return (offset or timedelta(0)) // _US


def date_at(us: int, zone: str) -> date:
    """The date on the calendar of a zone at an instant. Raises ValueError for an unknown zone."""
    return (_EPOCH + timedelta(microseconds=us)).astimezone(_zone(zone)).date()


def day_number(day: date) -> int:
    """Days since 1970-01-01 of a civil date; negative before it."""
    return day.toordinal() - _ORDINAL_1970


def day_of_number(number: int) -> date:
    """The civil date of `day_number`."""
    return date.fromordinal(number + _ORDINAL_1970)


def _midnight_us(day: date, zone: ZoneInfo) -> int:
    # fold=0, the default, is what the docstring above says (PEP 495)
    return (datetime(day.year, day.month, day.day, tzinfo=zone) - _EPOCH) // _US


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    parts = name.split("/")
    if any(not part or part.startswith(".") for part in parts):
        raise ValueError("not the name of a time zone")
    try:
        with files("tzdata").joinpath("zoneinfo", *parts).open("rb") as source:
            return ZoneInfo.from_file(source, name)
    except (OSError, ValueError) as error:
        raise ValueError(f"tzdata has no zone {name}") from error
