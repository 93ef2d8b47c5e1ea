"""A second way to a radial grid's voltages: backward and forward sweeps, written by hand.

Knows the π equivalents of lines and transformer, nothing of power-grid-model.
"""

import cmath
import math

from field.grid_model import GridModel

ROUNDS = 100
CHANGE_V = 1e-9


def voltages(model: GridModel, drawn_va: list[complex]) -> list[complex]:
    """Phase-to-ground voltage of every bus for the three-phase power that each bus draws."""
    order, branches = _tree(model)
    ratio, series, half_shunt = _transformer(model)
    slack = model.slack_pu * model.buses[model.slack].rated_v / math.sqrt(3)
    at = [complex(slack)] * len(model.buses)
    for bus in order[1:]:
        parent, _, _ = branches[bus]
        at[bus] = at[parent] / ratio if parent == model.transformer.high else at[parent]
    for _ in range(ROUNDS):
        before = list(at)
        drawn = [(power / 3 / v).conjugate() for power, v in zip(drawn_va, at, strict=True)]
        for bus in reversed(order[1:]):  # backward: what flows into each bus from its parent
            parent, z, half_y = branches[bus]
            if parent == model.transformer.high:
                drawn[bus] += half_shunt * at[bus]
                primary = at[parent] / ratio
                drawn[parent] += (drawn[bus] + half_shunt * primary) / ratio.conjugate()
            else:
                drawn[bus] += half_y * at[bus]
                drawn[parent] += drawn[bus] + half_y * at[parent]
        for bus in order[1:]:  # forward: what is left of the voltage
            parent, z, _ = branches[bus]
            if parent == model.transformer.high:
                at[bus] = at[parent] / ratio - series * drawn[bus]
            else:
                at[bus] = at[parent] - z * drawn[bus]
        if max(abs(a - b) for a, b in zip(at, before, strict=True)) < CHANGE_V:
            return at
    raise AssertionError("the sweeps do not converge")


def _tree(model: GridModel) -> tuple[list[int], dict[int, tuple[int, complex, complex]]]:
    """Buses from the slack outwards; for each its parent, series impedance and half admittance."""
    lines: dict[int, list[tuple[int, complex, complex]]] = {}
    for line in model.lines:
        z, half_y = complex(line.r_ohm, line.x_ohm), complex(0, line.b_s / 2)
        lines.setdefault(line.begin, []).append((line.end, z, half_y))
        lines.setdefault(line.end, []).append((line.begin, z, half_y))
    unit = model.transformer
    lines.setdefault(unit.high, []).append((unit.low, 0j, 0j))
    order, branches = [model.slack], dict[int, tuple[int, complex, complex]]()
    for bus in order:
        for other, z, half_y in lines.get(bus, ()):
            if (
                other != model.slack
                and other not in branches
                and branches.get(bus, (-1,))[0] != other
            ):
                branches[other] = (bus, z, half_y)
                order.append(other)
    assert len(order) == len(model.buses), "not one connected tree"
    assert len(model.lines) == len(model.buses) - 2, "meshed"
    return order, branches


def _transformer(model: GridModel) -> tuple[complex, complex, complex]:
    """Ratio high to low with its turn, series impedance and half shunt on the low side."""
    unit = model.transformer
    base_ohm = unit.low_v**2 / unit.rated_va
    turns = (unit.high_v + unit.tap * unit.tap_v) / unit.low_v
    ratio = turns * cmath.exp(1j * math.radians(30 * unit.clock))
    r = unit.copper_w / unit.rated_va
    series = complex(r, math.sqrt(unit.uk**2 - r**2)) * base_ohm
    g = unit.iron_w / unit.rated_va
    shunt = complex(g, -math.sqrt(max(unit.i0**2 - g**2, 0))) / base_ohm
    return ratio, series, shunt / 2
