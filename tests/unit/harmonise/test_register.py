"""What a register's name alone tells (docs/spec/record.md, `register`)."""

import pytest

from bal.harmonise import quantity as q
from bal.harmonise.quantity import Quantity
from bal.harmonise.register import measured


@pytest.mark.parametrize(
    ("register", "quantity", "direction"),
    [
        ("0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0", q.ACTIVE_ENERGY, "forward"),
        ("0.0.2.4.19.1.12.0.0.0.0.0.0.0.0.0.73.0", q.REACTIVE_ENERGY, "reverse"),
        ("0.0.2.4.4.1.12.0.0.0.0.0.0.0.0.0.72.0", q.ACTIVE_ENERGY, "net"),
        ("0.0.0.12.0.1.54.0.0.0.0.0.0.0.128.0.29.0", q.VOLTAGE, "none"),
        ("activeEnergyExport", q.ACTIVE_ENERGY, ""),
        ("voltage.A", q.VOLTAGE, ""),
        ("phaseAngle", None, ""),  # deg or rad: the name does not tell
        ("0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.99999.0", None, ""),
        ("rtgMaxW", None, ""),
        ("", None, ""),
    ],
)
def test_measured(register: str, quantity: Quantity | None, direction: str) -> None:
    """IEC 61968-9 annex C: flowDirection is the fifth field."""
    assert measured(register) == (quantity, direction)
