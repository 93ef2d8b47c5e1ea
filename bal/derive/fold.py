"""From the rows of a device and local day to the slots of its series (docs/spec/completeness.md).

One device at a time, so that the rows of 100,000 need not be in memory at once. A value is read
from the end of its record, where a reading's last members stand; only what ends otherwise is
parsed.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from operator import sub
from typing import Literal, NamedTuple

from bal import jcs
from bal.model import StoredRecord
from bal.slots import EMPTY_SLOT, EXACT, MISSING, NOT_RECEIVED, Slot, is_slot_length, slot_of

KINDS = frozenset({"reading", "telemetry"})
UNITS = frozenset({"Wh", "varh", "VAh"})

_SECOND_US = 1_000_000
_TAIL_BYTES = 128  # a value has 40 characters at most, and 12 zeros by its multiplier
_TAIL = re.compile(rb'"unit":"(?:Wh|varh|VAh)","v":"[^"\\]*","value":"(-?[0-9]+(?:\.[0-9]+)?)"\}\Z')
# IEC 61968-9 annex C: unit is the 17th of 18 fields; 71 VAh, 72 Wh, 73 varh
_ENERGY_REGISTER = re.compile(r"(?:-?[0-9]+\.){16}7[123]\.-?[0-9]+")
_INT64_SAFE_DIGITS = 15  # so many digits and three more fit an i64


class SeriesDay(NamedTuple):
    """The slots of one register of a device."""

    register: str
    slot_s: int
    slots: list[Slot]


class _Entry(NamedTuple):
    begin_us: int
    end_us: int
    value: str | None
    row: StoredRecord


def series_days(
    rows: Iterable[StoredRecord], begin_us: int, end_us: int, known: Mapping[str, int]
) -> list[SeriesDay]:
    """The series of one device in its local day [begin_us, end_us), in order of register.

    rows: all versions of the device's rows, of every kind; those that do not begin in the day or
    are no energy over an interval are passed over. known: register → slot_s of series that go on
    without a row, and the slot_s where no row gives one.
    """
    if begin_us >= end_us:
        return []
    by_register: dict[str, list[StoredRecord]] = {}
    for row in rows:
        if begin_us <= row.begin_us < end_us:
            by_register.setdefault(row.register, []).append(row)
    days = []
    for register in sorted(by_register.keys() | known.keys()):
        found = by_register.get(register, [])
        day = _plain(register, found, begin_us, end_us)
        if day is None:
            entries = [entry for row in found for entry in _entries(row)]
            slot_s = _slot_s(entries, begin_us) or known.get(register)
            if slot_s is None:
                continue
            day = SeriesDay(register, slot_s, _slots(entries, begin_us, end_us, slot_s))
        days.append(day)
    return days


def _plain(
    register: str, rows: Sequence[StoredRecord], begin_us: int, end_us: int
) -> SeriesDay | None:
    """The common case, four times as fast: whole numbers, one record a slot, all of one length.

    None for any other; the general way gives the same, as `tests/unit/derive` shows.
    """
    found = (
        _TAIL.search(rows[0].record, max(0, len(rows[0].record) - _TAIL_BYTES)) if rows else None
    )
    if found is None:
        return None
    _, ends, kinds, _, begins, indexes, ranks, _, _, records, _ = zip(*rows, strict=True)
    mark = found[0][: found.start(1) - found.start()]
    values = [record[-_TAIL_BYTES:].rpartition(mark)[2] for record in records]
    lengths_us = set(map(sub, ends, begins))
    length_us = lengths_us.pop()
    slot_s, past = divmod(length_us, _SECOND_US)
    offsets = [begin - begin_us for begin in begins]
    if (
        lengths_us
        or past
        or not is_slot_length(slot_s)
        or len(set(begins)) < len(begins)
        or any([offset % length_us for offset in offsets])  # noqa: C419 - a list is faster
        or not KINDS.issuperset(kinds)
        or min(ranks) == MISSING
        or max(map(len, values)) > _INT64_SAFE_DIGITS + len(b'"}')
    ):
        return None
    try:
        energies = [int(value[:-2]) * 1000 for value in values]
    except ValueError:  # a fraction, or a record that does not end as the first one does
        return None
    slots = [EMPTY_SLOT] * -((begin_us - end_us) // length_us)
    made = map(tuple.__new__, repeat(Slot), zip(ranks, repeat(EXACT), energies, indexes))
    for offset, slot in zip(offsets, made, strict=True):
        slots[offset // length_us] = slot
    return SeriesDay(register, slot_s, slots)


def _entries(row: StoredRecord) -> list[_Entry]:
    """The row as an energy over an interval; empty where it is none."""
    if row.begin_us >= row.end_us or row.kind not in KINDS:
        return []
    value = _value(row)
    return [] if value is False else [_Entry(row.begin_us, row.end_us, value, row)]


def _slot_s(entries: Sequence[_Entry], start_us: int) -> int | None:
    """The length of most of the intervals that lie in the grid of their own; else the shortest.

    An interval counts once, however many versions it has: one odd record must not empty a day.
    """
    intervals = {(entry[1] - entry[0], entry[0] - start_us) for entry in entries}
    counts = Counter(length for length, offset in intervals if offset % length == 0)
    slot_lengths = [
        (-count, length // _SECOND_US)
        for length, count in counts.items()
        if length % _SECOND_US == 0 and is_slot_length(length // _SECOND_US)
    ]
    return min(slot_lengths)[1] if slot_lengths else None


def _slots(entries: Sequence[_Entry], begin_us: int, end_us: int, slot_s: int) -> list[Slot]:
    slot_us = slot_s * _SECOND_US
    slots = [EMPTY_SLOT] * -((begin_us - end_us) // slot_us)
    rivals: dict[int, list[_Entry]] = {}
    for entry in entries:
        begin, end, value, row = entry
        number, past = divmod(begin - begin_us, slot_us)
        if past or end - begin != slot_us:
            continue
        if slots[number][1] != NOT_RECEIVED:
            rivals.setdefault(number, []).append(entry)
        slots[number] = _slot(value, row)
    for number in rivals:
        start = begin_us + number * slot_us
        slots[number] = _winner([e for e in entries if e[0] == start and e[1] - e[0] == slot_us])
    return slots


def _slot(value: str | None, row: StoredRecord) -> Slot:
    return slot_of(int(row.rank), value, row.index)


def _winner(entries: list[_Entry]) -> Slot:
    """The entry that counts: of equal bytes the first, then the highest rank, then the latest."""
    seen: set[bytes] = set()
    found: _Entry | None = None
    for entry in sorted(entries, key=_log_index):
        if entry.row.record not in seen:
            seen.add(entry.row.record)
            if found is None or entry.row.rank >= found.row.rank:
                found = entry
    assert found is not None, "a slot with rivals has entries"
    return _slot(found.value, found.row)


def _log_index(entry: _Entry) -> int:
    return entry.row.index


def _value(row: StoredRecord) -> str | Literal[False] | None:
    """The value of an energy, None where its sender said that it is missing, False for no energy.

    RFC 8785 sorts the members: `unit`, `v`, `value` are a reading's last three, and a quote inside
    a text would be escaped, so what ends like this is what a parser would find.
    """
    record = row[9]
    found = _TAIL.search(record, max(0, len(record) - _TAIL_BYTES))
    return _parsed(row) if found is None else found[1].decode()


def _parsed(row: StoredRecord) -> str | Literal[False] | None:
    members = jcs.decode(row.record)
    unit, value = members.get("unit"), members.get("value")
    if unit is None and value is None:
        return None if _ENERGY_REGISTER.fullmatch(row.register) else False
    return value if unit in UNITS and isinstance(value, str) else False
