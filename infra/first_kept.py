"""Where a topic that is trimmed from its beginning begins, found by reading alone."""

from collections.abc import Callable

from bal.errors import Stop


def first_kept(read: Callable[[int], object], low: int, end: int) -> int:
    """The first offset from `low` on below which all is trimmed; `end` where nothing is kept.

    `low` itself is tried first, since a topic is seldom trimmed. read: of one item below `end`;
    raises Stop("bus-trimmed") below what is kept. Whatever else it raises goes through.
    """
    begin, high = low, end
    while low < high:  # to try is all that a topic offers
        middle = (low + high) // 2 if low > begin else low
        try:
            read(middle)
        except Stop as stop:
            if stop.code != "bus-trimmed":
                raise
            low = middle + 1
        else:
            high = middle
    return low
