"""Messages of phasor measurement units for the tests that need a stream."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

BEGIN = datetime(2026, 1, 15, 10, 0, tzinfo=UTC)  # the clock of `Hand`
FRAMES_PER_S = 50


def frame(number: int, device: str = "pmu-1", value: str = "", **members: object) -> str:
    """Frame `number` of a stream of 50 a second."""
    at = BEGIN + timedelta(microseconds=number * 1_000_000 // FRAMES_PER_S)
    readings = ",".join(
        f'{{"component":"BUS1","measurand":"{measurand}","phase":"{phase}","data":{data}}}'
        for measurand, phase, data in (
            ("voltmagnitude", "A", value or f"{230 + number % 7 / 10:.3f}"),
            ("voltangle", "A", f"{number % 100 / 1e5!r}"),
            ("frequency", "A", "50.0"),
        )
    )
    stamp = at.isoformat(timespec="microseconds")
    return f'{{"device":"{device}","timestamp":"{stamp}","readings":[{readings}]}}'


def message(frames: Iterable[str]) -> bytes:
    return ("[" + ",\n".join(frames) + "]").encode()


def stream(
    first: int, last: int, *, device: str = "pmu-1", size: int = 25, without: Sequence[int] = ()
) -> list[bytes]:
    """Frames [first, last) in messages of `size`."""
    numbers = [number for number in range(first, last) if number not in without]
    return [
        message(frame(number, device) for number in numbers[at : at + size])
        for at in range(0, len(numbers), size)
    ]
