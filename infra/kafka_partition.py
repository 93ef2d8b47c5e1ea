"""Reads one partition of raw messages: by offset, without a gap, and never behind what was seen."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CorruptRecordException, KafkaError, OffsetOutOfRangeError

from bal.errors import Stop
from bal.model import RawMessage
from bal.ports import Intake
from infra.kafka_client import KafkaAccess

HEADERS = ("credential", "format", "received_us")  # of every message, in this order; UTF-8
FETCH_BYTES = 8 * 1024 * 1024
LOOKS = 3  # at an end that is lower than it was, before it is believed
_LOOK_AGAIN_S = 0.5
_POLL_MS = 1000


class PartitionReader:
    """A consumer of no group. Its methods run in one event loop, one at a time."""

    def __init__(self, access: KafkaAccess, at: TopicPartition, epoch: str) -> None:
        self._access, self._at, self._epoch = access, at, epoch
        self._consumer: AIOKafkaConsumer | None = None
        self._next: int | None = None  # where the consumer stands
        self.low = 0  # what lies below is known to be forgotten
        self.known_end = 0  # the partition has so many messages at least

    def seen(self, end: int) -> None:
        """The partition went up to there."""
        self.known_end = max(self.known_end, end)

    async def close(self) -> None:
        """End the consumer; the next call makes another."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with suppress(KafkaError, TimeoutError):
                await asyncio.wait_for(consumer.stop(), self._access.timeout_s)

    async def read(self, offset: int, limit: int) -> list[RawMessage]:
        """As Bus.read. Raises Stop as infra.kafka_bus says, else what aiokafka raises."""
        if offset >= self.known_end:
            await self.look_at_end()
        stop = min(self.known_end, offset + limit)
        if offset >= stop:
            return []
        if offset < self.low:
            raise _trimmed(offset)
        messages: list[RawMessage] = []
        async with self._consuming() as consumer:
            if self._next != offset:
                consumer.seek(self._at, offset)
            self._next = None
            async with asyncio.timeout(2 * self._access.timeout_s):
                while (at := offset + len(messages)) < stop:
                    messages += await self._fetched(consumer, at, stop - at)
            self._next = stop
        return messages

    async def look_at_end(self) -> int:
        """The offset of the next message. Raises Stop("bus-went-backwards")."""
        async with self._consuming() as consumer:
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
                    return found
                if look + 1 < LOOKS:  # a broker that no longer leads may not know the newest
                    await asyncio.sleep(_LOOK_AGAIN_S)
        text = f"{self._at.topic} ends at {found}; it had {known} messages"
        raise Stop("bus-went-backwards", text)

    async def find(self, group: Sequence[Intake], mark: int) -> int | None:
        """Where a group stands in a row, at `mark` or behind it; None where it does not.

        What is trimmed by now was stored, and is not looked for. By a consumer of its own: it may
        run beside `read`.
        """
        wanted = [(m.credential, m.format, m.received_us, m.raw) for m in group]
        consumer = await self._opened()
        try:
            end = (await consumer.end_offsets([self._at]))[self._at]
            at = max(mark, (await consumer.beginning_offsets([self._at]))[self._at])
            consumer.seek(self._at, at)
            matched = 0
            while at < end:
                for message in await self._fetched(consumer, at, len(wanted)):
                    one = (message.credential, message.format, message.received_us, message.raw)
                    matched = matched + 1 if one == wanted[matched] else int(one == wanted[0])
                    at = message.offset + 1
                    if matched == len(wanted):
                        return at - matched
        finally:
            await consumer.stop()
        return None

    async def _fetched(self, consumer: AIOKafkaConsumer, at: int, limit: int) -> list[RawMessage]:
        """Some messages from `at` on, which is where the consumer stands."""
        try:
            records = await consumer.getmany(self._at, timeout_ms=_POLL_MS, max_records=limit)
        except OffsetOutOfRangeError as error:
            low = (await consumer.beginning_offsets([self._at]))[self._at]
            if at < low:
                raise _trimmed(at) from error
            raise Stop("bus-went-backwards", f"{self._at.topic} lacks message {at}") from error
        except CorruptRecordException as error:
            text = f"{self._at.topic} has a damaged batch at or behind message {at}"
            raise Stop("store-damaged", text) from error
        messages = [self._message(record) for record in records.get(self._at, [])]
        if [message.offset for message in messages] != list(range(at, at + len(messages))):
            raise Stop("store-damaged", f"{self._at.topic} lacks messages behind {at}")
        return messages

    def _message(self, record: Any) -> RawMessage:
        try:
            (a, credential), (b, form), (c, received) = record.headers
            if (a, b, c) != HEADERS or record.value is None:
                raise ValueError(record.headers)
            return RawMessage(
                self._epoch,
                self._at.partition,
                record.offset,
                credential.decode(),
                form.decode(),
                int(received),
                record.value,
            )
        except ValueError as error:
            text = f"message {record.offset} of {self._at.topic} has no intake header"
            raise Stop("store-damaged", text) from error

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
        consumer = AIOKafkaConsumer(
            **self._access.options(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            max_partition_fetch_bytes=FETCH_BYTES,
        )
        try:
            await consumer.start()
            consumer.assign([self._at])
        except BaseException:
            await consumer.stop()
            raise
        return consumer


def _trimmed(offset: int) -> Stop:
    return Stop("bus-trimmed", f"message {offset} is no longer on the bus")
