"""Rows that were stored a moment ago, for whoever asks for them at once by log index.

The feed of Kafka's consumers and the receipts of single readings read what came a moment ago, in
the order of the log; in Cassandra it lies by shard, day and device, a few requests and some
decoding away (decision 0014). What is here was acknowledged before, so it says the same.

Rows are kept by columns: 64 MiB of them are 45,000 tuples of eleven, all of which the collector
would look at each time, with every thread waiting.
"""

import marshal
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from threading import Lock
from typing import Any

from bal.model import Rank, StoredRecord
from infra.squeezed import squeeze, unsqueezed

ROW_BYTES = 400  # of a row beside its record, in memory

_index = attrgetter("index")
_INDEX, _RANK = (StoredRecord._fields.index(name) for name in ("index", "rank"))
_RANKS = {rank.value: rank for rank in Rank}


@dataclass(frozen=True, slots=True)
class Stretch:
    """The rows of the entries begin <= index < end, by index."""

    begin: int
    end: int
    columns: Sequence[Sequence[Any]]  # in the order of StoredRecord; none where there is no row
    size: int  # bytes

    def rows(self, start: int, stop: int) -> Iterator[StoredRecord]:
        """Those of start <= index < stop."""
        if not self.columns:
            return iter(())
        indexes = self.columns[_INDEX]
        low = bisect_left(indexes, start)
        part = slice(low, bisect_left(indexes, stop, low))
        return map(StoredRecord._make, zip(*(one[part] for one in self.columns), strict=True))


@dataclass(frozen=True, slots=True)
class Packed:
    """A stretch on its way to another process, where it waits until its rows are asked for."""

    begin: int
    end: int
    data: bytes  # its columns in the form of `marshal`, ranks as numbers
    squeezed: bool = False

    @classmethod
    def of(cls, stretch: Stretch) -> "Packed":
        """The same rows."""
        columns = list(stretch.columns)
        if columns:
            columns[_RANK] = tuple(map(int, columns[_RANK]))
        return cls(stretch.begin, stretch.end, marshal.dumps(columns))

    def small(self) -> "Packed":
        """An eighth of it, for 4 µs a row there and back."""
        if self.squeezed:
            return self
        return replace(self, data=squeeze(self.data), squeezed=True)

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return len(self.data) + ROW_BYTES

    def rows(self, start: int, stop: int) -> Iterator[StoredRecord]:
        """As Stretch."""
        data = unsqueezed(self.data) if self.squeezed else self.data
        columns = marshal.loads(data)  # noqa: S302 - of our own process
        if columns:
            columns[_RANK] = tuple(map(_RANKS.__getitem__, columns[_RANK]))
        return Stretch(self.begin, self.end, columns, self.size).rows(start, stop)


class RecentRows:
    """The newest stretch of the log without a gap, as far as it fits; any thread may use it."""

    def __init__(self, bytes_max: int) -> None:
        """bytes_max: of records and rows; 0 keeps nothing."""
        self._bytes_max, self._bytes = bytes_max, 0
        self._stretches: deque[Stretch] = deque()
        self._lock = Lock()

    def add(self, begin: int, end: int, rows: Sequence[StoredRecord]) -> None:
        """Keep what was stored of the entries begin <= index < end: these and no others."""
        kept = sorted((row for row in rows if begin <= row.index < end), key=_index)
        size = sum(len(row.record) for row in kept) + ROW_BYTES * (1 + len(kept))
        stretch = Stretch(begin, end, tuple(zip(*kept, strict=True)), size)
        with self._lock:
            if self._stretches and self._stretches[-1].end != begin:
                self._stretches.clear()
                self._bytes = 0
            self._stretches.append(stretch)
            self._bytes += size
            while self._bytes > self._bytes_max:
                self._bytes -= self._stretches.popleft().size

    def since(self, index: int) -> list[Stretch]:
        """What is here of the entries from `index` on."""
        with self._lock:
            stretches = list(self._stretches)
        return stretches[_first_behind(stretches, index) :]

    def records(self, start: int, stop: int) -> list[StoredRecord] | None:
        """All rows with start <= index < stop, by index; None where not all of it is here."""
        with self._lock:
            stretches = list(self._stretches)
        return _records(stretches, start, stop)


class WaitingRows:
    """The oldest stretch without a gap of what waits for one who goes through all in order.

    What there is no room for he is offered again, or reads from the database. One thread adds and
    one takes.
    """

    def __init__(self, bytes_max: int) -> None:
        """bytes_max: above a quarter of it what comes is squeezed. One stretch is always taken."""
        self._bytes_max, self._bytes = bytes_max, 0
        self._stretches: deque[Packed] = deque()
        self._full = False  # something was refused since the last one left
        self._lock = Lock()

    def takes(self, begin: int) -> bool:
        """Whether what begins there may be taken; so that what is not need not be packed."""
        with self._lock:
            return not self._stretches or (not self._full and self._stretches[-1].end == begin)

    def add(self, packed: Packed) -> bool:
        """Whether it is taken: there is room, and it begins where the last one ends."""
        if not self.takes(packed.begin):
            return False
        if self._stretches and self._bytes > self._bytes_max // 4:
            packed = packed.small()
        with self._lock:
            self._full = bool(self._stretches) and self._bytes + packed.size > self._bytes_max
            if self._full:
                return False
            self._stretches.append(packed)
            self._bytes += packed.size
        return True

    def since(self, index: int) -> list[Packed]:
        """What is here of the entries from `index` on."""
        with self._lock:
            stretches = list(self._stretches)
        return stretches[_first_behind(stretches, index) :]

    def forget(self, index: int) -> None:
        """Entries below it are done with."""
        with self._lock:
            while self._stretches and self._stretches[0].end <= index:
                self._bytes -= self._stretches.popleft().size
                self._full = False

    def records(self, start: int, stop: int) -> list[StoredRecord] | None:
        """As RecentRows."""
        with self._lock:
            stretches = list(self._stretches)
        return _records(stretches, start, stop)


def _records(
    stretches: Sequence[Stretch] | Sequence[Packed], start: int, stop: int
) -> list[StoredRecord] | None:
    if not stretches or start < stretches[0].begin or stop > stretches[-1].end:
        return None
    found: list[StoredRecord] = []
    for at in range(_first_behind(stretches, start), len(stretches)):
        if stretches[at].begin >= stop:
            break
        found += stretches[at].rows(start, stop)
    return found


def _first_behind(stretches: Sequence[Stretch] | Sequence[Packed], index: int) -> int:
    """The place of the first that ends behind `index`."""
    return bisect_left(stretches, index + 1, key=attrgetter("end"))
