"""bal.closing over a real database and book: what a close makes, and that it is a function."""

import json
from datetime import date
from typing import Any

import pytest

from bal.certify import device_day
from bal.certify.commitment import commitment
from bal.closing import ClosedDay, Made, close_day
from bal.derive.local_day import local_day
from bal.errors import Stop
from bal.model import TYPE_DEVICE_DAY, Digest, Pseudonym, ReadingsQuery
from bal.ports import BookEntry
from bal.slots import EMPTY_SLOT

DAY, NEXT = date(2026, 1, 15), date(2026, 1, 16)
HOUR_US = 3_600_000_000
BEGIN_US, END_US = local_day(DAY, "Europe/Berlin")


def a_day(log: Any, name: str = "m", day: date = DAY) -> None:
    begin_us, _ = local_day(day, "Europe/Berlin")
    log.enrol(name)
    for hour in range(24):
        log.read(name, begin_us + hour * HOUR_US, str(hour))


def closed_again(log: Any, closed: Any) -> Any:
    return close_day(
        log.customer_db, log.registry, log.vault, log.book,
        day=closed.day, k=closed.k, prefix=closed.prefix, time_us=closed.time_us,
    )  # fmt: skip


def test_entries_stand_in_the_order_of_keys_and_open(log: Any) -> None:
    for name in "abcdefgh":
        a_day(log, name)
    closed = log.close()
    keys = [made.entry.key for made in closed.made]
    assert keys == sorted(keys)
    assert len(keys) == 8
    for made in closed.made:
        salt_key = log.vault.salt_keys([made.entry.device], 2026)[made.entry.device]
        assert made.entry.commitment == commitment(salt_key, TYPE_DEVICE_DAY, made.data)
        day = device_day.decode(made.data)
        assert device_day.encode(day) == made.data
        assert [slot.energy_milli for slot in day.slots] == [1000 * hour for hour in range(24)]
    header = json.loads(closed.batches({"rules": "r"})[0].header(closed.prefix))
    inputs = {"date": "2026-01-15", "k": "1", "prefix": "192", "rules": "r"}
    assert header["inputs"].items() >= inputs.items()
    assert (header["epoch"], header["offset"], header["prev"]) == ("derive", "0", "-1")


def test_a_batch_has_parts() -> None:
    entry = BookEntry(bytes(32), Pseudonym("A" * 43), "r", 900, 1, Digest(bytes(32)), bytes(32), -1)
    made = [Made(entry, 0, 1, "g/0", b"")] * 8_193
    root = Digest(bytes(32))
    parts = ClosedDay(1, DAY, 5, 0, 8_193, root, root, made).batches({})
    assert [len(part.entries) for part in parts] == [8_192, 1]
    assert [(part.offset, part.prev, part.part) for part in parts] == [(0, -1, 0), (0, -1, 1)]


def test_a_close_without_news_makes_no_version(log: Any) -> None:
    a_day(log)
    first = log.close()
    second = log.close()
    assert (len(first.made), len(second.made)) == (1, 0)
    assert (second.day_book, second.book) == (first.day_book, first.book)
    assert second.k == 2


def test_one_record_of_another_length_does_not_empty_a_day(log: Any) -> None:
    """Neither at once nor late: the day is cut as most of its records are."""
    a_day(log)
    log.read("m", BEGIN_US, "7", length_us=60_000_000)
    first = log.close()
    assert [len(device_day.decode(made.data).slots) for made in first.made] == [24]
    log.read("m", BEGIN_US + HOUR_US, "7", length_us=900_000_000)
    assert log.close().made == []


def test_late_data_makes_one_linked_version(log: Any) -> None:
    a_day(log, "a")
    a_day(log, "b")
    first = log.close()
    log.read("a", BEGIN_US, "99", codes=("1.7.0",))
    second = log.close()
    assert [made.entry.version for made in second.made] == [2]
    day = device_day.decode(second.made[0].data)
    before = {made.entry.key: made.entry.commitment for made in first.made}
    assert day.previous == before[day.key]
    assert (day.slots[0].state, day.slots[0].energy_milli) == (3, 99_000)
    assert day.prefix == second.prefix


def test_a_silent_meter_has_missing_days_until_it_is_revoked(log: Any) -> None:
    a_day(log)
    log.close()
    silent = log.close(NEXT)
    assert [device_day.decode(made.data).slots for made in silent.made] == [(EMPTY_SLOT,) * 24]
    log.enrol("m", state="revoked")
    assert log.close(date(2026, 1, 17)).made == []


def test_a_close_is_a_function_of_its_prefix(log: Any) -> None:
    a_day(log)
    first = log.close()
    log.read("m", BEGIN_US, "99", codes=("1.7.0",))
    second = log.close()
    a_day(log, day=NEXT)
    third = log.close(NEXT)
    for closed in (first, second, third):
        again = closed_again(log, closed)
        assert (again.entries, again.record) == (closed.entries, closed.record)
        assert again == closed


def test_devices_of_several_zones_have_their_own_day(log: Any) -> None:
    for name, zone in {"e": "Pacific/Kiritimati", "w": "America/New_York"}.items():
        log.enrol(name, zone)
        begin_us, end_us = local_day(DAY, zone)
        for at_us in range(begin_us - HOUR_US, end_us + HOUR_US, HOUR_US):
            log.read(name, at_us, "1")
    closed = log.close()
    days = [device_day.decode(made.data) for made in closed.made]
    assert sorted(day.start_s for day in days) == sorted(
        local_day(DAY, zone)[0] // 10**6 for zone in ("Pacific/Kiritimati", "America/New_York")
    )
    assert all(slot.state == 2 for day in days for slot in day.slots)


def test_what_was_erased_gets_no_new_version(log: Any) -> None:
    a_day(log, "a")
    a_day(log, "b")
    first = log.close()
    for name in "ab":
        log.read(name, BEGIN_US, "99", codes=("1.7.0",))
    log.vault.erased.add(log.enrol("a").device)
    second = log.close()
    assert [made.entry.device for made in second.made] == [log.enrol("b").device]
    assert second.device_days == first.device_days == 2


def test_what_cannot_follow_is_refused(log: Any) -> None:
    a_day(log)
    closed = log.close()

    def again(**changes: Any) -> None:
        given = {"day": DAY, "k": 2, "prefix": closed.prefix, "time_us": 0} | changes
        close_day(log.customer_db, log.registry, log.vault, log.book, **given)

    for k in (0, 3):
        with pytest.raises(ValueError, match="can follow"):
            again(k=k)
    with pytest.raises(ValueError, match="reads no less"):
        again(prefix=closed.prefix - 1)
    with pytest.raises(ValueError, match="can follow"):
        again(day=date(1969, 12, 31))


def test_a_zone_that_tzdata_lacks_stops_the_close(log: Any) -> None:
    log.enrol("m", "Mars/Olympus")
    with pytest.raises(Stop, match="zone-unknown"):
        log.close()


def test_a_date_that_a_zone_skipped_has_no_device_days(log: Any) -> None:
    log.enrol("m", "Pacific/Apia")
    assert log.close(date(2011, 12, 30)).made == []


def test_rows_of_a_shard_are_those_of_the_readings(log: Any) -> None:
    a_day(log, "a")
    a_day(log, "b")
    log.read("a", BEGIN_US, "5")
    size = len(log.entries) - 1  # the last one is beyond it
    shard = log.registry.device(log.enrol("a").device).shard
    found = list(log.customer_db.of_shard(shard, BEGIN_US + HOUR_US, END_US, size))
    assert [device for device, _ in found] == sorted(log.enrol(name).device for name in "ab")
    page = log.customer_db.readings(ReadingsQuery(None, as_of_size=size, versions="all"))
    expected = {row for row in page.rows if row.begin_us >= BEGIN_US + HOUR_US}
    assert {row for _, rows in found for row in rows} == expected
    assert len(expected) == 46
    assert list(log.customer_db.of_shard("no/0", 0, END_US, size)) == []
