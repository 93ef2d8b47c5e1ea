"""200 streams of phasor frames, 50 a second each, from the guard to a published checkpoint.

Each message has 25 frames of 13 readings, as the simulator's substation sends them. What is
measured is how many frames a second go through where they come as fast as they are taken.
"""

import random
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bal import jcs
from bal.collect.guard import Limits, guard
from bal.errors import Unavailable
from bal.model import Identity
from bal.pipeline import COMMAND_FORMAT, OPERATOR
from infra.announcer import CertifiedMessage
from infra.interpreter import tune_interpreter
from tests.bench.pipeline import Bench

STREAMS = 200
FRAMES_PER_S = 50
NEEDED = STREAMS * FRAMES_PER_S  # frames a second
MESSAGE_FRAMES = 25
LEAD_S = 180  # the first frame is so old: a minute may pass in less

_READINGS = ",".join(
    f'{{"component":"LV3.101 Bus {bus}","measurand":"{measurand}","phase":"{phase}","data":%s}}'
    for bus, measurands in (
        (4, ("voltmagnitude", "voltangle")),
        (5, ("currmagnitude", "currangle")),
    )
    for measurand in measurands
    for phase in "ABC"
) + ',{"component":"LV3.101 Bus 4","measurand":"frequency","phase":"A","data":%s}'  # fmt: skip


class Phasors(Bench):
    """The streams, on a platform without gateways and chain."""

    def __init__(self, root: Path) -> None:
        self._lock = threading.Lock()
        self._taken = 0
        super().__init__(root)
        self._begin = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=LEAD_S)
        self._chance = random.Random(4)
        self._take([(OPERATOR, COMMAND_FORMAT, self._enrolment(n)) for n in range(STREAMS)])

    def second(self, number: int) -> list[tuple[str, str, bytes]]:
        """What all streams send in one second: sender, format, message."""
        return [
            (f"pmu-{stream}", "pmu", self._message(number * FRAMES_PER_S + part, stream))
            for part in range(0, FRAMES_PER_S, MESSAGE_FRAMES)
            for stream in range(STREAMS)
        ]

    def stream(self, first: int, seconds: int) -> float:
        """Frames a second, of some seconds of all streams."""
        messages = [one for number in range(seconds) for one in self.second(first + number)]
        self._taken = 0
        took = self._take(messages)
        frames = len(messages) * MESSAGE_FRAMES
        assert self._taken == frames, "some were refused"
        return frames / took

    def _take(self, messages: list[tuple[str, str, bytes]]) -> float:
        """Take messages in, wait until all are published and stored; seconds."""
        with self._lock:
            self._left += len(messages)
        self._done.clear()
        limits, writer = Limits(), self.writer
        started = time.perf_counter()
        for credential, form, raw in messages:
            if form != COMMAND_FORMAT:
                guard(raw, form, limits)
            while True:
                try:
                    writer.submit(credential, form, raw)
                except Unavailable:  # a sender would be told to wait
                    time.sleep(0.005)
                else:
                    break
        assert self._done.wait(300)
        return time.perf_counter() - started

    def _certified(self, found: object) -> None:
        assert isinstance(found, list)
        with self._lock:  # the pipeline tells, and so does the storer
            for one in found:
                assert isinstance(one, CertifiedMessage)
                self._taken += int(str(one.summary["good"]))
            self._left -= len(found)
            if self._left == 0:
                self._done.set()

    def _enrolment(self, stream: int) -> bytes:
        identity = Identity(f"name:gridseal/sender/pmu-{stream}")
        return jcs.encode({
            "command": "enrol", "name": f"pmu-{stream}", "certificate": "", "password": "",
            "subject": self.stores.vault.pseudonyms([identity])[identity],
            "subjects": "any", "allowed": [], "group": "grid", "zone": "UTC", "bulk": "false",
            "devices": [],
        })  # fmt: skip

    def _message(self, first: int, stream: int) -> bytes:
        frames = (self._frame(first + n, stream) for n in range(MESSAGE_FRAMES))
        return f"[{','.join(frames)}]".encode()

    def _frame(self, number: int, stream: int) -> str:
        at = self._begin + timedelta(microseconds=number * 1_000_000 // FRAMES_PER_S)
        noise = self._chance.random
        values = (
            *(f"{230 + noise():.3f}" for _ in range(3)),
            *(f"{noise() * 6 - 3:.6f}" for _ in range(3)),
            *(f"{noise() * 100:.3f}" for _ in range(3)),
            *(f"{noise() * 6 - 3:.6f}" for _ in range(3)),
            f"{49.99 + noise() / 50:.5f}",
        )
        stamp = at.isoformat(timespec="microseconds")
        readings = _READINGS % values
        return f'{{"device":"pmu-{stream}","timestamp":"{stamp}","readings":[{readings}]}}'


def main(rounds: int = 5, seconds: int = 12) -> list[float]:
    """Rate reached / the rate of 200 streams, in rounds that follow each other: a minute in all."""
    tune_interpreter()  # as `gridseal up` does
    with tempfile.TemporaryDirectory() as name:
        phasors = Phasors(Path(name))
        phasors.stream(0, 2)  # makes the devices
        found = [phasors.stream(2 + turn * seconds, seconds) / NEEDED for turn in range(rounds)]
        phasors.close()
    return found


if __name__ == "__main__":
    for ratio in main():
        print(f"{ratio:.2f} of {NEEDED:,} frames/s, {1e6 / NEEDED / ratio:.1f} µs a frame")
