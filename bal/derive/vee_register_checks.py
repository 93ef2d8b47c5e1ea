"""The checks of registers that count, and of what several registers say together."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise, product

from bal.derive.vee_day import Day, Series, Shown, phases
from bal.derive.vee_found import Found, rows_of, told
from bal.derive.vee_rules import VeeRules
from bal.model import Severity
from bal.slots import MISSING

_SECOND_US = 1_000_000
_HOUR_S = 3600
_KWH = 1_000_000  # thousandths of a Wh
_RESOLUTION_MAX = _KWH  # of a register: no meter shows less
_INTERVAL_RESOLUTION_MAX = _KWH // 10

# IEC 61968-9 annex C, phases: none, all three, and all three to neutral; A, B, C; each to neutral
_TOTALS = ("0", "224", "225")
_SINGLES = (("128", "64", "32"), ("129", "65", "33"))

_INSTANT_RANGES = {  # in thousandths: what no instrument on the grid shows but by a fault
    "Hz": (40_000, 70_000),
    "1": (-1_000, 1_000),
    "%": (0, 100_000),
    "K": (0, 1_000_000),
}


def check_register(register: str, counts: Sequence[Shown], rules: VeeRules) -> list[Found]:
    """A register never falls: from near its end it begins anew, else something is wrong.

    `register-rolled-over`: it stood in the last tenth of what its digits can show (five digits of
    kWh at least), and no more energy passed than the connection carries. `register-fell`: any
    other fall; `register-negative`: below nothing.
    """
    del register
    found: list[Found] = []
    for one in counts:
        if one.milli < 0:
            text = f"a register that counts without end shows {told(one.milli)}"
            found.append(_at(one, "register-negative", text, [one]))
    for before, after in pairwise(counts):
        if after.milli >= before.milli:
            continue
        said = f"it shows {told(after.milli)} after {told(before.milli)}"
        passed = rolled_over(before, after, rules)
        if passed is None:
            found.append(_at(after, "register-fell", said, [before, after]))
        else:
            text = f"{said}: it began anew, and {told(passed)} passed"
            found.append(_at(after, "register-rolled-over", text, [before, after]))
    return found


def rolled_over(before: Shown, after: Shown, rules: VeeRules) -> int | None:
    """What passed between two readings where the register began anew; None where it did not."""
    if not 0 <= after.milli < before.milli:
        return None
    end = 10 ** max(len(str(before.milli)), rules.register_digits_min + len(str(_KWH)) - 1)
    passed = end - before.milli + after.milli
    time_s = (after.time_us - before.time_us) // _SECOND_US
    carried = rules.power_w_max * time_s * 1000 // _HOUR_S
    return passed if before.milli * 10 >= end * 9 and passed <= carried else None


def advance(before: Shown, after: Shown, rules: VeeRules) -> int | None:
    """What a register counted between two readings; None where it fell."""
    if after.milli >= before.milli:
        return after.milli - before.milli
    return rolled_over(before, after, rules)


def brackets(series: Series, rules: VeeRules) -> Iterator[tuple[Shown, Shown, int, int, int]]:
    """Stretches of slots between two readings of the register that counts the same.

    Each with its readings, its first slot, the one behind its last, and what the register counted;
    of readings that stand between slots, not within one.
    """
    slot_us = series.slot_s * _SECOND_US
    start_us = series.span.begin_us
    edges = [one for one in series.counts if (one.time_us - start_us) % slot_us == 0]
    for before, after in pairwise(edges):
        within = [one for one in series.counts if before.time_us <= one.time_us <= after.time_us]
        moved = [advance(a, b, rules) for a, b in pairwise(within)]
        total = None if None in moved else sum(one for one in moved if one is not None)
        first, last = ((one.time_us - start_us) // slot_us for one in (before, after))
        if total is not None and first >= 0 and last <= len(series.slots):
            yield before, after, first, last, total


def check_sum(series: Series, rules: VeeRules) -> list[Found]:
    """Sum: intervals come to what the register counted meanwhile, but for what is rounded off.

    Two readings of a register are off by less than one step of it together, an interval by half a
    step of its own: the greatest powers of ten that all of them are multiples of.
    """
    found: list[Found] = []
    for before, after, first, last, total in brackets(series, rules):
        slots = series.slots[first:last]
        if any(slot.state == MISSING for slot in slots):
            continue
        energies = [slot.energy_milli for slot in slots]
        step = _step([before.milli, after.milli], _RESOLUTION_MAX)
        own = _step(energies, _INTERVAL_RESOLUTION_MAX)
        tolerance = step + len(slots) * own // 2 + rules.sum_wh_tolerance * 1000
        off = sum(energies) - total
        if abs(off) > tolerance:
            what = "1 interval comes" if len(slots) == 1 else f"{len(slots)} intervals come"
            text = (
                f"{what} to {told(sum(energies))}, the register counted"
                f" {told(total)}: {told(abs(off))} apart, and {told(tolerance)} could be rounding"
            )
            rows = rows_of([before.row_index, after.row_index])
            begin_us, end_us = before.time_us, after.time_us
            found.append(Found(begin_us, end_us, "sum-differs", "warning", text, rows))
    return found


def _step(values: Sequence[int], largest: int) -> int:
    """The greatest power of ten up to `largest` that divides all values; 1 at least."""
    step = largest
    while step > 1 and any(value % step for value in values):
        step //= 10
    return step


def check_phases(day: Day, rules: VeeRules) -> list[tuple[str, Found]]:
    """Phases: three of them come to the total, each with its register; the finding is the total's.

    Within a hundredth, and 10 Wh: each phase has an error class of its own.
    """
    by_rest: dict[tuple[str, ...], dict[str, Series]] = {}
    for series in day.series:
        rest, phase = phases(series.register)
        if rest:
            by_rest.setdefault(rest, {})[phase] = series
    found: list[tuple[str, Found]] = []
    for several in by_rest.values():
        totals = [several[phase] for phase in _TOTALS if phase in several]
        for total, phases_of in product(totals, _SINGLES):
            single = [several[phase] for phase in phases_of if phase in several]
            alike = {(one.slot_s, len(one.slots)) for one in [*single, total]}
            if len(single) == len(phases_of) and len(alike) == 1:
                found += [(total.register, one) for one in _phases_of(total, single, rules)]
    return found


def _phases_of(total: Series, single: Sequence[Series], rules: VeeRules) -> list[Found]:
    off: list[tuple[int, int, list[int]]] = []  # by how much, slot, rows
    for number, slot in enumerate(total.slots):
        parts = [one.slots[number] for one in single]
        if slot.state and all(part.state for part in parts):
            apart = abs(sum(part.energy_milli for part in parts) - slot.energy_milli)
            permille = abs(slot.energy_milli) * rules.phases_permille // 1000
            if apart > max(permille, rules.phases_wh_tolerance * 1000):
                rows = [slot.log_index, *(part.log_index for part in parts)]
                off.append((apart, number, rows))
    if not off:
        return []
    worst, number, _ = max(off)
    text = (
        f"in {len(off)} slot{'s' * (len(off) > 1)} the three phases do not come to the total,"
        f" most in slot {number}: by {told(worst)}"
    )
    named = rows_of(index for _, _, some in off for index in some)
    return [Found(total.span.begin_us, total.span.end_us, "phases-differ", "warning", text, named)]


def check_instants(day: Day) -> list[tuple[str, Found]]:
    """Range of instants: frequency, power factor, state of charge, temperature; by register."""
    off: dict[tuple[str, int, str], list[int]] = {}  # what two senders say alike is one
    for row, unit, milli in day.instants:
        low, high = _INSTANT_RANGES.get(unit, (milli, milli))
        if not low <= milli <= high:
            text = f"{told(milli)} {unit} is outside {told(low)} to {told(high)}"
            off.setdefault((row.register, row.end_us, text), []).append(row.index)
    return [
        (register, Found(at, at, "value-out-of-range", "warning", text, rows_of(rows)))
        for (register, at, text), rows in off.items()
    ]


def found_in_registers(
    counts: Mapping[str, Sequence[Shown]], rules: VeeRules
) -> list[tuple[str, Found]]:
    """`check_register` of all of them, by register."""
    return [
        (register, one)
        for register, shown in counts.items()
        for one in check_register(register, shown, rules)
    ]


def _at(where: Shown, code: str, text: str, shown: Sequence[Shown]) -> Found:
    severity: Severity = "info" if code == "register-rolled-over" else "warning"
    rows = rows_of(one.row_index for one in shown)
    return Found(where.time_us, where.time_us, code, severity, text, rows)
