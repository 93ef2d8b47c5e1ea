"""The topics between the roles on Kafka (docs/kafka.md), as one process of a role enters them."""

from collections.abc import Callable
from contextlib import suppress
from threading import Lock

from aiokafka.errors import UnknownTopicOrPartitionError, for_code

from bal.errors import Stop, Unavailable
from infra.kafka_client import KafkaAccess, administration
from infra.kafka_members import KafkaMembers
from infra.kafka_topic import (
    ANNOUNCEMENTS,
    COMMITMENTS,
    RAW,
    ROWS,
    Entered,
    KafkaRawTopic,
    KafkaTopic,
)


class KafkaChannels:
    """Channels (infra/roles/ports.py). Any thread may use it; see each topic.

    Topics connect when they are used first, so a role needs rights on what it uses alone
    (infra/servers/kafka_rights.py), and to describe the topic of announcements.
    """

    def __init__(
        self,
        access: KafkaAccess,
        epoch: str,
        partitions: int,
        *,
        is_bulk: Callable[[str], bool] = lambda credential: False,
        suffix: str = "",
    ) -> None:
        """epoch: from infra.kafka_topic.ensure_role_topics, with the same partitions and suffix.

        is_bulk: whether a credential's messages need no order. Raises Unavailable where Kafka does
        not answer, Stop("bus-went-backwards") where the announcements are gone.
        """
        self._access, self._epoch, self._suffix = access, epoch, suffix
        self._lock = Lock()
        self._rows: dict[int, KafkaTopic] = {}
        self._members: list[KafkaMembers] = []
        self._kafka = Entered(access)
        self._raw = KafkaRawTopic(self._kafka, self._name(RAW), partitions, is_bulk)
        self._commitments = self._topic(COMMITMENTS)
        self._announcements = self._topic(ANNOUNCEMENTS)
        try:
            self._kafka.loop.call(self._check(), access.timeout_s)
        except BaseException:
            self.close()
            raise

    @property
    def raw(self) -> KafkaRawTopic:
        """Raw messages."""
        return self._raw

    @property
    def commitments(self) -> KafkaTopic:
        """Offers and claims."""
        return self._commitments

    @property
    def announcements(self) -> KafkaTopic:
        """One item a version of the log."""
        return self._announcements

    def rows(self, partition: int) -> KafkaTopic:
        """One partition of rows; the same object each time."""
        with self._lock:
            if partition not in self._rows:
                self._rows[partition] = self._topic(ROWS, partition)
            return self._rows[partition]

    def members(self, role: str, shares: int) -> KafkaMembers:
        """Join the processes of a role, by the group `<role>.<epoch>`."""
        group, topic = f"{role}.{self._epoch}", self._name(ANNOUNCEMENTS)
        member = KafkaMembers(self._access, self._kafka.loop, group, topic, shares)
        with self._lock:
            self._members.append(member)
        return member

    def close(self) -> None:
        """Let go of all."""
        for member in self._members:
            with suppress(Unavailable):
                member.close()
        for topic in (*self._rows.values(), self._commitments, self._announcements):
            topic.close()
        self._raw.close()
        self._kafka.close()

    def _name(self, topic: str) -> str:
        return f"{topic}{self._suffix}.{self._epoch}"

    def _topic(self, topic: str, partition: int = 0) -> KafkaTopic:
        return KafkaTopic(self._kafka, self._name(topic), partition)

    async def _check(self) -> None:
        async with administration(self._access) as client:
            name = self._name(ANNOUNCEMENTS)
            (found,) = await client.describe_topics([name])
            if found["error_code"] == UnknownTopicOrPartitionError.errno:
                raise Stop("bus-went-backwards", f"{name} is gone")
            if found["error_code"]:
                raise for_code(found["error_code"])(name)
