"""Reads one partition of a topic: by offset, without a gap, and never behind what was seen.

And how raw messages are written as records of Kafka.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Generic, TypeAlias, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CorruptRecordException, KafkaError, OffsetOutOfRangeError

from bal.collect.partition import key_of
from bal.errors import Stop, Unavailable
from bal.model import RawMessage
from bal.ports import Intake
from infra.kafka_client import RETRY_S, KafkaAccess

HEADERS = ("credential", "format", "received_us")  # of every message, in this order; UTF-8
REGISTRY = "registry"  # behind them where the roles are processes (infra/roles/ports.py)
FETCH_BYTES = 8 * 1024 * 1024
LOOKS = 3  # at an end that is lower than it was, before it is believed
LOOK_AGAIN_S = 0.5
_POLL_MS = 1000
_LOOK_S = 5.0  # how often who waits at an end asks whether it still is one

_T = TypeVar("_T")
Record: TypeAlias = tuple[bytes | None, bytes, list[tuple[str, bytes]]]  # key, value, headers


class Looker:
    """A consumer that reads nothing: what is asked through it waits behind nobody's long poll.

    Its methods run in one event loop, several at a time.
    """

    def __init__(self, access: KafkaAccess) -> None:
        self._access = access
        self._opening = asyncio.Lock()
        self._consumer: AIOKafkaConsumer | None = None

    @asynccontextmanager
    async def consuming(self) -> AsyncIterator[AIOKafkaConsumer]:
        """The consumer; after a failure it is ended, so that none stays stuck."""
        async with self._opening:
            if self._consumer is None:
                self._consumer = await opened(self._access)
            consumer = self._consumer
        try:
            yield consumer
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End the consumer; the next call makes another."""
        consumer, self._consumer = self._consumer, None
        await ended(consumer, self._access)


class PartitionReader(Generic[_T]):
    """A consumer of no group. Its methods run in one event loop, one at a time."""

    def __init__(
        self,
        access: KafkaAccess,
        at: TopicPartition,
        parse: Callable[[Any], _T],
        looker: Looker | None = None,
    ) -> None:
        """parse: a record of aiokafka; raises ValueError where it is none of ours.

        looker: asks for the end; without one the consumer does, behind what it waits for. With one
        `look_at_end` may run beside other methods.
        """
        self._access, self._at, self._parse = access, at, parse
        self._looking = looker.consuming if looker else self._consuming
        self._consumer: AIOKafkaConsumer | None = None
        self._next: int | None = None  # where the consumer stands
        self._looked_s = 0.0  # when it looked at the end last
        self.low = 0  # what lies below is known to be forgotten
        self.known_end = 0  # the partition has so many messages at least

    def seen(self, end: int) -> None:
        """The partition went up to there."""
        self.known_end = max(self.known_end, end)

    async def close(self) -> None:
        """End the consumer; the next call makes another."""
        consumer, self._consumer = self._consumer, None
        await ended(consumer, self._access)

    async def read(self, offset: int, limit: int) -> list[_T]:
        """All up to `limit`, as Bus.read.

        Raises Stop as infra.kafka_bus says, else what aiokafka raises.
        """
        if offset >= self.known_end:
            await self.look_at_end()
        stop = min(self.known_end, offset + limit)
        if offset >= stop:
            return []
        if offset < self.low:
            raise _trimmed(offset)
        messages: list[_T] = []
        async with self._consuming() as consumer:
            if self._next != offset:
                consumer.seek(self._at, offset)
            self._next = None
            async with asyncio.timeout(2 * self._access.timeout_s):
                while (at := offset + len(messages)) < stop:
                    messages += await self._fetched(consumer, at, stop - at)
            self._next = stop
        return messages

    async def some(self, offset: int, limit: int, wait_s: float) -> list[_T]:
        """From `offset` on what comes in one answer; as Topic.read (infra/roles/ports.py)."""
        if limit <= 0:
            return []
        if offset < self.low:
            raise _trimmed(offset)
        if self._next != offset and offset >= self.known_end:
            await self._check_end(offset)
        is_there = offset < self.known_end
        async with self._consuming() as consumer:
            if self._next != offset:
                consumer.seek(self._at, offset)
            self._next = None
            timeout_s = self._access.timeout_s if is_there else wait_s
            found = await self._fetched(consumer, offset, limit, int(timeout_s * 1000))
            if is_there and not found:  # it may be stuck: another one next time
                raise Unavailable("Kafka does not answer in time", retry_after_s=RETRY_S)
            self._next = offset + len(found)
            self.seen(self._next)
        if not found and time.monotonic() - self._looked_s > _LOOK_S:
            await self._check_end(offset)  # a server that is away looks like an empty topic
        return found

    async def _check_end(self, offset: int) -> None:
        end = await self.look_at_end()
        if offset > end:
            raise Stop("bus-went-backwards", f"{self._at.topic} ends at {end}, before {offset}")

    async def look_at_end(self) -> int:
        """The offset of the next message. Raises Stop("bus-went-backwards")."""
        async with self._looking() as consumer:
            for look in range(LOOKS):
                known = self.known_end
                try:
                    found = int((await consumer.end_offsets([self._at]))[self._at])
                except KafkaError:
                    if self._at.topic not in await consumer.topics():
                        raise Stop("bus-went-backwards", f"{self._at.topic} is gone") from None
                    raise
                if found >= known:
                    self.seen(found)
                    self._looked_s = time.monotonic()
                    return found
                if look + 1 < LOOKS:  # a broker that no longer leads may not know the newest
                    await asyncio.sleep(LOOK_AGAIN_S)
        text = f"{self._at.topic} ends at {found}; it had {known} messages"
        raise Stop("bus-went-backwards", text)

    async def find(
        self, group: Sequence[object], facts: Callable[[_T], object], mark: int
    ) -> int | None:
        """Where messages of these facts stand in a row, at `mark` or behind it; None: nowhere.

        What is trimmed by now was stored, and is not looked for. By a consumer of its own: it may
        run beside `read`.
        """
        consumer = await self._opened()
        try:
            end = (await consumer.end_offsets([self._at]))[self._at]
            at: int = max(mark, (await consumer.beginning_offsets([self._at]))[self._at])
            consumer.seek(self._at, at)
            matched = 0
            while at < end:
                for message in await self._fetched(consumer, at, len(group)):
                    one = facts(message)
                    matched = matched + 1 if one == group[matched] else int(one == group[0])
                    at += 1
                    if matched == len(group):
                        return at - matched
        finally:
            await consumer.stop()
        return None

    async def _fetched(
        self, consumer: AIOKafkaConsumer, at: int, limit: int, timeout_ms: int = _POLL_MS
    ) -> list[_T]:
        """Some messages from `at` on, which is where the consumer stands."""
        try:
            found = await consumer.getmany(self._at, timeout_ms=timeout_ms, max_records=limit)
        except OffsetOutOfRangeError as error:
            low = (await consumer.beginning_offsets([self._at]))[self._at]
            if at < low:
                raise _trimmed(at) from error
            raise Stop("bus-went-backwards", f"{self._at.topic} lacks message {at}") from error
        except CorruptRecordException as error:
            text = f"{self._at.topic} has a damaged batch at or behind message {at}"
            raise Stop("store-damaged", text) from error
        records = found.get(self._at, [])
        if [record.offset for record in records] != list(range(at, at + len(records))):
            raise Stop("store-damaged", f"{self._at.topic} lacks messages behind {at}")
        messages = []
        for record in records:
            try:
                messages.append(self._parse(record))
            except ValueError as error:
                text = f"message {record.offset} of {self._at.topic} has no intake header"
                raise Stop("store-damaged", text) from error
        return messages

    @asynccontextmanager
    async def _consuming(self) -> AsyncIterator[AIOKafkaConsumer]:
        """The consumer; after a failure it is ended, so that none stays stuck."""
        consumer = self._consumer or await self._opened()
        self._consumer = consumer
        try:
            yield consumer
        except BaseException:
            self._next = None
            await self.close()
            raise

    async def _opened(self) -> AIOKafkaConsumer:
        return await opened(self._access, self._at)


async def opened(access: KafkaAccess, *at: TopicPartition) -> AIOKafkaConsumer:
    """A consumer of no group, of these partitions."""
    consumer = AIOKafkaConsumer(
        **access.options(),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=FETCH_BYTES,
    )
    try:
        await consumer.start()
        if at:
            consumer.assign(at)
    except BaseException:
        await consumer.stop()
        raise
    return consumer


async def ended(consumer: AIOKafkaConsumer | None, access: KafkaAccess) -> None:
    """End it, if it ends in time."""
    if consumer is not None:
        with suppress(KafkaError, TimeoutError):
            await asyncio.wait_for(consumer.stop(), access.timeout_s)


def _trimmed(offset: int) -> Stop:
    return Stop("bus-trimmed", f"message {offset} is no longer on the bus")


# -- raw messages ------------------------------------------------------------------------------


def record_of(
    message: Intake, is_bulk: Callable[[str], bool], registry: int | None = None
) -> Record:
    """A message as a record; registry: its header, where there is one."""
    values = (message.credential.encode(), message.format.encode(), b"%d" % message.received_us)
    headers = list(zip(HEADERS, values, strict=True))
    if registry is not None:
        headers.append((REGISTRY, b"%d" % registry))
    return key_of(message, is_bulk).encode(), message.raw, headers


def parser(epoch: str, partition: int) -> Callable[[Any], RawMessage]:
    """Reads a record without `registry`."""
    return lambda record: _message(record, epoch, partition)


def parser_with_registry(epoch: str, partition: int) -> Callable[[Any], tuple[RawMessage, int]]:
    """Reads a record and its `registry`."""

    def parse(record: Any) -> tuple[RawMessage, int]:
        *_, (name, registry) = record.headers or [("", b"")]
        if name != REGISTRY:
            raise ValueError(record.headers)
        return _message(record, epoch, partition, further=1), int(registry)

    return parse


def facts_of(message: Intake | RawMessage) -> tuple[str, str, int, bytes]:
    """What a message is, wherever it stands."""
    return message.credential, message.format, message.received_us, message.raw


def _message(record: Any, epoch: str, partition: int, further: int = 0) -> RawMessage:
    (a, credential), (b, form), (c, received) = record.headers[: len(record.headers) - further]
    if (a, b, c) != HEADERS or record.value is None:
        raise ValueError(record.headers)
    return RawMessage(
        epoch,
        partition,
        record.offset,
        credential.decode(),
        form.decode(),
        int(received),
        record.value,
    )
