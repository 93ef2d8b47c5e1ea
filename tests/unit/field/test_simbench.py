"""The reader of SimBench, on a small archive of the same layout; the wheel itself in adapters/."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zipfile import ZipFile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.errors import Stop
from field import simbench
from field.profiles import PROFILE_SLOTS, active_shares, both_shares, local_day, play, slot_at
from field.simbench import SCENARIO, GridUnit, ders, fetch_wheel, meters, shares

LOADS = """id;node;profile;pLoad;qLoad;sR;subnet;voltLvl
EHV Load 1;EHV Bus 1605;HS0;120.607;39.64;126.954;EHV1;1
LV3.101 Load 10;LV3.101 Bus 56;H0-A;0.002;0.0008;0.0022;LV3.101;7
LV3.101 Load 1;LV3.101 Bus 27;H0-C;0.003;0.0012;0.0032;LV3.101;7
LV3.101 Load 2;LV3.101 Bus 31;H0-C;0.0005;0.0012;0.0032;LV3.101;7
"""
RES = """id;node;type;profile;calc_type;pRES;qRES;sR;subnet;voltLvl
MV1.101 SGen 10;MV1.101 Bus 12;lv_RES;lv_rural3;pq;0.2422;0;0.2422;MV1.101_LV3.101_eq;5
LV3.101 SGen 2;LV3.101 Bus 81;PV;PV3;pq;0.0066;0;0.0066;LV3.101;7
"""
STORAGE = """id;node;type;profile;pStor;qStor;chargeLevel;sR;subnet;voltLvl
LV3.101 Storage 1;LV3.101 Bus 6;PV_Storage;Storage_PV3_H0-G;-0.0034;0;0;0.0034;LV3.101;7
"""
NAMES = ["0031010001", "0031010002", "0031010010"]


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "small.whl"
    rows = ["time;H0-A_qload;H0-A_pload;H0-C_pload"]
    rows += [f"row {row};0.9;0.{row:06d};0.088339" for row in range(PROFILE_SLOTS)]
    with ZipFile(path, "w") as archive:
        archive.writestr(f"{SCENARIO}/Load.csv", LOADS)
        archive.writestr(f"{SCENARIO}/RES.csv", RES)
        archive.writestr(f"{SCENARIO}/Storage.csv", STORAGE)
        for name, column in (("RES", "PV3"), ("Storage", "Storage_PV3_H0-G")):
            fed = [f"time;{column}", *(f"row {row};0.{row:06d}" for row in range(PROFILE_SLOTS))]
            archive.writestr(f"{SCENARIO}/{name}Profile.csv", "\n".join(fed) + "\n")
        archive.writestr(f"{SCENARIO}/LoadProfile.csv", "\n".join(rows) + "\n")
    return path


def test_meters_of_one_grid_by_number(wheel: Path) -> None:
    found = meters(wheel)
    assert [meter.name for meter in found] == NAMES
    assert [meter.element for meter in found][1] == "LV3.101 Load 2"
    assert found[0].peak_w == 3000
    assert found[0].profile == "H0-C"
    assert [meter.name for meter in meters(wheel, limit=2)] == NAMES[:2]


def test_a_grid_that_is_not_there(wheel: Path) -> None:
    with pytest.raises(Stop, match="no loads in a grid LV9"):
        meters(wheel, grid="LV9")


def test_what_feeds_in_is_known_by_number_and_kind(wheel: Path) -> None:
    pv, storage = ders(wheel)
    assert (pv.name, pv.kind, pv.peak_w) == ("pv-0031010002", "pv", 6600)
    assert (storage.name, storage.kind, storage.peak_w) == ("storage-0031010001", "storage", 3400)
    assert pv.feeds_in
    assert storage.feeds_in
    assert not meters(wheel)[0].feeds_in


def test_shares_by_name_of_profile_and_row(wheel: Path) -> None:
    assert shares(wheel, "LoadProfile", ["H0-C_pload", "H0-A_pload"], 5, 2) == [
        [Decimal("0.088339"), Decimal("0.000005")],
        [Decimal("0.088339"), Decimal("0.000006")],
    ]
    with pytest.raises(Stop, match="no column H9"):
        shares(wheel, "LoadProfile", ["H9"], 5, 2)


def units(*profiles: str) -> list[GridUnit]:
    return [GridUnit("", "load", "", "", profile, Decimal(1)) for profile in profiles]


def test_units_of_all_kinds_side_by_side(wheel: Path) -> None:
    played = [*ders(wheel), *meters(wheel, limit=1)]
    assert active_shares(wheel, played, 7, 1) == [
        [Decimal("0.000007"), Decimal("0.000007"), Decimal("0.088339")]
    ]
    active, reactive = both_shares(wheel, [played[0], *units("H0-A")], 7, 1)
    assert active == [[Decimal("0.000007"), Decimal("0.000007")]]
    assert reactive == [[Decimal("0.000007"), Decimal("0.9")]]


def test_the_year_goes_round(wheel: Path) -> None:
    last = PROFILE_SLOTS - 1
    around = active_shares(wheel, units("H0-A"), last, 2)
    assert around == [[Decimal(f"0.{last:06d}")], [Decimal("0.000000")]]


@pytest.mark.parametrize(("first", "count"), [(-1, 1), (PROFILE_SLOTS, 1), (0, PROFILE_SLOTS + 1)])
def test_rows_outside_the_year_are_refused(wheel: Path, first: int, count: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        active_shares(wheel, units("H0-A"), first, count)


@pytest.mark.parametrize(
    ("day", "begin", "slots"),
    [
        (date(2026, 1, 15), "2026-01-14T23:00:00+00:00", 96),
        (date(2026, 3, 29), "2026-03-28T23:00:00+00:00", 92),
        (date(2026, 7, 1), "2026-06-30T22:00:00+00:00", 96),
        (date(2026, 10, 25), "2026-10-24T22:00:00+00:00", 100),
    ],
)
def test_local_days_have_as_many_quarters_as_they_have(day: date, begin: str, slots: int) -> None:
    assert local_day(day) == (datetime.fromisoformat(begin), slots)


def test_whole_watt_hours_that_add_up(wheel: Path) -> None:
    begin = datetime(2026, 1, 15, 10, 0, tzinfo=UTC)
    played = meters(wheel, limit=2)
    quarters = list(play(wheel, played, begin, 8))
    assert [quarter.begin for quarter in quarters] == [
        begin + timedelta(minutes=15) * number for number in range(8)
    ]
    assert quarters[0].end == quarters[1].begin
    # 3,000 W and 500 W × 0.088339 × ¼ h = 66.25425 Wh and 11.042375 Wh
    assert [quarter.energy_wh for quarter in quarters[:4]] == [(66, 11)] * 3 + [(67, 11)]
    for index, exact in enumerate((Decimal("66.25425"), Decimal("11.042375"))):
        assert sum(quarter.energy_wh[index] for quarter in quarters) == int(8 * exact)


def test_play_starts_on_a_quarter_hour(wheel: Path) -> None:
    begin = datetime(2026, 1, 15, 10, 1, tzinfo=UTC)
    with pytest.raises(ValueError, match="quarter-hour"):
        next(play(wheel, meters(wheel), begin, 1))


def test_slots_of_known_instants() -> None:
    assert slot_at(datetime(2016, 1, 1, 0, 0, tzinfo=UTC)) == 4  # 01:00 on the wall in Berlin
    assert slot_at(datetime(2015, 12, 31, 23, 14, 59, tzinfo=UTC)) == 0
    assert slot_at(datetime(2016, 12, 31, 22, 45, tzinfo=UTC)) == PROFILE_SLOTS - 1
    # 12:00 on the wall, in winter and summer, whatever the year
    assert slot_at(datetime(2026, 1, 15, 11, 0, tzinfo=UTC)) == 14 * 96 + 48
    summer = slot_at(datetime(2026, 7, 1, 10, 0, tzinfo=UTC))
    assert summer == slot_at(datetime(2016, 7, 1, 10, 0, tzinfo=UTC))


@given(st.integers(0, 4_000_000_000))
def test_every_instant_has_a_slot(seconds: int) -> None:
    assert 0 <= slot_at(datetime.fromtimestamp(seconds, UTC)) < PROFILE_SLOTS


def test_a_wheel_that_was_changed_is_refused(tmp_path: Path) -> None:
    (tmp_path / simbench.WHEEL).write_bytes(b"PK something else")
    with pytest.raises(Stop, match="not the published file"):
        fetch_wheel(tmp_path)


def test_a_file_that_is_no_archive_stops(tmp_path: Path) -> None:
    path = tmp_path / "small.whl"
    path.write_bytes(b"no archive")
    with pytest.raises(Stop, match="simbench-layout"):
        meters(path)
