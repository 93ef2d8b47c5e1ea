"""Reading in time order without holding a day: stretches of it that hold whole slots.

All versions of a slot end at the same instant, so any cut between two instants is a good one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Span(NamedTuple):
    """One segment as its database lists it, without its key table."""

    number: int
    shard: int
    rows: int
    end_min_us: int
    end_max_us: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """The rows with lo_us <= end < hi_us; they are in these segments and no others."""

    spans: Sequence[Span]
    lo_us: int
    hi_us: int


def split(spans: Sequence[Span], lo_us: int, hi_us: int, rows_goal: int) -> Iterator[Stretch]:
    """Consecutive stretches of [lo_us, hi_us), each with about `rows_goal` rows not met before.

    spans: all segments with rows in [lo_us, hi_us), by lowest end. Where all their rows end at one
    instant (a head-end's message) each is in one stretch; a wide one is in several.
    """
    active: list[Span] = []
    at = 0
    while at < len(spans):
        rows, stop = 0, hi_us
        while at < len(spans):
            span = spans[at]
            if rows >= rows_goal and span.end_min_us > max(lo_us, active[-1].end_min_us):
                stop = span.end_min_us
                break
            active.append(span)
            rows += span.rows
            at += 1
        yield Stretch(active, lo_us, stop)
        lo_us = stop
        active = [span for span in active if span.end_max_us >= lo_us]
