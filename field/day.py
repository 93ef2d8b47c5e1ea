"""One day of a grid as its senders will send it, faults made on purpose included.

A function of grid, date and seed: the same three give the same bytes. A head-end reads every load's
meter each quarter-hour (CIM), a gateway reports every second PV and storage unit (DER JSON), each
other unit speaks for itself (IEEE 2030.5), and a phasor measurement unit watches the substation.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Literal
from zoneinfo import ZoneInfo

from field import der_writer, pmu_writer, sep2_writer
from field.cim_writer import IntervalEnergy, meter_readings
from field.profiles import SLOT_S, ZONE, Quarter, local_day, play
from field.simbench import GRID, GridUnit, ders, meters

GAP_SLOTS = 8  # two hours
POSTED_SLOTS = 4  # quarter-hours in one message of an inverter
PMU_SECONDS = 60
PMU_FRAMES_PER_MESSAGE = 25
PMU_LOCAL_TIME = (12, 7)  # when the sun is high
_LOST_FRAMES = 3
_LATE = timedelta(minutes=40)  # after the day's end
_HEADEND_DELAY, _GATEWAY_DELAY = timedelta(seconds=60), timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Sender:
    """One credential that the platform has to know, and whom it may speak for."""

    name: str
    role: Literal["headend", "gateway", "inverter", "pmu"]
    form: str
    subjects: Literal["self", "any", "list"]
    units: tuple[GridUnit, ...] = ()  # what it reports

    def subject_list(self, group: str) -> str:
        """The CSV file for `gridseal device enrol --subjects`: identity,group,zone,kind."""
        rows = [f"{unit.name},{group},{ZONE},der" for unit in self.units]
        return "\n".join(["identity,group,zone,kind", *rows]) + "\n"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message, and when it is sent."""

    at: datetime
    sender: str
    form: str
    raw: bytes
    values: int  # readings or frames in it, good or bad
    late: bool = False  # only sent after the day's end


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is wrong on purpose, so that there is something to find."""

    kind: Literal["gap", "not-a-number", "stranger", "doubled", "late", "frames-lost"]
    unit: str  # whose: a unit's or a sender's name
    begin: datetime
    end: datetime
    text: str  # a sentence: what was done


@dataclass(frozen=True, slots=True)
class Day:
    """All messages of one day in the order of sending, and what is wrong with them."""

    grid: str
    day: date
    begin: datetime  # UTC
    slots: int  # 92, 96 or 100
    senders: tuple[Sender, ...]
    messages: tuple[Outgoing, ...]
    faults: tuple[Fault, ...]
    event: str  # what the phasor measurement unit saw; empty without one


@dataclass(frozen=True, slots=True)
class _Plan:
    """Which faults come where; slots count from 0."""

    gap: GridUnit
    gap_slot: int
    broken: GridUnit  # sends NaN once
    broken_slot: int
    stranger: GridUnit  # is named by the gateway, which may not
    stranger_slot: int
    late: GridUnit
    late_slot: int
    doubled_slot: int


def senders(units: Sequence[GridUnit], grid: str = GRID) -> tuple[Sender, ...]:
    """Who sends: head-end, gateway, the inverters that speak for themselves, the PMU."""
    place = grid.lower().replace(".", "-")
    loads = tuple(unit for unit in units if not unit.feeds_in)
    fed = [unit for unit in units if unit.feeds_in]
    return (
        Sender(f"headend-{place}", "headend", "cim", "any", loads),
        Sender(f"gateway-{place}", "gateway", "der", "list", tuple(fed[1::2])),
        *(Sender(unit.name, "inverter", "sep2", "self", (unit,)) for unit in fed[::2]),
        Sender(f"pmu-{place}", "pmu", "pmu", "self"),
    )


def units_of(wheel: Path, grid: str = GRID) -> list[GridUnit]:
    """The loads, PV and storage units of one grid."""
    return meters(wheel, grid=grid) + ders(wheel, grid)


def make_day(
    wheel: Path,
    day: date,
    *,
    grid: str = GRID,
    seed: int = 1,
    faults: bool = True,
    pmu: bool = True,
) -> Day:
    """Every message of one local day (Europe/Berlin).

    Raises Stop where the wheel has no such grid; with `pmu`, ImportError without power-grid-model.
    """
    units = units_of(wheel, grid)
    begin, slots = local_day(day)
    quarters = list(play(wheel, units, begin, slots))
    sending = senders(units, grid)
    plan = _plan(units, slots, Random(f"{seed} {grid} {day}")) if faults else None  # noqa: S311
    energies = [
        {unit.name: wh for unit, wh in zip(units, quarter.energy_wh, strict=True)}
        for quarter in quarters
    ]
    messages: list[Outgoing] = []
    for sender in sending:
        if sender.role == "headend":
            messages += _headend(sender, quarters, energies, plan)
        elif sender.role == "gateway":
            messages += _gateway(sender, quarters, energies, plan)
        elif sender.role == "inverter":
            messages += _inverter(sender, quarters, energies)
    told = list(_told(plan, quarters, sending)) if plan else []
    event = ""
    if pmu:
        phasors, lost, event = _pmu(
            wheel, units, day, sending[-1], grid=grid, seed=seed, faults=faults
        )
        messages += phasors
        told += lost
    messages.sort(key=lambda message: message.at)
    return Day(grid, day, begin, slots, sending, tuple(messages), tuple(told), event)


def _plan(units: Sequence[GridUnit], slots: int, rng: Random) -> _Plan | None:
    """Faults of different households, in the middle of the day; None in too small a grid."""
    loads = [unit for unit in units if not unit.feeds_in]
    if len(loads) < 4 or slots < 90:
        return None
    gap, broken, stranger, late = rng.sample(loads, 4)
    return _Plan(
        gap=gap,
        gap_slot=rng.randrange(40, 64),
        broken=broken,
        broken_slot=rng.randrange(20, 80),
        stranger=stranger,
        stranger_slot=rng.randrange(20, 80),
        late=late,
        late_slot=rng.randrange(20, 80),
        doubled_slot=rng.randrange(20, 80),
    )


def _told(plan: _Plan, quarters: Sequence[Quarter], sending: Sequence[Sender]) -> Iterator[Fault]:
    """Each fault in a sentence."""

    def span(slot: int, count: int = 1) -> tuple[datetime, datetime]:
        return quarters[slot].begin, quarters[slot + count - 1].end

    yield Fault(
        "gap", plan.gap.name, *span(plan.gap_slot, GAP_SLOTS),
        f"meter {plan.gap.name} is silent for two hours",
    )  # fmt: skip
    yield Fault(
        "not-a-number", plan.broken.name, *span(plan.broken_slot),
        f"meter {plan.broken.name} says NaN once",
    )  # fmt: skip
    yield Fault(
        "stranger", plan.stranger.name, *span(plan.stranger_slot),
        f"the gateway names meter {plan.stranger.name}, which is not one of its own",
    )  # fmt: skip
    yield Fault(
        "doubled", sending[0].name, *span(plan.doubled_slot),
        "the head-end sends one quarter-hour twice",
    )  # fmt: skip
    yield Fault(
        "late", plan.late.name, *span(plan.late_slot),
        f"one reading of meter {plan.late.name} comes only the next day",
    )  # fmt: skip


# --- what each sender sends -----------------------------------------------------------------------


def _headend(
    sender: Sender,
    quarters: Sequence[Quarter],
    energies: Sequence[dict[str, int]],
    plan: _Plan | None,
) -> Iterator[Outgoing]:
    """A CIM message a quarter-hour with a reading of every meter."""
    for slot, (quarter, energy) in enumerate(zip(quarters, energies, strict=True)):
        readings: list[IntervalEnergy] = []
        for unit in sender.units:
            reading = IntervalEnergy(unit.name, quarter.end, energy[unit.name])
            if plan is None:
                readings.append(reading)
            elif unit == plan.gap and plan.gap_slot <= slot < plan.gap_slot + GAP_SLOTS:
                continue
            elif unit == plan.broken and slot == plan.broken_slot:
                readings.append(IntervalEnergy(unit.name, quarter.end, Decimal("NaN")))
            elif unit == plan.late and slot == plan.late_slot:
                raw = meter_readings([reading])
                yield Outgoing(
                    quarters[-1].end + _LATE, sender.name, sender.form, raw, 1, late=True
                )
            else:
                readings.append(reading)
        at, raw = quarter.end + _HEADEND_DELAY, meter_readings(readings)
        yield Outgoing(at, sender.name, sender.form, raw, len(readings))
        if plan is not None and slot == plan.doubled_slot:
            again = at + timedelta(seconds=SLOT_S // 3)
            yield Outgoing(again, sender.name, sender.form, raw, len(readings))


def _gateway(
    sender: Sender,
    quarters: Sequence[Quarter],
    energies: Sequence[dict[str, int]],
    plan: _Plan | None,
) -> Iterator[Outgoing]:
    """A JSON message a quarter-hour with one interval of every unit behind the gateway."""
    for slot, (quarter, energy) in enumerate(zip(quarters, energies, strict=True)):
        named = list(sender.units)
        if plan is not None and slot == plan.stranger_slot:
            named.insert(len(named) // 2, plan.stranger)
        raw = der_writer.telemetry(
            der_writer.Telemetry(unit.name, quarter.begin, quarter.end, energy[unit.name])
            for unit in named
        )
        if named:
            yield Outgoing(quarter.end + _GATEWAY_DELAY, sender.name, sender.form, raw, len(named))


def _inverter(
    sender: Sender, quarters: Sequence[Quarter], energies: Sequence[dict[str, int]]
) -> Iterator[Outgoing]:
    """A MirrorMeterReading an hour of the one unit that the sender is: its postRate is 3,600 s."""
    delay = timedelta(seconds=5 + int(sender.name[-4:]) % 20)  # not all in the same second
    for first in range(0, len(quarters), POSTED_SLOTS):
        hour = quarters[first : first + POSTED_SLOTS]
        fed_in = [energy[sender.name] for energy in energies[first : first + POSTED_SLOTS]]
        mirrored = sep2_writer.Mirrored(sender.name, hour[0].begin, SLOT_S, fed_in)
        raw = sep2_writer.mirror_meter_reading(mirrored)
        yield Outgoing(hour[-1].end + delay, sender.name, sender.form, raw, len(hour))


def _pmu(
    wheel: Path,
    units: Sequence[GridUnit],
    day: date,
    sender: Sender,
    *,
    grid: str,
    seed: int,
    faults: bool,
) -> tuple[list[Outgoing], list[Fault], str]:
    """A minute of phasors around noon, and what happens in it."""
    from field import phasors  # noqa: PLC0415 - the only part that needs power-grid-model

    hour, minute = PMU_LOCAL_TIME
    begin = datetime(day.year, day.month, day.day, hour, minute, tzinfo=ZoneInfo(ZONE))
    seen = phasors.record(wheel, units, begin, PMU_SECONDS, seed=seed, grid=grid)
    frames = [
        pmu_writer.Frame(seen.instant(n), complex(u), complex(i), float(f))
        for n, (u, i, f) in enumerate(
            zip(seen.voltage, seen.current, seen.frequency_hz, strict=True)
        )
    ]
    lost: list[Fault] = []
    if faults:
        rng = Random(f"frames {seed} {day}")  # noqa: S311 - a fault, no secret
        gone = rng.randrange(len(frames) // 8, len(frames) // 4)
        first, last = frames[gone].time, frames[gone + _LOST_FRAMES].time
        del frames[gone : gone + _LOST_FRAMES]
        text = f"{_LOST_FRAMES} frames of the PMU are lost on the way"
        lost = [Fault("frames-lost", sender.name, first, last, text)]
    messages = [
        Outgoing(
            batch[-1].time,
            sender.name,
            sender.form,
            pmu_writer.frames_message(sender.name, seen.busbar, seen.transformer, batch),
            len(batch),
        )
        for batch in pmu_writer.batches(frames, PMU_FRAMES_PER_MESSAGE)
    ]
    return messages, lost, _event(seen.event, seen.tripped, seen.tripped_w, seen.current)


def _event(
    instant: datetime, tripped: Sequence[GridUnit], power_w: float, current: Iterable[complex]
) -> str:
    """What happened half-way, in a sentence."""
    amperes = [abs(one) for one in current]
    plants = "all PV units trip" if tripped[0].feeds_in else "the largest load is lost"
    when = instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return (
        f"at {when} {plants} ({power_w / 1000:.1f} kW): "
        f"the feeder's current goes from {amperes[0]:.0f} A to {amperes[-1]:.0f} A"
    )
