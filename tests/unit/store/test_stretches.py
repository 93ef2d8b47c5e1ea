"""Stretches: each row is in exactly one, and a head-end's messages are read once each."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bal.store.stretches import Span, split


@st.composite
def spans(draw: st.DrawFn) -> list[Span]:
    drawn = draw(
        st.lists(st.tuples(st.integers(1, 9), st.integers(0, 99), st.integers(0, 99)), max_size=12)
    )
    listed = [
        Span(number, 1, rows, min(a, b), max(a, b)) for number, (rows, a, b) in enumerate(drawn)
    ]
    return sorted(listed, key=lambda span: span.end_min_us)


@given(spans(), st.integers(0, 99), st.integers(0, 120), st.integers(1, 40))
def test_every_instant_of_every_span_is_in_exactly_one_stretch(
    listed: list[Span], lo: int, hi: int, rows_goal: int
) -> None:
    within = [span for span in listed if span.end_min_us < hi and span.end_max_us >= lo]
    found = [
        (instant, span.number)
        for stretch in split(within, lo, hi, rows_goal)
        for span in stretch.spans
        for instant in range(stretch.lo_us, stretch.hi_us)
        if span.end_min_us <= instant <= span.end_max_us
    ]
    wanted = [
        (instant, span.number)
        for span in within
        for instant in range(max(span.end_min_us, lo), min(span.end_max_us, hi - 1) + 1)
    ]
    assert sorted(found) == sorted(wanted)


@given(spans(), st.integers(0, 99), st.integers(1, 40))
def test_stretches_follow_each_other(listed: list[Span], lo: int, rows_goal: int) -> None:
    within = [span for span in listed if span.end_max_us >= lo]
    stretches = list(split(within, lo, 200, rows_goal))
    assert all(a.hi_us == b.lo_us for a, b in pairwise(stretches))
    assert all(stretch.lo_us < stretch.hi_us for stretch in stretches)
    assert not stretches or (stretches[0].lo_us, stretches[-1].hi_us) == (lo, 200)


def test_one_message_an_instant_is_read_once() -> None:
    messages = [Span(number, 1, 250, 900 * number, 900 * number) for number in range(96)]
    stretches = list(split(messages, 0, 86_400, 1000))
    assert [len(stretch.spans) for stretch in stretches] == [4] * 24
