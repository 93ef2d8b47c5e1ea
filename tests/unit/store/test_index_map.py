"""The index map: every index leads to its home, and damage is noticed."""

from zlib import crc32

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


def test_a_batch_of_one_shard_and_day_is_one_run() -> None:
    places = [(index, (3, 20_000)) for index in range(1000)]
    assert len(index_map.encode(places)) == 24 + 4


def test_layout() -> None:
    data = index_map.encode([(7, (1, -1)), (8, (1, -1)), (9, (2, 5)), (11, (2, 5))])
    assert data[:-4] == bytes.fromhex(
        """
        0000000000000007 00000002 00000001 ffffffffffffffff
        0000000000000009 00000001 00000002 0000000000000005
        000000000000000b 00000001 00000002 0000000000000005
        """
    )
    assert data[-4:] == crc32(data[:-4]).to_bytes(4, "big")


def test_an_index_has_one_home() -> None:
    with pytest.raises(ValueError, match="one index"):
        index_map.encode([(7, (1, 1)), (8, (1, 1)), (8, (1, 2))])


@pytest.mark.parametrize("cut", [0, 3, 4, 24, 27, 28, 51])
def test_a_cut_map_is_noticed(cut: int) -> None:
    data = index_map.encode([(7, (1, 1)), (9, (2, 5))])
    with pytest.raises(ValueError, match="not an index map"):
        index_map.decode(data[:cut])


@pytest.mark.parametrize("at", range(28))
def test_a_map_of_which_a_byte_is_altered_is_noticed(at: int) -> None:
    data = bytearray(index_map.encode([(7, (1, 1))]))
    data[at] ^= 0x80
    with pytest.raises(ValueError, match="not an index map"):
        index_map.decode(bytes(data))
