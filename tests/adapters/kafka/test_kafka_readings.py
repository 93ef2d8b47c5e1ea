"""Certified readings and heads for consumers, read by a client that is not ours."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from kafka_support import access, administer, delete_topics

from bal.certify.commitment import commitment
from bal.errors import Stop, Unavailable
from bal.model import Digest, Identity, Rank, StoredRecord, TreeHead
from bal.provide.feed import CHECKPOINTS, READINGS, own_topic
from bal.provide.policy import SCOPES, ClientInfo
from infra.feeder import Feed
from infra.kafka_client import KafkaAccess
from infra.kafka_feed_topics import GROUP, ensure_feed
from infra.kafka_grants import put_reader, readers, remove_reader, rights_of
from infra.kafka_readings import KafkaReadings
from infra.servers import process
from infra.servers.connect import KafkaAt
from infra.sqlite_customer_db import SqliteCustomerDb
from infra.sqlite_vault import SqliteVault
from infra.system_clock import SystemClock

pytestmark = pytest.mark.xdist_group("kafka")

ALL = frozenset(SCOPES)
DSO = ClientInfo("dso-1", b"", ALL, None)
NORTH = ClientInfo("agg-1", b"", ALL, frozenset({"north"}))
SOUTH = ClientInfo("agg-12", b"", ALL, frozenset({"south"}))  # agg-1 begins its name
PATIENCE_S = 60
REPOSITORY = Path(__file__).resolve().parents[3]


class World:
    """A database of certified rows, a feed of it, and clients that the platform knows."""

    def __init__(self, folder: Path, kafka: KafkaAccess, storer: KafkaAccess) -> None:
        self.folder = folder
        self.kafka = kafka  # the administrator's
        self.storer = storer
        self.db = SqliteCustomerDb(folder / "scd")
        self.vault = SqliteVault(folder / "vault", SystemClock())
        names = [Identity(f"mrid:{number}") for number in range(4)]
        self.devices = list(self.vault.pseudonyms(names).values())
        self.clients = {client.client_id: client for client in (DSO, NORTH, SOUTH)}
        self.rows: list[StoredRecord] = []
        self.feed = self.open()

    def open(self) -> Feed:
        return KafkaReadings(
            self.storer, customer_db=self.db, vault=self.vault, client=self.clients.get
        )

    def store(self, number: int, **changes: object) -> list[StoredRecord]:
        """So many further readings of the devices in turn, two of each group."""
        new = []
        for index in range(len(self.rows), len(self.rows) + number):
            record = b'{"evidence":"%064d","n":"%d","quality":["1.0.0"]}' % (index, index)
            row = StoredRecord(
                device=self.devices[index % 4],
                end_us=900 * index + 900,
                kind="reading",
                register="r1",
                begin_us=900 * index,
                index=index,
                rank=Rank.MEASURED,
                type=b"\x01",
                year=2026,
                record=record,
                shard=("north/0", "south/0")[index % 4 // 2],
            )
            new.append(row._replace(**changes))
        self.rows += new
        self.db.store(new, len(self.rows))
        return new

    @property
    def size(self) -> int:
        return len(self.rows)

    def close(self) -> None:
        self.feed.close()
        self.db.close()


@pytest.fixture
def kafka(kafka_server: KafkaAt) -> Iterator[KafkaAccess]:
    at = access(kafka_server)
    delete_topics(at, READINGS)
    delete_topics(at, CHECKPOINTS)
    ensure_feed(at)
    yield at
    for client in (DSO, NORTH, SOUTH):
        remove_reader(at, principal(client), client.client_id)
    delete_topics(at, READINGS)
    delete_topics(at, CHECKPOINTS)


@pytest.fixture
def world(tmp_path: Path, kafka: KafkaAccess, kafka_server: KafkaAt) -> Iterator[World]:
    with closing(World(tmp_path, kafka, access(kafka_server, "storer"))) as world:
        yield world


def principal(client: ClientInfo) -> str:
    return f"aggregator.{client.client_id}"


def entered(at: KafkaAt, name: str) -> dict[str, Any]:
    """Options of confluent-kafka with a certificate of this name, made if need be."""
    at.place.client(name)
    folder = at.place.certificates
    return {
        "bootstrap.servers": at.bootstrap,
        "security.protocol": "ssl",
        "ssl.ca.location": str(at.ca),
        "ssl.certificate.location": str(folder / f"{name}.crt"),
        "ssl.key.location": str(folder / f"{name}.key"),
        "log_level": 0,
    }


def read(at: KafkaAt, name: str, topic: str, number: int, group: str = "") -> list[Message]:
    """The first `number` records of a topic, and any that come right behind them."""
    options = {"group.id": group or name, "auto.offset.reset": "earliest"}
    consumer = Consumer(entered(at, name) | options | {"enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        found: list[Message] = []
        until = time.monotonic() + PATIENCE_S
        while len(found) < number and time.monotonic() < until:
            found += consumer.consume(number, timeout=0.5)
            check(found)
        found += consumer.consume(1000, timeout=0.3)
        check(found)
        return found
    finally:
        consumer.close()


def refusal(at: KafkaAt, name: str, topic: str, group: str = "") -> str:
    """What Kafka says to a consumer; "" where it gave a record after all."""
    options = {"group.id": group or name, "auto.offset.reset": "earliest"}
    consumer = Consumer(entered(at, name) | options)
    try:
        consumer.subscribe([topic])
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            message = consumer.poll(0.5)
            if message is not None:
                return str(message.error().name()) if message.error() else ""
        raise TimeoutError
    finally:
        consumer.close()


def check(found: Sequence[Message]) -> None:
    for message in found:
        if message.error():
            raise KafkaException(message.error())


def indices(found: Sequence[Message]) -> list[int]:
    return [int(header(one, "index")) for one in found]


def header(message: Message, name: str) -> bytes:
    return dict(message.headers())[name]


def eventually(work: Callable[[], None]) -> None:
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return work()
        except Unavailable:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def check_opens(
    world: World, kafka_server: KafkaAt
) -> tuple[Sequence[Message], Sequence[StoredRecord]]:
    """Of forty rows each record is its row, and its salt opens the entry. Both of them."""
    put_reader(world.kafka, principal(DSO), DSO, size=0)
    rows = world.store(40)
    eventually(lambda: world.feed.publish(world.size))
    found = read(kafka_server, principal(DSO), READINGS, 40)
    assert indices(found) == list(range(40))
    for message, row in zip(found, rows, strict=True):
        assert message.value() == row.record
        assert message.key() == row.device.encode()
        salt = bytes.fromhex(header(message, "salt").decode())
        type_ = bytes.fromhex(header(message, "type").decode())
        key = world.vault.salt_keys([row.device], row.year)[row.device]
        entry = sha256(b"\x02" + type_ + salt + message.value()).digest()
        assert entry == commitment(key, row.type, row.record)
        assert header(message, "evidence") == b"%064d" % row.index
        assert header(message, "quality") == b"1.0.0"
    return found, rows


def test_what_a_consumer_gets_opens_its_entry(world: World, kafka_server: KafkaAt) -> None:
    check_opens(world, kafka_server)


def test_a_client_gets_its_groups_rows_alone_from_its_grant_on(
    world: World, kafka_server: KafkaAt
) -> None:
    world.store(8)
    eventually(lambda: world.feed.publish(world.size))
    for client in (NORTH, SOUTH):
        put_reader(world.kafka, principal(client), client, size=8)
    world.store(8)
    world.feed.publish(world.size)
    assert indices(read(kafka_server, principal(NORTH), own_topic("agg-1"), 4)) == [8, 9, 12, 13]
    assert indices(read(kafka_server, principal(SOUTH), own_topic("agg-12"), 4)) == [10, 11, 14, 15]


def test_a_correction_names_what_it_supersedes(world: World, kafka_server: KafkaAt) -> None:
    put_reader(world.kafka, principal(DSO), DSO, size=0)
    (first,) = world.store(1)
    again = {"device": first.device, "begin_us": first.begin_us, "end_us": first.end_us}
    world.store(1, **again, rank=Rank.CORRECTED)
    world.store(1, **again, rank=Rank.ESTIMATED)
    world.store(1, **again, record=first.record)  # a retry that slipped through
    eventually(lambda: world.feed.publish(world.size))
    found = read(kafka_server, principal(DSO), READINGS, 3)
    assert [(header(one, "rank"), header(one, "supersedes")) for one in found] == [
        (b"measured", b""),
        (b"corrected", b"0"),
        (b"estimated", b""),
    ]


def test_who_was_given_nothing_reads_nothing(world: World, kafka_server: KafkaAt) -> None:
    put_reader(world.kafka, principal(DSO), DSO, size=0)
    put_reader(world.kafka, principal(NORTH), NORTH, size=0)
    world.store(8)
    eventually(lambda: world.feed.publish(world.size))
    assert len(read(kafka_server, principal(NORTH), own_topic("agg-1"), 4)) == 4
    for name, topic in (
        (principal(SOUTH), READINGS),
        (principal(SOUTH), CHECKPOINTS),
        (principal(SOUTH), own_topic("agg-1")),
        (principal(NORTH), READINGS),
        (principal(DSO), own_topic("agg-1")),
        ("anchorer", READINGS),
    ):
        refused = refusal(kafka_server, name, topic)
        assert refused in {"TOPIC_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED"}


def test_another_ones_group_and_writing_are_refused(world: World, kafka_server: KafkaAt) -> None:
    put_reader(world.kafka, principal(NORTH), NORTH, size=0)
    put_reader(world.kafka, principal(SOUTH), SOUTH, size=0)
    name = principal(NORTH)
    for group in (principal(SOUTH), f"{principal(SOUTH)}:2", GROUP, "worker"):
        refused = refusal(kafka_server, name, own_topic("agg-1"), group)
        assert refused == "GROUP_AUTHORIZATION_FAILED"
    told: list[str] = []
    producer = Producer(entered(kafka_server, name))
    producer.produce(own_topic("agg-1"), b"x", callback=lambda error, _: told.append(error.name()))
    producer.flush(PATIENCE_S)
    assert told == ["TOPIC_AUTHORIZATION_FAILED"]


def test_what_is_taken_away_is_gone(world: World, kafka_server: KafkaAt) -> None:
    for client in (DSO, NORTH):
        put_reader(world.kafka, principal(client), client, size=0)
    world.store(8)
    eventually(lambda: world.feed.publish(world.size))
    assert rights_of(world.kafka, principal(NORTH)) == {
        own_topic("agg-1"),
        CHECKPOINTS,
        "aggregator.agg-1",
        "aggregator.agg-1:*",
    }
    found = readers(world.kafka, "aggregator.")
    assert found[principal(NORTH)] == rights_of(world.kafka, principal(NORTH))
    assert READINGS in found[principal(DSO)]
    assert all(name.startswith("aggregator.") for name in found)
    world.clients["agg-1"] = replace(NORTH, state="revoked")
    put_reader(world.kafka, principal(NORTH), world.clients["agg-1"], size=8)
    remove_reader(world.kafka, principal(DSO), DSO.client_id)
    for name, topic in ((principal(NORTH), own_topic("agg-1")), (principal(DSO), READINGS)):
        assert rights_of(world.kafka, name) == set()
        assert refusal(kafka_server, name, topic) == "GROUP_AUTHORIZATION_FAILED"
    world.store(4)
    world.feed.publish(world.size)  # the topic that is gone keeps nobody up
    names = administer(world.kafka, lambda admin: admin.list_topics())
    assert own_topic("agg-1") not in names


def test_a_client_that_may_read_everything_now_has_no_topic_of_its_own(
    world: World, kafka_server: KafkaAt
) -> None:
    put_reader(world.kafka, principal(NORTH), NORTH, size=0)
    assert put_reader(world.kafka, principal(NORTH), replace(NORTH, groups=None), size=0) == {
        READINGS,
        CHECKPOINTS,
    }
    assert READINGS in rights_of(world.kafka, principal(NORTH))
    names = administer(world.kafka, lambda admin: admin.list_topics())
    assert own_topic("agg-1") not in names


def test_a_new_feed_goes_on_where_the_topics_are(world: World, kafka_server: KafkaAt) -> None:
    for client in (DSO, NORTH):
        put_reader(world.kafka, principal(client), client, size=0)
    world.store(10)
    eventually(lambda: world.feed.publish(world.size))
    for _ in range(3):
        world.feed.close()
        world.feed = world.open()
        world.store(7)
        world.feed.publish(world.size)
        world.feed.publish(world.size)
    assert indices(read(kafka_server, principal(DSO), READINGS, 31)) == list(range(31))
    north = [index for index in range(31) if index % 4 < 2]
    assert indices(read(kafka_server, principal(NORTH), own_topic("agg-1"), len(north))) == north


def test_a_long_way_without_a_row_is_not_gone_twice(
    world: World, kafka_server: KafkaAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.kafka_readings.NOTE_ENTRIES", 20)
    monkeypatch.setattr("infra.kafka_readings.STEP_ENTRIES", 10)
    put_reader(world.kafka, principal(NORTH), NORTH, size=0)
    world.store(50, shard="south/0")
    eventually(lambda: world.feed.publish(world.size))
    world.feed.close()
    world.feed = world.open()
    eventually(lambda: world.feed.publish(40))
    assert world.feed._positions[own_topic("agg-1")].size == 40


def test_heads_in_order_and_once(world: World, kafka_server: KafkaAt) -> None:
    put_reader(world.kafka, principal(NORTH), NORTH, size=0)
    for size in (3, 5, 4, 5, 9):
        if size == 9:
            world.feed.close()
            world.feed = world.open()
        note = b"gridseal.invalid/x\n%d\nroot\n\nsignature\n" % size
        world.feed.publish_head(TreeHead(size, Digest(bytes(32))), note)
    found = read(kafka_server, principal(NORTH), CHECKPOINTS, 3)
    assert [header(one, "size") for one in found] == [b"3", b"5", b"9"]
    assert [one.value().split(b"\n")[1] for one in found] == [b"3", b"5", b"9"]
    assert {one.key() for one in found} == {b"gridseal.invalid/x"}


def test_a_broker_that_stands_still_loses_nothing(world: World, kafka_server: KafkaAt) -> None:
    put_reader(world.kafka, principal(DSO), DSO, size=0)
    world.feed.close()
    world.storer = replace(world.storer, timeout_s=2)
    world.feed = world.open()
    world.store(20)
    eventually(lambda: world.feed.publish(world.size))
    child = process.found(kafka_server.place.folder)
    assert child is not None
    process.send(child, signal.SIGSTOP)
    try:
        world.store(20)
        for _ in range(2):
            with pytest.raises(Unavailable):
                world.feed.publish(world.size)
    finally:
        process.send(child, signal.SIGCONT)
    eventually(lambda: world.feed.publish(world.size))
    found = indices(read(kafka_server, principal(DSO), READINGS, 40))
    assert list(dict.fromkeys(found)) == list(range(40))  # repetitions are allowed, gaps are not


def test_a_feed_that_ends_between_two_topics_loses_nothing(
    world: World, kafka_server: KafkaAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    for client in (DSO, NORTH):
        put_reader(world.kafka, principal(client), client, size=0)
    world.store(10)
    eventually(lambda: world.feed.publish(world.size))
    world.store(10)
    whole = world.feed._send

    async def half(wanted: dict[str, Any], salts: dict[int, bytes]) -> None:
        await whole({READINGS: wanted[READINGS][:6]}, salts)
        raise Unavailable("the end")

    monkeypatch.setattr(world.feed, "_send", half)
    with pytest.raises(Unavailable, match="the end"):
        world.feed.publish(world.size)
    world.feed.close()
    world.feed = world.open()
    world.feed.publish(world.size)
    assert indices(read(kafka_server, principal(DSO), READINGS, 20)) == list(range(20))
    north = [index for index in range(20) if index % 4 < 2]
    assert indices(read(kafka_server, principal(NORTH), own_topic("agg-1"), 10)) == north


def test_rows_that_are_not_stored_yet_are_waited_for(world: World, kafka_server: KafkaAt) -> None:
    put_reader(world.kafka, principal(DSO), DSO, size=0)
    world.store(5)
    eventually(lambda: world.feed.publish(100))
    world.store(5)
    world.feed.publish(100)
    assert indices(read(kafka_server, principal(DSO), READINGS, 10)) == list(range(10))


def test_an_erased_device_keeps_nobody_up(
    world: World, kafka_server: KafkaAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_reader(world.kafka, principal(DSO), DSO, size=0)
    world.store(8)
    whole = world.vault.salt_keys

    def without(wanted: Sequence[Any], year: int) -> dict[Any, bytes]:
        if world.devices[0] in wanted:
            raise KeyError(world.devices[0])
        return whole(wanted, year)

    monkeypatch.setattr(world.vault, "salt_keys", without)
    eventually(lambda: world.feed.publish(world.size))
    assert indices(read(kafka_server, principal(DSO), READINGS, 6)) == [1, 2, 3, 5, 6, 7]


def test_a_topic_that_somebody_else_wrote_to_stops(world: World, kafka_server: KafkaAt) -> None:
    producer = Producer(entered(kafka_server, "admin"))
    producer.produce(READINGS, b"hello")
    producer.flush(PATIENCE_S)
    with pytest.raises(Stop, match=r"store-damaged: .* header index"):
        eventually(lambda: world.feed.publish(1))


def test_the_lines_of_the_page_for_consumers(
    world: World, kafka_server: KafkaAt, tmp_path: Path
) -> None:
    put_reader(world.kafka, principal(NORTH), NORTH, size=0)
    rows = world.store(8)
    eventually(lambda: world.feed.publish(world.size))
    page = (REPOSITORY / "docs" / "kafka.md").read_text(encoding="utf-8")
    program = page.split("```python\n")[1].split("```")[0]
    options = entered(kafka_server, principal(NORTH))
    for written, here in (
        ("kafka.example:9093", kafka_server.bootstrap),
        ('"ca.crt"', repr(options["ssl.ca.location"])),
        ('"you.crt"', repr(options["ssl.certificate.location"])),
        ('"you.key"', repr(options["ssl.key.location"])),
        ("aggregator.you", principal(NORTH)),
        ("bal.readings.v1.you", own_topic("agg-1")),
    ):
        assert written in program
        program = program.replace(written, here)
    (tmp_path / "consumer.py").write_text(program)
    with subprocess.Popen(
        [sys.executable, "-u", tmp_path / "consumer.py"], stdout=subprocess.PIPE, text=True
    ) as consumer:
        assert consumer.stdout is not None
        enough = Timer(PATIENCE_S, consumer.kill)  # then it says no more
        enough.start()
        lines = [consumer.stdout.readline() for _ in range(4)]
        enough.cancel()
        consumer.kill()
    wanted = [row for row in rows if row.shard == "north/0"]
    assert lines == [f"{row.device} 1.0.0 {row.record.decode()}\n" for row in wanted]
