"""What a phasor measurement unit at the substation sees while its photovoltaic plants trip.

Power flows of the grid at every second, with and without the plant, give voltage and current;
between seconds they are interpolated, and the step from one to the other takes the 100 ms of a
measurement window. A slow, seeded drift of the grid's frequency turns all phasors together, and
frequency is 50 Hz plus the rate at which the measured voltage turns, so that angle, frequency and
its rate of change agree with each other. None of it is energy: floats are fine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import numpy as np

from field.grid_model import FREQUENCY_HZ, read
from field.power_flow import Floats, Phasors, PowerFlow
from field.profiles import SLOT_S, both_shares, slot_at
from field.simbench import GRID, GridUnit

FRAMES_PER_S = 50
_WINDOW_S = 0.1  # what a step is smeared over: five periods
_DRIFT_PERIODS_S = (7.0, 17.0, 41.0, 97.0)
_DRIFT_HZ = 0.003  # amplitude of each; together well within the ±20 mHz of an ordinary hour
_NOISE = 2e-5  # standard deviation: share of the magnitude, radians of the angle
_NOISE_HZ = 1e-4


@dataclass(frozen=True, slots=True)
class Recording:
    """Phase A of the substation's low-voltage side, a value a frame; B and C lag by 120° each."""

    begin: datetime
    busbar: str  # SimBench's ids
    transformer: str
    voltage: Phasors  # V, phase to ground, against a frame of reference that turns at 50 Hz
    current: Phasors  # A, out of the transformer into the grid
    frequency_hz: Floats
    rocof_hz_per_s: Floats
    event: datetime
    tripped: tuple[GridUnit, ...]
    tripped_w: float  # what they fed in (or, at night, drew) before

    def instant(self, frame: int) -> datetime:
        """When a frame was measured."""
        return self.begin + timedelta(microseconds=frame * 1_000_000 // FRAMES_PER_S)


def record(
    wheel: Path,
    units: Sequence[GridUnit],
    begin: datetime,
    seconds: int,
    *,
    seed: int,
    grid: str = GRID,
) -> Recording:
    """`seconds` of phasors from `begin` on; half-way all PV plants trip at once.

    Where none feeds in (at night) the largest load is lost instead.
    """
    begin = begin.astimezone(UTC)
    model = read(wheel, grid)
    grid_flow = PowerFlow(model, units)
    drawn_w, drawn_var = _powers(wheel, units, begin, seconds)
    tripped = _tripping(units, drawn_w[seconds // 2])
    left = np.ones(len(units))
    left[tripped] = 0
    before = grid_flow.solve(drawn_w, drawn_var)
    after = grid_flow.solve(drawn_w * left, drawn_var * left)
    rng = Random(f"phasors {seed} {begin.isoformat()}")  # noqa: S311 - noise, no secret
    event_s = seconds / 2 + rng.randrange(FRAMES_PER_S) / FRAMES_PER_S
    time_s = np.arange(seconds * FRAMES_PER_S) / FRAMES_PER_S
    low = model.transformer.low
    voltage = _stepped(time_s, event_s, before.bus_v[:, low], after.bus_v[:, low])
    current = _stepped(time_s, event_s, before.feeder_a, after.feeder_a)
    drift_hz, turned = _drift(time_s, rng)
    turning_hz = np.gradient(np.unwrap(np.angle(voltage)), time_s) / (2 * np.pi)
    frequency = FREQUENCY_HZ + drift_hz + turning_hz
    return Recording(
        begin=begin,
        busbar=model.buses[low].name,
        transformer=model.transformer.name,
        voltage=_noisy(voltage * turned, rng),
        current=_noisy(current * turned, rng),
        frequency_hz=frequency + _normal(rng, len(time_s)) * _NOISE_HZ,
        rocof_hz_per_s=np.gradient(frequency, time_s),
        event=begin + timedelta(seconds=event_s),
        tripped=tuple(units[place] for place in tripped),
        tripped_w=float(abs(drawn_w[seconds // 2, tripped].sum())),
    )


def _powers(
    wheel: Path, units: Sequence[GridUnit], begin: datetime, seconds: int
) -> tuple[Floats, Floats]:
    """What each unit draws at each second: quarter-hours' means, interpolated between middles."""
    first = begin - timedelta(seconds=SLOT_S)
    count = seconds // SLOT_S + 4
    slot = slot_at(first)
    sign = np.array([-1.0 if unit.feeds_in else 1.0 for unit in units])
    peak_w = np.array([float(unit.peak_w) for unit in units]) * sign
    peak_var = np.array([float(unit.peak_var) for unit in units])
    middle_s = (np.arange(count) + 0.5) * SLOT_S - first.timestamp() % SLOT_S - SLOT_S
    at_s = np.arange(seconds + 1.0)
    found = []
    for shares, peak in zip(
        both_shares(wheel, units, slot, count), (peak_w, peak_var), strict=True
    ):
        rows = np.array(shares, dtype=float) * peak
        columns = [np.interp(at_s, middle_s, rows[:, unit]) for unit in range(len(units))]
        found.append(np.stack(columns, axis=1))
    return found[0], found[1]


def _tripping(units: Sequence[GridUnit], drawn_w: Floats) -> list[int]:
    """All PV units that feed in; where none does (at night), the unit that draws most."""
    sunny = [place for place, unit in enumerate(units) if unit.kind == "pv" and drawn_w[place] < 0]
    return sunny or [int(np.argmax(drawn_w))]


def _stepped(time_s: Floats, event_s: float, before: Phasors, after: Phasors) -> Phasors:
    """From `before` to `after` (a value a second each) around the event, as a window sees it."""
    at_s = np.arange(len(before))
    old: Phasors = np.interp(time_s, at_s, before)
    new: Phasors = np.interp(time_s, at_s, after)
    done = np.clip((time_s - event_s) / _WINDOW_S + 0.5, 0, 1)
    share = done * done * (3 - 2 * done)  # smooth at both ends: no kink in the frequency
    stepped: Phasors = old * (1 - share) + new * share
    return stepped


def _drift(time_s: Floats, rng: Random) -> tuple[Floats, Phasors]:
    """The grid's slow deviation from 50 Hz, and how far it has turned the phasors by then."""
    deviation: Floats = np.zeros(len(time_s))
    angle: Floats = np.zeros(len(time_s))
    for period_s in _DRIFT_PERIODS_S:
        size, phase = rng.uniform(0.3, 1) * _DRIFT_HZ, rng.uniform(0, 2 * np.pi)
        turn = 2 * np.pi / period_s
        deviation += size * np.sin(turn * time_s + phase)
        angle += 2 * np.pi * size / turn * (np.cos(phase) - np.cos(turn * time_s + phase))
    turned: Phasors = np.exp(1j * angle)
    return deviation, turned


def _noisy(values: Phasors, rng: Random) -> Phasors:
    count = len(values)
    size, turn = 1 + _normal(rng, count) * _NOISE, np.exp(1j * _normal(rng, count) * _NOISE)
    noisy: Phasors = values * size * turn
    return noisy


def _normal(rng: Random, count: int) -> Floats:
    return np.array([rng.gauss(0, 1) for _ in range(count)])
