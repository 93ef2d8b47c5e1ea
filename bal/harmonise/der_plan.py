"""What DER messages of one sender have in common, so that only their values and times are read.

A message is cut at the texts behind `"value":`, `"begin":`, `"end":` and `"time":`. What is left,
its text, says all else, byte ranges included: where no string has an escape, a JSON text in which
one such text stands for another is read as the same structure. So the text is read once, strictly,
with ordinals in place of the texts; what comes out is the plan for every message of that text.
"""

import re
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate
from operator import add
from typing import NamedTuple

from bal.errors import Rejected
from bal.harmonise import record
from bal.harmonise.der_json import Item
from bal.harmonise.instant import of_epoch, parse
from bal.harmonise.names import MeterNames
from bal.harmonise.plans import Plans
from bal.harmonise.quantity import decimal_text
from bal.harmonise.record import Meant, Shape, Slot
from bal.model import Rank

MESSAGE_MAX = 1 << 20  # bytes; larger ones are few

_TEXT = re.compile(rb'("(?:value|begin|end|time)": ?"?)([0-9TZ:.+-]+)(?=["\s,}])')
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")  # RFC 8259 §6, but for exponents
_DIGITS = re.compile(r"[0-9]{1,9}")
_HOLE = b"\0"  # no JSON text has it
_HOLES = re.compile(rb'"(value|begin|end|time)": ?("?)\0')
_US_PER_S = 1_000_000
_ORDINALS = 1 << 30  # more than a message has texts
_TIMES = (b"begin", b"end", b"time", b"", b"", b"", b"")  # ordinals as seconds, a range for each

Learn = Callable[[bytes], list[tuple[Item, MeterNames, list[Meant]]] | None]


class _Reading(NamedTuple):
    """One reading; begin, end and value are numbers of texts."""

    shape: Shape
    begin: int
    end: int
    value: int
    shift: int
    rank: Rank


class _Place(NamedTuple):
    """A byte of a message: so many behind the beginning, and behind so many of its texts."""

    fixed: int
    texts: int


class _Element(NamedTuple):
    """One device's object."""

    names: MeterNames
    start: _Place
    end: _Place
    readings: list[_Reading]


class Plan(NamedTuple):
    """What all messages of one text are."""

    elements: list[_Element]
    numbers: list[int]  # of the texts that are JSON numbers


class Read(NamedTuple):
    """One element of a message read by a plan: raw[start:end]."""

    start: int
    end: int
    names: MeterNames
    readings: list[tuple[Slot, str, Rank]]  # with the normalised value


def plans(learn: Learn) -> Plans[Plan]:
    """A memory of plans.

    learn: what each element of a message means; None, or Rejected, where anything else is to be
    said about one.
    """
    return Plans(lambda text: _plan(text, learn))


def read(raw: bytes, kept: Plans[Plan]) -> list[Read] | None:
    """The elements of a message by its plan.

    None where there is no plan, or where a text needs a closer look.
    """
    if len(raw) > MESSAGE_MAX or b"\\" in raw or _HOLE in raw:
        return None
    pieces = _TEXT.split(raw)
    sent = pieces[2::3]
    pieces[2::3] = [_HOLE] * len(sent)
    plan = kept.of(b"".join(pieces))
    if plan is None:
        return None
    lengths = [0, *accumulate(map(len, sent))]
    texts = [text.decode() for text in sent]
    if not all(_NUMBER.fullmatch(texts[number]) for number in plan.numbers):
        return None
    try:
        return [
            Read(
                start.fixed + lengths[start.texts],
                end.fixed + lengths[end.texts],
                names,
                [_read(one, texts) for one in readings],
            )
            for names, start, end, readings in plan.elements
        ]
    except Rejected:
        return None


def _read(one: _Reading, texts: list[str]) -> tuple[Slot, str, Rank]:
    shape, begin_at, end_at, value_at, shift, rank = one
    end = parse(texts[end_at])
    begin = end if begin_at == end_at else parse(texts[begin_at])
    if begin.cut or end.cut or (begin_at != end_at and begin.us >= end.us):
        raise Rejected("time-malformed", "one that is told about or refused")
    return record.slot(shape, begin, end), decimal_text(texts[value_at], shift), rank


def _plan(text: bytes, learn: Learn) -> Plan | None:
    """The plan of all messages of a text, by one of them."""
    around = text.split(_HOLE)
    holes = [match.groups() for match in _HOLES.finditer(text)]
    ordinals = [_ordinal(name, number) for number, (name, _) in enumerate(holes)]
    made = b"".join([around[0], *map(b"".join, zip(ordinals, around[1:], strict=True))])
    try:
        found = learn(made)
    except Rejected:
        return None
    if found is None:
        return None
    lengths = [0, *accumulate(map(len, ordinals))]
    ends = list(map(add, accumulate(map(len, around)), lengths[1:]))  # of each ordinal in `made`

    def place(at: int) -> _Place:
        texts = bisect_right(ends, at)
        return _Place(at - lengths[texts], texts)

    elements: list[_Element] = []
    used: list[tuple[bytes, int]] = []
    for item, names, several in found:
        readings: list[_Reading] = []
        for meant in several:
            reading, ordinals_used = _reading(meant)
            readings.append(reading)
            used += ordinals_used
        elements.append(_Element(names, place(item.start), place(item.end), readings))
    if sorted(used) != sorted((name, number) for number, (name, _) in enumerate(holes)):
        return None  # what was read is not an ordinal, but looks like one
    return Plan(elements, [number for number, (_, quote) in enumerate(holes) if not quote])


def _ordinal(name: bytes, number: int) -> bytes:
    if name == b"value":
        return b"%d" % number
    return of_epoch(_TIMES.index(name) * _ORDINALS + number).text.encode()


def _reading(meant: Meant) -> tuple[_Reading, list[tuple[bytes, int]]]:
    """The reading, and which ordinals it has, with the member that each of them is of."""
    begin, end = (divmod(at.us // _US_PER_S, _ORDINALS) for at in (meant.begin, meant.end))
    value = int(meant.value) if _DIGITS.fullmatch(meant.value) is not None else -1
    times = [(_TIMES[kind], number) for kind, number in ([end] if begin == end else [begin, end])]
    reading = _Reading(meant.shape, begin[1], end[1], value, meant.shift, meant.rank)
    return reading, [*times, (b"value", value)]
