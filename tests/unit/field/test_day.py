"""A day is a function of grid, date and seed; what is wrong in it is wrong on purpose."""

import json
from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from field.cim_writer import NAMESPACE as CIM
from field.day import GAP_SLOTS, Day, Fault, Outgoing, make_day, units_of
from field.profiles import active_shares, slot_at
from field.sep2_writer import NAMESPACE as SEP2

WINTER, SPRING, AUTUMN = date(2026, 1, 15), date(2026, 3, 29), date(2026, 10, 25)


def day(wheel: Path, of: date = WINTER, **options: Any) -> Day:
    return make_day(wheel, of, pmu=False, **options)


def messages(made: Day, form: str) -> list[Outgoing]:
    return [message for message in made.messages if message.form == form]


def values(made: Day) -> Counter[str]:
    """Energy of each device over the day as the messages say it; what is no number is left out."""
    total: Counter[str] = Counter()
    for raw in dict.fromkeys(message.raw for message in messages(made, "cim")):
        for reading in etree.fromstring(raw).iter(f"{{{CIM}}}MeterReading"):
            name = reading.findtext(f"{{{CIM}}}Meter/{{{CIM}}}Names/{{{CIM}}}name")
            text = reading.findtext(
                f"{{{CIM}}}IntervalBlocks/{{{CIM}}}IntervalReadings/{{{CIM}}}value"
            )
            assert name is not None
            assert text is not None
            total[name] += 0 if text == "NaN" else int(Decimal(text) * 1000)
    for message in messages(made, "der"):
        for item in json.loads(message.raw):
            total[item["device"]] += int(item["readings"][0]["value"])
    for message in messages(made, "sep2"):
        sent = [int(v.text or "") for v in etree.fromstring(message.raw).iter(f"{{{SEP2}}}value")]
        assert len(sent) == message.values == 4
        total[message.sender] += sum(sent)
    return total


def fault(made: Day, kind: str) -> Fault:
    return next(fault for fault in made.faults if fault.kind == kind)


def test_the_same_day_every_time_and_another_by_seed(small_wheel: Path) -> None:
    first, again, other = day(small_wheel), day(small_wheel), day(small_wheel, seed=2)
    assert first == again
    assert first.faults != other.faults
    assert [m.at for m in first.messages] == sorted(m.at for m in first.messages)


@pytest.mark.parametrize(("of", "slots"), [(WINTER, 96), (SPRING, 92), (AUTUMN, 100)])
def test_as_many_messages_as_the_day_has_quarters(small_wheel: Path, of: date, slots: int) -> None:
    made = day(small_wheel, of, faults=False)
    assert made.slots == slots
    assert [len(messages(made, form)) for form in ("cim", "der", "sep2")] == [
        slots,
        slots,
        2 * slots // 4,
    ]
    assert sum(message.values for message in made.messages) == 9 * slots
    assert not made.faults


def test_totals_are_the_profiles_integrals_to_one_watt_hour(small_wheel: Path) -> None:
    made = day(small_wheel, faults=False)
    units = units_of(small_wheel)
    rows = active_shares(small_wheel, units, slot_at(made.begin), made.slots)
    total = values(made)
    for place, unit in enumerate(units):
        exact = sum((row[place] for row in rows), Decimal(0)) * unit.peak_w / 4
        assert total[unit.name] == int(exact)
    assert total["pv-0031010002"] == 2_000 * 24 // 4  # a quarter of its peak all day


def test_a_gap_of_two_hours(small_wheel: Path) -> None:
    made = day(small_wheel)
    gap = fault(made, "gap")
    assert gap.end - gap.begin == timedelta(hours=2)
    named = b"<name>" + gap.unit.encode() + b"</name>"
    holding = [m for m in messages(made, "cim") if named in m.raw]
    assert len({m.raw for m in holding}) == made.slots - GAP_SLOTS
    silent = [
        m for m in messages(made, "cim") if gap.begin < m.at - timedelta(seconds=60) <= gap.end
    ]
    assert silent
    assert not any(named in m.raw for m in silent if not m.late)


def test_one_value_that_is_no_number(small_wheel: Path) -> None:
    made = day(small_wheel)
    broken = [m for m in messages(made, "cim") if b"<value>NaN</value>" in m.raw]
    assert len({m.raw for m in broken}) == 1
    assert sum(raw.count(b"NaN") for raw in {m.raw for m in broken}) == 1


def test_the_gateway_names_a_stranger_once(small_wheel: Path) -> None:
    made = day(small_wheel)
    stranger = fault(made, "stranger")
    own = next(s for s in made.senders if s.role == "gateway")
    named = Counter(
        item["device"] for message in messages(made, "der") for item in json.loads(message.raw)
    )
    assert named.pop(stranger.unit) == 1
    assert named == {unit.name: made.slots for unit in own.units}
    listed = own.subject_list("g").splitlines()
    assert listed[0] == "identity,group,zone,kind"
    assert listed[1:] == [f"{unit.name},g,Europe/Berlin,der" for unit in own.units]


def test_one_message_twice_and_one_reading_late(small_wheel: Path) -> None:
    made = day(small_wheel)
    twice = [raw for raw, n in Counter(m.raw for m in made.messages).items() if n > 1]
    assert len(twice) == 1
    late = [message for message in made.messages if message.late]
    assert len(late) == 1
    assert late[0].at > made.begin + timedelta(minutes=15 * made.slots)
    assert late[0].raw.count(b"<MeterReading>") == 1
    assert fault(made, "late").unit.encode() in late[0].raw
    complete = values(day(small_wheel, faults=False))
    wrong = {f.unit for f in made.faults if f.kind in {"gap", "not-a-number", "stranger"}}
    assert {n: v for n, v in values(made).items() if n not in wrong} == {
        n: v for n, v in complete.items() if n not in wrong
    }
