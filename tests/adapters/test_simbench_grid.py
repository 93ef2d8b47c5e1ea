"""The published grid's power flows and phasors, where `make demo` has already fetched the wheel."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from field import grid_model, phasors
from field.day import PMU_SECONDS, make_day, units_of
from field.phasors import FRAMES_PER_S
from field.power_flow import PowerFlow
from field.profiles import both_shares, local_day, slot_at
from field.simbench import WHEEL, fetch_wheel
from tests.conftest import REPOSITORY
from tests.unit.field.sweep import voltages

SUMMER, WINTER = date(2026, 7, 20), date(2026, 11, 20)


@pytest.fixture(scope="module")
def wheel() -> Path:
    cache = REPOSITORY / ".cache"
    if not (cache / WHEEL).exists():
        pytest.skip("optional: SimBench's wheel is not in .cache; `make demo` fetches it")
    return fetch_wheel(cache)


@pytest.mark.parametrize("day", [SUMMER, WINTER])
def test_a_days_power_flows_hold(wheel: Path, day: date) -> None:
    model, units = grid_model.read(wheel), units_of(wheel)
    assert (len(model.buses), len(model.lines), model.transformer.clock) == (129, 127, 5)
    begin, slots = local_day(day)
    sign = np.array([-1.0 if unit.feeds_in else 1.0 for unit in units])
    active, reactive = both_shares(wheel, units, slot_at(begin), slots)
    drawn_w = np.array(active, dtype=float) * [float(unit.peak_w) for unit in units] * sign
    drawn_var = np.array(reactive, dtype=float) * [float(unit.peak_var) for unit in units]
    flows = PowerFlow(model, units).solve(drawn_w, drawn_var)
    rated = np.array([bus.rated_v for bus in model.buses]) / np.sqrt(3)
    per_unit = np.abs(flows.bus_v) / rated
    assert per_unit.min() > 0.9
    assert per_unit.max() < 1.1
    lost_w = (flows.slack_va - flows.drawn_va).real
    assert lost_w.min() > 1_200  # the transformer's iron at least
    assert lost_w.max() < 4_000
    assert flows.line_a.max() < 270
    for slot in (0, slots // 2, slots - 12):  # a second way: sweeps written by hand
        at_bus = [0j] * len(model.buses)
        for unit, p, q in zip(units, drawn_w[slot], drawn_var[slot], strict=True):
            at_bus[model.place[unit.node]] += complex(p, q)
        expected = np.array(voltages(model, at_bus))
        assert np.abs(flows.bus_v[slot] - expected).max() < 0.01  # of 231 V and of 11,547 V


def test_angle_frequency_and_its_rate_agree(wheel: Path) -> None:
    begin = datetime(2026, 11, 20, 11, 7, tzinfo=UTC)
    units = units_of(wheel)
    seen = phasors.record(wheel, units, begin, PMU_SECONDS, seed=1)
    assert len(seen.voltage) == PMU_SECONDS * FRAMES_PER_S == 3_000
    assert np.abs(seen.frequency_hz - 50).max() < 0.05
    assert np.abs(seen.rocof_hz_per_s).max() < 1
    turned_hz = np.gradient(np.unwrap(np.angle(seen.voltage))) * FRAMES_PER_S / (2 * np.pi)
    slow = np.convolve(turned_hz + 50 - seen.frequency_hz, np.ones(50) / 50, "valid")
    assert np.abs(slow).max() < 1e-3  # over a second the noise of the angle is gone
    before, after = np.abs(seen.current[:1400]), np.abs(seen.current[-1400:])
    assert seen.tripped_w > 50_000
    assert after.min() > 2 * before.max()
    again = phasors.record(wheel, units, begin, PMU_SECONDS, seed=1)
    assert np.array_equal(seen.voltage, again.voltage)
    assert not np.array_equal(
        seen.voltage, phasors.record(wheel, units, begin, PMU_SECONDS, seed=2).voltage
    )


def test_the_day_of_the_demo(wheel: Path) -> None:
    made = make_day(wheel, WINTER)
    assert len(made.senders) == 23
    count = {form: sum(m.values for m in made.messages if m.form == form)
             for form in ("cim", "der", "sep2", "pmu")}  # fmt: skip
    assert count == {"cim": 96 * 145 - 8 + 145, "der": 96 * 19 + 1, "sep2": 96 * 20, "pmu": 2_997}
    frames = [frame for m in made.messages if m.form == "pmu" for frame in json.loads(m.raw)]
    times = [datetime.fromisoformat(frame["timestamp"]) for frame in frames]
    assert times == sorted(set(times))
    assert (times[-1] - times[0]).total_seconds() == pytest.approx(59.98)
    assert "all PV units trip" in made.event
