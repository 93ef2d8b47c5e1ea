"""Parts of a message that stand in it again and again are committed to as each alone would be."""

from hypothesis import given
from hypothesis import strategies as st

from bal.certify.commitment import commitment, part_commitments
from bal.model import TYPE_PART

KEYS = [letter * 32 for letter in (b"a", b"b", b"c")]
PART = st.sampled_from([b"", b"\n", b"\n  ", b"<a/>", b"x" * 64, b"x" * 65, b"y" * 3_000])


@given(st.lists(st.tuples(st.sampled_from(KEYS), PART), max_size=40))
def test_equal_parts(sent: list[tuple[bytes, bytes]]) -> None:
    made = part_commitments([key for key, _ in sent], [part for _, part in sent])
    assert made == [commitment(key, TYPE_PART, part) for key, part in sent]
