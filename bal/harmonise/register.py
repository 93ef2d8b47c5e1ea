"""What a register measures, as far as its name alone tells it (docs/spec/record.md, `register`)."""

from typing import NamedTuple

from bal.harmonise import reading_type
from bal.harmonise.der import MEASURANDS
from bal.harmonise.quantity import Quantity


class Measured(NamedTuple):
    """What is measured, and which way it flows."""

    quantity: Quantity | None  # None where the name does not tell it
    direction: str  # IEC 61968-9's name of flowDirection; "" where the name does not tell it


def measured(register: str) -> Measured:
    """Of a ReadingType code, or of a DER's measurand with or without phase."""
    decoded = reading_type.decode(register)
    if decoded is not None:
        return Measured(decoded.quantity, decoded.direction)
    quantities = MEASURANDS.get(register.partition(".")[0], ())
    return Measured(quantities[0] if len(quantities) == 1 else None, "")
