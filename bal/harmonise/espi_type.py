"""From NAESB REQ.21 ESPI ReadingType to the code of IEC 61968-9 annex C, and qualities.

ESPI takes its enumerations from IEC 61968-9 and sends them as elements; docs/spec/green-button.md
says which element is which field.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from bal.errors import Rejected
from bal.harmonise import reading_type, sep2_type
from bal.harmonise.sep2_type import UINT32_MAX, MappedType, SentType, number
from bal.harmonise.xml_tree import Node

MULTIPLIER_MAX = 12  # UnitMultiplierKind: pico to tera
UINT16_MAX, INT16_MAX = (1 << 16) - 1, (1 << 15) - 1
INT48_MAX = 1 << 47  # the schema's Int48 reaches from -2^47 to 2^47, both included
TERM_MAX = 999_999  # of an interharmonic or argument: the digits that the code has room for

_INTEGER = re.compile(r"[+-]?[0-9]{1,39}")
_SPACE = " \t\r\n"

MEMBERS = {  # element of ReadingType → lowest and highest value; an absent one is 0
    "accumulationBehaviour": (0, UINT16_MAX),
    "commodity": (0, UINT16_MAX),
    "consumptionTier": (-INT16_MAX - 1, INT16_MAX),
    "cpp": (-INT16_MAX - 1, INT16_MAX),
    "dataQualifier": (0, UINT16_MAX),
    "flowDirection": (0, UINT16_MAX),
    "intervalLength": (0, UINT32_MAX),
    "kind": (0, UINT16_MAX),
    "measuringPeriod": (0, UINT16_MAX),
    "phase": (0, UINT16_MAX),
    "powerOfTenMultiplier": (-MULTIPLIER_MAX, MULTIPLIER_MAX),
    "timeAttribute": (0, UINT16_MAX),
    "tou": (-INT16_MAX - 1, INT16_MAX),
    "uom": (0, UINT16_MAX),
}
TERMS = frozenset({"numerator", "denominator"})
RATIOS = ("interharmonic", "argument")  # elements of two terms each
OF_READING = ("consumptionTier", "cpp", "tou")  # may stand in the reading, and then count

# QualityOfReading → ReadingQualityType. System 0: ESPI does not say whose judgement it is.
QUALITIES = {
    0: "0.0.1",  # passed all checks
    7: "0.7.0",  # replaced or approved by a human
    8: "0.8.0",  # from a reference day
    9: "0.8.0",  # by interpolation
    10: "0.10.0",  # failed one or more checks
    11: "0.11.0",
    12: "0.12.0",
    18: "0.10.1",  # failed a check, but is actual usage
    19: "0.0.1",  # acceptable for billing
}
# mixed, not validated, adjusted to the weather, other, validated and possibly edited or estimated
KEPT_QUALITIES = frozenset({13, 14, 15, 16, 17})


class EspiType(NamedTuple):
    """A ReadingType with what its reading adds, as numbers."""

    shared: SentType  # what ESPI and IEEE 2030.5 have in common
    time_attribute: int
    measuring_period: int
    cpp: int
    ratios: tuple[int, int, int, int]  # interharmonic and argument


def sent_type(node: Node, reading: Node | None = None) -> EspiType | None:
    """The numbers in a ReadingType; None where one is none, or stands twice."""
    found: dict[str, int] = {}
    for name, (lowest, highest) in MEMBERS.items():
        texts = node.texts(name)
        if reading is not None and name in OF_READING:
            texts = reading.texts(name) or texts
        value = number(texts[0], lowest, highest) if len(texts) == 1 else None
        if value is None and texts:
            return None
        found[name] = value or 0
    ratios = [_ratio(node, name) for name in RATIOS]
    if ratios[0] is None or ratios[1] is None:
        return None
    shared = SentType(
        found["accumulationBehaviour"],
        found["commodity"],
        found["flowDirection"],
        found["kind"],
        found["intervalLength"],
        found["powerOfTenMultiplier"],
        found["phase"],
        found["dataQualifier"],
        0,
        found["uom"],
        found["tou"],
        found["consumptionTier"],
    )
    period = found["timeAttribute"], found["measuringPeriod"]
    return EspiType(shared, *period, found["cpp"], ratios[0] + ratios[1])


def _ratio(node: Node, name: str) -> tuple[int, int] | None:
    several = node.all(name)
    if not several:
        return 0, 0
    terms: list[int] = []
    for term in ("numerator", "denominator"):
        texts = several[0].texts(term)
        value = number(texts[0], -TERM_MAX, TERM_MAX) if len(texts) == 1 else 0
        if value is None or len(texts) > 1 or len(several) > 1:
            return None
        terms.append(value)
    return terms[0], terms[1]


def notation(sent: EspiType, duration_s: int = 0) -> str:
    """The code of 18 fields. duration_s: of the reading, which counts where no length is sent."""
    fields = sep2_type.notation(sent.shared, duration_s).split(".")
    if sent.measuring_period:
        fields[0], fields[2] = "0", str(sent.measuring_period)
    if sent.time_attribute:
        fields[0] = str(sent.time_attribute)
    fields[7:11] = map(str, sent.ratios)
    fields[12] = str(sent.cpp)
    return ".".join(fields)


@lru_cache(maxsize=4096)
def mapped(sent: EspiType, duration_s: int) -> MappedType | None:
    """What a ReadingType means for a reading of that length; None where nothing to Gridseal."""
    code = notation(sent, duration_s)
    decoded = reading_type.decode(code)
    if decoded is None:
        return None
    return MappedType(code, decoded.register, decoded.quantity, sent.shared.multiplier)


def quality_code(text: str) -> tuple[str, bool]:
    """The code of IEC 61968-9 annex D for a QualityOfReading, and whether ESPI has the value.

    What annex D has no code for is kept as `espi:<number>`, what ESPI has not as it was sent.
    """
    value = number(text, 0, UINT16_MAX)
    if value in QUALITIES:
        return QUALITIES[value], True
    return (f"espi:{value}", True) if value in KEPT_QUALITIES else (text, False)


def int48(text: str, clause: str) -> str:
    """`text` without the space around it, if it is an Int48.

    Raises Rejected("value-not-integer") for anything else; clause: of the reading.
    """
    stripped = text.strip(_SPACE)
    if _INTEGER.fullmatch(stripped) is None or abs(int(stripped)) > INT48_MAX:
        raise Rejected(
            "value-not-integer",
            f"the value is no integer from {-INT48_MAX} to {INT48_MAX}",
            field="value",
            clause=clause,
        )
    return stripped
