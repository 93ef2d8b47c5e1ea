"""The host's clock is set while the platform runs: back and forward, a leap second, summer time.

The platform is the real one on real stores, its clock in the test's hand. What workers, brokers and
several processes make of the same is simulated: tests/simulation.
"""

import json
from datetime import date
from pathlib import Path

import pytest

from bal.certify import device_day
from bal.derive.local_day import local_day
from bal.times import rfc3339
from infra.fsck import fsck
from infra.replay import replay
from tests.journey.small_platform import READING_TYPE, Hand, Small, cim

SECOND_US = 1_000_000
HOUR_US = 3_600 * SECOND_US
QUARTER_US = HOUR_US // 4
ZONE = "Europe/Berlin"
LEAP_US = 1_483_228_800_000_000  # 2017-01-01T00:00:00Z, behind 2016-12-31T23:59:60Z


def audited(root: Path) -> None:
    for audit in (fsck(root), replay(root)):
        assert audit.differences == []
        assert audit.unchecked == {}


@pytest.mark.parametrize(
    "steps_us",
    [
        [-HOUR_US],
        [HOUR_US],
        [-HOUR_US, HOUR_US],
        [HOUR_US, -HOUR_US, -HOUR_US],
        [-24 * HOUR_US, 24 * HOUR_US],
        [24 * HOUR_US, -24 * HOUR_US],
        [-1, 1],
    ],
    ids=["back", "forward", "back-forward", "forward-back-back", "day-back", "day-forward", "tick"],
)
def test_a_clock_that_is_set(tmp_path: Path, steps_us: list[int]) -> None:
    """Messages go on to be certified, a size was never published before a smaller one."""
    clock = Hand()
    small = Small(tmp_path, clock)
    small.start()
    small.enrol("headend")
    sizes, latest = [], clock.now
    for number, step_us in enumerate([0, *steps_us, 0]):
        clock.now += step_us
        latest = max(latest, clock.now)
        small.take("headend", cim(number, range(3)))
        sizes.append(small.stores.log.size_at(latest))
    assert sizes == sorted(set(sizes))
    small.close()
    audited(tmp_path)
    small = Small(tmp_path, clock)  # and after a restart, at whatever time it is by now
    small.start()
    small.take("headend", cim(99, range(3)))
    assert small.stores.log.size_at(latest) > sizes[-1]
    small.close()
    audited(tmp_path)


def test_a_leap_second(tmp_path: Path) -> None:
    """The clock repeats a second, and a meter's says 60, which is refused with its own code."""
    clock = Hand(LEAP_US - SECOND_US // 2)
    small = Small(tmp_path, clock)
    small.start()
    small.enrol("headend")
    small.take("headend", cim(0, range(3)))
    clock.now += SECOND_US
    small.take("headend", cim(1, range(3)))
    clock.now -= SECOND_US
    at_60 = cim(2, [1]).replace(b"2026-01-01T00:30:00Z", b"2016-12-31T23:59:60Z")
    [told] = small.take("headend", at_60)
    assert told.summary["good"] == 0
    assert '"time-leap-second"' in json.dumps(told.summary["refused"])
    clock.now += 2 * SECOND_US
    small.take("headend", cim(3, range(3)))
    small.close()
    audited(tmp_path)


@pytest.mark.parametrize(("day", "slots"), [("2026-03-29", 92), ("2026-10-25", 100)])
def test_the_days_on_which_summer_time_begins_and_ends(
    tmp_path: Path, day: str, slots: int
) -> None:
    """Every quarter-hour has one slot, and the day is closed with all of them."""
    begin_us, end_us = local_day(date.fromisoformat(day), ZONE)
    assert end_us - begin_us == slots * QUARTER_US
    clock = Hand(begin_us)
    small = Small(tmp_path, clock)
    small.start()
    small.enrol("headend", zone=ZONE)
    for at_us in range(begin_us + QUARTER_US, end_us + 1, QUARTER_US):
        clock.now = at_us
        small.put("headend", reading(at_us))
    small.wait(1 + slots)  # with the enrolment
    close = small.close_day(day)
    [entry] = small.stores.book.entries(close.date, close.k)
    row = small.stores.customer_db.record(entry.log_index)
    assert row is not None
    made = device_day.decode(row.record)
    assert len(made.slots) == slots
    assert all(slot.state for slot in made.slots)
    assert len({slot.index for slot in made.slots}) == slots
    small.close()
    audited(tmp_path)


def reading(end_us: int) -> bytes:
    """The quarter-hour of one meter that ends then."""
    namespace = "http://iec.ch/TC57/2011/MeterReadings#"
    return (
        f'<MeterReadings xmlns="{namespace}"><MeterReading><Meter><Names><name>m-1</name></Names>'
        f"</Meter><Readings><timeStamp>{rfc3339(end_us)}</timeStamp><value>1.5</value>"
        f'<ReadingType ref="{READING_TYPE}"/></Readings></MeterReading></MeterReadings>'
    ).encode()
