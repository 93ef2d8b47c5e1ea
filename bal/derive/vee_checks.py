"""The checks of intervals (docs/spec/vee.md): each a rule over one series of one local day.

Pure, over whole numbers. A check gives findings and changes nothing; what is said by one of them
is left out by none of the others, but for a missing slot that a displaced interval explains.
"""

from itertools import pairwise

from bal.derive.vee_day import Interval, Series, direction
from bal.derive.vee_found import Found, rows_of, told
from bal.derive.vee_rules import VeeRules
from bal.model import Rank, Severity
from bal.slots import MISSING, SAID_MISSING, TOO_LARGE, Slot

_SECOND_US = 1_000_000
_HOUR_S = 3600
EDIT_MARK = b'"edit":{'  # in an operator's; a quote within a text would be escaped
_THIRD = 3
_DRIFT_SAMPLES_MIN = 4
# IEC 61968-9 annex C: forward, reverse, and the single quadrants; net and differences may be < 0
_ONE_WAY = frozenset({"1", "15", "16", "17", "18", "19"})


def check_range(series: Series, rules: VeeRules) -> list[Found]:
    """Range: no more energy in a slot than the connection carries in its time."""
    limit = rules.power_w_max * series.slot_s * 1000 // _HOUR_S
    too_large = "more than a device-day can hold"
    return [
        _of_slot(series, number, slot, "energy-out-of-range", too_large)
        for number, slot in enumerate(series.slots)
        if slot.reason == TOO_LARGE
    ] + [
        _of_slot(
            series, number, slot, "energy-out-of-range",
            f"{told(slot.energy_milli)} in {series.slot_s} s: more than {told(limit)}, which"
            f" {rules.power_w_max} W come to",
        )
        for number, slot in enumerate(series.slots)
        if abs(slot.energy_milli) > limit
    ]  # fmt: skip


def check_negative(series: Series, rules: VeeRules) -> list[Found]:
    """Sign: energy that flows one way only is never less than nothing."""
    del rules
    if direction(series.register) not in _ONE_WAY:
        return []
    return [
        _of_slot(
            series, number, slot, "energy-negative",
            f"{told(slot.energy_milli)} of a register that counts one direction only",
        )
        for number, slot in enumerate(series.slots)
        if slot.energy_milli < 0
    ]  # fmt: skip


def check_spike(series: Series, rules: VeeRules) -> list[Found]:
    """Spike: what is more than 180 % above the third-highest interval of the day.

    Two intervals in a row may be high together: so the third is what they are held against. A day
    of fewer than three values has no spike, and none is below 1 kW.
    """
    values = sorted((abs(s.energy_milli) for s in series.slots if s.state), reverse=True)
    if len(values) < _THIRD:
        return []
    least = rules.spike_power_w_min * series.slot_s * 1000 // _HOUR_S
    third = values[_THIRD - 1]
    limit = max(least, third * (100 + rules.spike_percent) // 100)
    return [
        _of_slot(
            series, number, slot, "energy-spike",
            f"{told(slot.energy_milli)}, where the day's third-highest is {told(third)}",
        )
        for number, slot in enumerate(series.slots)
        if slot.state and abs(slot.energy_milli) > limit
    ]  # fmt: skip


def check_missing(series: Series, rules: VeeRules) -> list[Found]:
    """Missing: stretches of slots without a value, whether or not their sender says so."""
    del rules
    found = []
    for first, last in gaps(series):
        rows = [s.log_index for s in series.slots[first:last] if s.reason == SAID_MISSING]
        said = f", {len(rows)} of them stated missing" if rows else ""
        begin_us, end_us = series.slot_begin_us(first), series.slot_begin_us(last)
        have = "has" if last - first == 1 else "have"
        text = f"{last - first} of {len(series.slots)} slots {have} no value{said}"
        found.append(Found(begin_us, end_us, "slot-missing", "warning", text, rows_of(rows)))
    return found


def gaps(series: Series) -> list[tuple[int, int]]:
    """Stretches [first, last) of slots without a value that no displaced interval explains."""
    displaced = _displaced(series)
    stretches: list[tuple[int, int]] = []
    for number, slot in enumerate(series.slots):
        if slot.state == MISSING and slot.reason != TOO_LARGE and number not in displaced:
            if stretches and stretches[-1][1] == number:
                stretches[-1] = (stretches[-1][0], number + 1)
            else:
                stretches.append((number, number + 1))
    return stretches


def check_repeated(series: Series, rules: VeeRules) -> list[Found]:
    """The same slot twice: another value is doubtful, the same one is only told.

    Of equal rank: a correction, or a value instead of an estimate, is what later versions are for.
    So is an operator's edit of an edit.
    """
    del rules
    at: dict[tuple[int, int, int], list[Interval]] = {}
    for one in series.intervals:
        if one.milli is not None and EDIT_MARK not in one.row.record:
            at.setdefault((one.begin_us, one.end_us, int(one.row.rank)), []).append(one)
    found: list[Found] = []
    again: list[Interval] = []
    for (begin_us, end_us, _), several in at.items():
        if len({one.milli for one in several}) > 1:
            values = ", ".join(told(one.milli or 0) for one in several[:8])
            rows = rows_of(one.row.index for one in several)
            text = f"{len(several)} values for one slot: {values}; the last counts"
            found.append(Found(begin_us, end_us, "slot-values-differ", "warning", text, rows))
        elif len({one.row.record for one in several}) > 1:
            again += several
    if again:
        slots = len({one.begin_us for one in again})
        text = f"{slots} slots were sent more than once, with the same value"
        rows = rows_of(one.row.index for one in again)
        found.append(_of_day(series, "slot-repeated", "info", text, rows))
    return found


def check_overlap(series: Series, rules: VeeRules) -> list[Found]:
    """Overlap: an interval that begins before an earlier one ended counts some energy twice.

    What is only displaced by a meter's clock is told by `check_clock`.
    """
    del rules
    found: list[Found] = []
    before: Interval | None = None
    displaced = {one.begin_us for one in _off_grid(series)}
    for one in series.intervals:
        if before is not None and before.begin_us != one.begin_us and before.end_us > one.begin_us:
            if not displaced & {before.begin_us, one.begin_us}:
                found.append(_overlapping(before, one))
        elif before is not None and before.begin_us == one.begin_us and before.end_us != one.end_us:
            found.append(_overlapping(before, one))
        if before is None or one.end_us > before.end_us:
            before = one
    return found


def _overlapping(one: Interval, other: Interval) -> Found:
    length_s = (min(one.end_us, other.end_us) - other.begin_us) // _SECOND_US
    text = f"this interval and an earlier one have {length_s} s in common"
    rows = rows_of([one.row.index, other.row.index])
    return Found(other.begin_us, other.end_us, "interval-overlap", "warning", text, rows)


def check_clock(series: Series, rules: VeeRules) -> list[Found]:
    """Clock: intervals that begin beside the grid by more than some seconds, or ever further off.

    Offsets are from the nearest place in the grid. `clock-drift` where they only grow, or only
    shrink, over four intervals at least and by more than the limit; else `clock-off-grid`.
    """
    off = _off_grid(series)
    limit_us = rules.clock_s_max * _SECOND_US
    offsets = [_offset_us(series, one) for one in off]
    if not offsets or max(map(abs, offsets)) <= limit_us:
        return []
    worst = max(offsets, key=abs)
    steps = [b - a for a, b in pairwise(offsets)]
    steady = all(step >= 0 for step in steps) or all(step <= 0 for step in steps)
    drifts = (
        len(offsets) >= _DRIFT_SAMPLES_MIN and steady and abs(offsets[-1] - offsets[0]) > limit_us
    )
    code = "clock-drift" if drifts else "clock-off-grid"
    moves = f", from {_seconds(offsets[0])} to {_seconds(offsets[-1])}" if drifts else ""
    what = "1 interval lies" if len(off) == 1 else f"{len(off)} intervals lie"
    text = f"{what} beside the grid by up to {_seconds(worst)}{moves}"
    rows = rows_of(one.row.index for one in off)
    return [_of_day(series, code, "warning", text, rows)]


def check_clock_change(series: Series, rules: VeeRules) -> list[Found]:
    """A day of 92 or 100 quarter-hours: whether its source can tell its hours apart.

    Where local times come without their offset, or from a meter on normal time all year, an hour
    of a 25-hour day is missing as a whole, and one of a 23-hour day has two values.
    """
    del rules
    span, slot_us = series.span, series.slot_s * _SECOND_US
    stretch_us = abs(span.shift_us)
    if span.change_us is None or stretch_us % slot_us or (span.change_us - span.begin_us) % slot_us:
        return []
    at = (span.change_us - span.begin_us) // slot_us
    count = stretch_us // slot_us
    if span.shift_us > 0:
        return _double(series, at, count)
    for first in (at, at - count):  # its second or its first run
        others = series.slots[max(0, first - 1) : first] + series.slots[first + count :][:1]
        run = series.slots[first : first + count]
        if not any(slot.state for slot in run) and others and all(s.state for s in others):
            begin_us = series.slot_begin_us(first)
            text = (
                "of the stretch that comes twice on this day one run is missing as a whole: its"
                " source sends local times without their offset, or is on normal time all year"
            )
            return [Found(begin_us, begin_us + stretch_us, "clock-change-missing", "warning", text)]
    return []


def _double(series: Series, at: int, count: int) -> list[Found]:
    begin_us, end_us = series.slot_begin_us(at), series.slot_begin_us(at + count)
    several: dict[int, list[Interval]] = {}
    for one in series.intervals:
        if begin_us <= one.begin_us < end_us and one.row.rank == Rank.MEASURED:
            several.setdefault(one.begin_us, []).append(one)
    twice = [many for many in several.values() if len({one.milli for one in many}) > 1]
    if len(twice) < count:
        return []
    text = (
        "every slot after the stretch that this day skips has two values: its source sends local"
        " times without their offset, or is on normal time all year"
    )
    rows = rows_of(one.row.index for many in twice for one in many)
    return [Found(begin_us, end_us, "clock-change-double", "warning", text, rows)]


def _off_grid(series: Series) -> list[Interval]:
    """Intervals of a slot's length that lie in no slot, in order of time."""
    slot_us = series.slot_s * _SECOND_US
    return [
        one
        for one in series.intervals
        if one.end_us - one.begin_us == slot_us and (one.begin_us - series.span.begin_us) % slot_us
    ]


def _offset_us(series: Series, one: Interval) -> int:
    slot_us = series.slot_s * _SECOND_US
    past = (one.begin_us - series.span.begin_us) % slot_us
    return past if past * 2 <= slot_us else past - slot_us


def _displaced(series: Series) -> set[int]:
    """The slots that intervals beside the grid are of: the nearest ones."""
    slot_us = series.slot_s * _SECOND_US
    return {
        (one.begin_us - _offset_us(series, one) - series.span.begin_us) // slot_us
        for one in _off_grid(series)
    }


def _seconds(us: int) -> str:
    return f"{told(us // 1000)} s"


def _of_slot(series: Series, number: int, slot: Slot, code: str, text: str) -> Found:
    begin_us = series.slot_begin_us(number)
    end_us = begin_us + series.slot_s * _SECOND_US
    return Found(begin_us, end_us, code, "warning", text, rows_of([slot.log_index]))


def _of_day(
    series: Series, code: str, severity: Severity, text: str, rows: tuple[int, ...]
) -> Found:
    return Found(series.span.begin_us, series.span.end_us, code, severity, text, rows)
