"""What a value list is of: from its OBIS code to a VDE AR 2418-6 ReadingType."""

from typing import NamedTuple

from bal.errors import Rejected
from bal.harmonise import obis, reading_type
from bal.harmonise.espi_type import INT16_MAX, MULTIPLIER_MAX, UINT16_MAX
from bal.harmonise.obis import Obis
from bal.harmonise.quantity import Quantity
from bal.harmonise.sep2_type import UINT32_MAX, number
from bal.harmonise.xml_tree import Node

BULK, DELTA, SUMMATION = 1, 4, 9  # accumulation
_HELD = frozenset({1, 2, 3, 9, 12, 13, 14})  # accumulations of a value that holds at an instant
SCALER_MAX = 24  # powers of ten, either way

_SPACE = " \t\r\n"
_NUMBERS = {  # element of ReadingType → lowest and highest value
    "accumulationBehaviour": (0, UINT16_MAX),
    "flowDirection": (0, UINT16_MAX),
    "measurementPeriod": (0, UINT32_MAX),
    "powerOfTenMultiplier": (-MULTIPLIER_MAX, MULTIPLIER_MAX),
    "scaler": (-INT16_MAX - 1, INT16_MAX),
    "uom": (0, UINT16_MAX),
}
_ACCUMULATION, _FLOW, _MULTIPLIER, _UNIT = 3, 4, 15, 16  # fields of a ReadingType code


class ListType(NamedTuple):
    """What the values of one list mean."""

    notation: str
    register: str
    quantity: Quantity
    shift: int  # the power of ten to the base unit
    at_instant: bool


class NotTaken(NamedTuple):
    """Why a list has no meaning here; its readings are events."""

    event: str
    code: str
    text: str


def list_type(types: list[Node], meter_id: str, duration_s: int) -> ListType | NotTaken:
    """What the readings of a list mean.

    types: its ReadingType elements; meter_id: "" where no Meter is named; duration_s: of the
    reading, which is the length of its interval where the list has no measurementPeriod.
    """
    if len(types) != 1:
        several = len(types)
        text = "the list has no ReadingType"
        if several:
            text = f"ReadingType stands {several} times in one MeterReading"
        return NotTaken(
            "incomplete", "reading-ambiguous" if several else "reading-type-missing", text
        )
    sent = _numbers(types[0])
    if sent is None:
        text = "a member of the ReadingType is no number of its type, or stands twice"
        return NotTaken("unmapped", "reading-type-unmapped", text)
    named = _obis(types[0])
    if isinstance(named, NotTaken):
        return named
    code, logical_device = named
    shift = (sent["powerOfTenMultiplier"] or 0) + (sent["scaler"] or 0)
    notation = _notation(code, sent["measurementPeriod"] or duration_s or None, shift)
    if notation is None or abs(shift) > SCALER_MAX:
        text = "the OBIS code has no ReadingType here"
        return NotTaken("unmapped", "reading-type-unmapped", text)
    # A list whose logical name is not of its meter is counted by the gateway (TAF 2): by a timing
    # pattern, so it is a summation, and never another version of the meter's own register.
    if logical_device.upper() != meter_id.upper() and notation[_ACCUMULATION] == BULK:
        notation[_ACCUMULATION] = SUMMATION
    return _compared(notation, sent) or _decoded(notation, shift)


def _numbers(node: Node) -> dict[str, int | None] | None:
    found: dict[str, int | None] = {}
    for name, (lowest, highest) in _NUMBERS.items():
        texts = node.texts(name)
        found[name] = number(texts[0], lowest, highest) if len(texts) == 1 else None
        if texts and found[name] is None:
            return None
    return found


def _obis(node: Node) -> tuple[Obis, str] | NotTaken:
    """The OBIS code, and the logical device that counts it."""
    names, codes = node.texts("qualifiedLogicalName"), node.texts("obisCode")
    parts = names[0].strip(_SPACE).rsplit(".", 2) if len(names) == 1 else []
    if len(parts) != 3 or len(codes) > 1:
        text = "nothing says whether the meter or the gateway counts: no <OBIS>.<device>.sm"
        return NotTaken("incomplete", "logical-name-missing", text)
    try:
        found = {obis.parse(text) for text in (*codes, parts[0])}
    except Rejected as error:
        return NotTaken("unmapped", error.code, error.text)
    if len(found) > 1:
        text = "obisCode and qualifiedLogicalName have different codes"
        return NotTaken("incomplete", "obis-differs", text)
    return found.pop(), parts[1]


def _notation(code: Obis, length_s: int | None, shift: int) -> list[int] | None:
    """Fields of the ReadingType. The length is of an interval only: a register is the same
    register however often it is read."""
    text = obis.reading_type(code, None, shift)
    if text is not None and int(text.split(".")[_ACCUMULATION]) == DELTA:
        text = obis.reading_type(code, length_s, shift) or text
    return None if text is None else [int(field) for field in text.split(".")]


def _compared(notation: list[int], sent: dict[str, int | None]) -> NotTaken | None:
    """What the ReadingType says beside its OBIS code must be the same."""
    differs = [
        name
        for name, at in (("uom", _UNIT), ("flowDirection", _FLOW))
        if sent[name] and sent[name] != notation[at]
    ]
    behaviour = sent["accumulationBehaviour"]
    if behaviour and (behaviour == DELTA) != (notation[_ACCUMULATION] == DELTA):
        differs.append("accumulationBehaviour")
    if not differs:
        return None
    return NotTaken("incomplete", "obis-differs", f"{differs[0]} is another than the OBIS code's")


def _decoded(notation: list[int], shift: int) -> ListType | NotTaken:
    fields = notation.copy()
    fields[_MULTIPLIER] = 0
    decoded = reading_type.decode(".".join(map(str, fields)))
    if decoded is None:
        text = "the OBIS code's ReadingType has no meaning here"
        return NotTaken("unmapped", "reading-type-unmapped", text)
    return ListType(
        ".".join(map(str, notation)),
        decoded.register,
        decoded.quantity,
        shift,
        notation[_ACCUMULATION] in _HELD,
    )
