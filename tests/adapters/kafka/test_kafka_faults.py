"""A broker that is killed or stands still under load: nothing acknowledged is lost.

Senders send again what was not acknowledged, as field devices do; a reader reads along. With
GRIDSEAL_SOAK=1 there are 20 faults of each kind and a pause is 45 s.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest
from kafka_support import access, open_bus

from bal.errors import Stop, Unavailable
from bal.model import RawMessage
from bal.ports import Intake
from infra.kafka_bus import KafkaBus
from infra.kafka_client import KafkaAccess
from infra.servers import process, stack
from infra.servers.connect import KafkaAt
from tests.bounded import until as wait_until
from tests.servers_fixture import CACHE, REPOSITORY, start

pytestmark = [pytest.mark.xdist_group("kafka"), pytest.mark.slow]

SOAK = os.environ.get("GRIDSEAL_SOAK") == "1"
FAULTS = 20 if SOAK else 2
PAUSE_S = 45 if SOAK else 10
SENDERS = 3
GROUP = 7
PATIENCE_S = 120


@pytest.fixture(scope="module")
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaAt]:
    """Not the session's, which others lean on."""
    data = tmp_path_factory.mktemp("kafka")
    guard = [sys.executable, "-m", "tests.servers_fixture", str(data), str(os.getpid())]
    subprocess.Popen(
        guard, cwd=REPOSITORY, start_new_session=True, stdin=subprocess.DEVNULL
    ).returncode = 0  # not waited for: it ends what a killed session leaves
    found = start(data, "kafka").kafka
    assert found is not None
    yield found
    stack.down(data, ["kafka"], lambda *_: None)


def kill(at: KafkaAt) -> None:
    """SIGKILL, and the same folder started again."""
    child = process.found(at.place.folder)
    assert child is not None
    process.send(child, signal.SIGKILL)
    until = time.monotonic() + PATIENCE_S
    while not (seen := stack.up(at.place.data, ["kafka"], CACHE, lambda *_: None)[0]).is_up:
        assert time.monotonic() < until, seen.state


def pause(at: KafkaAt) -> None:
    child = process.found(at.place.folder)
    assert child is not None
    process.send(child, signal.SIGSTOP)
    try:
        time.sleep(PAUSE_S)
    finally:
        process.send(child, signal.SIGCONT)


class Load:
    """Senders and a reader of one bus, each with its own memory of what it was told."""

    def __init__(self, bus: KafkaBus, reader: KafkaBus) -> None:
        self.bus, self.reader = bus, reader
        self.acknowledged: dict[int, bytes] = {}
        self.refused: set[bytes] = set()  # were not acknowledged at least once
        self.read: list[RawMessage] = []
        self.errors: list[BaseException] = []
        self.stopping, self.sent = Event(), Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        senders = [Thread(target=self._guarded(self._send, n), daemon=True) for n in range(SENDERS)]
        reader = Thread(target=self._guarded(self._read, 0), daemon=True)
        for thread in (*senders, reader):
            thread.start()
        try:
            yield
        finally:
            self.stopping.set()
            for thread in senders:
                thread.join(PATIENCE_S)
            self.sent.set()
            reader.join(PATIENCE_S)
            left = [thread.name for thread in (*senders, reader) if thread.is_alive()]
            assert not left, f"{left} do not end"

    def progress(self, number: int) -> None:
        """Wait until so many further messages were acknowledged and read."""
        acknowledged, read = len(self.acknowledged) + number, len(self.read) + number
        until = time.monotonic() + PATIENCE_S
        while len(self.acknowledged) < acknowledged or len(self.read) < read:
            assert not self.errors, self.errors
            assert time.monotonic() < until, (len(self.acknowledged), len(self.read))
            time.sleep(0.05)

    def _guarded(self, work: Callable[[int], None], number: int) -> Callable[[], None]:
        def run() -> None:
            try:
                work(number)
            except BaseException as error:
                self.errors.append(error)
                raise

        return run

    def _send(self, sender: int) -> None:
        at = 0
        while not self.stopping.is_set():
            raws = [b"%d/%d " % (sender, at + number) * 20 for number in range(GROUP)]
            group = [Intake(f"sender-{sender}", "cim", 1000 + at, raw) for raw in raws]
            while True:
                try:
                    offsets = self.bus.append(group)
                    break
                except Unavailable:
                    self.refused.update(raws)
                    time.sleep(0.1)
            self.acknowledged.update(zip(offsets, raws, strict=True))
            at += GROUP

    def _read(self, _: int) -> None:
        while True:
            done = self.sent.is_set()
            try:
                found = self.reader.read(len(self.read), 100)
            except Unavailable:
                time.sleep(0.1)
                continue
            self.read += found
            if done and not found:
                return
            time.sleep(0.01)

    def check(self) -> None:
        assert not self.errors
        assert [message.offset for message in self.read] == list(range(len(self.read)))
        there = [message.raw for message in self.read]
        assert {offset: there[offset] for offset in self.acknowledged} == self.acknowledged
        seen: set[bytes] = set()
        twice = {raw for raw in there if raw in seen or seen.add(raw)}  # type: ignore[func-returns-value]
        assert twice <= self.refused  # a repetition is one that its sender made
        for sender in range(SENDERS):  # whoever sends again may repeat, never overtake itself
            own = [raw for raw in dict.fromkeys(there) if raw.startswith(b"%d/" % sender)]
            assert own == sorted(own, key=lambda raw: int(raw.split()[0].split(b"/")[1]))


@pytest.mark.parametrize("fault", [kill, pause])
def test_nothing_acknowledged_is_lost(
    own_kafka: KafkaAt, tmp_path: Path, fault: Callable[[KafkaAt], None]
) -> None:
    at = access(own_kafka, timeout_s=3)
    with closing(open_bus(tmp_path, at)) as bus, closing(open_bus(tmp_path, at)) as reader:
        load = Load(bus, reader)
        with load.running():
            for _ in range(FAULTS):
                load.progress(200)
                fault(own_kafka)
            load.progress(200)
        load.check()
        assert load.refused  # the fault was felt


def test_a_batch_that_was_cut_off_on_disk_was_never_acknowledged(
    own_kafka: KafkaAt, tmp_path: Path
) -> None:
    """What a power cut leaves of the last batch: Kafka cuts it off, whole, when it starts again."""
    at = access(own_kafka)
    with closing(open_bus(tmp_path, at)) as bus:
        bus.append([Intake("one", "cim", at, b"first %d" % at) for at in range(5)])
        bus.append([Intake("one", "cim", at, b"second %d" % at) for at in range(5)])
    child = process.found(own_kafka.place.folder)
    assert child is not None
    process.send(child, signal.SIGKILL)
    wait_until(lambda: not process.running(child), "Kafka, killed, to be gone")
    (segment,) = (own_kafka.place.folder / "data").glob(f"{bus.topic}-0/*.log")
    os.truncate(segment, segment.stat().st_size - 3)
    assert stack.up(own_kafka.place.data, ["kafka"], CACHE, lambda *_: None)[0].is_up
    with closing(open_bus(tmp_path, at)) as bus:
        assert [message.raw for message in bus.read(0, 10)] == [b"first %d" % at for at in range(5)]
        assert bus.append([Intake("one", "cim", 0, b"third")]) == [5]


def test_a_disk_that_lost_what_was_fsynced_is_noticed(own_kafka: KafkaAt, tmp_path: Path) -> None:
    at = access(own_kafka, timeout_s=5)
    with closing(open_bus(tmp_path, at)) as bus:
        bus.append([Intake("one", "cim", at, b"first") for at in range(5)])
        bus.append([Intake("one", "cim", at, b"second") for at in range(5)])
        child = process.found(own_kafka.place.folder)
        assert child is not None
        process.send(child, signal.SIGKILL)
        wait_until(lambda: not process.running(child), "Kafka, killed, to be gone")
        (segment,) = (own_kafka.place.folder / "data").glob(f"{bus.topic}-0/*.log")
        os.truncate(segment, segment.stat().st_size - 3)
        assert stack.up(own_kafka.place.data, ["kafka"], CACHE, lambda *_: None)[0].is_up
        with pytest.raises(Stop, match="bus-went-backwards"):
            patiently(bus.end)
        with pytest.raises(Stop, match="bus-went-backwards"):
            patiently(lambda: bus.read(10, 1))
        with pytest.raises(Stop, match="bus-went-backwards"):
            patiently(lambda: bus.append([Intake("one", "cim", 0, b"third")]))


def patiently(call: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            call()
            return
        except Unavailable:
            assert time.monotonic() < until
            time.sleep(0.1)


def test_a_group_in_doubt_goes_in_once_and_first(own_kafka: KafkaAt, tmp_path: Path) -> None:
    at: KafkaAccess = access(own_kafka, timeout_s=1.5)
    child = process.found(own_kafka.place.folder)
    assert child is not None
    with closing(open_bus(tmp_path, at)) as bus:
        bus.append([Intake("one", "cim", 0, b"first")])
        process.send(child, signal.SIGSTOP)
        try:
            with pytest.raises(Unavailable):
                bus.append([Intake("one", "cim", 1, b"in doubt")])
            for _ in range(4):  # more than after which the producer is replaced
                with pytest.raises(Unavailable):
                    bus.append([Intake("one", "cim", 2, b"refused")])
        finally:
            process.send(child, signal.SIGCONT)
        patiently(lambda: bus.append([Intake("one", "cim", 3, b"last")]))
        raws = [message.raw for message in bus.read(0, 10)]
        assert raws[0] == b"first"
        assert raws[-1] == b"last"
        assert b"refused" not in raws
