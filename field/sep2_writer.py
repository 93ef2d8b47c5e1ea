"""IEEE 2030.5-2018 metering mirror: what an inverter POSTs to a utility's server each interval.

A MirrorMeterReading with its ReadingType, so that each message can be understood by itself. Child
elements stand in the order of the standard's schema, which is alphabetical after the mRID.
"""

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

NAMESPACE = "urn:ieee:std:2030.5:ns"
# IEEE 2030.5-2018 §B.2.3.4 (Types package)
DELTA_DATA = 4  # AccumulationBehaviourType: the change over the interval
ELECTRICITY_SECONDARY = 1  # CommodityType
REVERSE = 19  # FlowDirectionType: received from the customer
ENERGY = 12  # KindType
WATT_HOURS = 72  # UomType
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
    <Reading>
      <timePeriod>
        <duration>{duration}</duration>
        <start>{start}</start>
      </timePeriod>
      <value>{value}</value>
    </Reading>
  </MirrorReadingSet>
  <ReadingType>
    <accumulationBehaviour>{accumulation}</accumulationBehaviour>
    <commodity>{commodity}</commodity>
    <flowDirection>{flow}</flowDirection>
    <intervalLength>{duration}</intervalLength>
    <kind>{kind}</kind>
    <powerOfTenMultiplier>0</powerOfTenMultiplier>
    <uom>{uom}</uom>
  </ReadingType>
</MirrorMeterReading>
"""


@dataclass(frozen=True, slots=True)
class Mirrored:
    """The energy that one inverter fed in over one interval."""

    device: str  # its mRIDs are made from this name
    begin: datetime  # with an offset
    duration_s: int
    energy_wh: int


def mirror_meter_reading(mirrored: Mirrored) -> bytes:
    """One MirrorMeterReading of one interval; the same input gives the same bytes.

    Times are Unix seconds (IEEE 2030.5 TimeType). Raises ValueError where the interval does not
    begin on a whole second of an instant with an offset, or the value does not fit Int48.
    """
    if mirrored.begin.tzinfo is None or mirrored.begin.microsecond:
        raise ValueError(f"{mirrored.begin} is not a whole second with an offset")
    if not -(1 << 47) <= mirrored.energy_wh < 1 << 47:
        raise ValueError(f"{mirrored.energy_wh} Wh does not fit Int48")
    start = int(mirrored.begin.timestamp())
    return _TEMPLATE.format(
        namespace=NAMESPACE,
        reading=_mrid(f"{mirrored.device} energy"),
        set=_mrid(f"{mirrored.device} energy {start}"),
        duration=mirrored.duration_s,
        start=start,
        value=mirrored.energy_wh,
        accumulation=DELTA_DATA,
        commodity=ELECTRICITY_SECONDARY,
        flow=REVERSE,
        kind=ENERGY,
        uom=WATT_HOURS,
    ).encode()


def _mrid(name: str) -> str:
    """An mRIDType (HexBinary128) that is the same every time."""
    return sha256(name.encode()).hexdigest()[:32].upper()
