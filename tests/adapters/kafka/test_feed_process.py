"""The feed in a process of its own: what consumers get is what the platform's own would send."""

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from kafka_support import access
from test_kafka_readings import (
    DSO,
    NORTH,
    World,
    check_opens,
    eventually,
    header,
    indices,
    kafka,
    principal,
    read,
)

from bal.errors import Unavailable
from bal.model import Digest, StoredRecord, TreeHead
from bal.provide.feed import CHECKPOINTS, READINGS, own_topic
from infra import child_process
from infra.config import KafkaConfig
from infra.feed_process import FeedProcess
from infra.kafka_client import KafkaAccess
from infra.kafka_grants import put_reader
from infra.servers.connect import KafkaAt
from tests.bench.processors import children

pytestmark = pytest.mark.xdist_group("kafka")

__all__ = ["kafka"]  # the fixture


class Apart(World):
    """The same world; its rows are in files, from which the process reads them itself."""

    feed: FeedProcess

    def store(self, number: int, **changes: object) -> list[StoredRecord]:
        """Of devices that have keys: whoever made the rows needed them."""
        self.vault.salt_keys(self.devices, 2026)
        return super().store(number, **changes)

    def open(self) -> FeedProcess:
        at = self.storer
        config = KafkaConfig(at.bootstrap, str(at.ca), str(at.certificate), str(at.key))
        return FeedProcess(self.folder, config, recent=lambda _: (), clients=self.clients.values)


@pytest.fixture
def world(tmp_path: Path, kafka: KafkaAccess, kafka_server: KafkaAt) -> Iterator[Apart]:
    with closing(Apart(tmp_path, kafka, access(kafka_server, "storer"))) as world:
        yield world


def test_each_gets_what_it_may_read_and_what_opens_its_entry(
    world: Apart, kafka_server: KafkaAt
) -> None:
    put_reader(world.kafka, principal(NORTH), NORTH, size=0)
    found, rows = check_opens(world, kafka_server)
    assert {header(message, "rank") for message in found} == {b"measured"}
    north = [row.index for row in rows if row.shard == "north/0"]
    own = read(kafka_server, principal(NORTH), own_topic("agg-1"), len(north))
    assert indices(own) == north
    world.clients["agg-1"] = replace(NORTH, state="revoked")
    world.store(8)
    world.feed.publish(world.size)
    assert len(read(kafka_server, principal(DSO), READINGS, 48)) == 48
    own = read(kafka_server, principal(NORTH), own_topic("agg-1"), len(north))
    assert indices(own) == north, "a client that was withdrawn gets no more"


def test_a_process_that_is_killed_repeats_nothing_and_leaves_nothing_out(
    world: Apart,
    kafka_server: KafkaAt,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    put_reader(world.kafka, principal(DSO), DSO, size=0)
    world.store(10)
    eventually(lambda: world.feed.publish(world.size))
    before = world.feed.pid
    assert before in children(os.getpid())
    os.kill(before, signal.SIGKILL)
    world.store(10)
    for text in ("ended", "ended a moment ago"):
        with pytest.raises(Unavailable, match=f"the process that feeds {text}"):
            world.feed.publish(world.size)
    assert "the process that feeds ended, with -9" in caplog.text
    monkeypatch.setattr(child_process, "AGAIN_S", 0.0)
    world.feed.publish(world.size)
    assert world.feed.pid not in {None, before}
    assert indices(read(kafka_server, principal(DSO), READINGS, 20)) == list(range(20))


def test_a_head_is_published_once_and_never_a_smaller_one(
    world: Apart, kafka_server: KafkaAt
) -> None:
    put_reader(world.kafka, principal(DSO), DSO, size=0)
    for size in (3, 3, 2, 5):
        head, note = TreeHead(size, Digest(bytes(32))), b"log.example/x\n%d\n" % size
        eventually(partial(world.feed.publish_head, head, note))
    found = read(kafka_server, principal(DSO), CHECKPOINTS, 2)
    assert [header(one, "size") for one in found] == [b"3", b"5"]


def test_who_gives_up_waits_for_nothing_and_leaves_no_process(world: Apart) -> None:
    world.store(4)
    eventually(lambda: world.feed.publish(world.size))
    pid = world.feed.pid
    world.feed.give_up()
    assert pid not in children(os.getpid())
    with pytest.raises(Unavailable, match="closed"):
        world.feed.publish(world.size)
