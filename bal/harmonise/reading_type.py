"""The code of IEC 61968-9 annex C, ReadingType: 18 numbers that say what a value means.

macroPeriod.aggregate.measuringPeriod.accumulation.flowDirection.commodity.measurementKind.
interharmonicNumerator.interharmonicDenominator.argumentNumerator.argumentDenominator.tou.cpp.
consumptionTier.phases.multiplier.unit.currency

Only the codes that Gridseal gives a meaning to stand in the tables; a code outside them leaves
the reading unmapped: it is kept and provable, but nobody guesses what it means.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from bal.harmonise import quantity as q
from bal.harmonise.quantity import Quantity

FIELDS = 18
NOTATION_LENGTH_MAX = 128  # characters

_FIELD = re.compile(r"-?(?:0|[1-9][0-9]{0,5})")

DIRECTIONS = {
    0: "none",
    1: "forward",
    2: "lagging",
    3: "leading",
    4: "net",
    5: "q1plusQ2",
    7: "q1plusQ3",
    8: "q1plusQ4",
    9: "q1minusQ4",
    10: "q2plusQ3",
    11: "q2plusQ4",
    12: "q2minusQ3",
    13: "q3plusQ4",
    14: "q3minusQ2",
    15: "quadrant1",
    16: "quadrant2",
    17: "quadrant3",
    18: "quadrant4",
    19: "reverse",
    20: "total",
    21: "totalByPhase",
}

# measuringPeriod → seconds. A rolling block (57 on) is named by its whole length.
_LENGTHS_MIN: dict[int, Iterable[int]] = {  # minutes → codes
    1: [3, 56],
    2: [10],
    3: [14],
    5: [6, 55, 77],
    10: [1, 54, *range(74, 77)],
    12: [78],
    15: [2, 53, *range(71, 74)],
    20: [31, 52],
    30: [5, 51, *range(65, 71)],
    60: [7, 50, *range(57, 65)],
    120: [79],
    180: [83],
    240: [80],
    360: [81],
    720: [82],
    1440: [4],
}
INTERVALS_S = {code: 60 * minutes for minutes, codes in _LENGTHS_MIN.items() for code in codes}

# Accumulations whose value holds at an instant, whatever the measuringPeriod: bulkQuantity,
# continuousCumulative, cumulative, summation, instantaneous, latchingQuantity, boundedQuantity.
_AT_INSTANT = frozenset({1, 2, 3, 9, 12, 13, 14})
_DELTA_DATA = 4
# Aggregates that one value of a macroPeriod has: it is of its moment. The others cover the period.
_EXTREMES = frozenset({4, 5, 7, 8, 9, 16, 17, 23, 24, 25, 27, 28})

_ELECTRICITY = frozenset({0, 1, 2, 26})  # not applicable, secondary, primary, transmission
_MULTIPLIERS = frozenset({-12, -9, -6, -3, -2, -1, 0, 1, 2, 3, 6, 9, 12})

# unit → quantity, where the unit alone says it
_BY_UNIT = {
    72: q.ACTIVE_ENERGY,
    73: q.REACTIVE_ENERGY,
    71: q.APPARENT_ENERGY,
    38: q.ACTIVE_POWER,
    63: q.REACTIVE_POWER,
    61: q.APPARENT_POWER,
    29: q.VOLTAGE,
    5: q.CURRENT,
    33: q.FREQUENCY,
    65: q.POWER_FACTOR,
    153: q.POWER_FACTOR,
}

_ENERGY, _DEMAND, _POWER, _POWER_FACTOR = 12, 8, 37, 38
_QUANTITIES: dict[tuple[int, int], Quantity] = {  # (measurementKind, unit)
    **{(_ENERGY, unit): _BY_UNIT[unit] for unit in (71, 72, 73)},
    **{(kind, unit): _BY_UNIT[unit] for kind in (_DEMAND, _POWER) for unit in (38, 61, 63)},
    **{(_POWER_FACTOR, unit): q.POWER_FACTOR for unit in (0, 65, 153)},
    (54, 29): q.VOLTAGE,
    (4, 5): q.CURRENT,
    (15, 33): q.FREQUENCY,
    **{(kind, 9): q.ANGLE_DEG for kind in (5, 55)},  # current angle, voltage angle
    **{(kind, 10): q.ANGLE_RAD for kind in (5, 55)},
    (46, 23): q.TEMPERATURE_C,
    (46, 6): q.TEMPERATURE_K,
}


@dataclass(frozen=True, slots=True)
class ReadingType:
    """A ReadingType code, decoded as far as a record needs it."""

    notation: str  # the code as sent
    register: str  # the same with the multiplier set to 0: kWh and Wh are one register
    quantity: Quantity
    multiplier: int  # power of ten that takes the value to the base unit
    direction: str  # IEC 61968-9's name of flowDirection; "" where the code does not say
    interval_s: int | None  # length of the interval that a value covers, seconds
    at_instant: bool  # the value holds at an instant, not over an interval
    fields: int  # 18, or 19 where only the tail was decoded


def decode(notation: str) -> ReadingType | None:
    """What the code means; None where it is not a code, or means nothing to Gridseal.

    A code of 19 fields, as figure 1 of Platone D2.9 prints it, is read from its end: phases,
    multiplier, unit and currency stand where they should whatever was inserted before them.
    """
    return _decode(notation) if len(notation) <= NOTATION_LENGTH_MAX else None


@lru_cache(maxsize=1024)
def _decode(notation: str) -> ReadingType | None:
    texts = notation.split(".")
    if any(_FIELD.fullmatch(text) is None for text in texts):
        return None
    if len(texts) == FIELDS:
        return _decode_18(notation, [int(text) for text in texts])
    if len(texts) == FIELDS + 1:
        return _decode_19(notation, [int(text) for text in texts])
    return None


def _decode_18(notation: str, codes: list[int]) -> ReadingType | None:
    quantity = _QUANTITIES.get((codes[6], codes[16]))
    direction = DIRECTIONS.get(codes[4])
    multiplier = codes[15]
    if (
        quantity is None
        or direction is None
        or multiplier not in _MULTIPLIERS
        or codes[5] not in _ELECTRICITY
        or min(codes[:15]) < 0
    ):
        return None
    interval_s = INTERVALS_S.get(codes[2])
    accumulation = codes[3]
    over_macro_period = codes[0] != 0 and codes[1] != 0  # measuringPeriod is what was aggregated
    at_instant = (
        accumulation in _AT_INSTANT
        or (over_macro_period and codes[1] in _EXTREMES)
        or (accumulation != _DELTA_DATA and codes[2] == 0 and codes[0] == 0)
    )
    return ReadingType(
        notation=notation,
        register=".".join(str(code) for code in [*codes[:15], 0, *codes[16:]]),
        quantity=quantity,
        multiplier=multiplier,
        direction=direction,
        interval_s=None if at_instant or over_macro_period else interval_s,
        at_instant=at_instant,
        fields=FIELDS,
    )


def _decode_19(notation: str, codes: list[int]) -> ReadingType | None:
    multiplier, unit = codes[-3], codes[-2]
    quantity = _BY_UNIT.get(unit)
    if quantity is None or multiplier not in _MULTIPLIERS:
        return None
    return ReadingType(
        notation=notation,
        register=notation,  # verbatim: which field is the extra one is not known
        quantity=quantity,
        multiplier=multiplier,
        direction="",
        interval_s=None,
        at_instant=True,
        fields=FIELDS + 1,
    )
