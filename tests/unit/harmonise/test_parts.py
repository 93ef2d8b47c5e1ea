import hashlib
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from bal.harmonise.parts import cut
from bal.model import Digest, Subject


def commit(subject: Subject, part: bytes) -> Digest:
    return Digest(hashlib.sha256(subject.salt_key + part).digest())


@given(st.binary(min_size=1, max_size=60), st.data())
def test_parts_are_consecutive_and_cover_all(
    subject: Callable[[str], Subject], raw: bytes, data: st.DataObject
) -> None:
    marks = sorted(data.draw(st.sets(st.integers(0, len(raw)), min_size=2, max_size=8)))
    pairs = list(zip(marks[::2], marks[1::2], strict=False))
    spans = [(start, end, subject(data.draw(st.sampled_from("abc")))) for start, end in pairs]
    platform = subject("platform")
    parts, commitments = cut(
        raw, spans, platform, lambda owners, parts: list(map(commit, owners, parts))
    )
    assert b"".join(raw[part.start : part.end] for part in parts) == raw
    assert [part.start for part in parts[1:]] == [part.end for part in parts[:-1]]
    assert all(
        part.commitment == commit(part.subject, raw[part.start : part.end]) for part in parts
    )
    if len({owner for _, _, owner in spans}) == 1:
        assert [part.subject for part in parts] == [spans[0][2]]
        assert commitments == [parts[0].commitment] * len(spans)
    else:
        owned = [part for part in parts if part.subject != platform]
        assert [(part.start, part.end, part.subject) for part in owned] == spans
        assert commitments == [part.commitment for part in owned]
