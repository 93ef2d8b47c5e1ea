"""What was measured, in which base unit, and a value's decimal text in that unit.

Values are text from end to end: a multiplier moves the decimal point, nothing is ever a float.
"""

import re
from dataclasses import dataclass, replace

from bal.decimals import normalised
from bal.errors import Rejected

VALUE_LENGTH_MAX = 40  # characters

EXPONENT_MAX = 40

_EXPONENT = re.compile("([^eE]{1,38})[eE]([+-]?[0-9]{1,2})")
_SPACE = " \t\r\n"  # XML 1.0 §2.3, collapsed around a decimal


@dataclass(frozen=True, slots=True)
class Quantity:
    """A physical quantity as records name it; unit IRIs are QUDT's, nodes SAREF4GRID's."""

    name: str
    unit: str  # the plain member `unit`
    qudt: str  # local name in http://qudt.org/vocab/unit/
    broader: str  # local name of an individual of SAREF4GRID; "" where it has none
    types: tuple[str, ...]  # of the property node, as the context maps them


# SAREF4GRID s4grid:EnergyAndPowerProperty
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
SHARE = Quantity("share", "%", "PERCENT", "", ("Property",))
SHARE_RATE = Quantity("rate of change", "%/s", "PERCENT-PER-SEC", "", ("Property",))
DURATION = Quantity("duration", "s", "SEC", "", ("Property",))
CHARGE = Quantity("electric charge", "Ah", "A-HR", "", ("Property",))
SUSCEPTANCE = Quantity("susceptance", "S", "S", "", ("Property",))
COUNT = Quantity("count", "1", "NUM", "", ("Property",))
DC_POWER = Quantity("DC power", "W", "W", "", ("Property",))
DC_ENERGY = Quantity("DC energy", "Wh", "W-HR", "", ("Property",))


def rated(of: Quantity) -> Quantity:
    """What a device can do or is set to, in the same unit: nobody measured it.

    So it is no narrower notion of what SAREF4GRID has as a measured property.
    """
    return replace(of, name=f"{of.name}, rated or set", broader="")


RATED_ACTIVE_ENERGY = rated(ACTIVE_ENERGY)
RATED_ACTIVE_POWER = rated(ACTIVE_POWER)
RATED_REACTIVE_POWER = rated(REACTIVE_POWER)
RATED_APPARENT_POWER = rated(APPARENT_POWER)
RATED_VOLTAGE = rated(VOLTAGE)
RATED_CURRENT = rated(CURRENT)
RATED_POWER_FACTOR = rated(POWER_FACTOR)
RATED_FREQUENCY = rated(FREQUENCY)


def decimal_text(text: str, shift: int) -> str:
    """`text` times ten to the power `shift`, exactly, as a normalised decimal string.

    text: an XML Schema decimal of at most 40 characters, spaces around it allowed.
    Normalised: no exponent, no plus sign, no leading or trailing zero, no point at the end, no
    `-0`. Raises Rejected("value-not-decimal") for anything else, an empty text included.
    """
    whole, _, fraction = text.partition(".")
    digits = whole + fraction
    missing = shift - len(fraction)
    if missing >= 0 and digits.isdigit() and digits.isascii() and len(text) <= VALUE_LENGTH_MAX:
        # most often digits alone, none of which stays behind the point: half the time
        return (digits + "0" * missing).lstrip("0") or "0"
    number = text.strip(_SPACE)
    length = len(number)
    sign = number[:1]
    if sign in {"+", "-"}:
        number = number[1:]
    whole, _, fraction = number.partition(".")
    # XML Schema 1.1 part 2 §3.3.3: a sign, digits, a point, digits; one digit at least. Of ASCII
    # only 0 to 9 pass isdigit, and a second point does not.
    if length > VALUE_LENGTH_MAX or not (number.isascii() and (whole + fraction).isdigit()):
        raise Rejected(
            "value-not-decimal",
            f"the value is not a decimal number of at most {VALUE_LENGTH_MAX} characters",
            field="value",
            clause="XML Schema 1.1 part 2 §3.3.3 decimal",
        )
    return normalised(whole, fraction, shift, negative=sign == "-")


def double_text(text: str, shift: int) -> str:
    """As `decimal_text`; and an exponent, with which Java and others write large numbers.

    text: as xsd:double has it too (XML Schema 1.1 part 2 §3.3.5), the exponent from -40 to 40;
    never NaN or INF.
    """
    try:
        return decimal_text(text, shift)
    except Rejected:
        match = _EXPONENT.fullmatch(text.strip(_SPACE))
        if match is None or abs(int(match[2])) > EXPONENT_MAX or match[1] != match[1].strip(_SPACE):
            raise
        return decimal_text(match[1], shift + int(match[2]))
