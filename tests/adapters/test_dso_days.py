"""The DSO Data Server: a day's value keeps its begin, from the export to the platform's record."""

import sqlite3
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from bal.inspection import inspect
from bal.times import rfc3339
from field import dso_cim
from field.dso_centre import load
from field.dso_import import Export, read
from field.dso_publisher import fill_outbox
from field.dso_store import DsoStore, Query, Stored
from field.dso_value import Meter, Value

DAILY = "11.0.0.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0"  # macroPeriod 11, deltaData
PERIOD_OF_24_H = "0.0.4.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0"  # measuringPeriod 4
ATHENS = ZoneInfo("Europe/Athens")
DAYS = [("2026-10-25", 25), ("2026-03-29", 23), ("2026-01-15", 24)]
NOW_US = 1_800_000_000_000_000


def exported(folder: Path, time: str, *, stamps: str, register: str = DAILY) -> Export:
    (folder / "centre.toml").write_text(
        f'format = "csv"\nzone = "Europe/Athens"\nstamps = "{stamps}"\n'
        'columns = { meter = "m", time = "t" }\n'
        f'values.v = {{ register = "{register}", unit = "kWh" }}\n'
    )
    return read(f"m;t;v\nM-17;{time};12.5\n".encode(), load(folder))


def us_of(local: datetime) -> int:
    return int(local.timestamp()) * 1_000_000


def published(store: DsoStore) -> bytes:
    assert fill_outbox(store, NOW_US) == 1
    [message] = store.waiting()
    return store.message(message)


@pytest.mark.parametrize(("day", "hours"), DAYS)
@pytest.mark.parametrize("register", [DAILY, PERIOD_OF_24_H])
@pytest.mark.parametrize(
    ("stamps", "form"),
    [("begin", "%Y-%m-%d"), ("begin", "%Y-%m-%dT00:00"), ("begin", "%Y-%m-%dT00:00:00%z"),
     ("end", "%Y-%m-%dT24:00")],
)  # fmt: skip
def test_a_day_is_at_the_platform_what_it_is_at_the_meter(
    tmp_path: Path, day: str, hours: int, register: str, *, stamps: str, form: str
) -> None:
    midnight = datetime.fromisoformat(day).replace(tzinfo=ATHENS)
    begin_us = us_of(midnight)
    export = exported(tmp_path, midnight.strftime(form), stamps=stamps, register=register)
    store = DsoStore(tmp_path / "dso.db")
    store.take_export("north", "1.csv", "", export, now_us=NOW_US)
    raw = published(store)
    store.close()
    told = inspect(raw, "cim", received_us=NOW_US)
    [device] = told.devices
    [seen] = device.seen
    assert (seen.kind, seen.value, seen.unit) == ("reading", "12500", "Wh")
    assert (seen.begin_us, seen.end_us) == (begin_us, begin_us + hours * 3_600_000_000)
    assert told.refused == []
    differs = register == PERIOD_OF_24_H and hours != 24  # the timePeriod counts
    assert seen.findings == (("interval-length-differs",) if differs else ())


def test_an_offset_that_is_not_of_the_zone_says_a_day_of_24_hours(tmp_path: Path) -> None:
    [value] = exported(tmp_path, "2026-10-25T00:00:00Z", stamps="begin").values
    assert value.begin_us == us_of(datetime.fromisoformat("2026-10-25T00:00:00Z"))
    assert value.end_us - value.begin_us == 24 * 3_600_000_000


@pytest.mark.parametrize(("hours", "code"), [(23, ""), (25, ""), (22, "differs"), (26, "differs")])
def test_a_day_of_cim_has_the_length_that_it_says(tmp_path: Path, hours: int, code: str) -> None:
    """IEC 61968-9 timePeriod."""
    (tmp_path / "centre.toml").write_text('format = "cim"\n')
    end_us = us_of(datetime.fromisoformat("2026-03-29T21:00:00Z"))
    sent = Value(Meter("M"), DAILY, end_us, "1", (), end_us - hours * 3_600_000_000)
    found = read(dso_cim.document([sent]), load(tmp_path))
    assert found.values == ([] if code else [sent])
    assert [one.code for one in found.refused] == ([f"interval-length-{code}"] if code else [])


def only(store: DsoStore) -> Stored:
    [one] = store.values(Query(every_version=True))
    return one


def test_a_database_of_the_earlier_form_is_taken_over(tmp_path: Path) -> None:
    """Its days have no begin; the same value from an export with one is no correction."""
    export = exported(tmp_path, "2026-03-29", stamps="begin")
    path = tmp_path / "dso.db"
    store = DsoStore(path)
    store.take_export("north", "1.csv", "", export, now_us=NOW_US)
    store.close()
    with sqlite3.connect(path) as db:
        db.execute("ALTER TABLE vals DROP COLUMN begin_us")
        db.execute("PRAGMA user_version=1")
    db.close()
    store = DsoStore(path)
    assert only(store).value.begin_us is None
    assert store.take_export("north", "1.csv", "2", export, now_us=NOW_US) == 0
    assert (only(store).version, rfc3339(only(store).value.end_us)) == (1, "2026-03-29T21:00:00Z")
    store.close()
    again = DsoStore(path)
    assert only(again).value.begin_us is None
    again.close()
