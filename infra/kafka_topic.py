"""The topics between the roles on Kafka, each with what infra/roles/ports.py promises of it."""

import asyncio
import re
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Lock
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.errors import KafkaError

from bal.collect.partition import dealt
from bal.errors import Stop, Unavailable
from bal.model import RawMessage
from bal.ports import Intake
from infra.kafka_append import Appender
from infra.kafka_bus import SETTINGS
from infra.kafka_client import KafkaAccess, LoopThread, administration, create_topic, one_at_a_time
from infra.kafka_partition import (
    LOOK_AGAIN_S,
    LOOKS,
    Looker,
    PartitionReader,
    Record,
    parser_with_registry,
    record_of,
)

RAW, ROWS, COMMITMENTS, ANNOUNCEMENTS = (
    "bal.raw", "bal.rows", "bal.commitments", "bal.announcements",
)  # fmt: skip


def ensure_role_topics(access: KafkaAccess, partitions: int, *, suffix: str = "") -> str:
    """The epoch of the topics between the roles; they are made where there are none.

    `<name><suffix>.<epoch>` each: raw and rows with `partitions`, commitments and announcements
    with one. The topic of raw messages is made last, so that where it is, the others were. For the
    one who sets up, with the rights to make and describe topics; two at once could make two.
    Raises Stop("bus-settings") where a topic has other settings or another number of partitions,
    Stop("bus-went-backwards") where there are two epochs, or a topic is gone.
    """
    form = re.compile(re.escape(RAW + suffix) + r"\.[0-9a-f]{16}")

    async def ensure() -> str:
        async with administration(access) as client:
            names = set(await client.list_topics())
            found = sorted(name for name in names if form.fullmatch(name))
            if len(found) > 1:
                text = f"there are two buses: {' and '.join(found)}; only one is the log's"
                raise Stop("bus-went-backwards", text)
            epoch = found[0].rpartition(".")[2] if found else secrets.token_hex(8)
            counts = {ROWS: partitions, COMMITMENTS: 1, ANNOUNCEMENTS: 1, RAW: partitions}
            for name, count in counts.items():
                topic = f"{name}{suffix}.{epoch}"
                if found and topic not in names:
                    raise Stop("bus-went-backwards", f"{topic} is gone")
                await create_topic(client, topic, partitions=count, settings=SETTINGS)
            return epoch

    loop = LoopThread()
    try:
        return loop.call(ensure(), 8 * access.timeout_s)
    finally:
        loop.close()


class Entered:
    """Kafka as one process entered it: what its topics share."""

    def __init__(self, access: KafkaAccess) -> None:
        """Connects when it is used first."""
        self.access = access
        self.loop = LoopThread()
        self.looker = Looker(access)
        self._trimming = asyncio.Lock()
        self._administrator: AIOKafkaAdminClient | None = None

    async def trim(self, at: TopicPartition, position: int) -> None:
        """Have Kafka delete what lies below; one at a time."""
        async with self._trimming:
            try:
                if self._administrator is None:
                    self._administrator = AIOKafkaAdminClient(**self.access.options())
                    await self._administrator.start()
                await self._administrator.delete_records({at: RecordsToDelete(position)})
            except BaseException:
                await self._end_administrator()
                raise

    def close(self) -> None:
        """Let go of Kafka; topics are closed by then."""
        for ending in (self.looker.close, self._end_administrator):
            with suppress(Unavailable):
                self.loop.call(ending(), self.access.timeout_s)
        self.loop.close()

    async def _end_administrator(self) -> None:
        client, self._administrator = self._administrator, None
        if client is not None:
            with suppress(KafkaError, TimeoutError):
                await asyncio.wait_for(client.close(), self.access.timeout_s)


class Partition:
    """Reads and trims one partition; any number of threads may ask, one at a time reads."""

    def __init__(self, kafka: Entered, at: TopicPartition, parse: Callable[[Any], Any]) -> None:
        self._kafka, self._at = kafka, at
        self._access, self._loop = kafka.access, kafka.loop
        self._reader = PartitionReader[Any](kafka.access, at, parse, kafka.looker)
        self._lock = Lock()

    def read(self, position: int, limit: int, wait_s: float) -> list[Any]:
        """As Topic.read; takes `wait_s` and a time-out at most."""
        limit_s = max(0.0, wait_s) + self._access.timeout_s
        with one_at_a_time(self._lock, limit_s):
            return self._loop.call(self._reader.some(position, limit, wait_s), limit_s)

    def end(self) -> int:
        """The position behind the last. Raises Stop("bus-went-backwards")."""
        return self._loop.call(self._reader.look_at_end(), 2 * self._access.timeout_s)

    def trim(self, position: int) -> None:
        """Have Kafka delete what lies below."""
        wanted = min(position, max(self._reader.known_end, self.end()))
        if wanted <= self._reader.low:
            return
        self._loop.call(self._kafka.trim(self._at, wanted), self._access.timeout_s)
        self._reader.low = max(wanted, self._reader.low)

    def close(self) -> None:
        """End the consumer."""
        with suppress(Unavailable):
            self._loop.call(self._reader.close(), self._access.timeout_s)


class _Writer:
    """An appender and its lock."""

    def __init__(self, kafka: Entered, topic: str) -> None:
        self._access, self._loop = kafka.access, kafka.loop
        self._appender, self._lock = Appender(kafka.access, topic), Lock()

    def append(self, groups: dict[int, list[Record]]) -> dict[int, int]:
        limit_s = 2 * self._access.timeout_s
        with one_at_a_time(self._lock, limit_s):
            return self._loop.call(self._appender.append(groups), limit_s)

    def close(self) -> None:
        with suppress(Unavailable):
            self._loop.call(self._appender.close(), self._access.timeout_s)


class KafkaTopic:
    """Topic (infra/roles/ports.py): one partition. Connects when it is used first.

    Needs Read on the topic, Write to append, Delete to trim. One thread at a time reads; `append`
    may run beside it.
    """

    def __init__(self, kafka: Entered, topic: str, partition: int) -> None:
        self._number = partition
        self._writer = _Writer(kafka, topic)
        self._partition = Partition(kafka, TopicPartition(topic, partition), _item)

    def append(self, items: Sequence[bytes]) -> None:
        """All are durable, in this order, when it returns; see infra/kafka_append.py."""
        if items:
            self._writer.append({self._number: [(None, item, []) for item in items]})

    def read(self, position: int, limit: int, wait_s: float = 0.0) -> list[tuple[int, bytes]]:
        """At most `limit` items from `position` on; see the port."""
        found: list[tuple[int, bytes]] = self._partition.read(position, limit, wait_s)
        return found

    def end(self) -> int:
        """The position behind the last item."""
        return self._partition.end()

    def trim(self, position: int) -> None:
        """Forget what is below `position`."""
        self._partition.trim(position)

    def close(self) -> None:
        """Let go of Kafka."""
        self._writer.close()
        self._partition.close()


def _item(record: Any) -> tuple[int, bytes]:
    if record.value is None:
        raise ValueError("no value")
    return record.offset, record.value


class KafkaRawTopic:
    """RawTopic (infra/roles/ports.py): `topic` with all its partitions.

    Rights as KafkaTopic. One thread at a time reads a partition.
    """

    def __init__(
        self, kafka: Entered, topic: str, partitions: int, is_bulk: Callable[[str], bool]
    ) -> None:
        """is_bulk: whether a credential's messages need no order."""
        self._kafka, self._is_bulk = kafka, is_bulk
        self._epoch = topic.rpartition(".")[2]
        self._writer = _Writer(kafka, topic)
        self._at = [TopicPartition(topic, number) for number in range(partitions)]
        self._partitions = [
            Partition(kafka, at, parser_with_registry(self._epoch, at.partition)) for at in self._at
        ]
        self._ends = [0] * partitions

    @property
    def epoch(self) -> str:
        """16 hex digits."""
        return self._epoch

    @property
    def partitions(self) -> int:
        """How many; never changes in an epoch."""
        return len(self._at)

    def append(
        self, messages: Sequence[Intake], registry: int, partition: int | None = None
    ) -> list[tuple[int, int]]:
        """Make all durable; partition and offset of each. partition: instead of the key's.

        Several partitions are written side by side: where it raises Unavailable, some may have
        their part of the group.
        """
        groups, places = dealt(messages, self.partitions, self._is_bulk, partition)
        rows = {
            to: [record_of(m, self._is_bulk, registry) for m in group]
            for to, group in groups.items()
        }
        first = self._writer.append(rows) if rows else {}
        return [(to, first[to] + at) for to, at in places]

    def read(
        self, partition: int, offset: int, limit: int, wait_s: float = 0.0
    ) -> list[tuple[RawMessage, int]]:
        """Messages from `offset` on without a gap, each with `registry`."""
        found: list[tuple[RawMessage, int]] = self._partitions[partition].read(
            offset, limit, wait_s
        )
        return found

    def ends(self) -> list[int]:
        """By partition the offset of the next message."""
        return self._kafka.loop.call(self._look_at_ends(), self._kafka.access.timeout_s)

    async def _look_at_ends(self) -> list[int]:
        """All in one question; as PartitionReader.look_at_end."""
        async with self._kafka.looker.consuming() as consumer:
            for look in range(LOOKS):
                await asyncio.sleep(LOOK_AGAIN_S if look else 0)
                known = list(self._ends)
                answer = await consumer.end_offsets(self._at)
                found = [int(answer[at]) for at in self._at]
                lost = [at for at in range(len(found)) if found[at] < known[at]]
                if not lost:
                    self._ends = found
                    return found
        text = f"{self._at[lost[0]].topic} ends at {found[lost[0]]}; it had {known[lost[0]]}"
        raise Stop("bus-went-backwards", f"{text} messages")

    def trim(self, partition: int, offset: int) -> None:
        """Forget the messages of a partition below `offset`."""
        self._partitions[partition].trim(offset)

    def close(self) -> None:
        """Let go of Kafka."""
        self._writer.close()
        for one in self._partitions:
            one.close()
