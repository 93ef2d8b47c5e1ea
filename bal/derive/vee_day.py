"""A device's day as the checks see it: series of intervals, and the registers that count them.

Energies are whole thousandths of a Wh, varh or VAh throughout.
"""

import re
from collections import Counter as Count
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from bal import jcs
from bal.derive.fold import KINDS, UNITS, SeriesDay, series_days
from bal.derive.local_day import clock_change, local_day
from bal.model import Rank, StoredRecord
from bal.slots import EMPTY_SLOT, NO_INDEX, Slot, is_slot_length, thousandfold

OWN_MARK = b'"derived":{'  # in what derive made; a quote within a text would be escaped

_TAIL_BYTES = 192
_TAIL = re.compile(rb'"unit":"([^"\\]{1,8})","v":"[^"\\]*","value":"(-?[0-9]+(?:\.[0-9]+)?)"\}\Z')
_SECOND_US = 1_000_000
# IEC 61968-9 annex C, accumulation: bulkQuantity, cumulative, summation count without end
_COUNTING = frozenset({"1", "3", "9"})
_ENERGY, _ENERGY_UNITS = "12", frozenset({"71", "72", "73"})
_FIELDS = 18
_PHASES = 14  # the place of that field


class Span(NamedTuple):
    """A local day, and the change of the clock in it."""

    begin_us: int
    end_us: int
    change_us: int | None = None  # when the clock was changed; None: it was not
    shift_us: int = 0  # forward by so much; negative where an hour comes twice


class Interval(NamedTuple):
    """An energy over an interval, one version of it."""

    begin_us: int
    end_us: int
    milli: int | None  # None: its sender says that it is missing
    row: StoredRecord


class Shown(NamedTuple):
    """What a register showed at an instant."""

    time_us: int
    milli: int
    exact: bool  # no decimals were rounded off
    row_index: int


class Series(NamedTuple):
    """One register of a device on one day."""

    register: str
    slot_s: int
    span: Span
    slots: list[Slot]
    # all versions, in order of (begin, index); empty where each has its slot for itself, as most
    # days have it: nothing overlaps then, or comes twice, or is beside the grid
    intervals: Sequence[Interval]
    counts: Sequence[Shown]  # of the register that counts the same, in order of time

    def slot_begin_us(self, number: int) -> int:
        """When a slot begins."""
        return self.span.begin_us + number * self.slot_s * _SECOND_US


class Day(NamedTuple):
    """All that the checks look at of one device."""

    span: Span
    series: Sequence[Series]  # in order of register
    counts: Mapping[str, Sequence[Shown]]  # by register that counts
    instants: Sequence[tuple[StoredRecord, str, int]]  # row, unit, thousandths


def span_of(day: date, zone: str) -> Span:
    """The local day of a date. Raises ValueError for an unknown zone."""
    change = clock_change(day, zone)
    return Span(*local_day(day, zone), *(change or (None, 0)))


def is_own(row: StoredRecord) -> bool:
    """Whether derive made the row: an estimate is no measurement that later ones go by."""
    return row.rank == Rank.ESTIMATED and OWN_MARK in row.record


def day_of(rows: Iterable[StoredRecord], span: Span, known: Mapping[str, int]) -> Day:
    """What the rows of one device say of a day; known: as of `series_days`.

    Counted are intervals that begin in the day, and instants of it: after its begin and up to its
    end, and of registers the last one until its begin, too, from which the day counts on.
    """
    spans: dict[str, list[StoredRecord]] = {}
    counted: dict[str, dict[int, tuple[tuple[int, int], Shown]]] = {}
    instants: list[tuple[StoredRecord, str, int]] = []
    kept = [row for row in rows if row.kind in KINDS and not is_own(row)]
    for row in kept:
        if row.begin_us < row.end_us:
            if span.begin_us <= row.begin_us < span.end_us:
                spans.setdefault(row.register, []).append(row)
        elif row.end_us <= span.end_us:
            unit, milli, exact = _number(row)
            if milli is None:
                continue
            if counts_what(row.register):
                at = counted.setdefault(row.register, {})
                place = int(row.rank), row.index
                one = Shown(row.end_us, milli, exact, row.index)
                at[row.end_us] = max(at.get(row.end_us, (place, one)), (place, one))
            if row.end_us > span.begin_us:
                instants.append((row, unit, milli))
    counts = {
        register: _of_the_day([at[time][1] for time in sorted(at)], span)
        for register, at in sorted(counted.items())
    }
    folded = {day.register: day for day in series_days(kept, *span[:2], known)}
    series = [
        _series(register, folded.get(register), span, spans.get(register, ()), counts)
        for register in sorted(folded.keys() | spans.keys())
    ]
    return Day(span, [one for one in series if one is not None], counts, instants)


def _of_the_day(shown: list[Shown], span: Span) -> list[Shown]:
    """From the last one until the begin of the day on."""
    until = sum(one.time_us <= span.begin_us for one in shown)
    return shown[max(0, until - 1) :]


def needs_earlier(day: Day) -> bool:
    """Whether a register was read in the day, but not at its begin: one of the day before helps."""
    return any(shown and shown[0].time_us > day.span.begin_us for shown in day.counts.values())


def _series(
    register: str,
    day: SeriesDay | None,
    span: Span,
    rows: Sequence[StoredRecord],
    counts: Mapping[str, Sequence[Shown]],
) -> Series | None:
    """None where the intervals are none that a day could be cut into."""
    filled = 0 if day is None else sum(slot.log_index != NO_INDEX for slot in day.slots)
    # as many slots as rows: each row has its own
    intervals = [] if filled == len(rows) else list(filter(None, map(_interval, rows)))
    if day is None:  # none lies in the grid: the clock of the meter may be off
        lengths = Count((one.end_us - one.begin_us, one.begin_us) for one in intervals)
        most = Count(length for length, _ in lengths)
        fitting = [
            (-number, length // _SECOND_US)
            for length, number in most.items()
            if length % _SECOND_US == 0 and is_slot_length(length // _SECOND_US)
        ]
        if not fitting:
            return None
        slot_s = min(fitting)[1]
        slots = [EMPTY_SLOT] * -((span.begin_us - span.end_us) // (slot_s * _SECOND_US))
        day = SeriesDay(register, slot_s, slots)
    wanted = counted_by(register)
    of = next((name for name in counts if wanted and counts_what(name) == wanted), None)
    ordered = sorted(intervals, key=lambda one: (one.begin_us, one.row.index))
    return Series(register, day.slot_s, span, day.slots, ordered, counts[of] if of else ())


def _interval(row: StoredRecord) -> Interval | None:
    """None where it is no energy."""
    unit, milli, _ = _number(row)
    if milli is None:
        missing = unit == "" and fields_of(row.register)[16:17] in {(one,) for one in _ENERGY_UNITS}
        return Interval(row.begin_us, row.end_us, None, row) if missing else None
    return Interval(row.begin_us, row.end_us, milli, row) if unit in UNITS else None


def _number(row: StoredRecord) -> tuple[str, int | None, bool]:
    """Unit, thousandths, and whether these are exact; no number where the record has none."""
    record = row.record
    found = _TAIL.search(record, max(0, len(record) - _TAIL_BYTES))
    if found is not None:
        return found[1].decode(), *thousandfold(found[2].decode())
    members = jcs.decode(record)
    unit, value = members.get("unit", ""), members.get("value")
    if not isinstance(unit, str) or not isinstance(value, str):
        return "", None, False
    return unit, *thousandfold(value)


@lru_cache(maxsize=4096)
def fields_of(register: str) -> tuple[str, ...]:
    """The 18 numbers of a ReadingType; empty for any other register."""
    found = tuple(register.split("."))
    return found if len(found) == _FIELDS else ()


def _what(fields: tuple[str, ...]) -> tuple[str, ...]:
    """Direction, commodity, kind, tariff, phases and unit: all but when and how it is summed."""
    return (*fields[4:7], *fields[11:15], fields[16])


@lru_cache(maxsize=4096)
def counts_what(register: str) -> tuple[str, ...]:
    """What a register of energy counts without end; empty where it is none."""
    fields = fields_of(register)
    if not fields or fields[3] not in _COUNTING or fields[6] != _ENERGY:
        return ()
    return _what(fields) if fields[16] in _ENERGY_UNITS else ()


@lru_cache(maxsize=4096)
def counted_by(register: str) -> tuple[str, ...]:
    """As `counts_what` of the register that counts a series of intervals."""
    fields = fields_of(register)
    if not fields or fields[3] in _COUNTING or fields[6] != _ENERGY:
        return ()
    return _what(fields) if fields[16] in _ENERGY_UNITS else ()


def direction(register: str) -> str:
    """The fifth number of a ReadingType, flowDirection; empty for any other register."""
    return fields_of(register)[4] if fields_of(register) else ""


def phases(register: str) -> tuple[tuple[str, ...], str]:
    """The register but for its phases, and these; empty for no ReadingType."""
    fields = fields_of(register)
    if not fields:
        return (), ""
    return fields[:_PHASES] + fields[_PHASES + 1 :], fields[_PHASES]
