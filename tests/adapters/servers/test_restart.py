"""What all the servers were told is there after a kill, and after `down` and `up`."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import NewTopic
from web3 import HTTPProvider, Web3

from infra.servers import cassandra, kafka, process, stack
from infra.servers.connect import KafkaAt, Servers, read
from infra.servers.place import NAMES, Place
from tests.adapters.servers.test_kafka import options
from tests.servers_fixture import start

TOPIC = "bal.raw.restart"


def write(servers: Servers) -> int:
    """One message, one row, one transaction on each chain; the offset of the message."""
    at, db = servers.kafka, servers.cassandra
    assert at is not None
    assert db is not None
    with cassandra.session(db, "migrator") as one:
        one.execute("CREATE TABLE IF NOT EXISTS gridseal.restart(a int PRIMARY KEY, b int)")
        one.execute("INSERT INTO gridseal.restart(a, b) VALUES(1, 42)")
    for chain in servers.chains.values():
        web3 = Web3(HTTPProvider(chain.url))
        first, second = web3.eth.accounts[:2]
        sent = web3.eth.send_transaction({"from": first, "to": second, "value": 1})
        assert web3.eth.wait_for_transaction_receipt(sent)["status"] == 1
    return asyncio.run(_produce(at))


async def _produce(at: KafkaAt) -> int:
    async with kafka.admin(at) as client:
        await client.create_topics([NewTopic(TOPIC, 1, 1)])
    producer = AIOKafkaProducer(**options(at, at.principals["collector"]), acks="all")
    try:
        await producer.start()
        return int((await producer.send_and_wait(TOPIC, b"kept")).offset)
    finally:
        await producer.stop()


async def _consume(at: KafkaAt) -> bytes:
    one = options(at, at.principals["worker"])
    consumer = AIOKafkaConsumer(TOPIC, **one, auto_offset_reset="earliest")
    try:
        await consumer.start()
        message = await asyncio.wait_for(consumer.getone(), 30)
        return bytes(message.value)
    finally:
        await consumer.stop()


def check(servers: Servers) -> None:
    at, db = servers.kafka, servers.cassandra
    assert at is not None
    assert db is not None
    assert asyncio.run(_consume(at)) == b"kept"
    with cassandra.session(db, "migrator") as one:
        assert one.execute("SELECT b FROM gridseal.restart WHERE a = 1").one()[0] == 42
    for chain in servers.chains.values():
        assert Web3(HTTPProvider(chain.url)).eth.block_number == 1


def secrets_of(data: Path) -> dict[str, bytes]:
    folder = data / "servers"
    wanted = [
        *folder.glob("*/certificates/*"),
        *folder.glob("*/passwords/*"),
        *folder.glob("*.json"),
    ]
    return {str(path): path.read_bytes() for path in wanted}


@pytest.mark.slow
def test_kill_then_up_then_down_then_up(own_folder: Path) -> None:
    servers = start(own_folder, *NAMES)
    assert write(servers) == 0
    before = secrets_of(own_folder)
    children = {name: process.found(Place(own_folder, name).folder) for name in NAMES}
    for child in children.values():
        assert child is not None
        if child != children["anvil"]:  # it writes its state once a second: the last one may go
            os.kill(child.pid, signal.SIGKILL)
    stack.down(own_folder, ["anvil"], lambda *_: None)
    assert start(own_folder, *NAMES) == servers
    check(servers)
    again = {name: process.found(Place(own_folder, name).folder) for name in NAMES}
    stopped = {seen.name: seen.state for seen in stack.down(own_folder, NAMES, lambda *_: None)}
    assert stopped == dict.fromkeys(NAMES, "stopped")
    assert all(child is not None and not process.running(child) for child in again.values())
    assert [seen.state for seen in stack.status(own_folder)] == ["down"] * len(NAMES)
    assert start(own_folder, *NAMES) == servers == read(own_folder)
    check(servers)
    assert secrets_of(own_folder) == before
