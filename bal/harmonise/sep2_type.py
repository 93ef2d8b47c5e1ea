"""From IEEE 2030.5 ReadingType to the code of IEC 61968-9 annex C, ReadingType.

2030.5 takes its enumerations from IEC 61968-9 and sends them as elements instead of one code;
docs/spec/ieee-2030-5.md says which element is which field. So a quantity has the same register
whichever of the two standards it came by.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from bal.errors import Rejected
from bal.harmonise import reading_type
from bal.harmonise.quantity import Quantity

MULTIPLIER_MAX = 9  # IEEE 2030.5 PowerOfTenMultiplierType: any integer between -9 and 9
UINT8_MAX, UINT32_MAX = (1 << 8) - 1, (1 << 32) - 1

MEMBERS = {  # element of ReadingType → lowest and highest value; an absent one is 0
    "accumulationBehaviour": (0, UINT8_MAX),
    "commodity": (0, UINT8_MAX),
    "dataQualifier": (0, UINT8_MAX),
    "flowDirection": (0, UINT8_MAX),
    "intervalLength": (0, UINT32_MAX),
    "kind": (0, UINT8_MAX),
    "phase": (0, UINT8_MAX),
    "powerOfTenMultiplier": (-MULTIPLIER_MAX, MULTIPLIER_MAX),
    "subIntervalLength": (0, UINT32_MAX),
    "uom": (0, UINT8_MAX),
}

# Accumulations whose value is a register's state, which holds at the end of its period:
# bulkQuantity, continuousCumulative, cumulative, summation, latchingQuantity, boundedQuantity.
_REGISTER_STATES = frozenset({1, 2, 3, 9, 13, 14})
_INSTANTANEOUS = 12
_OF_SEVERAL = frozenset({2, 8, 9})  # dataQualifier average, maximum, minimum
_SPECIFIED_PERIOD = 32  # macroPeriod: as the message's timePeriod says
_POWER = 37

# KindType knows currency, demand, energy and power only. So 0 (not applicable), and for what is
# none of these also 37, mean what the unit says: unit → measurementKind.
_KIND_OF_UNIT = {
    **dict.fromkeys((71, 72, 73), 12),
    **dict.fromkeys((38, 61, 63), _POWER),
    29: 54,
    5: 4,
    33: 15,
    65: 38,
    23: 46,
    6: 46,
}
_NOT_POWER = frozenset({29, 5, 33, 65})

_FIXED = {  # seconds → measuringPeriod
    60: 3,
    120: 10,
    180: 14,
    300: 6,
    600: 1,
    900: 2,
    1200: 31,
    1800: 5,
    3600: 7,
    86400: 4,
}
_ROLLING = {  # minutes of the interval, of the sub-interval → measuringPeriod
    (60, 30): 57,
    (60, 20): 58,
    (60, 15): 59,
    (60, 12): 60,
    (60, 10): 61,
    (60, 6): 62,
    (60, 5): 63,
    (60, 4): 64,
    (30, 15): 65,
    (30, 10): 66,
    (30, 6): 67,
    (30, 5): 68,
    (30, 3): 69,
    (30, 2): 70,
    (15, 5): 71,
    (15, 3): 72,
    (15, 1): 73,
    (10, 5): 74,
    (10, 2): 75,
    (10, 1): 76,
    (5, 1): 77,
}

_NUMBER = re.compile(r"[+-]?[0-9]{1,10}")
_LONG_NUMBER = re.compile(r"[+-]?[0-9]{1,39}")
_SPACE = " \t\r\n"

VALID, EDITED, BY_REFERENCE_DAY, BY_INTERPOLATION = 1, 2, 4, 8
QUESTIONABLE, DERIVED, PROJECTED = 16, 32, 64
# Bits of qualityFlags → ReadingQualityType, system 1: the flags are the end device's own.
_QUALITIES = {
    VALID: "1.0.0",
    EDITED: "1.7.0",
    BY_REFERENCE_DAY: "1.8.0",
    BY_INTERPOLATION: "1.8.0",
    QUESTIONABLE: "1.10.0",
    DERIVED: "1.11.0",
    PROJECTED: "1.12.0",
}
_KNOWN_BITS = sum(_QUALITIES)
_HEX16 = re.compile(r"(?:[0-9A-Fa-f]{2}){0,2}")


class SentType(NamedTuple):
    """The elements of one ReadingType, and the tiers of one reading, as numbers."""

    accumulation: int
    commodity: int
    flow: int
    kind: int
    length_s: int
    multiplier: int
    phase: int
    qualifier: int
    sub_length_s: int
    uom: int
    tou: int = 0
    block: int = 0


@dataclass(frozen=True, slots=True)
class MappedType:
    """What a ReadingType means here."""

    notation: str  # the code of IEC 61968-9 that says the same
    register: str
    quantity: Quantity
    multiplier: int


def number(text: str, lowest: int, highest: int) -> int | None:
    """The integer (XML Schema 1.1 part 2 §3.4.13) that `text` is; None outside the range."""
    stripped = text.strip(_SPACE)
    if _NUMBER.fullmatch(stripped) is None:
        return None
    value = int(stripped)
    return value if lowest <= value <= highest else None


def integer(text: str, lowest: int, highest: int, *, field: str, clause: str) -> str:
    """`text` without the space around it, if it is an integer of its type.

    Raises Rejected("value-not-integer").
    """
    stripped = text.strip(_SPACE)
    if _LONG_NUMBER.fullmatch(stripped) is None or not lowest <= int(stripped) <= highest:
        raise Rejected(
            "value-not-integer",
            f"the value is no integer from {lowest} to {highest}",
            field=field,
            clause=clause,
        )
    return stripped


def sent_type(
    members: Mapping[str, Sequence[str]], tou: Sequence[str] = (), block: Sequence[str] = ()
) -> SentType | None:
    """The numbers in a ReadingType; None where one is none, or stands twice.

    members: texts by element, of those in MEMBERS; tou, block: the reading's touTier and
    consumptionBlock.
    """
    found: dict[str, int] = {}
    limits = {**MEMBERS, "touTier": (0, UINT8_MAX), "consumptionBlock": (0, UINT8_MAX)}
    texts = {**members, "touTier": tou, "consumptionBlock": block}
    for name, (lowest, highest) in limits.items():
        several = texts.get(name, ())
        value = number(several[0], lowest, highest) if len(several) == 1 else None
        if value is None and several:
            return None
        found[name] = value or 0
    return SentType(
        found["accumulationBehaviour"],
        found["commodity"],
        found["flowDirection"],
        found["kind"],
        found["intervalLength"],
        found["powerOfTenMultiplier"],
        found["phase"],
        found["dataQualifier"],
        found["subIntervalLength"],
        found["uom"],
        found["touTier"],
        found["consumptionBlock"],
    )


def notation(sent: SentType, duration_s: int = 0) -> str:
    """The code of 18 fields. duration_s: of the reading, which counts where no length is sent."""
    macro, measuring = _periods(sent, duration_s) or (0, 0)
    kind = sent.kind
    if kind == 0 or (kind == _POWER and sent.uom in _NOT_POWER):
        kind = _KIND_OF_UNIT.get(sent.uom, kind)
    fields = (
        macro, sent.qualifier, measuring, sent.accumulation, sent.flow, sent.commodity, kind,
        0, 0, 0, 0, sent.tou, 0, sent.block, sent.phase, sent.multiplier, sent.uom, 0,
    )  # fmt: skip
    return ".".join(map(str, fields))


def _periods(sent: SentType, duration_s: int) -> tuple[int, int] | None:
    """macroPeriod and measuringPeriod; None for a rolling block that has no code."""
    if sent.sub_length_s not in {0, sent.length_s}:
        minutes, seconds = divmod(sent.length_s, 60)
        sub_minutes, sub_seconds = divmod(sent.sub_length_s, 60)
        code = _ROLLING.get((minutes, sub_minutes))
        return None if code is None or seconds or sub_seconds else (0, code)
    at_instant = sent.accumulation in _REGISTER_STATES or sent.accumulation == _INSTANTANEOUS
    length_s = sent.length_s or (0 if at_instant else duration_s)
    measuring = _FIXED.get(length_s, 0)
    return _SPECIFIED_PERIOD if length_s and not measuring and not at_instant else 0, measuring


@lru_cache(maxsize=4096)
def mapped(sent: SentType, duration_s: int) -> MappedType | None:
    """What a ReadingType means for a reading of that length; None where nothing to Gridseal."""
    if _periods(sent, duration_s) is None:
        return None
    code = notation(sent, duration_s)
    fields = code.split(".")
    fields[15] = "0"  # 2030.5 knows powers of ten that IEC 61968-9 does not
    decoded = reading_type.decode(".".join(fields))
    if decoded is None:
        return None
    return MappedType(code, decoded.register, decoded.quantity, sent.multiplier)


def holds_at_end(sent: SentType) -> bool:
    """The value is a register's state, which holds at the end of its period."""
    return sent.accumulation in _REGISTER_STATES


def holds_over_length(sent: SentType) -> bool:
    """The value is of the interval that intervalLength names, not of an instant."""
    momentary = sent.accumulation == _INSTANTANEOUS and sent.qualifier not in _OF_SEVERAL
    return sent.length_s > 0 and not momentary and not holds_at_end(sent)


def quality_codes(flags: str) -> tuple[str, ...]:
    """The codes of IEC 61968-9 annex D for IEEE 2030.5 ReadingBase.qualityFlags; none for no bit.

    What has bits that the standard reserves, or is no HexBinary16, is kept as sent among them.
    """
    text = flags.strip(_SPACE)
    well_formed = _HEX16.fullmatch(text) is not None
    bits = int(text, 16) if well_formed and text else 0
    codes = {code for bit, code in _QUALITIES.items() if bits & bit}
    if not well_formed or bits & ~_KNOWN_BITS:
        codes.add(text)
    return tuple(sorted(codes))
