"""OBIS identification codes of electricity registers (IEC 62056-6-1), and their ReadingType.

A-B:C.D.E*F says medium, channel, quantity, processing, tariff, billing period. The common
registers of an electricity meter have one ReadingType code each, and the other way round: within
the tables here the two are the same. Beyond them there is None; nobody guesses.

=====  ==============================================  ============================================
C      quantity (of the sum; + 20, 40, 60: L1 to L3)   flowDirection
=====  ==============================================  ============================================
1, 2   active, delivered and received                  forward, reverse
3, 4   reactive, Q I + II and Q III + IV               q1plusQ2, q3plusQ4
5..8   reactive, one quadrant each                     quadrant1 to quadrant4
9, 10  apparent, delivered and received                forward, reverse
15,16  active, sum and difference of 1 and 2           total, net
17..20 active, one quadrant each                       quadrant1 to quadrant4
=====  ==============================================  ============================================
"""

import re
from typing import NamedTuple

from bal.errors import Rejected
from bal.harmonise.reading_type import FIELDS, INTERVALS_S, NOTATION_LENGTH_MAX

CLAUSE = "IEC 62056-6-1 OBIS"
TARIFF_MAX = 63  # of tariff registers, IEC 62056-6-1 value group E
NO_BILLING_PERIOD = 255  # not used, IEC 62056-6-1 value group F
TEXT_LENGTH_MAX = 32  # characters

_ELECTRICITY, _NO_CHANNEL = 1, 0  # IEC 62056-6-1 value group A, value group B
_TEXT = re.compile(
    r"(?:([0-9]{1,3})-([0-9]{1,3}):)?([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})(?:[*.]([0-9]{1,3}))?"
)
_HEX = re.compile("[0-9A-Fa-f]{12}")
_NUMBER = re.compile("-?[0-9]{1,6}")
_SPACE = " \t\r\n"


class Obis(NamedTuple):
    """One identification code, value group by value group; each is 0 to 255."""

    a: int  # medium: 1 is electricity
    b: int  # channel: 0 is none
    c: int  # quantity
    d: int  # processing: 7 is instantaneous, 8 a register's state
    e: int  # tariff, 0 is the total
    f: int  # billing period, 255 is not used

    @property
    def text(self) -> str:
        """The code in full, `1-0:1.8.0*255`."""
        return f"{self.a}-{self.b}:{self.c}.{self.d}.{self.e}*{self.f}"

    @property
    def hex(self) -> str:
        """The code as 12 hex digits, `0100010800FF`."""
        return bytes(self).hex().upper()


def parse(text: str) -> Obis:
    """The code that `text` is.

    text: `1-0:1.8.0*255`, F after a point too, or left out; `1.8.0`, which is of electricity
    without a channel (IEC 62056-6-1's reduced ID code); or 12 hex digits. Spaces around it are
    allowed. Raises Rejected("obis-malformed") for anything else.
    """
    code = text.strip(_SPACE) if len(text) <= TEXT_LENGTH_MAX else ""
    if _HEX.fullmatch(code) is not None:
        return Obis(*bytes.fromhex(code))
    match = _TEXT.fullmatch(code)
    if match is None:
        raise _malformed("is not of the form A-B:C.D.E*F, nor 12 hex digits")
    a, b, c, d, e, f = match.groups()
    found = Obis(
        int(a or _ELECTRICITY), int(b or _NO_CHANNEL), int(c), int(d), int(e),
        NO_BILLING_PERIOD if f is None else int(f),
    )  # fmt: skip
    if max(found) > NO_BILLING_PERIOD:
        raise _malformed("has a value group above 255")
    return found


class _Quantity(NamedTuple):
    """What IEC 62056-6-1 value group C comes to."""

    flow: int
    phases: int
    unit: int  # of an instantaneous value
    kind: int  # measurementKind of an instantaneous value
    energy_unit: int = 0  # 0: the quantity has no integral over time


class _Processing(NamedTuple):
    """What IEC 62056-6-1 value group D comes to."""

    macro_period: int
    aggregate: int
    accumulation: int
    kind: int  # measurementKind; 0: the quantity's own
    tariffs: bool


_ACTIVE, _REACTIVE, _APPARENT = (38, 72), (63, 73), (61, 71)  # unit of power, of energy
_POWER, _ENERGY, _DEMAND = 37, 12, 8
_SUMS = {  # C of the sum over all phases → flowDirection, units
    1: (1, _ACTIVE),
    2: (19, _ACTIVE),
    3: (5, _REACTIVE),
    4: (13, _REACTIVE),
    **{4 + quadrant: (14 + quadrant, _REACTIVE) for quadrant in range(1, 5)},
    9: (1, _APPARENT),
    10: (19, _APPARENT),
    15: (20, _ACTIVE),
    16: (4, _ACTIVE),
    **{16 + quadrant: (14 + quadrant, _ACTIVE) for quadrant in range(1, 5)},
}
_PHASES = {0: 0, 20: 128, 40: 64, 60: 32}  # what is added to C → phases: none, A, B, C
_TO_NEUTRAL = {0: 0, 20: 129, 40: 65, 60: 33}

_QUANTITIES = {
    **{
        c + more: _Quantity(flow, phases, power, _POWER, energy)
        for c, (flow, (power, energy)) in _SUMS.items()
        for more, phases in _PHASES.items()
    },
    **{11 + more: _Quantity(0, phases, 5, 4) for more, phases in _PHASES.items()},
    **{12 + more: _Quantity(0, phases, 29, 54) for more, phases in _TO_NEUTRAL.items()},
    **{13 + more: _Quantity(0, phases, 65, 38) for more, phases in _PHASES.items()},
    **{14 + more: _Quantity(0, phases, 33, 15) for more, phases in _PHASES.items()},
    91: _Quantity(0, 16, 5, 4),  # current in the neutral
    92: _Quantity(0, 17, 29, 54),  # voltage of the neutral to ground
}
_INSTANTANEOUS = 7
_PROCESSINGS = {
    2: _Processing(0, 8, 3, _DEMAND, tariffs=True),  # cumulative maximum
    5: _Processing(0, 2, 6, _DEMAND, tariffs=False),  # last average
    6: _Processing(8, 8, 6, _DEMAND, tariffs=True),  # maximum in the billing period
    _INSTANTANEOUS: _Processing(0, 0, 12, 0, tariffs=False),
    8: _Processing(0, 0, 1, _ENERGY, tariffs=True),  # time integral 1: since the beginning
    9: _Processing(8, 0, 9, _ENERGY, tariffs=True),  # time integral 2: of the billing period
    29: _Processing(0, 0, 4, _ENERGY, tariffs=False),  # time integral 5: of one interval
}
_ANGLES = {  # E of 81.7.E → measurementKind, phases
    1: (55, 72),  # voltage L2 to voltage L1
    2: (55, 40),  # voltage L3 to voltage L1
    4: (5, 136),  # current L1 to voltage L1
}
_ANGLE, _DEGREES = 81, 9
_SUM, _PHASES_ABC = 26, 224  # aggregate and phases that say of a total what OBIS takes for granted

_BLOCKS = range(50, 78)  # measuringPeriods that are fixed or rolling blocks
_MEASURING_PERIODS = {  # seconds → measuringPeriod
    length_s: code for code, length_s in INTERVALS_S.items() if code not in _BLOCKS
}
_Tail = tuple[int, ...]  # the fields without measuringPeriod and multiplier


def reading_type(obis: Obis, interval_s: int | None = None, multiplier: int = 0) -> str | None:
    """The ReadingType code of a register; None for what the tables don't have.

    interval_s: the length of the interval or how often the register is read, seconds; None where
    that is not said. multiplier: the power of ten of the value's unit. Of a channel, a previous
    billing period or another medium there is no ReadingType.
    """
    fields = _tail(obis)
    if fields is None or (interval_s is not None and interval_s not in _MEASURING_PERIODS):
        return None
    period = 0 if interval_s is None else _MEASURING_PERIODS[interval_s]
    code = [*fields[:2], period, *fields[2:14], multiplier, *fields[14:]]
    return ".".join(map(str, code))


def of_reading_type(code: str) -> Obis | None:
    """The OBIS code of a ReadingType code; None for what the tables don't have.

    Not told apart, as OBIS does not: multipliers; lengths of the interval; electricity metered
    at the secondary or primary side; a total, and one said to be the sum of phases A, B and C.
    """
    texts = code.split(".") if len(code) <= NOTATION_LENGTH_MAX else []
    if len(texts) != FIELDS or any(_NUMBER.fullmatch(text) is None for text in texts):
        return None
    fields = [int(text) for text in texts]
    if fields[2] not in {0, *_MEASURING_PERIODS.values()}:
        return None
    fields[1] = 0 if fields[1] == _SUM else fields[1]
    fields[5] = 1 if fields[5] == 2 else fields[5]
    fields[14] = 0 if fields[14] == _PHASES_ABC else fields[14]
    tou, fields[11] = fields[11], 0
    found = _OBIS.get((*fields[:2], *fields[3:15], *fields[16:]))
    if found is None or tou == 0:
        return found
    tariff = found._replace(e=tou) if found.e == 0 else None
    return tariff if tariff is not None and _tail(tariff) is not None else None


def _tail(obis: Obis) -> _Tail | None:
    a, b, c, d, e, f = obis
    if (a, b, f) != (_ELECTRICITY, _NO_CHANNEL, NO_BILLING_PERIOD):
        return None
    if c == _ANGLE:
        if d != _INSTANTANEOUS or e not in _ANGLES:
            return None
        kind, phases = _ANGLES[e]
        return _fields(_PROCESSINGS[d], _Quantity(0, phases, _DEGREES, kind), 0)
    quantity, processing = _QUANTITIES.get(c), _PROCESSINGS.get(d)
    if quantity is None or processing is None or e > (TARIFF_MAX if processing.tariffs else 0):
        return None
    if processing.kind and not quantity.energy_unit:
        return None
    if processing.kind:
        unit = quantity.energy_unit if processing.kind == _ENERGY else quantity.unit
        quantity = quantity._replace(kind=processing.kind, unit=unit)
    return _fields(processing, quantity, e)


def _fields(of: _Processing, what: _Quantity, tou: int) -> _Tail:
    how = of.macro_period, of.aggregate, of.accumulation
    # commodity 1; harmonics and arguments; tou, cpp, consumptionTier; currency
    return (*how, what.flow, 1, what.kind, 0, 0, 0, 0, tou, 0, 0, what.phases, what.unit, 0)


def _table() -> dict[_Tail, Obis]:
    """ReadingType without interval, tariff and multiplier → OBIS code."""
    quantities = [(c, d, 0) for c in _QUANTITIES for d in _PROCESSINGS]
    angles = [(_ANGLE, _INSTANTANEOUS, e) for e in _ANGLES]
    codes = [
        Obis(_ELECTRICITY, _NO_CHANNEL, *groups, NO_BILLING_PERIOD)
        for groups in quantities + angles
    ]
    return {fields: code for code in codes if (fields := _tail(code)) is not None}


_OBIS = _table()


def _malformed(what: str) -> Rejected:
    return Rejected("obis-malformed", f"the OBIS code {what}", field="obis", clause=CLAUSE)
