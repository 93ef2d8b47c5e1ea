"""What messages of IEEE 2030.5 have in common, so that only their values and times are read.

A message is cut at the texts of its `value`, `start` and `mRID` elements. What is left, its text,
says all else: a text without markup in place of another leaves the same elements. So the text is
read once with other numbers in those places; what comes out is the plan for every message of that
text. Which start a time goes back to is seen by reading it twice: with the same start everywhere,
and with each start later than the one before.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from bal.errors import Rejected
from bal.harmonise import record
from bal.harmonise.instant import of_epoch
from bal.harmonise.names import MeterNames
from bal.harmonise.plans import Plans
from bal.harmonise.quantity import decimal_text
from bal.harmonise.record import Meant, Shape, Slot
from bal.model import Rank

MESSAGE_MAX = 1 << 20  # bytes; larger ones are few

_TEXT = re.compile(
    rb"(<(?:[A-Za-z_][\w.-]*:)?(?:value|start|mRID|lastUpdateTime|nextUpdateTime)>)"
    rb"([0-9A-Fa-f-]+)(?=</)"
)
_HOLE = b"\0"  # no XML document has it
_HOLES = re.compile(rb"<(?:[A-Za-z_][\w.-]*:)?(\w+)>\0")
_FORMS = {  # of a text that is read by a plan; others may be in order, too
    b"value": re.compile(rb"-?[0-9]{1,14}"),  # within the Int48 that the standard has
    b"mRID": re.compile(rb"(?:[0-9A-Fa-f]{2}){1,16}"),
}
_TIME = re.compile(rb"[0-9]{1,10}")
_FIRST = 100_000_000  # a time and a value, from which on texts are numbered
_US_PER_S = 1_000_000

Learn = Callable[[bytes], tuple[MeterNames, list[Meant]] | None]


class _Reading(NamedTuple):
    """One reading; start and value are numbers of texts."""

    shape: Shape
    start: int
    begin_s: int  # from start on
    end_s: int
    value: int
    shift: int
    rank: Rank


class Plan(NamedTuple):
    """What all messages of one text are."""

    names: MeterNames
    readings: list[_Reading]
    forms: list[re.Pattern[bytes]]  # of the texts


class Read(NamedTuple):
    """One message read by a plan."""

    names: MeterNames
    readings: list[tuple[Slot, str, Rank]]  # with the normalised value


def plans(learn: Learn) -> Plans[Plan]:
    """A memory of plans.

    learn: whom a message names and what its readings mean; None, or Rejected, where anything else
    is to be said about it.
    """
    return Plans(lambda text: _plan(text, learn))


def read(raw: bytes, kept: Plans[Plan]) -> Read | None:
    """What a message says, by its plan.

    None where there is no plan, or where a text needs a closer look.
    """
    if len(raw) > MESSAGE_MAX or b"<!" in raw or _HOLE in raw:
        return None
    pieces = _TEXT.split(raw)
    sent = pieces[2::3]
    pieces[2::3] = [_HOLE] * len(sent)
    plan = kept.of(b"".join(pieces))
    if plan is None:
        return None
    for form, text in zip(plan.forms, sent, strict=True):
        if form.fullmatch(text) is None:
            return None
    try:
        return Read(plan.names, [_read(one, sent) for one in plan.readings])
    except Rejected:
        return None


def _read(one: _Reading, sent: list[bytes]) -> tuple[Slot, str, Rank]:
    shape, start, begin_s, end_s, value, shift, rank = one
    start_s = int(sent[start])
    begin, end = of_epoch(start_s + begin_s), of_epoch(start_s + end_s)
    return record.slot(shape, begin, end), decimal_text(sent[value].decode(), shift), rank


def _plan(text: bytes, learn: Learn) -> Plan | None:
    """The plan of all messages of a text, by two of them."""
    names = [match[1] for match in _HOLES.finditer(text)]
    try:
        first, second = (learn(_filled(text, names, step)) for step in (0, 1))
    except Rejected:
        return None
    if first is None or second is None:
        return None
    readings: list[_Reading] = []
    starts, values = (
        {number for number, name in enumerate(names) if name == wanted}
        for wanted in (b"start", b"value")
    )
    for one, other in zip(first[1], second[1], strict=True):
        reading = _reading(one, other)
        if reading is None or reading.start not in starts or reading.value not in values:
            return None  # what was read is not of these texts, but looks like it
        readings.append(reading)
    return Plan(first[0], readings, [_FORMS.get(name, _TIME) for name in names])


def _filled(text: bytes, names: list[bytes], step: int) -> bytes:
    """A message of a text. step: from one of its numbers to the next."""
    numbers = [
        b"00" if name == b"mRID" else b"%d" % (_FIRST + step * (1 + number))
        for number, name in enumerate(names)
    ]
    around = text.split(_HOLE)
    return b"".join([around[0], *map(b"".join, zip(numbers, around[1:], strict=True))])


def _reading(one: Meant, other: Meant) -> _Reading | None:
    """One reading, by what two messages say whose numbers differ by 1 + which number it is.

    None where it is not of one start.
    """
    begin_s, end_s = one.begin.us // _US_PER_S, one.end.us // _US_PER_S
    later_s = other.begin.us // _US_PER_S - begin_s
    if other.end.us // _US_PER_S - end_s != later_s or one.shape != other.shape:
        return None
    value = int(other.value) - int(one.value)
    return _Reading(
        one.shape,
        later_s - 1,
        begin_s - _FIRST,
        end_s - _FIRST,
        value - 1,
        one.shift,
        one.rank,
    )
