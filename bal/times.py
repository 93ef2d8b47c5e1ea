"""Times as integers of microseconds since 1970-01-01T00:00:00Z, and RFC 3339 in UTC."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rfc3339(us: int) -> str:
    """RFC 3339 with `Z`; the fraction without trailing zeros, none when it is zero."""
    instant = _EPOCH + timedelta(microseconds=us)
    text = instant.strftime("%Y-%m-%dT%H:%M:%S") if instant.year > 999 else instant.isoformat()[:19]
    fraction = f".{instant.microsecond:06d}".rstrip("0") if instant.microsecond else ""
    return f"{text}{fraction}Z"


def year(us: int) -> int:
    """The calendar year (UTC) of an instant."""
    return (_EPOCH + timedelta(microseconds=us)).year
