"""Instants as the field's formats write them."""

from datetime import UTC, datetime


def text(instant: datetime) -> str:
    """RFC 3339 in UTC with Z and no more digits than needed. ValueError without an offset."""
    if instant.tzinfo is None:
        raise ValueError(f"{instant} has no offset")
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
