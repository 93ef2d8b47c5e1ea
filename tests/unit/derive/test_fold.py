"""docs/spec/completeness.md: from the rows of a device and day to its slots."""

from collections.abc import Sequence
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal import jcs
from bal.derive import fold
from bal.derive.fold import series_days
from bal.derive.local_day import local_day
from bal.model import Pseudonym, Rank, StoredRecord
from bal.slots import EMPTY_SLOT, Slot
from bal.times import rfc3339

REGISTER = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0"
POWER = "0.0.2.4.1.1.37.0.0.0.0.0.0.0.0.0.38.0"
DAY = date(2026, 1, 15)
BEGIN_US, END_US = local_day(DAY, "Europe/Berlin")
QUARTER_US, HOUR_US = 900_000_000, 3_600_000_000


def row(
    index: int,
    begin_us: int,
    value: str | None = "1",
    *,
    length_us: int = HOUR_US,
    rank: Rank = Rank.MEASURED,
    **more: Any,
) -> StoredRecord:
    kind, register = more.pop("kind", "reading"), more.pop("register", REGISTER)
    unit = more.pop("unit", "Wh" if value is not None else None)
    members = {
        "begin": rfc3339(begin_us), "end": rfc3339(begin_us + length_us), "kind": kind,
        "register": register, "evidence": more.pop("evidence", f"{index:064x}"), "v": "1", **more,
    }  # fmt: skip
    members |= {"value": value} if value is not None else {}
    members |= {"unit": unit} if unit is not None else {}
    return StoredRecord(
        Pseudonym("A" * 43), begin_us + length_us, kind, register, begin_us, index, rank,
        b"\x01", 2026, jcs.encode(members), "g/0",
    )  # fmt: skip


def one(rows: Sequence[StoredRecord], known: dict[str, int] | None = None) -> list[Slot]:
    days = series_days(rows, BEGIN_US, END_US, known or {})
    assert len(days) == 1
    return days[0].slots


def test_a_whole_day_of_hours() -> None:
    rows = [row(n, BEGIN_US + n * HOUR_US, str(n)) for n in range(24)]
    assert one(rows) == [Slot(2, 0, 1000 * n, n) for n in range(24)]


@pytest.mark.parametrize(
    ("zone", "day", "slots"),
    [
        ("Europe/Berlin", "2026-03-29", 92),
        ("Europe/Berlin", "2026-10-25", 100),
        ("America/New_York", "2026-03-08", 92),
        ("America/New_York", "2026-11-01", 100),
        ("Australia/Lord_Howe", "2026-04-05", 98),
        ("Australia/Lord_Howe", "2026-10-04", 94),
        ("Pacific/Kiritimati", "2026-01-15", 96),
        ("Pacific/Apia", "2011-12-30", None),
    ],
)
def test_slots_of_a_day(zone: str, day: str, slots: int | None) -> None:
    begin_us, end_us = local_day(date.fromisoformat(day), zone)
    rows = [
        row(n, at_us, length_us=QUARTER_US)
        for n, at_us in enumerate(range(begin_us, end_us, QUARTER_US))
    ]
    days = series_days(rows, begin_us, end_us, {REGISTER: 900})
    assert [len(found.slots) for found in days] == ([slots] if slots else [])
    assert all(slot.state == 2 for found in days for slot in found.slots)


def test_a_day_of_24_and_a_half_hours_has_25_hours() -> None:
    begin_us, end_us = local_day(date(2026, 4, 5), "Australia/Lord_Howe")
    days = series_days([row(0, begin_us + 24 * HOUR_US)], begin_us, end_us, {})
    assert len(days[0].slots) == 25
    assert days[0].slots[24].state == 2


def test_what_belongs_to_another_day_or_is_no_energy_is_passed_over() -> None:
    rows = [
        row(1, BEGIN_US - HOUR_US),
        row(2, END_US),
        row(3, BEGIN_US, unit="W", register=POWER),
        row(4, BEGIN_US, kind="event", unit=None, value=None, register="x"),
        row(5, BEGIN_US, length_us=0),
        row(6, BEGIN_US, None, register=POWER, rank=Rank.MISSING),
    ]
    assert series_days(rows, BEGIN_US, END_US, {}) == []


def test_the_most_frequent_length_that_lies_in_its_grid_cuts_the_day() -> None:
    """One odd record does not empty a meter's day: it fills no slot, and no more."""
    rows = [row(n, BEGIN_US + n * QUARTER_US, length_us=QUARTER_US) for n in range(96)]
    odd = [
        row(101, BEGIN_US, length_us=60_000_000),
        row(102, BEGIN_US, length_us=HOUR_US),
        *(row(110 + n, BEGIN_US + n * HOUR_US + 1_000_000, length_us=HOUR_US) for n in range(9)),
    ]
    assert one([*odd, *rows]) == one(rows)
    assert all(slot.state == 2 for slot in one([*rows, *odd]))


def test_of_equally_frequent_lengths_the_shortest_cuts_the_day() -> None:
    rows = [
        row(1, BEGIN_US),
        row(2, BEGIN_US + HOUR_US, length_us=QUARTER_US),
        row(3, BEGIN_US + HOUR_US + 1_000_000, length_us=60_000_000),  # in no grid
        row(4, BEGIN_US + 2 * HOUR_US, length_us=7_000_000),  # divides no day
        row(5, BEGIN_US + 2 * HOUR_US, length_us=30_000_000),  # below the least
    ]
    slots = one(rows)
    assert len(slots) == 96
    assert [n for n, slot in enumerate(slots) if slot.state] == [4]


def test_versions_of_a_record_count_once_for_its_length() -> None:
    """A value that was sent three times is one interval, like each of the two hours."""
    again = [row(n, BEGIN_US, str(n), length_us=QUARTER_US) for n in range(3)]
    hours = [row(5 + n, BEGIN_US + n * HOUR_US) for n in range(2)]
    assert len(one(again + hours)) == 24


def test_without_a_length_the_day_is_cut_as_the_one_before_or_not_at_all() -> None:
    rows = [row(1, BEGIN_US, length_us=24 * HOUR_US)]
    assert series_days(rows, BEGIN_US, END_US, {}) == []
    assert one(rows, {REGISTER: 3600}) == [EMPTY_SLOT] * 24
    assert one([], {REGISTER: 3600}) == [EMPTY_SLOT] * 24


def test_the_highest_rank_counts_then_the_latest_and_a_repeat_never() -> None:
    def at(index: int, value: str, rank: Rank, evidence: str) -> StoredRecord:
        return row(index, BEGIN_US, value, rank=rank, evidence=evidence)

    measured = at(1, "1", Rank.MEASURED, "a")
    assert one([measured, at(2, "2", Rank.ESTIMATED, "b")])[0] == Slot(2, 0, 1000, 1)
    assert one([measured, at(2, "2", Rank.MEASURED, "b")])[0] == Slot(2, 0, 2000, 2)
    assert one([measured, at(2, "2", Rank.CORRECTED, "b")])[0] == Slot(3, 0, 2000, 2)
    repeated = at(3, "1", Rank.MEASURED, "a")
    assert one([measured, at(2, "2", Rank.MEASURED, "b"), repeated])[0] == Slot(2, 0, 2000, 2)
    assert one([repeated, measured])[0] == Slot(2, 0, 1000, 1)
    missing = row(9, BEGIN_US, None, rank=Rank.MISSING)
    assert one([missing])[0] == Slot(0, 2, 0, 9)
    assert one([measured, missing])[0] == Slot(2, 0, 1000, 1)


@pytest.mark.parametrize(
    ("value", "slot"),
    [
        ("0.25", Slot(2, 0, 250, 1)),
        ("-3", Slot(2, 0, -3000, 1)),
        ("1.23456", Slot(2, 4, 1235, 1)),
        ("9" * 30, Slot(0, 3, 0, 1)),
        ("9" * 52 + ".5", Slot(0, 3, 0, 1)),
    ],
)
def test_values(value: str, slot: Slot) -> None:
    assert one([row(1, BEGIN_US, value)])[0] == slot


def test_a_record_with_members_behind_its_value_is_parsed() -> None:
    text = '"unit":"Wh","v":"1","value":"5"}'
    assert one([row(1, BEGIN_US, "7", zone="x")])[0].energy_milli == 7000
    assert one([row(1, BEGIN_US, "7", zone=text)])[0].energy_milli == 7000


def test_telemetry_and_readings_of_one_register_are_one_series() -> None:
    rows = [
        row(1, BEGIN_US, "1", register="activeEnergyImport", kind="telemetry"),
        row(2, BEGIN_US, "2", register="activeEnergyImport"),
    ]
    assert one(rows)[0] == Slot(2, 0, 2000, 2)


ROWS = st.lists(
    st.builds(
        lambda n, length, value, rank, kind: (n, length, value, rank, kind),
        st.integers(0, 5),
        st.sampled_from([QUARTER_US, HOUR_US, 7_000_000]),
        st.one_of(
            st.none(), st.integers(-(10**16), 10**16).map(str), st.sampled_from(["0.5", "1.0005"])
        ),
        st.sampled_from([Rank.ESTIMATED, Rank.MEASURED, Rank.CORRECTED]),
        st.sampled_from(["reading", "telemetry"]),
    ),
    max_size=12,
)


@given(ROWS, st.booleans(), st.randoms())
def test_the_quick_way_gives_what_the_general_one_gives(
    drawn: list[Any], one_length: bool, chance: Any
) -> None:
    rows = [
        row(index, BEGIN_US + n * HOUR_US, value, kind=kind,
            length_us=HOUR_US if one_length else length,
            rank=Rank.MISSING if value is None else rank)
        for index, (n, length, value, rank, kind) in enumerate(drawn)
    ]  # fmt: skip
    quick = series_days(rows, BEGIN_US, END_US, {REGISTER: 3600})
    chance.shuffle(rows)
    assert series_days(rows, BEGIN_US, END_US, {REGISTER: 3600}) == quick
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fold, "_plain", lambda *_: None)
        assert series_days(rows, BEGIN_US, END_US, {REGISTER: 3600}) == quick
