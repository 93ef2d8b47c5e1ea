"""What was measured, in which base unit, and a value's decimal text in that unit.

Values are text from end to end: a multiplier moves the decimal point, nothing is ever a float.
"""

import re
from dataclasses import dataclass

from bal.errors import Rejected

VALUE_LENGTH_MAX = 40  # characters

# XML Schema 1.1 part 2 §3.3.3: decimal; no exponent, no NaN, no INF, at least one digit.
_DECIMAL = re.compile(r"([+-]?)([0-9]+)(?:\.([0-9]*))?|([+-]?)\.([0-9]+)")
_SPACE = " \t\r\n"  # XML 1.0 §2.3, collapsed around a decimal


@dataclass(frozen=True, slots=True)
class Quantity:
    """A physical quantity as records name it; unit IRIs are QUDT's, nodes SAREF4GRID's."""

    name: str
    unit: str  # the plain member `unit`
    qudt: str  # local name in http://qudt.org/vocab/unit/
    broader: str  # local name of an individual of SAREF4GRID; "" where it has none
    types: tuple[str, ...]  # of the property node, as the context maps them


_ENERGY_AND_POWER = ("EnergyAndPowerProperty", "Property")

ACTIVE_ENERGY = Quantity("active energy", "Wh", "W-HR", "ActiveEnergy", _ENERGY_AND_POWER)
REACTIVE_ENERGY = Quantity(
    "reactive energy", "varh", "V-A_Reactive-HR", "ReactiveEnergy", _ENERGY_AND_POWER
)
APPARENT_ENERGY = Quantity("apparent energy", "VAh", "V-A-HR", "", _ENERGY_AND_POWER)
ACTIVE_POWER = Quantity("active power", "W", "W", "ActivePower", _ENERGY_AND_POWER)
REACTIVE_POWER = Quantity(
    "reactive power", "var", "V-A_Reactive", "ReactivePower", _ENERGY_AND_POWER
)
APPARENT_POWER = Quantity("apparent power", "VA", "V-A", "ApparentPower", _ENERGY_AND_POWER)
VOLTAGE = Quantity("voltage", "V", "V", "Voltage", _ENERGY_AND_POWER)
CURRENT = Quantity("current", "A", "A", "Current", _ENERGY_AND_POWER)
POWER_FACTOR = Quantity("power factor", "1", "UNITLESS", "PowerFactor", _ENERGY_AND_POWER)
FREQUENCY = Quantity("frequency", "Hz", "HZ", "", ("Frequency", "Property"))
ANGLE_DEG = Quantity("phase angle", "deg", "DEG", "PhaseAngle", ("MeterProperty", "Property"))
ANGLE_RAD = Quantity("phase angle", "rad", "RAD", "PhaseAngle", ("MeterProperty", "Property"))
TEMPERATURE_C = Quantity("temperature", "degC", "DEG_C", "", ("Property",))
TEMPERATURE_K = Quantity("temperature", "K", "K", "", ("Property",))
STATE_OF_CHARGE = Quantity("state of charge", "%", "PERCENT", "", ("Property", "State_of_charge"))


def decimal_text(text: str, shift: int) -> str:
    """`text` times ten to the power `shift`, exactly, as a normalised decimal string.

    text: an XML Schema decimal of at most 40 characters, spaces around it allowed.
    Normalised: no exponent, no plus sign, no leading or trailing zero, no point at the end, no
    `-0`. Raises Rejected("value-not-decimal") for anything else, an empty text included.
    """
    stripped = text.strip(_SPACE)
    match = _DECIMAL.fullmatch(stripped) if len(stripped) <= VALUE_LENGTH_MAX else None
    if match is None:
        raise Rejected(
            "value-not-decimal",
            f"the value is not a decimal number of at most {VALUE_LENGTH_MAX} characters",
            field="value",
            clause="XML Schema 1.1 part 2 §3.3.3 decimal",
        )
    sign, whole, fraction, bare_sign, bare_fraction = match.groups()
    if whole is None:
        sign, whole, fraction = bare_sign, "", bare_fraction
    elif fraction is None:
        fraction = ""
    if shift > 0:
        fraction = fraction.ljust(shift, "0")
        whole, fraction = whole + fraction[:shift], fraction[shift:]
    elif shift < 0:
        whole = whole.rjust(-shift, "0")
        whole, fraction = whole[:shift], whole[shift:] + fraction
    whole = whole.lstrip("0") or "0"
    fraction = fraction.rstrip("0")
    number = f"{whole}.{fraction}" if fraction else whole
    return f"-{number}" if sign == "-" and number != "0" else number
