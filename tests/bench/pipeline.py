"""CIM messages of 1,000 meters, from the bus to a published checkpoint, against the bound."""

import os
import tempfile
import threading
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from bal import jcs
from bal.certify.log import Sequencer
from bal.collect.guard import Limits, guard
from bal.model import Identity
from bal.pipeline import COMMAND_FORMAT, OPERATOR, Worker
from infra.announcer import CertifiedMessage
from infra.bulk_worker import processes_for
from infra.config import LimitsConfig
from infra.data_folder import DataFolder
from infra.engine import Engine
from infra.intake_writer import IntakeWriter, on_bus
from infra.interpreter import tune_interpreter
from infra.key_signer import CheckpointSigner, KeySigner
from infra.stores import Stores
from infra.system_clock import SystemClock

METERS = 1_000
READING_TYPE = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"


def message(number: int, meters: int = METERS) -> bytes:
    """One quarter-hour of a head-end."""
    end = f"2026-01-{1 + number // 96:02d}T{number // 4 % 24:02d}:{number % 4 * 15:02d}:00+01:00"
    readings = "".join(
        "<m:MeterReading><m:Meter><m:Names>"
        f"<m:name>{meter:010d}</m:name></m:Names></m:Meter><m:Readings>"
        f"<m:timeStamp>{end}</m:timeStamp><m:value>{(meter * 37 + number) % 5000 / 1000:.3f}"
        f'</m:value><m:ReadingType ref="{READING_TYPE}"/></m:Readings></m:MeterReading>'
        for meter in range(meters)
    )
    namespace = "http://iec.ch/TC57/2011/MeterReadings#"
    return f'<m:MeterReadings xmlns:m="{namespace}">{readings}</m:MeterReadings>'.encode()


def bound(folder: Path, messages: int = 400_000) -> float:
    """SHA-256 of 300-byte messages, append, fdatasync a thousand; messages a second."""
    descriptor = os.open(folder / "bound", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    sample = [os.urandom(300) for _ in range(1000)]
    started = time.perf_counter()
    for _ in range(messages // 1000):
        digests = b"".join([sha256(one).digest() for one in sample])
        os.write(descriptor, b"".join(sample) + digests)
        os.fdatasync(descriptor)
    took = time.perf_counter() - started
    os.close(descriptor)
    return messages / took


class Bench:
    """A platform without gateways and chain: all that stands between intake and checkpoint."""

    def __init__(self, root: Path, bulk_processes: int = LimitsConfig().bulk_processes) -> None:
        self.folder = folder = DataFolder(root)
        folder.create()
        clock = SystemClock()
        self.stores = Stores.open(folder, clock)
        signer = CheckpointSigner("bench", folder.seed("log"), folder.keys / "signed")
        self.sequencer = Sequencer(self.stores.log, self.stores.log, signer, "bench")
        self._done = threading.Event()
        self._left = 0
        self.engine = Engine(
            bus=self.stores.bus,
            sequencer=self.sequencer,
            worker=Worker(self.stores.vault, self.stores.registry),
            projector=self.stores.projector,
            archive=self.stores.archive,
            clock=clock,
            rules="bench",
            next_offset=0,
            interval_s=0.1,
            settle=self.stores.log.settle,
            on_certified=self._certified,
            on_tick=lambda _: None,
            on_stop=lambda error: print("stopped:", error),
            bulk_processes=processes_for(bulk_processes),
        )
        intake = KeySigner("bench/intake", folder.seed("intake"))
        append = on_bus(self.stores.bus)
        self.writer = IntakeWriter(append, intake, "bench", clock, self.engine.wake)
        self.engine.start()
        self.writer.start()
        self.enrol()

    def enrol(self) -> None:
        """A head-end that may speak for any meter."""
        identity = Identity("name:gridseal/sender/headend")
        command = {
            "command": "enrol", "name": "headend", "certificate": "", "password": "",
            "subject": self.stores.vault.pseudonyms([identity])[identity], "subjects": "any",
            "allowed": [], "group": "grid", "zone": "UTC", "bulk": "true", "devices": [],
        }  # fmt: skip
        self.play(OPERATOR, COMMAND_FORMAT, [jcs.encode(command)])

    def play(self, credential: str, form: str, raws: list[bytes]) -> float:
        """Take messages in, wait until all are published and stored; seconds."""
        return self.take([(credential, form, raw) for raw in raws])

    def take(self, messages: Sequence[tuple[str, str, bytes]]) -> float:
        """As `play`, of several senders: (credential, format, raw)."""
        self._left += len(messages)
        self._done.clear()
        limits = Limits()
        started = time.perf_counter()
        for credential, form, raw in messages:
            if form != COMMAND_FORMAT:
                guard(raw, form, limits)
            self.writer.submit(credential, form, raw)
        assert self._done.wait(300), "not everything was certified"
        return time.perf_counter() - started

    def _certified(self, found: object) -> None:
        assert isinstance(found, list)
        assert all(isinstance(one, CertifiedMessage) for one in found)
        self._left -= len(found)
        if self._left == 0:
            self._done.set()

    def close(self) -> None:
        """End the threads and let go of the files."""
        self.writer.stop()
        self.engine.stop()
        self.stores.close()


def main(messages: int = 150, rounds: int = 5) -> list[tuple[float, float]]:
    """(bound, pipeline) in readings a second, in turn; for the caller to make ratios of."""
    found = []
    tune_interpreter()  # as `gridseal up` does
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench = Bench(folder / "platform")
        bench.play("headend", "cim", [message(0)])  # makes the thousand subjects
        for turn in range(rounds):
            limit = bound(folder)
            raws = [message(1 + turn * messages + k) for k in range(messages)]
            before = bench.sequencer.heads.size
            took = bench.play("headend", "cim", raws)
            assert bench.sequencer.heads.size - before >= messages * METERS, "some were refused"
            found.append((limit, messages * METERS / took))
        bench.close()
    return found


if __name__ == "__main__":
    for limit, rate in main():
        print(f"bound {limit:>10,.0f}/s   certified {rate:>8,.0f}/s   ratio {rate / limit:.4f}")
