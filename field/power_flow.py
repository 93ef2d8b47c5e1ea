"""Power flows of a grid by power-grid-model: what its transformer sees for any set of powers.

Symmetric, constant power, Newton-Raphson. Needs the extra `sim` (`pip install gridseal[sim]`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from power_grid_model import ComponentType, PowerGridModel, initialize_array

from field.grid_model import FREQUENCY_HZ, GridModel
from field.simbench import GridUnit

Floats = NDArray[np.float64]
Phasors = NDArray[np.complex128]
_STIFF_VA = 1e12  # short-circuit power of the external grid: the slack's voltage hardly moves
_DELTA, _WYE_N = 2, 1  # power-grid-model's WindingType
_FROM = 0  # its BranchSide
_CONSTANT_POWER = 0  # its LoadGenType
_SQRT3 = 3**0.5


@dataclass(frozen=True, slots=True)
class Flows:
    """What a batch of power flows found; the first axis is the scenario."""

    bus_v: Phasors  # phase to ground, in the order of the model's buses
    feeder_a: Phasors  # phase current out of the transformer's low-voltage side into the grid
    slack_va: Phasors  # drawn from the external grid
    drawn_va: Phasors  # by all units together; what is fed in counts as negative
    line_a: Floats  # the larger of a line's two ends


class PowerFlow:
    """One grid with its units, ready to be solved for any powers."""

    def __init__(self, model: GridModel, units: Sequence[GridUnit]) -> None:
        """Raises KeyError where a unit hangs on a node that is not in the model."""
        self.model, self.units = model, tuple(units)
        self._first_line = len(model.buses)
        self._transformer = self._first_line + len(model.lines)
        self._first_load = self._transformer + 1
        arrays = {
            ComponentType.node: self._nodes(),
            ComponentType.line: self._lines(),
            ComponentType.transformer: self._transformers(),
            ComponentType.sym_load: self._loads(),
            ComponentType.source: self._source(),
        }
        self._solver = PowerGridModel(arrays, system_frequency=FREQUENCY_HZ)

    def solve(self, drawn_w: Floats, drawn_var: Floats) -> Flows:
        """Solve each row of powers; shape (scenarios, units); what feeds in is negative."""
        count = len(drawn_w)
        update = initialize_array("update", ComponentType.sym_load, (count, len(self.units)))
        update["id"] = range(self._first_load, self._first_load + len(self.units))
        update["p_specified"], update["q_specified"] = drawn_w, drawn_var
        found: Any = self._solver.calculate_power_flow(
            symmetric=True, update_data={ComponentType.sym_load: update}, error_tolerance=1e-10
        )
        nodes, transformer, source = found["node"], found["transformer"], found["source"]
        bus_v: Phasors = nodes["u"] / _SQRT3 * np.exp(1j * nodes["u_angle"])
        low_va = -(transformer["p_to"][:, 0] + 1j * transformer["q_to"][:, 0])
        lines = found["line"]
        return Flows(
            bus_v=bus_v,
            feeder_a=np.conj(low_va / 3 / bus_v[:, self.model.transformer.low]),
            slack_va=source["p"][:, 0] + 1j * source["q"][:, 0],
            drawn_va=drawn_w.sum(axis=1) + 1j * drawn_var.sum(axis=1),
            line_a=np.maximum(lines["i_from"], lines["i_to"]),
        )

    def _nodes(self) -> NDArray[np.void]:
        made = initialize_array("input", ComponentType.node, len(self.model.buses))
        made["id"] = range(len(self.model.buses))
        made["u_rated"] = [bus.rated_v for bus in self.model.buses]
        return made

    def _lines(self) -> NDArray[np.void]:
        sources = self.model.lines
        made = initialize_array("input", ComponentType.line, len(sources))
        made["id"] = range(self._first_line, self._first_line + len(sources))
        made["from_node"] = [line.begin for line in sources]
        made["to_node"] = [line.end for line in sources]
        made["from_status"] = made["to_status"] = 1
        made["r1"] = [line.r_ohm for line in sources]
        made["x1"] = [line.x_ohm for line in sources]
        made["c1"] = [line.b_s / (2 * np.pi * FREQUENCY_HZ) for line in sources]
        made["tan1"] = 0
        made["i_n"] = [line.i_max_a for line in sources]
        return made

    def _loads(self) -> NDArray[np.void]:
        """All units, with powers that every scenario replaces."""
        made = initialize_array("input", ComponentType.sym_load, len(self.units))
        made["id"] = range(self._first_load, self._first_load + len(self.units))
        made["node"] = [self.model.place[unit.node] for unit in self.units]
        made["status"], made["type"] = 1, _CONSTANT_POWER
        made["p_specified"] = made["q_specified"] = 0
        return made

    def _source(self) -> NDArray[np.void]:
        made = initialize_array("input", ComponentType.source, 1)
        made["id"] = self._first_load + len(self.units)
        made["node"], made["status"] = self.model.slack, 1
        made["u_ref"], made["sk"] = self.model.slack_pu, _STIFF_VA
        return made

    def _transformers(self) -> NDArray[np.void]:
        source = self.model.transformer
        made = initialize_array("input", ComponentType.transformer, 1)
        made["id"] = self._transformer
        made["from_node"], made["to_node"] = source.high, source.low
        made["from_status"] = made["to_status"] = 1
        made["u1"], made["u2"], made["sn"] = source.high_v, source.low_v, source.rated_va
        made["uk"], made["pk"] = source.uk, source.copper_w
        made["i0"], made["p0"] = source.i0, source.iron_w
        made["winding_from"], made["winding_to"] = _DELTA, _WYE_N
        made["clock"] = source.clock
        made["tap_side"], made["tap_pos"] = _FROM, source.tap
        made["tap_min"], made["tap_max"], made["tap_nom"] = source.tap_min, source.tap_max, 0
        made["tap_size"] = source.tap_v
        return made
