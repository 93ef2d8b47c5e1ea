"""A broker that is killed or stands still under the roles' load: nothing is lost or out of order.

With GRIDSEAL_SOAK=1 there are 20 faults of each kind and a pause is 45 s.
"""

import signal
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

import pytest
from channels_suite import Other, append_surely, intake, read_all, settled, until
from kafka_support import access, make_channels, note, open_channels
from test_kafka_faults import FAULTS, PATIENCE_S, kill, own_kafka, pause

from bal.errors import Unavailable
from infra.kafka_channels import KafkaChannels
from infra.servers import process
from infra.servers.connect import KafkaAt

__all__ = ["own_kafka"]
pytestmark = [pytest.mark.xdist_group("kafka"), pytest.mark.slow]

TIMEOUT_S = 5
LIMIT_S = 4 * TIMEOUT_S  # two time-outs, an end that is waited for, and a busy machine
FURTHER = 15  # items of each after a fault


class Calls:
    """Asks and reads without end, and keeps how long the longest call took."""

    def __init__(self, channels: KafkaChannels) -> None:
        self._channels = channels
        self.longest_s = 0.0
        self.unavailable = 0
        self.errors: list[BaseException] = []
        self.stopping = Event()
        self._position = 0

    def run(self) -> None:
        topic, raw = self._channels.commitments, self._channels.raw
        try:
            while not self.stopping.is_set():
                self._timed(topic.end)
                self._timed(raw.ends)
                self._timed(lambda: self._read(0.0))
                self._timed(lambda: self._read(0.5))
        except BaseException as error:
            self.errors.append(error)
            raise

    def _read(self, wait_s: float) -> None:
        for at, _ in self._channels.commitments.read(self._position, 50, wait_s):
            assert at == self._position
            self._position = at + 1

    def _timed(self, call: Callable[[], object]) -> None:
        began_s = time.monotonic()
        try:
            call()
        except Unavailable:
            self.unavailable += 1
        self.longest_s = max(self.longest_s, time.monotonic() - began_s)


@pytest.mark.parametrize("fault", [kill, pause])
def test_the_topics_outlast_faults_of_the_broker(
    own_kafka: KafkaAt,
    tmp_path: Path,
    fault: Callable[[KafkaAt], None],
) -> None:
    at = access(own_kafka, timeout_s=TIMEOUT_S)
    make_channels(tmp_path, at, 2)
    note(tmp_path, at)
    with closing(open_channels(tmp_path, at)) as channels:
        calls = Calls(channels)
        thread = Thread(target=calls.run, daemon=True)
        thread.start()
        members = channels.members("sequencer", 1)
        writers = [Other(tmp_path, "append", who) for who in range(2)]
        others = [*writers, Other(tmp_path, "follow")]
        try:
            for _ in range(FAULTS):
                go_on(others)
                settled(members, 1)
                fault(own_kafka)
            go_on(others)
            settled(members, 1)
        finally:
            for other in others:
                other.end()
            calls.stopping.set()
            thread.join(PATIENCE_S)
        assert calls.errors == []
        assert calls.longest_s < LIMIT_S
        items = read_all(channels.commitments)
    for who, writer in enumerate(writers):
        found = [int(number) for one, number in map(bytes.split, items) if int(one) == who]
        firsts = list(dict.fromkeys(found))  # what was in doubt may be there twice
        assert firsts == list(range(len(firsts)))
        assert len(firsts) > writer.told[-1]
    followed = [told.encode() for told in others[-1].told]
    assert followed == items[: len(followed)]


def test_what_is_in_doubt_and_appended_again_is_there_once(
    own_kafka: KafkaAt,
    tmp_path: Path,
) -> None:
    at = access(own_kafka, timeout_s=3)
    make_channels(tmp_path, at, 2)
    group = [intake(number) for number in range(20)]
    child = process.found(own_kafka.place.folder)
    assert child is not None
    with closing(open_channels(tmp_path, at)) as channels:
        topic, raw = channels.commitments, channels.raw
        topic.append([b"before"])
        raw.append(group, 0)
        process.send(child, signal.SIGSTOP)
        try:
            with pytest.raises(Unavailable):
                topic.append([b"one", b"two"])
            with pytest.raises(Unavailable):
                raw.append(group, 1)
        finally:
            process.send(child, signal.SIGCONT)
        append_surely(topic, [b"one", b"two"])
        topic.append([b"three"])
        assert read_all(topic) == [b"before", b"one", b"two", b"three"]
        places = raw.append(group, 1)
        assert len(set(places)) == 20
        assert sum(raw.ends()) == 40


def go_on(others: list[Other]) -> None:
    """Wait until each did something further."""
    told = [len(other.told) for other in others]
    pairs = list(zip(others, told, strict=True))
    until(lambda: all(len(other.told) >= before + FURTHER for other, before in pairs), 120)
