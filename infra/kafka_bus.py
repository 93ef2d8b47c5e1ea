"""The bus on Kafka: one partition of the topic `bal.raw.<epoch>` (docs/decisions/0013-kafka.md)."""

import asyncio
import logging
import re
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin.records_to_delete import RecordsToDelete

from bal.errors import Stop, Unavailable
from bal.model import RawMessage
from bal.ports import Intake
from infra.kafka_client import (
    BATCH_BYTES_MAX,
    GIVE_UP_WAITS,
    RETRY_S,
    KafkaAccess,
    LoopThread,
    administration,
    create_topic,
    end_producer,
    one_at_a_time,
    open_producer,
)
from infra.kafka_partition import PartitionReader, facts_of, parser, record_of

logger = logging.getLogger("gridseal.bus")

TOPIC = "bal.raw"
GROUP_BYTES_MAX = 24 * 1024 * 1024  # raw bytes in one append: the intake's 16 MiB and a last 4 MiB

SETTINGS = {
    "cleanup.policy": "delete",  # never compact: an offset stands for a message for good
    "retention.ms": "-1",  # nothing goes by age or size, only by `trim`
    "retention.bytes": "-1",
    "max.message.bytes": str(BATCH_BYTES_MAX + 1024 * 1024),
    "message.timestamp.type": "LogAppendTime",  # else Kafka refuses what a fast clock received
    "segment.bytes": str(64 * 1024 * 1024),
    "segment.ms": str(3_600_000),  # what was trimmed leaves the disk with its segment
    "unclean.leader.election.enable": "false",
}


def ensure_topic(access: KafkaAccess, *, prefix: str = TOPIC, partitions: int = 1) -> str:
    """The name `<prefix>.<epoch>` of the one topic of raw messages; made where there is none.

    Its epoch is drawn when it is made: a topic made anew has another name, so that its message 0
    can't be taken for the old one's. For the one who sets up, with the rights to make and describe
    topics; two at once could make two. Raises Stop("bus-settings") where the topic has other
    settings or another number of partitions, Stop("bus-went-backwards") where there are two.
    """
    form = re.compile(re.escape(prefix) + r"\.[0-9a-f]{16}")

    async def ensure() -> str:
        async with administration(access) as client:
            found = [name for name in await client.list_topics() if form.fullmatch(name)]
            if len(found) > 1:
                text = f"there are two buses: {' and '.join(sorted(found))}; only one is the log's"
                raise Stop("bus-went-backwards", text)
            name = found[0] if found else f"{prefix}.{secrets.token_hex(8)}"
            await create_topic(client, name, partitions=partitions, settings=SETTINGS)
            return name

    loop = LoopThread()
    try:
        return loop.call(ensure(), 4 * access.timeout_s)
    finally:
        loop.close()


@dataclass(slots=True)
class _Sent:
    """A group that was handed to Kafka and is not yet known to be there."""

    messages: Sequence[Intake]
    mark: int  # where the partition ended before, as far as we know
    answer: "asyncio.Task[int]"  # its first offset
    waits: int = 0


class KafkaBus:
    """Bus (bal.ports): one partition of `topic`, written with acks=all by an idempotent producer.

    An append is one record batch, and a batch is there whole or not at all: Kafka appends, copies,
    checks and recovers nothing smaller. What `append` gives an offset for is on every replica in
    sync, or fsynced where there is one broker. Where no answer comes in time, `append` raises
    Unavailable and the group is *in doubt*: the producer keeps sending the same batch under the
    same sequence number, which Kafka writes once. Until its fate is known the next append waits
    for it, and raises Unavailable again. A group in doubt that turns out to be there was
    acknowledged to nobody; its senders send again, and the worker knows the message by (credential,
    SHA-256). A producer that fails for good, or has no answer three times, is replaced, and the log
    is searched for the group first; only what such a producer still has under way can come
    later, and is a repetition of the same kind.

    The principal needs Write, Read and Describe on the topic and, for `trim`, Delete.
    """

    def __init__(
        self,
        access: KafkaAccess,
        topic: str,
        *,
        partition: int = 0,
        is_bulk: Callable[[str], bool] = lambda credential: False,
        read_only: bool = False,
    ) -> None:
        """topic: from `ensure_topic`; is_bulk: whether a credential's messages need no order.

        read_only: look at it and append nothing, for an audit; Read and Describe are enough.

        Raises Unavailable where Kafka does not answer, Stop("bus-went-backwards") where the topic
        is gone.
        """
        self._access, self._is_bulk, self._read_only = access, is_bulk, read_only
        self.topic = topic
        self._epoch = topic.rpartition(".")[2]
        self._at = TopicPartition(topic, partition)
        self._append_lock, self._read_lock, self._trim_lock = Lock(), Lock(), Lock()
        self._producer: AIOKafkaProducer | None = None
        self._doubt: _Sent | None = None
        self._reader = PartitionReader(access, self._at, parser(self._epoch, partition))
        self._loop = LoopThread()
        try:
            self.end()
            if not read_only:
                self._loop.call(self._open_producer(), 2 * access.timeout_s)
        except BaseException:
            self.close()
            raise

    @property
    def epoch(self) -> str:
        """16 hex digits, drawn when the topic was made."""
        return self._epoch

    def close(self) -> None:
        """Let go of Kafka. A group in doubt is left as it is: nobody was told that it is there."""
        with suppress(Unavailable):
            self._loop.last_call(self._drop_producer(), self._access.timeout_s)
        with suppress(Unavailable):
            self._loop.last_call(self._reader.close(), self._access.timeout_s)
        self._loop.close()

    def give_up(self) -> None:
        """Nobody waits for Kafka any more: each call raises Unavailable, also one under way."""
        self._loop.give_up()

    # -- append --------------------------------------------------------------------------------

    def append(self, messages: Sequence[Intake]) -> list[int]:
        """All or none, and in order; their offsets once every replica in sync has them.

        Takes at most eight times `timeout_s`, as a rule milliseconds. Raises Unavailable when Kafka
        refuses or does not answer; then nothing is acknowledged, though it may be there all the
        same (see above). Raises Stop("bus-went-backwards") where the offset given is one that was
        taken already, ValueError for more than GROUP_BYTES_MAX.
        """
        if sum(len(message.raw) for message in messages) > GROUP_BYTES_MAX:
            raise ValueError(f"a group has at most {GROUP_BYTES_MAX} bytes")
        if not messages:
            return []
        assert not self._read_only, "opened to look at only"
        with one_at_a_time(self._append_lock, 8 * self._access.timeout_s):
            first = self._loop.call(self._append(messages), 8 * self._access.timeout_s)
        return list(range(first, first + len(messages)))

    async def _append(self, messages: Sequence[Intake]) -> int:
        if self._doubt is not None:
            await self._outcome(self._doubt)
        producer = self._producer or await self._open_producer()
        answer = asyncio.create_task(self._send(producer, messages))
        self._doubt = _Sent(messages, self._reader.known_end, answer)
        first = await self._outcome(self._doubt)
        if first is None:
            error = answer.exception() if not answer.cancelled() else None
            text = f"Kafka did not take the messages: {error!r}"
            raise Unavailable(text, retry_after_s=RETRY_S)
        return first

    async def _send(self, producer: AIOKafkaProducer, messages: Sequence[Intake]) -> int:
        batch = producer.create_batch()
        for m in messages:
            key, value, headers = record_of(m, self._is_bulk)
            added = batch.append(key=key, value=value, timestamp=None, headers=headers)
            assert added is not None, "the limit on a group's bytes keeps it within a batch"
        batch.close()
        sent = await producer.send_batch(batch, self._at.topic, partition=self._at.partition)
        return int((await sent).offset)

    async def _outcome(self, sent: _Sent) -> int | None:
        """The first offset of a group; None where it is not there.

        Raises Unavailable while neither can be known; the doubt remains.
        """
        done, _ = await asyncio.wait({sent.answer}, timeout=self._access.timeout_s)
        first = -1
        if done and not sent.answer.cancelled() and sent.answer.exception() is None:
            first = sent.answer.result()  # -1: Kafka knows the batch, no longer its offset
        elif not done:
            sent.waits += 1
            if sent.waits == 1:
                logger.warning("Kafka does not answer: %d messages are in doubt", _count(sent))
            if sent.waits < GIVE_UP_WAITS:
                raise Unavailable("Kafka does not answer in time", retry_after_s=RETRY_S)
        found: int | None = first
        if first < 0:
            await self._drop_producer()
            found = await self._reader.find(
                [facts_of(one) for one in sent.messages], facts_of, sent.mark
            )
        self._doubt = None
        if found is not None:
            self._advance(found, sent)
        if sent.waits:
            where = "are not there" if found is None else f"are there from {found} on"
            logger.warning("Kafka answers again: %d messages in doubt %s", _count(sent), where)
        return found

    def _advance(self, first: int, sent: _Sent) -> None:
        if first < sent.mark:
            text = f"{self._at.topic} gave message {first} a second time: it was made anew, or cut"
            raise Stop("bus-went-backwards", text)
        self._reader.seen(first + len(sent.messages))

    async def _open_producer(self) -> AIOKafkaProducer:
        self._producer = await open_producer(
            self._access, batch_bytes=BATCH_BYTES_MAX, request_bytes=BATCH_BYTES_MAX
        )
        return self._producer

    async def _drop_producer(self) -> None:
        """End it; a group in doubt remains so."""
        producer, self._producer = self._producer, None
        if producer is not None:
            answer = self._doubt.answer if self._doubt is not None else None
            await end_producer(producer, answer, self._access.timeout_s)

    # -- read and trim -------------------------------------------------------------------------

    def read(self, offset: int, limit: int) -> list[RawMessage]:
        """Messages from `offset` on, without a gap.

        Raises Stop("bus-trimmed") where the first is forgotten already, Stop("store-damaged") where
        a later one is missing or one is not as it was written, Stop("bus-went-backwards") where
        what was seen is gone, Unavailable when Kafka does not answer.
        """
        with one_at_a_time(self._read_lock, 8 * self._access.timeout_s):
            coroutine = self._reader.read(offset, limit)
            return self._loop.call(coroutine, 6 * self._access.timeout_s)

    def end(self) -> int:
        """The offset of the next message. Raises as `read`."""
        with one_at_a_time(self._read_lock, 8 * self._access.timeout_s):
            return self._loop.call(self._reader.look_at_end(), 6 * self._access.timeout_s)

    # -- trim ----------------------------------------------------------------------------------

    def trim(self, offset: int) -> None:
        """Have Kafka delete what lies below `offset`; the disk is free once a segment is."""
        with one_at_a_time(self._trim_lock, 8 * self._access.timeout_s):
            self._loop.call(self._trim(offset), 2 * self._access.timeout_s)

    async def _trim(self, offset: int) -> None:
        wanted = min(offset, self._reader.known_end)
        if wanted <= self._reader.low:
            return
        async with administration(self._access) as client:
            await client.delete_records({self._at: RecordsToDelete(wanted)})
        self._reader.low = wanted


def _count(sent: _Sent) -> int:
    return len(sent.messages)
