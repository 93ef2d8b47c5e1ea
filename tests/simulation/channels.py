"""The topics as one process enters them: the ports of infra/roles/ports.py over the world's bus.

At each append a process may end, or be stopped until another has its place.
"""

from collections.abc import Sequence

from bal.model import RawMessage
from bal.ports import Intake
from infra.roles.ports import Members
from tests.simulation.topics import RawTopic, Topic
from tests.simulation.world import Process


class ProcessTopic:
    """Port Topic over one partition."""

    def __init__(self, process: Process, topic: Topic[bytes], partition: int = 0) -> None:
        self._process, self._topic, self._partition = process, topic, partition
        self._point = f"{process.name.partition('-')[0]} before {topic.name}"

    def append(self, items: Sequence[bytes]) -> None:
        for item in items:
            self._process.point(self._point)
            self._topic.append(self._partition, item)

    def read(self, position: int, limit: int, wait_s: float = 0.0) -> list[tuple[int, bytes]]:
        return self._topic.read(self._partition, position, limit)

    def end(self) -> int:
        return self._topic.end(self._partition)

    def trim(self, position: int) -> None:
        self._topic.trim(self._partition, position)

    def close(self) -> None: ...


class ProcessRaw:
    """Port RawTopic."""

    def __init__(self, process: Process, raw: RawTopic) -> None:
        self._process, self._raw = process, raw

    @property
    def epoch(self) -> str:
        return self._raw.epoch

    @property
    def partitions(self) -> int:
        return self._raw.topic.partitions

    def append(
        self, messages: Sequence[Intake], registry: int, partition: int | None = None
    ) -> list[tuple[int, int]]:
        assert partition is not None, "collectors are not processes here"
        self._process.point("worker before flush")
        return [(partition, self._raw.append(partition, one, registry)) for one in messages]

    def read(
        self, partition: int, offset: int, limit: int, wait_s: float = 0.0
    ) -> list[tuple[RawMessage, int]]:
        return self._raw.read(partition, offset, limit)

    def ends(self) -> list[int]:
        return [self._raw.topic.end(partition) for partition in self._raw.partitions]

    def trim(self, partition: int, offset: int) -> None:
        self._raw.trim(partition, offset)

    def close(self) -> None: ...


class ProcessChannels:
    """Port Channels."""

    def __init__(
        self,
        process: Process,
        raw: RawTopic,
        rows: Topic[bytes],
        commitments: Topic[bytes],
        announcements: Topic[bytes],
    ) -> None:
        self.raw = ProcessRaw(process, raw)
        self.commitments = ProcessTopic(process, commitments)
        self.announcements = ProcessTopic(process, announcements)
        self._rows = [ProcessTopic(process, rows, partition) for partition in raw.partitions]

    def rows(self, partition: int) -> ProcessTopic:
        return self._rows[partition]

    def members(self, role: str, shares: int) -> Members:
        raise NotImplementedError("the world's Group")

    def close(self) -> None: ...
