"""DER telemetry as JSON, as a gateway of many units sends it (docs/spec/der-telemetry.md)."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from field.instants import text


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The energy that one unit fed in over one interval."""

    device: str
    begin: datetime
    end: datetime
    energy_wh: int | str  # a text is sent as it stands, whatever it is


def telemetry(items: Iterable[Telemetry]) -> bytes:
    """An array with one object a unit, in the order given; the same items give the same bytes."""
    return json.dumps([_item(item) for item in items], indent=1).encode() + b"\n"


def _item(item: Telemetry) -> dict[str, object]:
    reading = {
        "begin": text(item.begin),
        "end": text(item.end),
        "measurand": "activeEnergyExport",
        "value": str(item.energy_wh),
        "unit": "Wh",
    }
    return {"device": item.device, "readings": [reading]}
