"""The record of one window of phasor frames, in RFC 8785 form (docs/spec/pmu.md)."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

from bal import jcs
from bal.harmonise.quality import ASSUMED_VALID
from bal.model import Channel, Digest, Pseudonym
from bal.times import rfc3339

PHASES = frozenset({"A", "B", "C"})
RATES = (1, 2, 4, 5, 8, 10, 12, 15, 20, 25, 30, 50, 60, 100, 120, 200, 240)  # frames a second
NO_RATE = 0
WINDOW_US = 1_000_000


class _Measurand(NamedTuple):
    unit: str
    types: list[str]
    broader: str  # an individual of SAREF4GRID; "" where it has none


_ENERGY_AND_POWER = ["Channel", "EnergyAndPowerProperty", "Property"]
# SARGON sgnc:Channel, sgnc:Maqnitute, sgnc:Angle, sgnc:Frequency, sgnc:Rocf; it spells them so
_MAGNITUDE = ["Channel", "Maqnitute", "Property"]
_ANGLE = ["Angle", "Channel", "Property"]
MEASURANDS = {
    "voltmagnitude": _Measurand("V", _MAGNITUDE, "Voltage"),
    "voltangle": _Measurand("rad", _ANGLE, "PhaseAngle"),
    "currmagnitude": _Measurand("A", _MAGNITUDE, "Current"),
    "currangle": _Measurand("rad", _ANGLE, "PhaseAngle"),
    "activepower": _Measurand("W", _ENERGY_AND_POWER, "ActivePower"),
    "reactivepower": _Measurand("var", _ENERGY_AND_POWER, "ReactivePower"),
    "apparentpower": _Measurand("VA", _ENERGY_AND_POWER, "ApparentPower"),
    "frequency": _Measurand("Hz", ["Channel", "Frequency", "Property"], ""),
}
FURTHER = {  # of IEEE C37.118.2, beside those that SOGNO's JSON has
    "rocof": _Measurand("Hz/s", ["Channel", "Property", "Rocf"], ""),
    "analog": _Measurand("1", ["Channel", "Property"], ""),
    "digital": _Measurand("1", ["Channel", "Property"], ""),
}
_ALL = MEASURANDS | FURTHER


def readings_form(channels: Iterable[Channel]) -> str:
    """The array `readings` of frames with these channels, in RFC 8785 form: for % with values."""
    readings = [
        f'{{"component":{jcs.encode(component).decode()},"data":"\0","measurand":"{measurand}"'
        f',"phase":"{phase}"}}'
        for component, measurand, phase in channels
    ]
    text = f"[{','.join(readings)}]"  # NUL: no JSON text has it
    return text.replace("%", "%%").replace("\0", "%s")


def window_record(
    device: Pseudonym,
    begin_us: int,
    channels: Iterable[Channel],
    *,
    frames: int,
    rate: int,
    root: Digest,
    evidence: Digest,
    quality: tuple[str, ...] = (ASSUMED_VALID,),
) -> bytes:
    """The record of the window [begin_us, begin_us + 1 s).

    channels: those of its frames, each once; frames: how many there are; rate: frames a second;
    root: over their commitments; evidence: over the message parts that they came from;
    quality: the codes of its frames, sorted.
    """
    begin, end = rfc3339(begin_us), rfc3339(begin_us + WINDOW_US)
    observes, has_channel = _nodes(device, tuple(channels))
    # Pieced together, as readings are: the nodes are many, and the same every second.
    return (
        f'{{"begin":"{begin}","device":"{device}","end":"{end}","evidence":"{evidence.hex()}"'
        f',"frames":"{frames}","hasPhenomenonTime":{{"hasBeginning":{{"id":"#begin"'
        f',"inXSDDateTimeStamp":"{begin}","type":"Instant"}},"hasEnd":{{"id":"#end"'
        f',"inXSDDateTimeStamp":"{end}","type":"Instant"}},"id":"#interval"'
        f',"type":"ProperInterval"}},"id":"","kind":"phasors","madeBy":{{"has_channel":{has_channel}'
        f',"id":"{device}","sample_rate":"{rate}","type":["Meter","PMU"]}}'
        f',"missing":"{missing(frames, rate)}","observes":{observes},"quality":{_quality(quality)}'
        f',"rate":"{rate}","root":"{root.hex()}","type":"ProcedureExecution","v":"1"}}'
    ).encode()


@lru_cache(maxsize=64)
def _quality(codes: tuple[str, ...]) -> str:
    return jcs.encode(list(codes)).decode()


def missing(frames: int, rate: int) -> int:
    """How many of a second's frames are not there."""
    return max(0, rate - frames)


def rate_of(times_us: Sequence[int]) -> int:
    """Frames a second, by the median distance of a window's frames; NO_RATE of a single one.

    times_us: in order, no two alike. A published rate (IEEE C37.118.1 §5.4.1 and common others)
    within 6 % counts, else what the distance says, rounded.
    """
    gaps = sorted(map(int.__sub__, times_us[1:], times_us))
    if not gaps:
        return NO_RATE
    gap = gaps[len(gaps) // 2]
    nearest = min(RATES, key=lambda rate: abs(rate * gap - WINDOW_US) * 240 // rate)
    if abs(nearest * gap - WINDOW_US) * 100 <= 6 * WINDOW_US:
        return nearest
    return max(1, (WINDOW_US + gap // 2) // gap)


@lru_cache(maxsize=4096)
def _nodes(device: Pseudonym, channels: tuple[Channel, ...]) -> tuple[str, str]:
    """The channels as `observes` and `has_channel` have them, in order of id, in RFC 8785 form."""
    nodes: list[dict[str, object]] = []
    for component, measurand, phase in channels:
        of = _ALL[measurand]
        node: dict[str, object] = {
            "component": component,
            "id": f"{device}#{measurand}.{phase}.{quote(component, safe='')}",
            "measurand": measurand,
            "phase": phase,
            "type": of.types,
            "unit": of.unit,
        }
        if of.broader:
            node["broader"] = f"s4grid:{of.broader}"
        nodes.append(node)
    nodes.sort(key=lambda node: str(node["id"]))
    ids = [node["id"] for node in nodes]
    return jcs.encode(nodes).decode(), jcs.encode(ids).decode()
