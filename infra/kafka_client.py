"""Kafka for the adapters that speak it: how to enter, an event loop of its own, topics, errors.

The ports are synchronous and aiokafka is not: every call runs on the loop of a thread, with a
limit on its time.
"""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread
from typing import Any, TypeVar
from weakref import WeakSet

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    KafkaError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.helpers import create_ssl_context

from bal.errors import Stop, Unavailable

logger = logging.getLogger("gridseal.kafka")

_T = TypeVar("_T")
RETRY_S = 5
BATCH_BYTES_MAX = 32 * 1024 * 1024  # the largest, as Kafka has it, with headers
GIVE_UP_WAITS = 3  # of timeout_s each, until a producer that got no answer is replaced
REPLICAS = 3  # where there are so many brokers; an answer then means that two have it
_GRACE_S = 5.0  # for a coroutine that was cancelled to end
_LAST_S = 0.3  # for what Kafka was given up for
_POLL_S = 0.05
# Each try at TLS that fails is a cycle of 100 KiB and more, and while a broker is away there are
# ten a second and client; infra/interpreter.py has the collector come seldom.
FAILURES_KEPT = 16

# It repeats itself ten times a second while a broker is away; the adapters say it once.
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class KafkaAccess:
    """Where Kafka is, and the client certificate whose CN is the principal; PEM files."""

    bootstrap: str  # host:port, several with commas between
    ca: Path
    certificate: Path
    key: Path
    timeout_s: float = 10.0  # of one request

    def options(self) -> dict[str, Any]:
        """What every client of aiokafka is made with. Call it where a loop runs."""
        return {
            "bootstrap_servers": self.bootstrap.split(","),
            "client_id": "gridseal",
            "request_timeout_ms": int(self.timeout_s * 1000),
            "security_protocol": "SSL",
            "ssl_context": create_ssl_context(
                cafile=str(self.ca), certfile=str(self.certificate), keyfile=str(self.key)
            ),
        }


class _Loop(asyncio.SelectorEventLoop):
    """Knows its connections: one whose other end is silent would stay open for half a minute."""

    def __init__(self) -> None:
        super().__init__()
        self.connections: WeakSet[asyncio.BaseTransport] = WeakSet()
        self._failed = 0
        self.set_exception_handler(_left_behind)

    async def create_connection(self, *args: Any, **options: Any) -> Any:
        try:
            made = await super().create_connection(*args, **options)
        except OSError:
            self._failed += 1
            if self._failed % FAILURES_KEPT == 0:
                gc.collect(0)
            raise
        self.connections.add(made[0])
        return made


def _left_behind(loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """Tell what nobody waits for any more.

    A client that is cancelled while it connects, because time was up, leaves its connection to the
    collector, which closes it and says so: who waited was told already.
    """
    error = context.get("exception")
    level = logging.DEBUG if error is None else logging.WARNING
    logger.log(level, "Kafka's client: %s", context["message"], exc_info=error)


class LoopThread:
    """An event loop in a thread; `call` may be called from any other."""

    def __init__(self) -> None:
        self._loop = _Loop()
        self._given_up = False
        self._calls: set[Future[Any]] = set()
        self._thread = Thread(target=self._loop.run_forever, name="kafka", daemon=True)
        self._thread.start()

    def call(self, coroutine: Coroutine[Any, Any, _T], timeout_s: float) -> _T:
        """The result of `coroutine`. Raises Unavailable where Kafka fails or time runs out."""
        return self._call(coroutine, timeout_s, last=False)

    def last_call(self, coroutine: Coroutine[Any, Any, _T], timeout_s: float) -> _T:
        """As `call`, to let go of something; soon over where Kafka was given up."""
        limit_s = min(timeout_s, _LAST_S) if self._given_up else timeout_s
        return self._call(coroutine, limit_s, last=True)

    def give_up(self) -> None:
        """Whoever waits for Kafka gets Unavailable, and whoever asks from now on. From any thread.

        For who ends soon: what is on its way may be written or not.
        """
        self._given_up = True
        for future in list(self._calls):
            future.cancel()

    def _call(self, coroutine: Coroutine[Any, Any, _T], timeout_s: float, *, last: bool) -> _T:
        limited = asyncio.wait_for(coroutine, timeout_s)
        future = asyncio.run_coroutine_threadsafe(limited, self._loop)
        self._calls.add(future)
        if self._given_up and not last:
            future.cancel()
        with translated():
            try:
                return future.result(timeout_s + _GRACE_S)
            finally:
                self._calls.discard(future)
                future.cancel()

    def close(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._cancel_all())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _cancel_all(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=_LAST_S if self._given_up else _GRACE_S)
        for connection in list(self._loop.connections):
            if isinstance(connection, asyncio.WriteTransport):
                connection.abort()
        await asyncio.sleep(0)


async def open_producer(
    access: KafkaAccess, *, batch_bytes: int, request_bytes: int
) -> AIOKafkaProducer:
    """A started producer that is answered once every replica in sync has a batch, and repeats none.

    batch_bytes, request_bytes: the largest batch, and all batches of one request.
    """
    producer = AIOKafkaProducer(
        **access.options(),
        acks="all",
        enable_idempotence=True,
        compression_type="zstd",
        max_batch_size=batch_bytes,
        max_request_size=request_bytes,
    )
    try:
        await producer.start()
    except BaseException:
        await producer.stop()
        raise
    return producer


async def end_producer(
    producer: AIOKafkaProducer, under_way: "asyncio.Task[Any] | None", timeout_s: float
) -> None:
    """End a producer; whoever waits for what it has under way is cancelled."""
    if under_way is not None:
        under_way.cancel()
        await cut_off(producer, timeout_s)
        return
    with suppress(KafkaError, TimeoutError):
        await asyncio.wait_for(producer.stop(), timeout_s)


async def cut_off(producer: AIOKafkaProducer, timeout_s: float) -> None:
    """End a producer that has something under way; its own `stop` would wait for that for ever."""
    producer._closed = True
    for step in (producer.client.close, producer._sender.close):
        with suppress(KafkaError, TimeoutError, asyncio.CancelledError):
            await asyncio.wait_for(step(), timeout_s)


@contextmanager
def one_at_a_time(lock: Lock, timeout_s: float) -> Iterator[None]:
    """Hold a lock. Raises Unavailable where another call has it for that long."""
    if not lock.acquire(timeout=timeout_s):
        raise Unavailable("Kafka does not answer in time", retry_after_s=RETRY_S)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def translated() -> Iterator[None]:
    """Errors of Kafka and of the network as Unavailable."""
    try:
        yield
    except (
        TimeoutError,
        CancelledError,
    ) as error:  # aiokafka's own tasks are cancelled now and then
        raise Unavailable("Kafka does not answer in time", retry_after_s=RETRY_S) from error
    except (KafkaError, OSError) as error:
        text = f"Kafka refuses: {type(error).__name__}: {error}"
        raise Unavailable(text, retry_after_s=RETRY_S) from error


@asynccontextmanager
async def administration(access: KafkaAccess) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client for topics, records and rights."""
    client = AIOKafkaAdminClient(**access.options())
    try:
        await client.start()
        yield client
    finally:
        await client.close()


async def create_topic(
    client: AIOKafkaAdminClient, name: str, *, partitions: int, settings: Mapping[str, str]
) -> None:
    """Make a topic unless it is there, and wait until every partition has a leader.

    With three brokers it has three replicas, and an answer means that two have it. On fewer
    there is one, and flush.messages=1 has the broker fsync before it answers: what Kafka leaves
    to the other replicas by default, nobody else would have.
    Raises Stop("bus-settings") where it is there with other settings.
    """
    brokers = len((await client.describe_cluster())["brokers"])
    replicas = REPLICAS if brokers >= REPLICAS else 1
    durable = {"min.insync.replicas": "2"} if replicas > 1 else {"flush.messages": "1"}
    wanted = dict(settings) | durable
    answer = await client.create_topics([NewTopic(name, partitions, replicas, None, wanted)])
    for _, code, *_ in answer.topic_errors:
        if code not in {0, TopicAlreadyExistsError.errno}:
            raise for_code(code)(f"topic {name}")
    while True:
        (topic,) = await client.describe_topics([name])
        if not topic["error_code"] and all(one["leader"] >= 0 for one in topic["partitions"]):
            break
        await asyncio.sleep(_POLL_S)
    if len(topic["partitions"]) != partitions:
        found = len(topic["partitions"])
        raise Stop("bus-settings", f"topic {name} has {found} partitions, not {partitions}")
    await _check_settings(client, name, dict(settings))


async def _check_settings(
    client: AIOKafkaAdminClient, name: str, wanted: Mapping[str, str]
) -> None:
    answers = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
    for code, _, _, _, entries in answers[0].resources:
        if code:
            raise for_code(code)(f"settings of topic {name}")
        found = {entry[0]: entry[1] for entry in entries}
    for key, value in wanted.items():
        if found.get(key) != value:
            text = f"topic {name} has {key}={found.get(key)}, which must be {value}"
            raise Stop("bus-settings", text)


async def delete_topic(client: AIOKafkaAdminClient, name: str) -> None:
    """Remove a topic and what is on it; nothing where there is none."""
    if name in await client.list_topics():
        answer = await client.delete_topics([name])
        for _, code, *_ in answer.topic_error_codes:
            if code not in {0, UnknownTopicOrPartitionError.errno}:  # a broker may not know it yet
                raise for_code(code)(f"topic {name}")


def check_rights(answers: Iterable[tuple[int, str | None]]) -> None:
    """Raises Unavailable where one of the answers, code and text, to a request about ACLs is no."""
    for code, text in answers:
        if code:
            raise Unavailable(f"Kafka refuses to change rights: {text or code}")
