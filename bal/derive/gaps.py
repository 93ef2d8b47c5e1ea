"""What a closed day lacks: stretches of slots without a measured value, to be asked for again."""

from collections.abc import Iterator, Sequence

from bal.model import Rank
from bal.slots import Slot


def gaps(start_s: int, slot_s: int, slots: Sequence[Slot]) -> Iterator[tuple[int, int]]:
    """[begin, end) in seconds of each run of slots that are missing or only estimated.

    start_s, slot_s, slots: as a device-day has them.
    """
    first: int | None = None
    for number, slot in enumerate((*slots, None)):
        lacks = slot is not None and slot.state <= Rank.ESTIMATED
        if lacks and first is None:
            first = number
        elif not lacks and first is not None:
            yield start_s + first * slot_s, start_s + number * slot_s
            first = None
