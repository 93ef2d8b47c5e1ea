"""Which rows of a slot a read shows (ARCHITECTURE §2; docs/spec/record.md §as-of).

A slot is (device, kind, register, begin, end). A later message for it is a further version; the
same message taken twice leaves byte-equal rows, of which only the first counts at all: a retry
that slipped through brings nothing new, so it does not outrank what came between. An event without
a register is a slot of its own: nothing says that two of them are about the same thing.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Literal

from bal.errors import Rejected
from bal.store.segment import Key

MEASUREMENTS = frozenset({"reading", "telemetry", "event", "phasors"})  # kind=None asks for these

SortKey = tuple[int, str, str, str, int, int]

_slot = itemgetter(0, 1, 2, 3, 4)
_precedence = attrgetter("rank", "log_index")


def sort_key(key: Key) -> SortKey:
    """(end, device, kind, register, begin, index): the order in which rows are given."""
    return key[:6]


def as_sort_key(after: Sequence[object]) -> SortKey:
    """A cursor as it came back from a caller. Raises Rejected("cursor-invalid")."""
    match after:
        case [int() as end, str() as device, str() as kind, str() as register, int() as begin,
              int() as index]:  # fmt: skip
            return end, device, kind, register, begin, index
    raise Rejected("cursor-invalid", "The cursor is none that this service gave.", field="cursor")


def shown(
    keys: Iterable[Key],
    versions: Literal["latest", "all"],
    records: Callable[[Sequence[Key]], Sequence[bytes]],
) -> Iterator[Key]:
    """The rows to show of `keys`, which hold whole slots below the as-of size, in sort order.

    `records` gives the bytes of rows; it is asked only where two rows of a slot are equally long.
    """
    for _, group in groupby(sorted(keys), key=_slot):
        slot = list(group)
        if len(slot) > 1:
            slot = _without_repeats(slot, records)
            if versions == "latest" and _names_a_series(slot[0]):
                slot = [max(slot, key=_precedence)]
        yield from slot


def _names_a_series(key: Key) -> bool:
    """Whether two rows of this slot are versions of each other, not two things said at once."""
    return key.kind != "event" or key.register != ""


def _without_repeats(
    slot: list[Key], records: Callable[[Sequence[Key]], Sequence[bytes]]
) -> list[Key]:
    """The slot's rows by index, less those whose bytes an earlier one has."""
    sizes = [key.stop - key.start for key in slot]
    alike = [key for key, size in zip(slot, sizes, strict=True) if sizes.count(size) > 1]
    if not alike:
        return slot
    seen: set[bytes] = set()
    repeats: set[int] = set()
    for key, record in zip(alike, records(alike), strict=True):
        if record in seen:
            repeats.add(key.log_index)
        seen.add(record)
    return [key for key in slot if key.log_index not in repeats]
