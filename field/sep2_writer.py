"""IEEE 2030.5-2018 metering mirror: what an inverter POSTs to a utility's server each hour.

A MirrorMeterReading with its ReadingType, so that each message can be understood by itself. Child
elements stand in the order of the standard's schema, which is alphabetical after the mRID.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

NAMESPACE = "urn:ieee:std:2030.5:ns"
DELTA_DATA = 4  # IEEE 2030.5 AccumulationBehaviourType: the change over the interval
ELECTRICITY_SECONDARY = 1  # IEEE 2030.5 CommodityType
REVERSE = 19  # IEEE 2030.5 FlowDirectionType: received from the customer
ENERGY = 12  # IEEE 2030.5 KindType
WATT_HOURS = 72  # IEEE 2030.5 UomType
_TEMPLATE = """\
<?xml version="1.0" encoding="UTF-8"?>
<MirrorMeterReading xmlns="{namespace}">
  <mRID>{reading}</mRID>
  <description>energy fed in</description>
  <MirrorReadingSet>
    <mRID>{set}</mRID>
    <timePeriod>
      <duration>{duration}</duration>
      <start>{start}</start>
    </timePeriod>
{readings}  </MirrorReadingSet>
  <ReadingType>
    <accumulationBehaviour>{accumulation}</accumulationBehaviour>
    <commodity>{commodity}</commodity>
    <flowDirection>{flow}</flowDirection>
    <intervalLength>{interval}</intervalLength>
    <kind>{kind}</kind>
    <powerOfTenMultiplier>0</powerOfTenMultiplier>
    <uom>{uom}</uom>
  </ReadingType>
</MirrorMeterReading>
"""


_READING = """\
    <Reading>
      <timePeriod>
        <duration>{duration}</duration>
        <start>{start}</start>
      </timePeriod>
      <value>{value}</value>
    </Reading>
"""


@dataclass(frozen=True, slots=True)
class Mirrored:
    """The energies that one inverter fed in over intervals that follow each other."""

    device: str  # its mRIDs are made from this name
    begin: datetime  # of the first interval; with an offset
    interval_s: int
    energies_wh: Sequence[int]


def mirror_meter_reading(mirrored: Mirrored) -> bytes:
    """One MirrorMeterReading with one MirrorReadingSet; the same input gives the same bytes.

    Times are Unix seconds (IEEE 2030.5 TimeType). Raises ValueError where the interval does not
    begin on a whole second of an instant with an offset, or a value does not fit Int48.
    """
    if mirrored.begin.tzinfo is None or mirrored.begin.microsecond:
        raise ValueError(f"{mirrored.begin} is not a whole second with an offset")
    if not all(-(1 << 47) <= value < 1 << 47 for value in mirrored.energies_wh):
        raise ValueError("an energy does not fit Int48")
    start, interval = int(mirrored.begin.timestamp()), mirrored.interval_s
    readings = [
        _READING.format(duration=interval, start=start + number * interval, value=value)
        for number, value in enumerate(mirrored.energies_wh)
    ]
    return _TEMPLATE.format(
        namespace=NAMESPACE,
        reading=_mrid(f"{mirrored.device} energy"),
        set=_mrid(f"{mirrored.device} energy {start}"),
        duration=interval * len(readings),
        interval=interval,
        start=start,
        readings="".join(readings),
        accumulation=DELTA_DATA,
        commodity=ELECTRICITY_SECONDARY,
        flow=REVERSE,
        kind=ENERGY,
        uom=WATT_HOURS,
    ).encode()


def _mrid(name: str) -> str:
    """An IEEE 2030.5 mRIDType (HexBinary128) that is the same every time."""
    return sha256(name.encode()).hexdigest()[:32].upper()
