"""Times as microseconds, and RFC 3339 in UTC."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from bal import times

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)))  # noqa: DTZ001
def test_the_text_is_the_instant(naive: datetime) -> None:
    instant = naive.replace(tzinfo=UTC)
    us = (instant - EPOCH) // timedelta(microseconds=1)
    text = times.rfc3339(us)
    assert text.endswith("Z")
    assert datetime.fromisoformat(text) == instant
    assert not (("." in text) and text.rstrip("Z").endswith("0"))
    assert times.year(us) == instant.year
