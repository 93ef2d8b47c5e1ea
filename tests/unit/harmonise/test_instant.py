from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.errors import Rejected
from bal.harmonise.instant import before, parse

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
FIRST = datetime(1970, 1, 2, tzinfo=UTC).replace(tzinfo=None)
LAST = datetime(2200, 12, 30, tzinfo=UTC).replace(tzinfo=None)
moments = st.datetimes(FIRST, LAST)


@given(moments, offsets)
def test_agrees_with_datetime(moment: datetime, offset: timezone) -> None:
    local = moment.replace(tzinfo=offset)
    instant = parse(local.isoformat())
    assert instant.us == (local - EPOCH) // MICROSECOND
    assert datetime.fromisoformat(instant.text) == local
    assert instant.text.endswith("Z")
    assert not instant.cut
    assert parse(instant.text) == instant


@given(moments, st.sampled_from(["Europe/Berlin", "Europe/Athens", "America/St_Johns"]))
def test_wall_clocks_of_both_seasons(moment: datetime, zone: str) -> None:
    local = moment.replace(tzinfo=ZoneInfo(zone))
    offset_s = local.utcoffset().total_seconds()  # type: ignore[union-attr]
    if offset_s % 60 == 0:  # local mean time of before standard time has seconds
        assert parse(local.isoformat()).us == (local - EPOCH) // MICROSECOND


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2019-09-13T15:30:00+03:00", "2019-09-13T12:30:00Z"),
        ("2026-03-29T03:00:00+02:00", "2026-03-29T01:00:00Z"),  # the hour that is skipped
        ("2026-10-25T02:30:00+02:00", "2026-10-25T00:30:00Z"),  # the hour that comes twice
        ("2026-10-25T02:30:00+01:00", "2026-10-25T01:30:00Z"),
        ("2024-02-29T23:59:59.999999-00:00", "2024-02-29T23:59:59.999999Z"),
        ("2024-01-01T00:00:00.500Z", "2024-01-01T00:00:00.5Z"),
        ("2024-01-01T00:00:00.0000000Z", "2024-01-01T00:00:00Z"),
        (" 1970-01-01T00:00:00Z\n", "1970-01-01T00:00:00Z"),
        ("2200-12-31T23:59:59Z", "2200-12-31T23:59:59Z"),
        ("2026-01-01T00:00:00+14:00", "2025-12-31T10:00:00Z"),
    ],
)
def test_known_instants(text: str, expected: str) -> None:
    assert parse(text).text == expected


def test_what_is_finer_than_a_microsecond_is_cut_and_told() -> None:
    instant = parse("2024-01-01T00:00:00.1234567Z")
    assert (instant.text, instant.cut) == ("2024-01-01T00:00:00.123456Z", True)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("2026-01-15T10:00:00", "time-without-offset"),  # RFC 3339 §4.4
        ("2026-01-15T23:59:60Z", "time-leap-second"),
        ("2016-12-31T23:59:60+00:00", "time-leap-second"),
        ("2026-01-15T24:00:01Z", "time-malformed"),  # from here on RFC 3339 §5.6, §5.7
        ("2026-01-15T24:01:00Z", "time-malformed"),
        ("2026-01-15T24:00:00.5Z", "time-malformed"),
        ("2026-01-15T25:00:00Z", "time-malformed"),
        ("2026-01-15T10:60:00Z", "time-malformed"),
        ("2026-01-15T10:00:61Z", "time-malformed"),
        ("2026-02-29T10:00:00Z", "time-malformed"),
        ("2026-13-01T10:00:00Z", "time-malformed"),
        ("0000-01-01T00:00:00Z", "time-malformed"),
        ("2026-01-15T10:00:00+14:01", "time-malformed"),
        ("2026-01-15T10:00:00+01:60", "time-malformed"),
        ("2026-01-15T10:00:00+1:00", "time-malformed"),
        ("2026-01-15T10:00:00.Z", "time-malformed"),
        ("2026-01-15 10:00:00Z", "time-malformed"),
        ("2026-01-15T10:00Z", "time-malformed"),
        ("2026-01-15", "time-malformed"),
        ("20260115T100000Z", "time-malformed"),
        ("２026-01-15T10:00:00Z", "time-malformed"),
        ("1768471200", "time-malformed"),
        ("", "time-malformed"),
        ("9" * 4000, "time-malformed"),
        ("1969-12-31T23:59:59Z", "time-out-of-range"),
        ("1970-01-01T00:00:00+00:01", "time-out-of-range"),
        ("2201-01-01T00:00:00Z", "time-out-of-range"),
        ("9999-12-31T23:59:59Z", "time-out-of-range"),
    ],
)
def test_refused_times(text: str, code: str) -> None:
    with pytest.raises(Rejected) as error:
        parse(text)
    assert error.value.code == code


@given(st.text(max_size=60))
def test_any_text_gives_an_instant_or_a_refusal(text: str) -> None:
    try:
        found = parse(text)
    except Rejected:
        return
    assert parse(found.text) == found._replace(cut=False)


def test_before() -> None:
    assert before(parse("2026-01-01T00:00:00Z"), 900).text == "2025-12-31T23:45:00Z"
    with pytest.raises(Rejected, match="time-out-of-range"):
        before(parse("1970-01-01T00:00:00Z"), 1)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-01-15T24:00:00Z", "2026-01-16T00:00:00Z"),
        ("2026-02-28T24:00:00.000+01:00", "2026-03-01T00:00:00+01:00"),
        ("2026-12-31T24:00:00-05:00", "2027-01-01T00:00:00-05:00"),
    ],
)
def test_24_00_00_is_the_midnight_that_ends_the_day(text: str, same: str) -> None:
    """XML Schema 1.1 part 2 §3.3.7.2."""
    assert parse(text) == parse(same)
