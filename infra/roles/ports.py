"""What the roles ask of the topics between them, with what each promises.

Two sets of adapters keep it, by one suite: topics of Kafka, and files of one host. All calls are
synchronous, may block, and raise Unavailable where a server is away; a role tries again then.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bal.model import RawMessage
from bal.ports import Intake


class Topic(Protocol):
    """One partition of a durable, ordered journal of byte strings."""

    def append(self, items: Sequence[bytes]) -> None:
        """All are durable, in this order, when it returns.

        After Unavailable some, or all, may be there; to append the same again may double them.
        What one caller appends never comes behind what it appended later.
        """
        ...

    def read(self, position: int, limit: int, wait_s: float = 0.0) -> list[tuple[int, bytes]]:
        """At most `limit` items from `position` on, each with its position: ascending, with gaps.

        Waits at most `wait_s` for the first. Raises Stop("bus-trimmed") where `position` is below
        what is kept, Stop("bus-went-backwards") where it is beyond the end.
        """
        ...

    def end(self) -> int:
        """The position behind the last item."""
        ...

    def trim(self, position: int) -> None:
        """Forget what is below `position`; nobody needs it any more."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class RawTopic(Protocol):
    """`bal.raw.<epoch>`: raw messages in partitions, as collectors write and workers read it."""

    @property
    def epoch(self) -> str:
        """16 hex digits, drawn when the topic was made."""
        ...

    @property
    def partitions(self) -> int:
        """How many; never changes in an epoch."""
        ...

    def append(
        self, messages: Sequence[Intake], registry: int, partition: int | None = None
    ) -> list[tuple[int, int]]:
        """Make all durable; partition and offset of each.

        registry: size of the log up to which the collector knows the registry; it stands in the
        intake header. partition: where all go; None: where the key of each says
        (bal/collect/partition.py). A worker flushes its own windows and nobody else's. After
        Unavailable some, or all, may be there.
        """
        ...

    def read(
        self, partition: int, offset: int, limit: int, wait_s: float = 0.0
    ) -> list[tuple[RawMessage, int]]:
        """Messages from `offset` on without a gap, each with `registry`; raises as Topic.read."""
        ...

    def ends(self) -> list[int]:
        """By partition the offset of the next message."""
        ...

    def trim(self, partition: int, offset: int) -> None:
        """Forget the messages of a partition below `offset`."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Members(Protocol):
    """The processes of one role that live, and which of the role's shares each has.

    A share is a partition, or 0 where one process is to work and the others stand by. It fences
    nobody: who was stopped for long goes on believing until it asks.
    """

    def mine(self) -> Mapping[int, int]:
        """This process's shares now, each with a number that is another where it was lost between.

        A share of a process that died, or was stopped, is given to another within ten seconds.
        """
        ...

    def close(self) -> None:
        """Leave; what one had is free at once."""
        ...


@dataclass(frozen=True, slots=True)
class Position:
    """Where a role goes on after a restart."""

    offset: int  # in a topic
    version: int = 0  # of the log, a worker's: what is taken from `offset` on stands in later ones


class Positions(Protocol):
    """Saved positions by name, of all processes; each is durable when `save` returns."""

    def get(self, name: str) -> Position:
        """The last one saved; Position(0) where there is none."""
        ...

    def save(self, name: str, position: Position) -> None:
        """Save it, if it is no lower than the one that is there."""
        ...


class Stored(Protocol):
    """What the storer has stored, as other processes see it, at most a moment late."""

    def size(self) -> int:
        """Size of the log below which rows, archive and registry records are there."""
        ...

    def registry_records(self, size: int, first: int = 0) -> dict[int, bytes]:
        """The registry's records with first <= index < `size`, by index, in log order."""
        ...


class Channels(Protocol):
    """All topics of one platform, as one process of a role enters them."""

    @property
    def raw(self) -> RawTopic:
        """Raw messages."""
        ...

    @property
    def commitments(self) -> Topic:
        """`bal.commitments.<epoch>`: offers and claims (bal/certify/order.py)."""
        ...

    @property
    def announcements(self) -> Topic:
        """`bal.announcements.<epoch>`: one item a version of the log."""
        ...

    def rows(self, partition: int) -> Topic:
        """One partition of `bal.rows.<epoch>`, which has as many as the raw topic."""
        ...

    def members(self, role: str, shares: int) -> Members:
        """Join the processes of a role; shares: partitions, or 1."""
        ...

    def close(self) -> None:
        """Let go of all."""
        ...
