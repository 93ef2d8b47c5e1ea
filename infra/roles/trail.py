"""What the log took of one partition, as the announcements tell: who works it goes by that."""

from collections import deque
from collections.abc import Iterable

from bal.store.merge import Place
from infra.roles.ports import Position


class Trail:
    """Of one source: up to where it is taken, in which versions, and where its entries end.

    Announcements may be told again; nothing of it changes by that.
    """

    def __init__(self, taken: int, versions: Iterable[tuple[int, int]], saved: Position) -> None:
        """taken: the last offset before the own claim; saved: the position that was begun with.

        versions: offset and version of what was taken from there on, ascending.
        """
        self.taken = taken
        self.stored = -1  # the last offset of which rows and archive are known to be stored
        self._before, self._saved = taken, saved
        self._versions = deque(versions)  # the first offset that is in a version
        self._ends: deque[tuple[int, int]] = deque()  # offset, size of the log with its entries
        self._marks: deque[tuple[int, int]] = deque()  # offset, where the windows begin then

    def add(self, version: int, place: Place) -> None:
        """A part of one of its batches was announced."""
        offset = place.offset
        if offset <= self._before or offset < self.taken:
            return
        # A batch without entries is stored for certain only once something behind it is.
        end = place.first + max(place.count, 1)
        if offset == self.taken:  # a further part; or told again
            if self._ends and self._ends[-1][0] == offset:
                self._ends[-1] = offset, max(end, self._ends[-1][1])
            return
        self.taken = offset
        self._ends.append((offset, end))
        if not self._versions or self._versions[-1][1] < version:
            self._versions.append((offset, version))

    def see_stored(self, size: int) -> None:
        """Rows and archive are there below a size of the log."""
        while self._ends and self._ends[0][1] <= size:
            self.stored = self._ends.popleft()[0]

    def mark(self, offset: int, needed_from: int) -> None:
        """After the message at `offset`, windows begin with the one at `needed_from`."""
        self._marks.append((offset, needed_from))

    def position(self) -> Position | None:
        """Where whoever goes on behind what is *taken* begins; None where nothing is new."""
        needed: int | None = None
        while self._marks and self._marks[0][0] <= self.taken:
            needed = self._marks.popleft()[1]
        if needed is None:
            return None
        if needed > self.taken:
            version = self._versions[-1][1]
        else:
            while len(self._versions) > 1 and self._versions[1][0] <= needed:
                self._versions.popleft()
            first, found = self._versions[0]
            version = found - 1 if first <= needed else self._saved.version
        self._saved = Position(needed, version)
        return self._saved
