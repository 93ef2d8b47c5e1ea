"""Times of no form of RFC 3339's that can be read in one way only."""

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.errors import Rejected
from bal.harmonise.instant import parse, parse_loose

offsets = st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))
moments = st.datetimes(datetime(1970, 1, 2), datetime(2200, 12, 30))  # noqa: DTZ001 - drawn apart


@pytest.mark.parametrize(
    "text",
    ["2026-01-15T11:15:00+0100", "2026-01-15T11:15:00+01", "2026-01-15 11:15:00+01:00",
     "2026-01-15T11:15+01:00", "2026-01-15t10:15:00z", "20260115T101500Z", "20260115T1015Z",
     "2026-01-15 11:15:00 +0100", "2026-01-15T10:15:00,000Z"],
)  # fmt: skip
def test_other_forms_of_the_same_instant(text: str) -> None:
    found = parse_loose(text)
    assert (found.text, found.loose, found.cut) == ("2026-01-15T10:15:00Z", True, False)
    with pytest.raises(Rejected):
        parse(text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("2026-01-15 10:15:00", "time-without-offset"), ("20260115T101500", "time-without-offset"),
        ("2026-01-15T10:15:00", "time-without-offset"),
        ("2026-01-15 23:59:60Z", "time-leap-second"),
        ("2026-01-15", "time-malformed"), ("2026-01-15T10Z", "time-malformed"),
        ("15.01.2026 10:15:00Z", "time-malformed"), ("2026-0115T10:15Z", "time-malformed"),
        ("2026-01-15T10:1500Z", "time-malformed"), ("1768471200", "time-malformed"),
        ("2026-02-30 10:15Z", "time-malformed"), ("2026-01-15T10:15:00+1500", "time-malformed"),
        ("2026-01-15T10:15:00+1:00", "time-malformed"), ("", "time-malformed"),
        ("9" * 4000, "time-malformed"), ("1969-01-01 00:00Z", "time-out-of-range"),
    ],
)  # fmt: skip
def test_what_names_no_one_instant_is_refused_in_any_form(text: str, code: str) -> None:
    with pytest.raises(Rejected) as caught:
        parse_loose(text)
    assert caught.value.code == code


@given(moments, offsets)
def test_what_is_of_the_right_form_is_not_loose(moment: datetime, offset: timezone) -> None:
    text = moment.replace(tzinfo=offset).isoformat()
    assert parse_loose(text) == parse(text)
    spaced = parse_loose(text.replace("T", " "))
    assert (spaced.us, spaced.loose) == (parse(text).us, True)
