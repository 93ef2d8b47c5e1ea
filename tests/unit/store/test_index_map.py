"""The index map: every index leads to its home, and damage is noticed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.store import index_map

HOMES = st.tuples(st.integers(0, 2**32 - 1), st.integers(-(2**40), 2**40))


@given(
    st.integers(0, 2**62),
    st.lists(st.tuples(st.integers(0, 2**32 - 1), HOMES), min_size=1, max_size=40),
)
def test_decoding_gives_back_every_place(
    first: int, deltas: list[tuple[int, tuple[int, int]]]
) -> None:
    places = sorted({first + delta: home for delta, home in [(0, (1, 2)), *deltas]}.items())
    assert index_map.decode(index_map.encode(places)) == places


def test_a_batch_of_one_shard_and_day_costs_eight_bytes_a_row() -> None:
    places = [(index, (3, 20_000)) for index in range(1000)]
    assert len(index_map.encode(places)) == 16 + 12 + 8 * 1000


def test_layout() -> None:
    assert index_map.encode([(7, (1, -1)), (9, (2, 5)), (10, (1, -1))]) == bytes.fromhex(
        """
        00000003 00000002 0000000000000007
        00000001 ffffffffffffffff 00000002 0000000000000005
        00000000 00000002 00000003
        00000000 00000001 00000000
        """
    )


@pytest.mark.parametrize("cut", [0, 3, 15, 20, 40])
def test_a_cut_map_is_noticed(cut: int) -> None:
    data = index_map.encode([(7, (1, 1)), (9, (2, 5))])
    with pytest.raises(ValueError, match="not an index map"):
        index_map.decode(data[:cut])


def test_a_home_that_is_not_listed_is_noticed() -> None:
    data = bytearray(index_map.encode([(7, (1, 1))]))
    data[-1] = 9
    with pytest.raises(ValueError, match="not an index map"):
        index_map.decode(bytes(data))
