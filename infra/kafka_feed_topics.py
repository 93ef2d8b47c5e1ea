"""The topics that consumers read, and where positions of the feed are noted."""

from aiokafka import AIOKafkaConsumer, TopicPartition

from bal.provide.feed import CHECKPOINTS, READINGS
from infra.kafka_client import KafkaAccess, LoopThread, administration, create_topic

GROUP = "storer.feed"  # whose committed offsets carry positions; it has no members
PARTITION = 0  # one a topic, so that its order is the log's
RETENTION_DAYS = 7
BATCH_BYTES = 1024 * 1024
_DAY_MS = 86_400_000


def feed_settings(retention_days: int = RETENTION_DAYS) -> dict[str, str]:
    """Of a topic for consumers: what is on it goes by age, and a segment is a day at most."""
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(retention_days * _DAY_MS),
        "segment.ms": str(_DAY_MS),
        "max.message.bytes": str(2 * BATCH_BYTES),
        "message.timestamp.type": "LogAppendTime",
    }


def ensure_feed(access: KafkaAccess, *, retention_days: int = RETENTION_DAYS) -> None:
    """Make the topics of readings and heads where they are not; for whoever sets up."""

    async def ensure() -> None:
        async with administration(access) as client:
            for name in (READINGS, CHECKPOINTS):
                settings = feed_settings(retention_days)
                await create_topic(client, name, partitions=1, settings=settings)

    loop = LoopThread()
    try:
        loop.call(ensure(), 4 * access.timeout_s)
    finally:
        loop.close()


async def note_position(access: KafkaAccess, topic: str, size: int) -> None:
    """Note that the log was gone through for a topic up to `size`."""
    place = TopicPartition(topic, PARTITION)
    consumer = AIOKafkaConsumer(
        **access.options(), group_id=GROUP, enable_auto_commit=False, auto_offset_reset="none"
    )
    try:
        await consumer.start()
        consumer.assign([place])
        end = (await consumer.end_offsets([place]))[place]
        await consumer.commit({place: (end, str(size))})
    finally:
        await consumer.stop()
