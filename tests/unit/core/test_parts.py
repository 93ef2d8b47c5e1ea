"""Parts of a message that stand in it again and again are committed to as each alone would be."""

from hypothesis import given
from hypothesis import strategies as st

from bal.certify.commitment import commitment
from bal.model import TYPE_PART, Pseudonym, Subject
from bal.pipeline import _commit_parts

SUBJECTS = [Subject(Pseudonym(name), name.encode() * 32, "g", "g/0") for name in "abc"]
PART = st.sampled_from([b"", b"\n", b"\n  ", b"<a/>", b"x" * 64, b"x" * 65, b"y" * 3_000])


@given(st.lists(st.tuples(st.sampled_from(SUBJECTS), PART), max_size=40))
def test_equal_parts(sent: list[tuple[Subject, bytes]]) -> None:
    made = _commit_parts([subject for subject, _ in sent], [part for _, part in sent])
    assert made == [commitment(subject.salt_key, TYPE_PART, part) for subject, part in sent]
