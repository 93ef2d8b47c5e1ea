"""What it costs while there is no broker: here a listener closes each connection that it takes."""

import asyncio
import gc
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from bal.errors import Unavailable
from infra.certificates import create_ca, issue_device
from infra.interpreter import TLS_BUFFER_BYTES, tune_interpreter
from infra.kafka_client import FAILURES_KEPT, KafkaAccess, LoopThread, open_producer
from infra.kafka_readings import KafkaReadings
from infra.system_clock import SystemClock

TRIES = 5 * FAILURES_KEPT


@pytest.fixture
def refusing() -> Iterator[int]:
    """The port of the listener."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                listener.accept()[0].close()
            except OSError:
                return

    Thread(target=serve, daemon=True).start()
    with closing(listener):
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def tuned() -> Iterator[None]:
    """As a platform's process; what is set of Python comes back."""
    kept, size = gc.get_threshold(), asyncio.sslproto.SSLProtocol.max_size
    tune_interpreter()
    yield
    gc.set_threshold(*kept)
    gc.unfreeze()
    asyncio.sslproto.SSLProtocol.max_size = size


def test_tries_that_fail_leave_no_heap(refusing: int, tuned: None, tmp_path: Path) -> None:
    ca = create_ca(tmp_path, SystemClock())
    for name, data in zip(("crt", "key"), issue_device(ca, "storer", SystemClock()), strict=True):
        (tmp_path / name).write_bytes(data)
    at = KafkaAccess(
        f"127.0.0.1:{refusing}", tmp_path / "ca.crt", tmp_path / "crt", tmp_path / "key"
    )
    with closing(LoopThread()) as loop:
        for _ in range(TRIES):
            with pytest.raises(Unavailable):
                loop.call(open_producer(at, batch_bytes=1 << 20, request_bytes=1 << 20), 10)
        protocols = [
            one for one in gc.get_objects() if isinstance(one, asyncio.sslproto.SSLProtocol)
        ]
    assert len(protocols) <= 2 * FAILURES_KEPT
    assert {len(one._ssl_buffer) for one in protocols} <= {TLS_BUFFER_BYTES}  # type: ignore[attr-defined]


def test_what_nobody_waits_for_is_told_as_ours(caplog: pytest.LogCaptureFixture) -> None:
    """Not in the name of asyncio: a log of the platform's own is what an operator is promised."""

    async def fails() -> None:
        raise OSError("gone")

    async def left() -> None:
        asyncio.create_task(fails())  # noqa: RUF006 - left behind on purpose
        await asyncio.sleep(0.01)
        gc.collect()

    with closing(LoopThread()) as loop:
        loop.call(left(), 10)
    (told,) = [one for one in caplog.records if "never retrieved" in one.getMessage()]
    assert told.name == "gridseal.kafka"
    assert str(told.exc_info[1] if told.exc_info else "") == "gone"


class Steps:
    """Where a producer has its connections and its sender."""

    closed = 0

    async def fetch_all_metadata(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        self.closed += 1


class Producer:
    """One that was given up with something on its way."""

    def __init__(self) -> None:
        self._closed = False
        self.client, self._sender = Steps(), Steps()


def test_a_feed_that_is_given_up_lets_go_of_its_producer() -> None:
    at = KafkaAccess("127.0.0.1:1", Path(), Path(), Path())
    vault: Any = None
    feed = KafkaReadings(at, customer_db=vault, vault=vault, client=lambda _: None)
    producer: Any = Producer()
    feed._producer = producer
    feed.give_up()
    with pytest.raises(Unavailable, match="in time"):
        feed.publish(1)
    assert producer._closed
    assert (producer.client.closed, producer._sender.closed) == (1, 1)
    feed.close()
