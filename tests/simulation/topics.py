"""Topics of a bus with partitions that misbehaves: never more kindly than Kafka or the journal.

An append may be refused, or be made and its answer lost; what was appended may be visible to
readers late; the broker restarts, and nobody is answered meanwhile. What was answered stays.
"""

from collections.abc import Sequence
from typing import Generic, TypeVar

from cramjam import zstd

from bal.errors import Stop, Unavailable
from bal.model import RawMessage
from bal.ports import Intake
from tests.simulation.world import SECOND_US, Process, World

T = TypeVar("T")
ZSTD = b"\x28\xb5\x2f\xfd"
COMPRESSED = 4096  # bytes from which on a raw message is kept compressed


class Topic(Generic[T]):
    """Ordered by partition, durable once answered, at least once."""

    def __init__(
        self, world: World, name: str, partitions: int = 1, *, loses: bool = False
    ) -> None:
        """loses: now and then an item that was answered is gone: a broker lost its disk."""
        self.world, self.name = world, name
        self._items: list[list[T | None]] = [[] for _ in range(partitions)]
        self._visible: list[list[int]] = [[] for _ in range(partitions)]  # from when, by offset
        self._kept: list[int] = [0] * partitions  # lower offsets were trimmed
        self._readers: list[Process] = []
        self._down_until = 0
        self._loses = loses

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
        items.append(
            None if self._loses and world.hit(f"{self.name} lost", 0.0005, 0.005) else item
        )
        visible.append(from_us)
        for reader in self._readers:
            reader.wake((from_us - world.now_us) / SECOND_US + 0.005)
        if world.hit(f"{self.name} answer lost"):
            raise Unavailable("no answer")
        return len(items) - 1

    def read(self, partition: int, offset: int, limit: int) -> list[tuple[int, T]]:
        """What is visible from `offset` on, with offsets. Raises Unavailable, Stop."""
        now_us = self.world.now_us
        if now_us < self._down_until:
            raise Unavailable("the bus does not answer")
        if offset < self._kept[partition]:  # who asks was stopped while others went on
            raise Stop("bus-trimmed", f"{self.name}: {offset}")
        if offset > len(self._items[partition]):
            raise Stop("bus-went-backwards", f"{self.name}: {offset}")
        found: list[tuple[int, T]] = []
        items, visible = self._items[partition], self._visible[partition]
        while offset < len(items) and len(found) < limit and visible[offset] <= now_us:
            item = items[offset]
            if item is not None:
                found.append((offset, item))
            offset += 1
        return found

    def end(self, partition: int) -> int:
        """The offset that the next item gets. Raises Unavailable."""
        if self.world.now_us < self._down_until:
            raise Unavailable("the bus does not answer")
        return len(self._items[partition])

    def item(self, partition: int, offset: int) -> T:
        """An item, trimmed or not, without a fault; where `trim` forgets nothing."""
        found = self._items[partition][offset]
        assert found is not None
        return found

    def trim(self, partition: int, below: int, *, forget: bool = True) -> None:
        """Nobody may read below that any more; nothing of it is kept, where it is forgotten."""
        items = self._items[partition]
        if forget:
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
        raw = intake.raw
        if len(raw) >= COMPRESSED:
            raw = bytes(zstd.compress(raw, 1))
        item = intake.credential, intake.format, intake.received_us, raw, registry
        return self.topic.append(partition, item)

    def read(self, partition: int, offset: int, limit: int) -> list[tuple[RawMessage, int]]:
        """Messages in order, each with the registry's size in its header."""
        found = self.topic.read(partition, offset, limit)
        return [(self._message(partition, at, item), item[4]) for at, item in found]

    def message(self, partition: int, offset: int) -> RawMessage:
        """One message, as the raw archive would have it."""
        return self._message(partition, offset, self.topic.item(partition, offset))

    def trim(self, partition: int, below: int) -> None:
        """Only the archive may be asked for these; its bytes are kept here, too."""
        self.topic.trim(partition, below, forget=False)

    @property
    def partitions(self) -> Sequence[int]:
        return range(self.topic.partitions)

    def _message(
        self, partition: int, offset: int, item: tuple[str, str, int, bytes, int]
    ) -> RawMessage:
        credential, form, received_us, raw, _ = item
        raw = bytes(zstd.decompress(raw)) if raw[:4] == ZSTD else raw
        return RawMessage(self.epoch, partition, offset, credential, form, received_us, raw)
