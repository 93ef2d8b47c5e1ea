"""The bus on Kafka against the suite, and what is its own: settings, rights, damage, going back."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from aiokafka.admin import NewPartitions, NewTopic
from bus_suite import BusSuite, ClosableBus, expected, intake
from kafka_support import (
    access,
    administer,
    configure,
    delete_topics,
    note,
    open_bus,
    prefix_of,
)

from bal.errors import Stop, Unavailable
from infra.kafka_bus import SETTINGS, KafkaBus, ensure_topic
from infra.kafka_client import KafkaAccess
from infra.servers.connect import KafkaAt

pytestmark = pytest.mark.xdist_group("kafka")


@pytest.fixture
def kafka(kafka_server: KafkaAt, tmp_path: Path) -> Iterator[KafkaAccess]:
    """Kafka as its administrator; topics of this test are removed behind it."""
    at = access(kafka_server)
    yield at
    delete_topics(at, prefix_of(tmp_path))


class TestKafkaBus(BusSuite):
    child = str(Path(__file__).with_name("kafka_bus_child.py"))

    @pytest.fixture(autouse=True)
    def _kafka(self, kafka: KafkaAccess, tmp_path: Path) -> None:
        self._access = kafka
        note(tmp_path, kafka)  # for the child

    def open(self, folder: Path) -> ClosableBus:
        return open_bus(folder, self._access)

    def destroy(self, folder: Path) -> None:
        delete_topics(self._access, prefix_of(folder))

    @contextmanager
    def refusing(self, bus: ClosableBus) -> Iterator[None]:
        assert isinstance(bus, KafkaBus)
        configure(self._access, bus.topic, max_message_bytes="100")
        yield
        configure(self._access, bus.topic)


def test_a_topic_is_made_once_and_is_as_it_must_be(kafka: KafkaAccess, tmp_path: Path) -> None:
    topic = ensure_topic(kafka, prefix=prefix_of(tmp_path))
    assert ensure_topic(kafka, prefix=prefix_of(tmp_path)) == topic
    configure(kafka, topic, retention_ms="604800000")
    with pytest.raises(Stop, match=r"bus-settings: .*retention\.ms=604800000"):
        ensure_topic(kafka, prefix=prefix_of(tmp_path))
    configure(kafka, topic, cleanup_policy="compact")
    with pytest.raises(Stop, match=r"bus-settings: .*cleanup\.policy=compact"):
        ensure_topic(kafka, prefix=prefix_of(tmp_path))


def test_the_number_of_partitions_never_changes(kafka: KafkaAccess, tmp_path: Path) -> None:
    topic = ensure_topic(kafka, prefix=prefix_of(tmp_path), partitions=2)
    with pytest.raises(Stop, match=r"bus-settings: .*2 partitions, not 1"):
        ensure_topic(kafka, prefix=prefix_of(tmp_path))
    administer(kafka, lambda client: client.create_partitions({topic: NewPartitions(3)}))
    with pytest.raises(Stop, match=r"bus-settings: .*3 partitions, not 2"):
        ensure_topic(kafka, prefix=prefix_of(tmp_path), partitions=2)


def test_two_buses_are_one_too_many(kafka: KafkaAccess, tmp_path: Path) -> None:
    prefix = prefix_of(tmp_path)
    ensure_topic(kafka, prefix=prefix)
    other = NewTopic(f"{prefix}.{'0' * 16}", 1, 1, None, SETTINGS)
    administer(kafka, lambda client: client.create_topics([other]))
    with pytest.raises(Stop, match="bus-went-backwards: there are two buses"):
        ensure_topic(kafka, prefix=prefix)


def test_partitions_are_buses_of_their_own(kafka: KafkaAccess, tmp_path: Path) -> None:
    topic = ensure_topic(kafka, prefix=prefix_of(tmp_path), partitions=2)
    with (
        closing(KafkaBus(kafka, topic)) as first,
        closing(KafkaBus(kafka, topic, partition=1, is_bulk=lambda name: True)) as second,
    ):
        assert first.append([intake(0), intake(1)]) == [0, 1]
        assert second.append([intake(2)]) == [0]
        assert [one.partition for one in second.read(0, 10)] == [1]
        assert first.read(1, 10) == [expected(first, 1, 1)]


def looked_at_for_long(bus: KafkaBus) -> None:
    """A broker that has much to do answers before the last of a topic is gone."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        bus.end()
        time.sleep(0.1)


def test_a_topic_that_is_gone_stops(kafka: KafkaAccess, tmp_path: Path) -> None:
    with closing(open_bus(tmp_path, kafka)) as bus:
        bus.append([intake(0)])
        delete_topics(kafka, prefix_of(tmp_path))
        with pytest.raises(Stop, match=r"bus-went-backwards: .* is gone"):
            looked_at_for_long(bus)
        with pytest.raises((Stop, Unavailable)):
            bus.append([intake(1)])
    with pytest.raises(Stop, match=r"bus-went-backwards: .* is gone"):
        KafkaBus(kafka, bus.topic)


def test_a_topic_made_anew_under_the_same_name_stops(kafka: KafkaAccess, tmp_path: Path) -> None:
    with closing(open_bus(tmp_path, kafka)) as bus, closing(open_bus(tmp_path, kafka)) as reader:
        bus.append([intake(at) for at in range(5)])
        assert len(reader.read(0, 10)) == 5
        delete_topics(kafka, prefix_of(tmp_path))
        anew = NewTopic(bus.topic, 1, 1, None, SETTINGS)
        administer(kafka, lambda client: client.create_topics([anew]))
        for look in (reader.end, lambda: reader.read(5, 10), lambda: reader.read(2, 10)):
            with pytest.raises(Stop, match="bus-went-backwards"):
                look()
        with pytest.raises((Stop, Unavailable)) as stopped:
            bus.append([intake(5)])
        assert isinstance(stopped.value, Unavailable) or "second time" in str(stopped.value)
        with pytest.raises(Stop, match="bus-went-backwards"):
            bus.end()


def test_a_message_that_is_none_of_ours_stops(kafka: KafkaAccess, tmp_path: Path) -> None:
    with closing(open_bus(tmp_path, kafka)) as bus:
        bus.append([intake(0)])
        stranger(kafka, bus.topic)
        bus.append([intake(1)])
        assert bus.read(0, 1) == [expected(bus, 0, 0)]
        with pytest.raises(Stop, match=r"store-damaged: message 1 .* no intake header"):
            bus.read(0, 10)
        assert bus.read(2, 10) == [expected(bus, 2, 1)]


def test_a_flipped_bit_on_the_brokers_disk_stops(
    kafka: KafkaAccess, kafka_server: KafkaAt, tmp_path: Path
) -> None:
    with closing(open_bus(tmp_path, kafka)) as bus:
        bus.append([intake(0)])
        bus.append([intake(at) for at in range(1, 100)])
        data = kafka_server.place.folder / "data"
        (segment,) = data.glob(f"{bus.topic}-0/*.log")
        whole = bytearray(segment.read_bytes())
        whole[-20] ^= 1
        with segment.open("r+b") as file:
            file.seek(len(whole) - 20)
            file.write(whole[-20:-19])
    with closing(open_bus(tmp_path, kafka)) as bus:
        assert bus.read(0, 1) == [expected(bus, 0, 0)]
        with pytest.raises(Stop, match="store-damaged"):
            bus.read(1, 10)


def test_more_than_a_batch_holds_is_a_mistake(kafka: KafkaAccess, tmp_path: Path) -> None:
    from bal.ports import Intake

    with closing(open_bus(tmp_path, kafka)) as bus:
        with pytest.raises(ValueError, match="25165824"):
            bus.append([Intake("one", "cim", 0, bytes(4 << 20))] * 7)
        assert bus.end() == 0


def test_who_has_no_right_is_refused_and_may_try_again(
    kafka: KafkaAccess, kafka_server: KafkaAt, tmp_path: Path
) -> None:
    topic = ensure_topic(kafka, prefix=prefix_of(tmp_path))
    stranger_at = access(kafka_server, "anchorer", timeout_s=2)
    with pytest.raises((Unavailable, Stop)):
        KafkaBus(stranger_at, topic)


def test_a_collector_writes_and_reads_with_its_own_rights(
    kafka: KafkaAccess, kafka_server: KafkaAt, tmp_path: Path
) -> None:
    """Rights are on what begins with bal.raw; so this one topic does."""
    prefix = f"bal.raw.{prefix_of(tmp_path)}"
    topic = ensure_topic(kafka, prefix=prefix)
    try:
        with closing(KafkaBus(access(kafka_server, "collector"), topic)) as bus:
            assert bus.append([intake(0), intake(1)]) == [0, 1]
            assert bus.read(0, 10) == [expected(bus, at, at) for at in range(2)]
            with pytest.raises(Unavailable, match="TopicAuthorizationFailed"):
                bus.trim(1)
        with closing(KafkaBus(access(kafka_server, "worker"), topic, read_only=True)) as bus:
            assert bus.read(0, 10) == [expected(bus, at, at) for at in range(2)]
        with (
            closing(KafkaBus(access(kafka_server, "storer"), topic)) as bus,
            pytest.raises(Unavailable, match="AuthorizationFailed"),
        ):
            bus.append([intake(2)])
    finally:
        delete_topics(kafka, prefix)


def test_nothing_listens_there(kafka: KafkaAccess) -> None:
    nowhere = KafkaAccess("127.0.0.1:1", kafka.ca, kafka.certificate, kafka.key, 2)
    with pytest.raises(Unavailable):
        KafkaBus(nowhere, "bal.raw.0123456789abcdef")
    with pytest.raises(Unavailable):
        ensure_topic(nowhere)


def stranger(at: KafkaAccess, topic: str) -> None:
    """Somebody else writes into the topic."""
    import asyncio

    from aiokafka import AIOKafkaProducer

    async def send() -> None:
        producer = AIOKafkaProducer(**at.options())
        await producer.start()
        try:
            await producer.send_and_wait(topic, b"hello")
        finally:
            await producer.stop()

    asyncio.run(send())
