"""Power flows agree with sweeps written by hand, and with what goes in and out."""

import numpy as np
import pytest

from field.grid_model import Bus, GridModel, Line, Transformer
from field.power_flow import PowerFlow
from field.simbench import GridUnit
from tests.unit.field.sweep import voltages

TRANSFORMER = Transformer(
    name="T", high=0, low=1, high_v=20_000, low_v=400, rated_va=400_000, uk=0.06, copper_w=4_800,
    iron_w=1_200, i0=0.004, clock=5, tap=-1, tap_min=-2, tap_max=2, tap_v=500,
)  # fmt: skip


def line(begin: int, end: int, length_km: float) -> Line:
    return Line(begin, end, 0.2067 * length_km, 0.0804 * length_km, 260e-6 * length_km, 270)


MODEL = GridModel(
    buses=(Bus("MV", 20_000), *(Bus(f"LV {n}", 400) for n in range(4))),
    lines=(line(1, 2, 0.3), line(2, 3, 0.2), line(4, 2, 0.15)),
    transformer=TRANSFORMER,
    slack=0,
    slack_pu=1.025,
    place={"a": 2, "b": 3, "c": 4},
)
UNITS = [GridUnit(node, "load", node, node, "", 0) for node in "abc"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("drawn_w", "drawn_var"),
    [
        ([0, 0, 0], [0, 0, 0]),
        ([10_000, 5_000, 20_000], [3_000, 1_000, 0]),
        ([-30_000, 2_000, -15_000], [0, 500, -2_000]),
    ],
)
def test_the_same_voltages_as_by_hand(drawn_w: list[float], drawn_var: list[float]) -> None:
    found = PowerFlow(MODEL, UNITS).solve(np.array([drawn_w]), np.array([drawn_var]))
    drawn = [0j, 0j, *(complex(p, q) for p, q in zip(drawn_w, drawn_var, strict=True))]
    expected = np.array(voltages(MODEL, drawn))
    assert np.abs(found.bus_v[0] - expected).max() < 1e-3
    low = found.bus_v[0, 1]
    assert np.angle(low, deg=True) == pytest.approx(-150, abs=3)  # Dyn5


def test_what_goes_in_comes_out_or_is_lost() -> None:
    drawn_w, drawn_var = np.array([[9e3, 1e3, 4e3]]), np.array([[1e3, 0, 0]])
    found = PowerFlow(MODEL, UNITS).solve(drawn_w, drawn_var)
    iron = 1_200 * 1.05**2  # at about five per cent over the rated voltage
    lost = found.slack_va[0].real - found.drawn_va[0].real
    assert iron < lost < iron + 500
    feeder = 3 * found.bus_v[0, 1] * np.conj(found.feeder_a[0])
    assert found.drawn_va[0].real < feeder.real < found.drawn_va[0].real + 300
    assert found.line_a[0, 0] == pytest.approx(abs(found.feeder_a[0]), rel=1e-2)


def test_scenarios_are_solved_side_by_side() -> None:
    flow = PowerFlow(MODEL, UNITS)
    rows = np.array([[1e3, 0, 0], [0, 2e3, 0], [0, 0, -3e3]])
    together = flow.solve(rows, rows * 0)
    for number, row in enumerate(rows):
        alone = flow.solve(row[None, :], row[None, :] * 0)
        assert np.allclose(together.bus_v[number], alone.bus_v[0], atol=1e-9)
