"""Topics, members and positions in memory, for a sequencer that runs on a folder."""

from collections.abc import Mapping, Sequence
from typing import Any

from bal.certify.log import Batch
from bal.certify.order import claim, encode, offers
from bal.errors import Stop, Unavailable
from infra.roles.ports import Position

EPOCH = "e" * 16
ORIGIN = "gridseal.invalid/0123456789abcdef"
INPUTS = {"registry": "0", "rules": "r"}
START_US = 1_768_471_200_000_000  # 2026-01-15T10:00:00Z


class Time:
    """A clock that goes on when it is told to, the host's and the one that is never set."""

    def __init__(self) -> None:
        self.us = START_US

    def now_us(self) -> int:
        return self.us

    def now_s(self) -> float:
        return (self.us - START_US) / 1e6

    def pass_s(self, seconds: float) -> None:
        self.us += int(seconds * 1e6)


class MemoryTopic:
    def __init__(self) -> None:
        self.items: list[bytes] = []
        self.low = 0
        self.away = False

    def append(self, items: Sequence[bytes]) -> None:
        self._check()
        self.items += items

    def read(self, position: int, limit: int, wait_s: float = 0.0) -> list[tuple[int, bytes]]:
        del wait_s
        self._check()
        if position < self.low:
            raise Stop("bus-trimmed", f"{position}")
        return list(enumerate(self.items))[position : position + limit]

    def end(self) -> int:
        self._check()
        return len(self.items)

    def trim(self, position: int) -> None:
        self.low = max(self.low, position)

    def close(self) -> None:
        pass

    def _check(self) -> None:
        if self.away:
            raise Unavailable("the bus does not answer")


class MemoryPositions:
    def __init__(self) -> None:
        self.saved: dict[str, Position] = {}

    def get(self, name: str) -> Position:
        return self.saved.get(name, Position(0))

    def save(self, name: str, position: Position) -> None:
        at = self.get(name)
        if (position.offset, position.version) >= (at.offset, at.version):
            self.saved[name] = position


class MemoryMembers:
    def __init__(self) -> None:
        self.shares: dict[int, int] = {0: 1}
        self.closed = False

    def mine(self) -> Mapping[int, int]:
        return dict(self.shares)

    def close(self) -> None:
        self.closed = True


class MemoryChannels:
    """What a sequencer asks of Channels; each process has members of its own."""

    def __init__(self) -> None:
        self.commitments, self.announcements = MemoryTopic(), MemoryTopic()
        self.joined: list[MemoryMembers] = []
        self.raw: Any = None

    def members(self, role: str, shares: int) -> MemoryMembers:
        assert (role, shares) == ("sequencer", 1)
        self.joined.append(MemoryMembers())
        return self.joined[-1]

    def rows(self, partition: int) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        pass


class MemoryStored:
    def __init__(self, size: int = 0) -> None:
        self.stored = size

    def size(self) -> int:
        return self.stored

    def registry_records(self, size: int, first: int = 0) -> dict[int, bytes]:
        del size, first
        return {}


def entries(source: int, offset: int, count: int, text: str = "") -> list[bytes]:
    return [f"{source}/{offset}/{at}/{text}".encode().ljust(32, b".") for at in range(count)]


def offer(
    offset: int,
    count: int = 1,
    *,
    partition: int = 0,
    generation: int = 0,
    text: str = "",
    parts: int = 1,
) -> list[bytes]:
    """The items of one batch, `count` entries in each of its parts."""
    made = entries(partition, offset, count * parts, text)
    batches = [
        Batch(EPOCH, partition, offset, offset - 1, made[part * count :][:count], INPUTS, part)
        for part in range(parts)
    ]
    return [encode(one) for one in offers(batches, generation)]


def claimed(generation: int, partition: int = 0) -> bytes:
    return encode(claim(EPOCH, partition, generation))
