"""What the partitions of one storer process share: a registry, and announcements read once."""

from collections import deque

from bal.errors import Stop
from bal.registry import Registry
from bal.store.merge import Announced, parse
from infra.projector import Projector
from infra.roles.ports import Topic
from infra.stores import apply

KEPT_PLACES = 50_000  # of announcements in memory, about a kilobyte each at most


class Announcements:
    """The topic of announcements, which each partition reads at a pace of its own.

    They are mostly at the same place: what one has read is kept for the others.
    """

    def __init__(self, topic: Topic) -> None:
        self._topic = topic
        self._kept: deque[tuple[int, Announced]] = deque()
        self._from = self._to = 0  # positions: all from the one to the other are kept
        self._places = 0

    def end(self) -> int:
        """As Topic."""
        return self._topic.end()

    def trim(self, position: int) -> None:
        """As Topic."""
        self._topic.trim(position)

    def read(self, position: int, limit: int) -> list[tuple[int, Announced]]:
        """As Topic, parsed. Raises Stop("store-damaged"), too."""
        if not self._from <= position <= self._to:
            self._kept.clear()
            self._from = self._to = position
            self._places = 0
        if position < self._to:
            return [one for one in self._kept if one[0] >= position][:limit]
        found = [(at, _parsed(data)) for at, data in self._topic.read(position, limit)]
        for at, announced in found:
            self._keep(at, announced)
        return found

    def _keep(self, at: int, announced: Announced) -> None:
        self._kept.append((at, announced))
        self._to = at + 1
        self._places += len(announced.places)
        while self._places > KEPT_PLACES and len(self._kept) > 1:
            dropped, gone = self._kept.popleft()
            self._from, self._places = dropped + 1, self._places - len(gone.places)


def _parsed(data: bytes) -> Announced:
    try:
        return parse(data)
    except ValueError as error:
        raise Stop("store-damaged", f"an announcement can't be read: {error}") from error


class StorerState:
    """For one thread."""

    def __init__(self, projector: Projector, announcements: Topic) -> None:
        self._projector = projector
        self.announcements = Announcements(announcements)
        self.registry = Registry()  # as of `size`; a prefix of the log, whoever stored it
        self.size = 0

    def knows(self, size: int) -> bool:
        """Whether the registry is as of `size` at least; looks, where it is not."""
        if self.size < size:
            stored = self._projector.size()
            if stored > self.size:
                apply(self._projector.registry_records(stored, self.size), self.registry)
                self.size = stored
        return self.size >= size
