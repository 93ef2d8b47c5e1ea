"""CIM IEC 61968-9 MeterReadings as a head-end sends them, in the 2011 schema's namespace."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from xml.sax.saxutils import escape, quoteattr

from field.instants import text

NAMESPACE = "http://iec.ch/TC57/2011/MeterReadings#"
# 15-minute delta, forward, electricity secondary metered, energy, kWh (IEC 61968-9 Annex C)
ENERGY_15_MIN_KWH = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"
VALID = "1.0.0"  # ReadingQualityType: end device, valid
NAME_TYPE = "MeterNumber"
NAME_AUTHORITY = "SimBench"
_WH_PER_KWH = 1000


@dataclass(frozen=True, slots=True)
class IntervalEnergy:
    """The energy of one meter in one interval."""

    meter: str  # the utility's name of the meter
    end: datetime  # the end of the interval, with an offset
    energy_wh: int | Decimal
    reading_type: str = ENERGY_15_MIN_KWH
    quality: str = VALID


def kwh(energy_wh: int | Decimal) -> str:
    """Watt-hours as a decimal number of kWh, exact, with three decimals or as many as it takes.

    Decimal("NaN") is written as it is: a meter out of order sends what no platform should take.
    """
    if Decimal(energy_wh).is_nan():
        return "NaN"
    exact = Decimal(energy_wh) / _WH_PER_KWH
    if exact * _WH_PER_KWH != energy_wh:
        raise ValueError(f"{energy_wh} Wh has more digits than an exact division keeps")
    text = f"{exact:f}"
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction.rstrip('0'):0<3}"


def meter_readings(readings: Iterable[IntervalEnergy]) -> bytes:
    """One MeterReadings message with one MeterReading a meter, in the order given; UTF-8.

    The same readings give the same bytes. The value is in kWh, so the reading type has to have
    multiplier 3 and unit 72. Elements stand in the order of the 2011 schema.
    Raises ValueError where a reading type or a time can't be written truthfully.
    """
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f'<MeterReadings xmlns="{NAMESPACE}">']
    for reading in readings:
        lines += _meter_reading(reading)
    lines.append("</MeterReadings>\n")
    return "\n".join(lines).encode()


def _meter_reading(reading: IntervalEnergy) -> list[str]:
    fields = reading.reading_type.split(".")
    if len(fields) != 18 or fields[15:17] != ["3", "72"]:
        raise ValueError(f"{reading.reading_type} is not an 18-field reading type in kWh")
    return [
        "  <MeterReading>",
        "    <IntervalBlocks>",
        "      <IntervalReadings>",
        f"        <timeStamp>{text(reading.end)}</timeStamp>",
        f"        <value>{kwh(reading.energy_wh)}</value>",
        "        <ReadingQualities>",
        f"          <ReadingQualityType ref={quoteattr(reading.quality)}/>",
        "        </ReadingQualities>",
        "      </IntervalReadings>",
        f"      <ReadingType ref={quoteattr(reading.reading_type)}/>",
        "    </IntervalBlocks>",
        "    <Meter>",
        "      <Names>",
        f"        <name>{escape(reading.meter)}</name>",
        "        <NameType>",
        f"          <name>{NAME_TYPE}</name>",
        "          <NameTypeAuthority>",
        f"            <name>{NAME_AUTHORITY}</name>",
        "          </NameTypeAuthority>",
        "        </NameType>",
        "      </Names>",
        "    </Meter>",
        "  </MeterReading>",
    ]
