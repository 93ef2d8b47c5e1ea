"""The slots of a device-day: what one says, and how a value becomes its energy.

Beside the stages, because derive makes slots and certify writes them down. Imports nothing: the
verifier uses it too (docs/spec/completeness.md).
"""

import re
from typing import NamedTuple

DAY_S = 86_400
SLOT_S_MIN = 60
SLOT_S_MAX = 43_200  # the longest divisor of a day that a u16 holds
NO_INDEX = (1 << 64) - 1

MISSING = 0  # states; those of a value are bal.model.Rank

EXACT = 0  # reasons
NOT_RECEIVED = 1
SAID_MISSING = 2
TOO_LARGE = 3
ROUNDED = 4

_INT64_MIN, _INT64_MAX = -(1 << 63), (1 << 63) - 1
_DECIMAL = re.compile(r"(-?)(0|[1-9][0-9]*)(?:\.([0-9]*[1-9]))?")


class Slot(NamedTuple):
    """One slot of a device-day."""

    state: int  # 0 missing, else the rank of the record
    reason: int
    energy_milli: int  # mWh, mvarh or mVAh by register; 0 where missing
    log_index: int  # of the record; NO_INDEX where there is none


EMPTY_SLOT = Slot(MISSING, NOT_RECEIVED, 0, NO_INDEX)


def is_slot_length(length_s: int) -> bool:
    """Whether a day can be cut into slots of this length."""
    return SLOT_S_MIN <= length_s <= SLOT_S_MAX and DAY_S % length_s == 0


def slot_of(state: int, value: str | None, log_index: int) -> Slot:
    """What a record says about its slot; value: in Wh, varh or VAh, None where it has none.

    Raises ValueError where the value is no normalised decimal.
    """
    if value is None or state == MISSING:
        return Slot(MISSING, SAID_MISSING, 0, log_index)
    milli, exact = thousandfold(value)
    if not _INT64_MIN <= milli <= _INT64_MAX:
        return Slot(MISSING, TOO_LARGE, 0, log_index)
    return Slot(state, EXACT if exact else ROUNDED, milli, log_index)


def thousandfold(value: str) -> tuple[int, bool]:
    """1,000 times a normalised decimal, rounded half to even, and whether that is exact."""
    found = _DECIMAL.fullmatch(value)
    if found is None or value == "-0":
        raise ValueError("not a normalised decimal")
    sign, whole, fraction = found[1], found[2], found[3] or ""
    milli = int(whole + fraction[:3].ljust(3, "0"))
    rest = fraction[3:]
    half = "5".ljust(len(rest), "0")  # of one length, so that they compare as numbers do
    if rest and (rest > half or (rest == half and milli % 2 == 1)):
        milli += 1
    return (-milli if sign else milli), not rest
