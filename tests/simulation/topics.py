"""Topics of a bus with partitions that misbehaves: never more kindly than Kafka or the journal.

An append may be refused, or be made and its answer lost; what was appended may be visible to
readers late; the broker restarts, and nobody is answered meanwhile. What was answered stays.
"""

from collections.abc import Sequence
from typing import Generic, TypeVar
from zlib import compress, decompress

from bal.errors import Stop, Unavailable
from bal.model import RawMessage
from bal.ports import Intake
from tests.simulation.world import SECOND_US, Process, World

T = TypeVar("T")
COMPRESSED = 4096  # bytes from which on a raw message is kept deflated


class Topic(Generic[T]):
    """Ordered by partition, durable once answered, at least once."""

    def __init__(self, world: World, name: str, partitions: int = 1) -> None:
        self.world, self.name = world, name
        self._items: list[list[T | None]] = [[] for _ in range(partitions)]
        self._visible: list[list[int]] = [[] for _ in range(partitions)]  # from when, by offset
        self._kept: list[int] = [0] * partitions  # lower offsets were trimmed
        self._readers: list[Process] = []
        self._down_until = 0

    @property
    def partitions(self) -> int:
        return len(self._items)

    def readers(self, *processes: Process) -> None:
        """Whom to wake when something is appended."""
        self._readers += processes

    def restart(self, seconds: float) -> None:
        """Answer nobody for so long."""
        self._down_until = self.world.now_us + int(seconds * SECOND_US)

    def append(self, partition: int, item: T) -> int:
        """The item's offset. Raises Unavailable: it is appended, or it is not."""
        world = self.world
        if world.now_us < self._down_until or world.hit(f"{self.name} refused"):
            raise Unavailable("the bus does not answer")
        late_s = 0.0
        if world.hit(f"{self.name} visible late"):
            late_s = world.random(f"{self.name}{world.now_us}").uniform(0.1, 20)
        items, visible = self._items[partition], self._visible[partition]
        from_us = max(world.now_us + int(late_s * SECOND_US), visible[-1] if visible else 0)
        items.append(item)
        visible.append(from_us)
        for reader in self._readers:
            reader.wake((from_us - world.now_us) / SECOND_US + 0.005)
        if world.hit(f"{self.name} answer lost"):
            raise Unavailable("no answer")
        return len(items) - 1

    def read(self, partition: int, offset: int, limit: int) -> list[tuple[int, T]]:
        """What is visible from `offset` on, with offsets; nothing while the broker is away."""
        now_us = self.world.now_us
        if now_us < self._down_until:
            return []
        if offset < self._kept[partition]:  # who asks was stopped while others went on
            raise Stop("bus-trimmed", f"{self.name}: {offset}")
        found: list[tuple[int, T]] = []
        items, visible = self._items[partition], self._visible[partition]
        while offset < len(items) and len(found) < limit and visible[offset] <= now_us:
            item = items[offset]
            assert item is not None
            found.append((offset, item))
            offset += 1
        return found

    def end(self, partition: int) -> int:
        """The offset that the next item gets."""
        return len(self._items[partition])

    def kept(self, partition: int) -> int:
        """The first offset that is not trimmed."""
        return self._kept[partition]

    def trim(self, partition: int, below: int) -> None:
        """Forget what nobody needs."""
        items = self._items[partition]
        for offset in range(self._kept[partition], min(below, len(items))):
            items[offset] = None
        self._kept[partition] = max(self._kept[partition], min(below, len(items)))


class RawTopic:
    """`bal.raw.<epoch>`: raw messages with their intake header, kept to the end for the rebuild.

    The header says, too, up to which log size the collector knew the registry: a worker waits
    until it knows as much, or it would refuse a sender that was enrolled a moment ago.
    """

    def __init__(self, world: World, epoch: str, partitions: int) -> None:
        self.epoch = epoch
        self.topic: Topic[tuple[str, str, int, bytes, int]] = Topic(world, "raw", partitions)

    def append(self, partition: int, intake: Intake, registry: int) -> int:
        """Durable when it returns; see Topic.append."""
        raw = intake.raw if len(intake.raw) < COMPRESSED else compress(intake.raw, 1)
        item = intake.credential, intake.format, intake.received_us, raw, registry
        return self.topic.append(partition, item)

    def read(self, partition: int, offset: int, limit: int) -> list[tuple[RawMessage, int]]:
        """Messages in order, each with the registry's size in its header."""
        found = self.topic.read(partition, offset, limit)
        return [(self._message(partition, at, item), item[4]) for at, item in found]

    def message(self, partition: int, offset: int) -> RawMessage:
        """One message, as the raw archive would have it."""
        item = self.topic._items[partition][offset]
        assert item is not None
        return self._message(partition, offset, item)

    @property
    def partitions(self) -> Sequence[int]:
        return range(self.topic.partitions)

    def _message(
        self, partition: int, offset: int, item: tuple[str, str, int, bytes, int]
    ) -> RawMessage:
        credential, form, received_us, raw, _ = item
        raw = decompress(raw) if raw[:1] == b"\x78" else raw
        return RawMessage(self.epoch, partition, offset, credential, form, received_us, raw)
