"""Kafka lets in certificates of its own authority, and each principal to what it is for."""

import asyncio
import logging
import socket
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import NewTopic
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    TopicAuthorizationFailedError,
)
from aiokafka.helpers import create_ssl_context

from bal.errors import Unavailable
from infra.servers import kafka, kafka_rights
from infra.servers.connect import Identity, KafkaAt
from infra.servers.kafka_rights import RIGHTS, Right
from infra.servers.place import read_state

# Who may write to nothing at all is refused before a topic is looked at (idempotent producers).
MAY_NOT_WRITE = (TopicAuthorizationFailedError, ClusterAuthorizationFailedError)
RAW, READINGS = "bal.raw.servers-test", "bal.readings.v1.servers-test"


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="aiokafka")


def options(at: KafkaAt, one: Identity | None) -> dict[str, Any]:
    context = create_ssl_context(
        cafile=str(at.ca),
        certfile=str(one.certificate) if one else None,
        keyfile=str(one.key) if one else None,
    )
    return {
        "bootstrap_servers": at.bootstrap,
        "security_protocol": "SSL",
        "ssl_context": context,
        "request_timeout_ms": 5000,
    }


async def produce(at: KafkaAt, one: Identity | None, topic: str, value: bytes) -> int:
    producer = AIOKafkaProducer(
        **options(at, one), acks="all", enable_idempotence=True, compression_type="zstd"
    )
    try:
        await producer.start()
        return (await producer.send_and_wait(topic, value)).offset
    finally:
        await producer.stop()


async def consume(at: KafkaAt, one: Identity, topic: str, group: str) -> bytes:
    consumer = AIOKafkaConsumer(
        topic, **options(at, one), group_id=group, auto_offset_reset="earliest"
    )
    try:
        await consumer.start()
        message = await asyncio.wait_for(consumer.getone(), 20)
        return bytes(message.value)
    finally:
        await consumer.stop()


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


@pytest.fixture(scope="module")
def topics(kafka_server: KafkaAt) -> KafkaAt:
    async def make() -> None:
        async with kafka.admin(kafka_server) as client:
            await client.create_topics([NewTopic(name, 1, 1) for name in (RAW, READINGS)])

    run(make())
    return kafka_server


def test_who_has_no_certificate_of_ours_is_refused(topics: KafkaAt, foreign: Identity) -> None:
    for one in (None, foreign):
        with pytest.raises(KafkaConnectionError):
            run(produce(topics, one, RAW, b"x"))


def test_plain_kafka_gets_no_answer(topics: KafkaAt) -> None:
    host, _, port = topics.bootstrap.partition(":")
    with socket.create_connection((host, int(port)), 5) as wire:
        wire.sendall(b"\x00\x00\x00\x0e\x00\x12\x00\x00\x00\x00\x00\x01\x00\x04test")
        try:
            answer = wire.recv(64)
        except ConnectionError:
            answer = b""
    assert answer[:1] in {b"", b"\x15"}  # nothing, or a TLS alert


def test_a_role_may_do_what_it_is_for_and_no_more(topics: KafkaAt) -> None:
    who = topics.principals
    assert run(produce(topics, who["collector"], RAW, b"raw")) >= 0
    assert run(consume(topics, who["worker"], RAW, "worker-test")) == b"raw"
    with pytest.raises(GroupAuthorizationFailedError):
        run(consume(topics, who["worker"], RAW, "storer"))
    for role in ("sequencer", "storer", "anchorer"):
        with pytest.raises(MAY_NOT_WRITE):
            run(produce(topics, who[role], RAW, b"x"))


def rights_of(at: KafkaAt, principal: str) -> set[Right]:
    async def ask() -> set[Right]:
        async with kafka.admin(at) as client:
            return await kafka_rights._found(client, principal)

    return run(ask())


def test_the_auditor_reads_and_writes_nothing(topics: KafkaAt) -> None:
    auditor = topics.principals["auditor"]
    assert run(produce(topics, topics.principals["collector"], RAW, b"raw")) >= 0
    for topic in (RAW, READINGS):
        with pytest.raises(MAY_NOT_WRITE):
            run(produce(topics, auditor, topic, b"x"))


def test_the_rights_are_what_the_table_says_however_often(topics: KafkaAt) -> None:
    kafka_rights.ensure_rights(topics)
    for role, rights in RIGHTS.items():
        assert rights_of(topics, role) == set(rights)
    assert rights_of(topics, "nobody") == set()


def test_nobody_makes_a_topic_by_naming_it(topics: KafkaAt) -> None:
    with pytest.raises(KafkaError):
        run(produce(topics, topics.principals["collector"], "bal.raw.not-there", b"x"))


def test_another_cluster_is_not_taken_for_ours(topics: KafkaAt, tmp_path: Path) -> None:
    entry = read_state(topics.place.data)["kafka"]
    kafka.prove(topics.place, entry)
    with pytest.raises(Unavailable, match="another cluster"):
        kafka.prove(topics.place, {**entry, "cluster_id": "other"})
