"""The electrical model of one SimBench low-voltage grid: buses, lines, transformer, slack.

Closed switches join what they connect into one bus, so the model has no switches and as many buses
as there are different voltages. Values are in SI base units, per phase where that matters.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bal.errors import Stop
from field.simbench import GRID, rows_in, rows_of

FREQUENCY_HZ = 50
_MICRO = 1e-6
_CLOSED = "1"
_CLOCK_DEG = 30  # one hour of a transformer's vector group


@dataclass(frozen=True, slots=True)
class Bus:
    """What closed switches join; `name` is SimBench's id of its busbar."""

    name: str
    rated_v: float  # between two phases


@dataclass(frozen=True, slots=True)
class Line:
    """One line between two buses (places in `GridModel.buses`), as a π equivalent."""

    begin: int
    end: int
    r_ohm: float
    x_ohm: float
    b_s: float
    i_max_a: float


@dataclass(frozen=True, slots=True)
class Transformer:
    """The grid's transformer; its tap changer is on the high-voltage side."""

    name: str
    high: int
    low: int
    high_v: float
    low_v: float
    rated_va: float
    uk: float  # short-circuit voltage, share of the rated one
    copper_w: float
    iron_w: float
    i0: float  # no-load current, share of the rated one
    clock: int  # by how many twelfths of a turn the low side lags
    tap: int
    tap_min: int
    tap_max: int
    tap_v: float  # one step


@dataclass(frozen=True, slots=True)
class GridModel:
    """One grid. The slack bus holds its voltage whatever the grid draws."""

    buses: tuple[Bus, ...]
    lines: tuple[Line, ...]
    transformer: Transformer
    slack: int
    slack_pu: float
    place: dict[str, int]  # SimBench's node → its bus


def read(wheel: Path, grid: str = GRID) -> GridModel:
    """The model of one grid of scenario 1.

    Raises Stop("simbench-grid") where SimBench has no such grid, or one of another shape: exactly
    one transformer and one external grid, as every low-voltage grid of it has.
    """
    switches = rows_in(wheel, "Switch", grid)
    lines = rows_in(wheel, "Line", grid)
    transformers = rows_in(wheel, "Transformer", grid)
    near = rows_of(wheel, "ExternalNet", {grid})
    externals = [row for row in near if row["subnet"].startswith(f"{grid}_")]
    if len(transformers) != 1 or len(externals) != 1:
        shape = f"{len(transformers)} transformers and {len(externals)} external grids"
        raise Stop("simbench-grid", f"{grid} is not a low-voltage grid of SimBench: {shape}")
    slack = externals[0]["node"]
    nodes = {row["id"]: row for row in rows_of(wheel, "Node", {grid, slack})}
    used = [row[end] for row in (*switches, *lines) for end in ("nodeA", "nodeB")]
    used += [transformers[0]["nodeHV"], transformers[0]["nodeLV"], slack]
    joined = _joined(used, [row for row in switches if row["cond"] == _CLOSED])
    heads = sorted({joined(node) for node in used}, key=lambda node: (len(node), node))
    numbers = {head: number for number, head in enumerate(heads)}
    place = {node: numbers[joined(node)] for node in used}
    types = {row["id"]: row for row in rows_of(wheel, "LineType")}
    kinds = {row["id"]: row for row in rows_of(wheel, "TransformerType")}
    return GridModel(
        buses=tuple(Bus(head, float(nodes[head]["vmR"]) * 1000) for head in heads),
        lines=tuple(_line(row, types[row["type"]], place) for row in lines),
        transformer=_transformer(transformers[0], kinds[transformers[0]["type"]], place),
        slack=place[slack],
        slack_pu=float(nodes[slack]["vmSetp"]),
        place=place,
    )


def _joined(nodes: list[str], closed: list[dict[str, str]]) -> Callable[[str], str]:
    """The node that stands for all that closed switches join: its shortest name, a busbar's."""
    parent = {node: node for node in nodes}

    def find(node: str) -> str:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for row in closed:
        ends = sorted((find(row["nodeA"]), find(row["nodeB"])), key=lambda n: (len(n), n))
        parent[ends[1]] = ends[0]
    return find


def _line(row: dict[str, str], kind: dict[str, str], place: dict[str, int]) -> Line:
    length_km = float(row["length"])
    return Line(
        begin=place[row["nodeA"]],
        end=place[row["nodeB"]],
        r_ohm=float(kind["r"]) * length_km,
        x_ohm=float(kind["x"]) * length_km,
        b_s=float(kind["b"]) * _MICRO * length_km,
        i_max_a=float(kind["iMax"]),
    )


def _transformer(row: dict[str, str], kind: dict[str, str], place: dict[str, int]) -> Transformer:
    if kind["tapside"] != "HV":
        raise Stop("simbench-grid", f"{row['id']} has its tap changer on the low-voltage side")
    high_v = float(kind["vmHV"]) * 1000
    return Transformer(
        name=row["id"],
        high=place[row["nodeHV"]],
        low=place[row["nodeLV"]],
        high_v=high_v,
        low_v=float(kind["vmLV"]) * 1000,
        rated_va=float(kind["sR"]) * 1e6,
        uk=float(kind["vmImp"]) / 100,
        copper_w=float(kind["pCu"]) * 1000,
        iron_w=float(kind["pFe"]) * 1000,
        i0=float(kind["iNoLoad"]) / 100,
        clock=round(float(kind["va0"]) / _CLOCK_DEG) % 12,
        tap=int(row["tappos"]) - int(kind["tapNeutr"]),
        tap_min=int(kind["tapMin"]),
        tap_max=int(kind["tapMax"]),
        tap_v=high_v * float(kind["dVm"]) / 100,
    )
