"""What a closed day lacks, in stretches."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bal.derive.gaps import gaps
from bal.model import Rank
from bal.slots import EMPTY_SLOT, Slot

STATES = st.lists(st.sampled_from([int(rank) for rank in Rank]), max_size=100)


def slots(states: list[int]) -> list[Slot]:
    return [EMPTY_SLOT._replace(state=state) for state in states]


def test_runs_of_missing_and_estimated_slots() -> None:
    day = slots([2, 0, 0, 1, 2, 3, 0])
    assert list(gaps(1_000, 900, day)) == [(1_900, 4_600), (6_400, 7_300)]


@given(STATES)
def test_every_slot_is_either_measured_or_in_one_gap(states: list[int]) -> None:
    found = list(gaps(0, 1, slots(states)))
    lacking = [at for begin, end in found for at in range(begin, end)]
    assert lacking == [at for at, state in enumerate(states) if state <= Rank.ESTIMATED]
    assert all(a[1] < b[0] for a, b in pairwise(found))  # the longest runs
