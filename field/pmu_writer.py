"""SOGNO's published JSON of phasor measurements (docs/spec/pmu.md): arrays of frames in order."""

import cmath
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

PHASES = (("A", 0.0), ("B", -2 * math.pi / 3), ("C", 2 * math.pi / 3))


@dataclass(frozen=True, slots=True)
class Frame:
    """One instant's phasors of phase A, in SI units; B and C are made from it."""

    time: datetime  # with an offset
    voltage: complex
    current: complex
    frequency_hz: float


def frames_message(device: str, busbar: str, feeder: str, frames: Iterable[Frame]) -> bytes:
    """An array of frames in the order given; numbers as plain decimals, never with an exponent.

    busbar, feeder: the components that voltage and current are named by.
    """
    made = [_frame(json.dumps(device), json.dumps(busbar), json.dumps(feeder), f) for f in frames]
    return ("[" + ",\n".join(made) + "]\n").encode()


def _frame(device: str, busbar: str, feeder: str, frame: Frame) -> str:
    if frame.time.tzinfo is None:
        raise ValueError(f"{frame.time} has no offset")
    stamp = frame.time.astimezone(UTC).isoformat(timespec="microseconds")
    readings = [_reading(busbar, "frequency", "A", frame.frequency_hz, 5)]
    for component, names, phasor in (
        (busbar, ("voltmagnitude", "voltangle"), frame.voltage),
        (feeder, ("currmagnitude", "currangle"), frame.current),
    ):
        for phase, turn in PHASES:
            size, angle = cmath.polar(phasor * cmath.exp(1j * turn))
            readings += [
                _reading(component, names[0], phase, size, 3),
                _reading(component, names[1], phase, angle, 6),
            ]
    return f'{{"device":{device},"timestamp":"{stamp}","readings":[{",".join(readings)}]}}'


def _reading(component: str, measurand: str, phase: str, value: float, digits: int) -> str:
    number = f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0: no minus before a zero
    return (
        f'{{"component":{component},"measurand":"{measurand}","phase":"{phase}","data":{number}}}'
    )


def batches(frames: Sequence[Frame], size: int) -> Iterable[Sequence[Frame]]:
    """`size` frames at a time, in order; the last may be shorter."""
    return (frames[first : first + size] for first in range(0, len(frames), size))
