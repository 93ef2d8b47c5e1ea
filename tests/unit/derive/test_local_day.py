"""docs/spec/completeness.md, Date and series: where a local day begins and ends."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.derive.local_day import day_number, day_of_number, local_day

HOUR_US = 3_600_000_000
VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).resolve().parents[2] / "vectors" / "device_days.json").read_text()
)
ZONES = (
    "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Kiritimati",
    "Pacific/Apia", "America/Sao_Paulo", "America/St_Johns", "Africa/Cairo", "Etc/GMT+12",
)  # fmt: skip
DATES = st.dates(date(1990, 1, 1), date(2037, 12, 30))


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-01-15", 24),
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("America/New_York", "2026-03-08", 23),
        ("America/New_York", "2026-11-01", 25),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
        ("Australia/Lord_Howe", "2026-10-04", 23.5),
        ("Pacific/Kiritimati", "2026-01-15", 24),
        ("America/Sao_Paulo", "2018-11-04", 23),  # midnight is skipped
        ("Pacific/Apia", "2011-12-30", 0),  # and here a date
    ],
)
def test_how_long_a_date_is(zone: str, day: str, hours: float) -> None:
    """RFC 5545 §3.3.5: a midnight that is skipped, and one that comes twice."""
    begin_us, end_us = local_day(date.fromisoformat(day), zone)
    assert end_us - begin_us == hours * HOUR_US


def test_a_zone_east_of_the_date_line_begins_fourteen_hours_before_utc() -> None:
    begin_us, _ = local_day(date(2026, 1, 15), "Pacific/Kiritimati")
    assert datetime.fromtimestamp(begin_us // 10**6, UTC) == datetime(2026, 1, 14, 10, tzinfo=UTC)


@given(st.sampled_from(ZONES), DATES)
def test_days_follow_each_other_without_a_gap(zone: str, day: date) -> None:
    begin_us, end_us = local_day(day, zone)
    assert local_day(day + timedelta(days=1), zone)[0] == end_us
    assert abs(begin_us // 10**6 - 86_400 * day_number(day)) <= 14 * 3600
    assert begin_us <= end_us <= begin_us + 26 * HOUR_US


@given(DATES)
def test_a_day_has_one_number(day: date) -> None:
    assert day_of_number(day_number(day)) == day
    assert day_number(date(1970, 1, 1)) == 0


@pytest.mark.parametrize(
    "zone", ["", "Mars/Olympus", "../Berlin", "/etc/passwd", "Europe/", "Europe"]
)
def test_what_is_no_zone(zone: str) -> None:
    with pytest.raises(ValueError, match="zone"):
        local_day(date(2026, 1, 15), zone)


def test_published_local_days() -> None:
    for case in VECTORS["local_days"]:
        begin_us, end_us = local_day(date.fromisoformat(case["date"]), case["zone"])
        found = begin_us // 10**6, (end_us - begin_us) // 10**6
        assert found == (int(case["start"]), int(case["length_s"])), case
