"""The published SimBench wheel itself, where `make demo` has already fetched it."""

import io
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from zipfile import ZipFile

import pytest

from field.profiles import PROFILE_SLOTS, play, slot_at
from field.simbench import SCENARIO, WHEEL, ders, fetch_wheel, meters
from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def wheel() -> Path:
    cache = REPOSITORY / ".cache"
    if not (cache / WHEEL).exists():
        pytest.skip("optional: SimBench's wheel is not in .cache; `make demo` fetches it")
    return fetch_wheel(cache)


def test_the_grid_is_the_one_that_the_demo_names(wheel: Path) -> None:
    found = meters(wheel)
    assert len(found) == 145
    assert len({meter.name for meter in found}) == 145
    assert [meter.element for meter in found[:2]] == ["LV3.101 Load 1", "LV3.101 Load 2"]
    assert found[0].profile == "H0-C"
    assert found[0].peak_w == 3000
    fed = ders(wheel)
    assert [sum(unit.kind == kind for unit in fed) for kind in ("pv", "storage")] == [25, 14]
    assert sum(unit.peak_w for unit in fed if unit.kind == "pv") == 242_200


def test_the_profiles_are_berlins_wall_clock_in_2016(wheel: Path) -> None:
    with ZipFile(wheel) as archive, archive.open(f"{SCENARIO}/LoadProfile.csv") as raw:
        text = io.TextIOWrapper(raw, encoding="utf-8")
        times = [line.split(";", 1)[0] for line in text][1:]
    assert len(times) == PROFILE_SLOTS
    assert times[slot_at(datetime(2016, 3, 27, 0, 45, tzinfo=UTC))] == "27.03.2016 01:45"
    assert times[slot_at(datetime(2016, 3, 27, 1, 0, tzinfo=UTC))] == "27.03.2016 03:00"
    assert times[slot_at(datetime(2016, 7, 1, 10, 0, tzinfo=UTC))] == "01.07.2016 12:00"
    autumn = [slot_at(datetime(2016, 10, 30, hour, 30, tzinfo=UTC)) for hour in (0, 1)]
    assert [times[slot] for slot in autumn] == ["30.10.2016 02:30", "30.10.2016 02:30"]
    assert autumn[1] - autumn[0] == 4


def test_an_hour_of_twenty_meters(wheel: Path) -> None:
    played = meters(wheel, limit=20)
    quarters = list(play(wheel, played, datetime(2026, 1, 15, 10, 0, tzinfo=UTC), 4))
    assert len(quarters) == 4
    assert all(len(quarter.energy_wh) == 20 for quarter in quarters)
    for index, meter in enumerate(played):
        hour_wh = sum(quarter.energy_wh[index] for quarter in quarters)
        assert 0 < hour_wh <= meter.peak_w * Decimal("1.01")
