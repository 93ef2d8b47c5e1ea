"""Appends to partitions of one topic of Kafka: in order, durably, and never overtaking itself."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from bal.errors import Stop, Unavailable
from infra.kafka_client import (
    BATCH_BYTES_MAX,
    GIVE_UP_WAITS,
    RETRY_S,
    KafkaAccess,
    end_producer,
    open_producer,
)
from infra.kafka_partition import Record

logger = logging.getLogger("gridseal.bus")

ITEM_BYTES_MAX = BATCH_BYTES_MAX - 64 * 1024  # of one record, with its key and headers
BATCH_BYTES = 8 * 1024 * 1024  # a batch ends with the record that reaches it

Groups = Mapping[int, Sequence[Record]]  # by partition


class Appender:
    """Sends one set of groups at a time, with acks=all, by an idempotent producer.

    Where no answer comes in time, `append` raises Unavailable and the groups are *in doubt*: the
    producer keeps sending the same batches under the same sequence numbers, which Kafka writes
    once. Until their fate is known the next `append` waits for it, and raises Unavailable again, so
    that nothing overtakes them; where it appends the same, it is answered for them. A producer that
    fails for good, or has no answer three times, is cut off and replaced. What it had on its way
    may be written still, which is a repetition if the caller appended the same again.

    Its methods run in one event loop, one at a time.
    """

    def __init__(self, access: KafkaAccess, topic: str) -> None:
        """Connects when it is used first."""
        self._access, self._topic = access, topic
        self._producer: AIOKafkaProducer | None = None
        self._doubt: asyncio.Task[dict[int, int]] | None = None
        self._doubted: Groups = {}
        self._waits = 0
        self._ends: dict[int, int] = {}

    async def append(self, groups: Groups) -> dict[int, int]:
        """By partition the position of the group's first record; all are durable.

        Raises Unavailable as said above, Stop("bus-went-backwards") where a position is given that
        was given before, ValueError for a record of more than ITEM_BYTES_MAX.
        """
        if self._doubt is not None:
            known = None
            with suppress(Unavailable):
                known = await self._outcome()
            if self._doubt is not None:
                raise _no_answer()
            if known is not None and groups == self._doubted:
                return known
        if any(_size(one) > ITEM_BYTES_MAX for records in groups.values() for one in records):
            raise ValueError(f"an item has at most {ITEM_BYTES_MAX} bytes")
        producer = self._producer or await self._open_producer()
        self._waits, self._doubted = 0, groups
        self._doubt = asyncio.create_task(self._send(producer, groups))
        return await self._outcome()

    async def close(self) -> None:
        """Let go of Kafka; what is in doubt is left as it is."""
        await self._drop()

    async def _outcome(self) -> dict[int, int]:
        """What became of what was sent; raises Unavailable with the doubt left where none can say.

        Where it failed, the doubt is over as well: the caller may append the same again.
        """
        assert self._doubt is not None
        done, _ = await asyncio.wait({self._doubt}, timeout=self._access.timeout_s)
        if not done:
            self._waits += 1
            if self._waits == 1:
                logger.warning("Kafka does not answer: items for %s are in doubt", self._topic)
            if self._waits >= GIVE_UP_WAITS:
                await self._drop()
            raise _no_answer()
        error = None if self._doubt.cancelled() else self._doubt.exception()
        if self._doubt.cancelled() or error is not None:
            await self._drop()
            raise Unavailable(f"Kafka did not take it: {error!r}", retry_after_s=RETRY_S)
        if self._waits:
            logger.warning("Kafka answers again: items in doubt for %s are there", self._topic)
        first, self._doubt = self._doubt.result(), None
        for partition, position in first.items():
            if position < self._ends.get(partition, 0):
                text = f"{self._topic} gave position {position} a second time"
                raise Stop("bus-went-backwards", f"{text}: it was made anew, or cut")
            self._ends[partition] = position + len(self._doubted[partition])
        return first

    async def _send(self, producer: AIOKafkaProducer, groups: Groups) -> dict[int, int]:
        sent = [self._send_group(producer, at, records) for at, records in groups.items()]
        return dict(zip(groups, await asyncio.gather(*sent), strict=True))

    async def _send_group(
        self, producer: AIOKafkaProducer, partition: int, records: Sequence[Record]
    ) -> int:
        """Batch by batch: one that fails must not have a later one written before it."""
        first, rest = -1, list(records)
        while rest:
            batch = producer.create_batch()
            taken = size = 0
            while taken < len(rest) and size < BATCH_BYTES:
                key, value, headers = rest[taken]
                if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
                    break
                taken += 1
                size += _size(rest[taken - 1])
            assert taken, "the limit on an item's bytes keeps it within a batch"
            batch.close()
            answer = await producer.send_batch(batch, self._topic, partition=partition)
            position = int((await answer).offset)
            if position < 0:  # Kafka knows the batch, no longer its offset
                raise KafkaError("Kafka has it and can't say where")
            first = position if first < 0 else first
            rest = rest[taken:]
        return first

    async def _open_producer(self) -> AIOKafkaProducer:
        self._producer = await open_producer(
            self._access, batch_bytes=BATCH_BYTES_MAX, request_bytes=BATCH_BYTES_MAX
        )
        return self._producer

    async def _drop(self) -> None:
        """End the producer, and the doubt."""
        producer, self._producer = self._producer, None
        doubt, self._doubt = self._doubt, None
        if producer is not None:
            await end_producer(producer, doubt, self._access.timeout_s)


def _size(record: Record) -> int:
    key, value, headers = record
    return len(key or b"") + len(value) + sum(len(name) + len(one) for name, one in headers)


def _no_answer() -> Unavailable:
    return Unavailable("Kafka does not answer in time", retry_after_s=RETRY_S)
