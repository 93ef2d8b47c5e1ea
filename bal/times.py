"""Times as integers of microseconds since 1970-01-01T00:00:00Z, and RFC 3339 in UTC."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rfc3339(us: int) -> str:
    """RFC 3339 with `Z`; the fraction without trailing zeros, none when it is zero."""
    seconds, fraction_us = divmod(us, 1_000_000)
    fraction = f".{fraction_us:06d}".rstrip("0") if fraction_us else ""
    return f"{_second(seconds)}{fraction}Z"


def instant_us(text: str) -> int:
    """The instant that `rfc3339` wrote. Raises ValueError for any other text."""
    us = (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)
    if rfc3339(us) != text:
        raise ValueError("no instant as it is written here")
    return us


def year(us: int) -> int:
    """The calendar year (UTC) of an instant."""
    return _year_of_day(us // 86_400_000_000)


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    instant = _EPOCH + timedelta(seconds=seconds)
    return instant.strftime("%Y-%m-%dT%H:%M:%S") if instant.year > 999 else instant.isoformat()[:19]


@lru_cache(maxsize=64)
def _year_of_day(days: int) -> int:
    return (_EPOCH + timedelta(days=days)).year
