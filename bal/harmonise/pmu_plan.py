"""What messages of one stream have in common, so that only their numbers are read.

A message is cut at its numbers (the literals behind `"data":`) and timestamps. What is left, its
text, says all else: a JSON text in which one number literal stands for another, and one string
without escapes for another, is read as the same structure. So the text is read once, strictly,
with ordinals in place of the literals; what comes out is the plan for every message of that text.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from bal.errors import Rejected
from bal.harmonise import der_json
from bal.harmonise.plans import Plans
from bal.harmonise.pmu_number import LITERAL_LENGTH_MAX, exact
from bal.model import Channel

TEXTS_KEPT_BYTES_MAX = 64 * 1024 * 1024  # of some thousand streams

# RFC 8259 §6. First what stays of a number without exponent, then what goes: zeros at the end.
_NUMBER = re.compile(
    r'"data": ?(-?(?:0|[1-9][0-9]*+)(?:\.[0-9]*[1-9])?)'
    r"((?:\.0+|(?<=[1-9])0+)?(?:[eE][+-]?[0-9]++)?)(?=[,} \t\r\n])"
)
_TIMESTAMP = re.compile(r'"timestamp": ?"([0-9T:.+Z-]{19,48})"')


class Shape(NamedTuple):
    """The fixed text of frames with the same channels."""

    channels: tuple[Channel, ...]
    text: str  # for %: the values, then the time

    @property
    def size(self) -> int:
        """How many values a frame has."""
        return len(self.channels)

    def frame(self, values: Sequence[str], time: str) -> bytes:
        """A frame's bytes. values: normalised decimals in order of the channels."""
        return (self.text % (*values, time)).encode()


class Plan(NamedTuple):
    """What all messages of one text are."""

    devices: tuple[str, ...]  # of each element
    shapes: tuple[Shape, ...]
    values: int  # of all elements


class Read(NamedTuple):
    """One message read by a plan."""

    devices: tuple[str, ...]
    shapes: tuple[Shape, ...]
    times: list[str]  # as sent
    values: list[str]  # normalised decimals, of all elements


Shapes = Callable[[list[Any], int], list[tuple[str, Shape]] | None]


def plans(shapes: Shapes) -> Plans[Plan]:
    """A memory of plans.

    shapes: device and shape of each element of a message whose numbers are 0, 1, 2 … and whose
    times are T0, T1 …; None where anything is to be said about one.
    """
    return Plans(lambda text: _plan(text.decode(), shapes), TEXTS_KEPT_BYTES_MAX)


def read(raw: bytes, kept: Plans[Plan]) -> Read | None:
    """The message by its plan; None where there is none, or where a number needs a closer look."""
    try:
        around = _TIMESTAMP.split(raw.decode())
    except UnicodeDecodeError:
        return None
    pieces = _NUMBER.split("\0".join(around[::2]))
    plan = kept.of("\1".join(pieces[::3]).encode())
    if plan is None:
        return None
    times, values, rests = around[1::2], pieces[1::3], pieces[2::3]
    if (len(times), len(values)) != (len(plan.devices), plan.values):
        return None  # a control character stands where another message has a number
    if max(map(len, values)) + max(map(len, rests)) > LITERAL_LENGTH_MAX:
        return None
    ends = "".join(rests)
    if "e" in ends or "E" in ends:
        try:
            values = [
                exact(value + rest) if rest else value
                for value, rest in zip(values, rests, strict=True)
            ]
        except Rejected:
            return None
    if "-0" in values:
        values = ["0" if value == "-0" else value for value in values]
    return Read(plan.devices, plan.shapes, times, values)


def _plan(text: str, shapes: Shapes) -> Plan | None:
    """The plan of all messages of a text, by one of them."""
    around = text.split("\0")
    numbers = 0
    made = []
    for number, piece in enumerate(around):
        if number:
            made.append(f'"timestamp":"T{number - 1}"')
        for at, fixed in enumerate(piece.split("\1")):
            if at:
                made.append(f'"data":{numbers}')
                numbers += 1
            made.append(fixed)
    try:
        items = der_json.read("".join(made).encode())
    except Rejected:
        return None
    found = shapes([item.value for item in items], len(around) - 1)
    if not found or sum(shape.size for _, shape in found) != numbers:
        return None
    devices, of = zip(*found, strict=True)
    return Plan(devices, of, numbers)
