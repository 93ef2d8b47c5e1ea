"""Estimates of missing energies, by rules that anybody can follow (docs/spec/vee.md).

A gap of up to two hours between two values is interpolated; of a longer one, or one at an end of a
day, each slot is the average of the same time on the same weekday of the four weeks before. Where a
register was read at both ends of a stretch, its slots come to what it counted, exactly. Whole
thousandths throughout; never a slot that has a value.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bal.derive.fold import SeriesDay
from bal.derive.vee_checks import gaps
from bal.derive.vee_day import Series, Span
from bal.derive.vee_register_checks import brackets
from bal.derive.vee_rules import VeeRules
from bal.model import Rank
from bal.slots import MISSING

LINEAR, LIKE_DAY, EVEN = "linear", "like-day", "even"  # rules
BY_REGISTER = "/register"  # behind a rule: scaled to what the register counted
LIKE_WEEKS = 4

_SECOND_US = 1_000_000


class Estimate(NamedTuple):
    """A value for a slot that has none."""

    number: int  # of the slot
    begin_us: int
    end_us: int
    milli: int
    rule: str
    rows: tuple[int, ...]  # log indexes of what it was made from, ascending


class LikeDay(NamedTuple):
    """The same weekday of an earlier week."""

    span: Span
    slot_s: int
    slots: Sequence[tuple[int, int] | None]  # thousandths and index of what was measured


def like_day(day: SeriesDay, span: Span) -> LikeDay:
    """What was measured or corrected on it: an estimate is no ground for another one."""
    slots = [
        (slot.energy_milli, slot.log_index) if slot.state >= Rank.MEASURED else None
        for slot in day.slots
    ]
    return LikeDay(span, day.slot_s, slots)


def needs_like_days(series: Series, rules: VeeRules) -> bool:
    """Whether a gap is there that can't be interpolated."""
    return bool(rules.estimate) and any(not _is_between(series, gap, rules) for gap in gaps(series))


def estimates(series: Series, like: Sequence[LikeDay], rules: VeeRules) -> list[Estimate]:
    """What the slots in the gaps of a series are estimated at, in order of time.

    like: of the four weeks before, those that there are. A slot that no rule has a value for is
    left out. Slots of which an interval beside the grid tells are no gap.
    """
    if not rules.estimate:
        return []
    found: dict[int, Estimate] = {}
    for gap in gaps(series):
        some = _linear(series, gap) if _is_between(series, gap, rules) else None
        found.update(_like(series, gap, like, rules) if some is None else some)
    for before, after, first, last, total in brackets(series, rules):
        if before.exact and after.exact:
            rows = (before.row_index, after.row_index)
            _bound(series, found, range(first, last), total, rows)
    return [found[number] for number in sorted(found)]


def _is_between(series: Series, gap: tuple[int, int], rules: VeeRules) -> bool:
    """Whether a gap is short and between two values of the day."""
    first, last = gap
    return (
        (last - first) * series.slot_s <= rules.linear_s_max
        and first > 0
        and last < len(series.slots)
        and MISSING not in {series.slots[first - 1].state, series.slots[last].state}
    )


def _linear(series: Series, gap: tuple[int, int]) -> dict[int, Estimate]:
    """On the line from the value before to the one after, rounded half to even."""
    first, last = gap
    before, after = series.slots[first - 1], series.slots[last]
    steps = last - first + 1
    rows = (before.log_index, after.log_index)
    start, rise = before.energy_milli * steps, after.energy_milli - before.energy_milli
    return {
        number: _estimate(
            series, number, _rounded(start + rise * (number - first + 1), steps), LINEAR, rows
        )
        for number in range(first, last)
    }


def _like(
    series: Series, gap: tuple[int, int], like: Sequence[LikeDay], rules: VeeRules
) -> dict[int, Estimate]:
    """The average of the same time of day on the like days that have a value then."""
    found = {}
    for number in range(*gap):
        clock_us = _clock_us(series, number)
        values = [value for day in like if (value := _at(day, series.slot_s, clock_us)) is not None]
        if len(values) >= max(1, rules.like_days_min):
            milli = _rounded(sum(one for one, _ in values), len(values))
            rows = tuple(index for _, index in values)
            found[number] = _estimate(series, number, milli, LIKE_DAY, rows)
    return found


def _clock_us(series: Series, number: int) -> int:
    """The time of day by the clock on the wall at which a slot begins, since midnight."""
    begin_us, span = series.slot_begin_us(number), series.span
    changed = span.change_us is not None and begin_us >= span.change_us
    return begin_us - span.begin_us + (span.shift_us if changed else 0)


def _at(day: LikeDay, slot_s: int, clock_us: int) -> tuple[int, int] | None:
    """Its value at a time of day. On a day of a clock change nothing is like any other day."""
    if day.slot_s != slot_s or day.span.change_us is not None:
        return None
    number, past = divmod(clock_us, slot_s * _SECOND_US)
    return day.slots[number] if not past and 0 <= number < len(day.slots) else None


def _bound(
    series: Series,
    found: dict[int, Estimate],
    stretch: range,
    total: int,
    readings: tuple[int, int],
) -> None:
    """Have the estimates in a stretch come to what its register counted, less what was measured.

    Each keeps its share; a stretch whose estimates are all nothing, or that no rule has an estimate
    for, is shared out evenly. Left as it is where not all gaps have an estimate and some have, and
    where more was measured than counted.
    """
    open_ = [number for number in stretch if series.slots[number].state == MISSING]
    left = total - sum(series.slots[number].energy_milli for number in stretch)
    known = [found[number] for number in open_ if number in found]
    in_gaps = {number for gap in gaps(series) for number in range(*gap)}
    if not open_ or left < 0 or len(known) not in {0, len(open_)} or not in_gaps >= set(open_):
        return
    weights = [max(0, one.milli) for one in known] or [0] * len(open_)
    shares = share_out(left, weights)
    for number, milli in zip(open_, shares, strict=True):
        raw = found.get(number)
        rule, rows = (raw.rule, raw.rows) if raw is not None else (EVEN, ())
        found[number] = _estimate(series, number, milli, rule + BY_REGISTER, (*rows, *readings))


def share_out(total: int, weights: Sequence[int]) -> list[int]:
    """Whole shares of `total` by weight, which come to it exactly; evenly where all are 0.

    What is left after rounding down goes to the largest fractions, of equal ones to the first.
    total and weights ≥ 0.
    """
    if not weights:
        return []
    if not any(weights):
        weights = [1] * len(weights)
    whole = sum(weights)
    shares = [total * weight // whole for weight in weights]
    by_fraction = sorted(range(len(weights)), key=lambda at: (-(total * weights[at] % whole), at))
    for at in by_fraction[: total - sum(shares)]:
        shares[at] += 1
    return shares


def _rounded(numerator: int, denominator: int) -> int:
    """A quotient rounded half to even; denominator > 0."""
    whole, rest = divmod(numerator, denominator)
    up = rest * 2 > denominator or (rest * 2 == denominator and whole % 2 == 1)
    return whole + up


def _estimate(series: Series, number: int, milli: int, rule: str, rows: Sequence[int]) -> Estimate:
    begin_us = series.slot_begin_us(number)
    end_us = begin_us + series.slot_s * _SECOND_US
    return Estimate(number, begin_us, end_us, milli, rule, tuple(sorted(set(rows))))


Like = Mapping[str, Sequence[LikeDay]]  # by register
