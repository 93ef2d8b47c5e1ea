"""What is said of a worked message comes back as it was, or is not said at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.model import Draft, Finding, Part, Pseudonym, Rank, RawMessage, Subject
from bal.pipeline import Worked
from infra.bulk_wire import LENGTH, columns, frame, read_columns, read_frame

MESSAGE = RawMessage("e", 0, 7, "headend", "cim", 1, b"0123456789")
SUBJECTS = [Subject(Pseudonym(f"p{n}"), bytes([n]) * 32, "g", "g/0") for n in range(3)]
NUMBERS = {id(subject): number for number, subject in enumerate(SUBJECTS)}

subjects = st.sampled_from(SUBJECTS)
texts = st.text(max_size=5)
times = st.integers(-(2**63), 2**63 - 1)
drafts = st.builds(
    Draft, subjects, texts, texts, times, times, st.sampled_from(Rank), st.binary(max_size=9)
)
findings = st.builds(
    Finding, texts, st.just("warning"), texts, texts, st.none() | st.integers(0, 9), texts
)


@st.composite
def parts(draw: st.DrawFn) -> list[Part]:
    ends = sorted(draw(st.lists(st.integers(0, 10), max_size=6)))
    return [
        Part(start, end, draw(subjects), draw(st.binary(max_size=32)))  # type: ignore[arg-type]
        for start, end in zip([0, *ends], ends, strict=False)
    ]


rows = st.lists(st.tuples(drafts, st.binary(min_size=32, max_size=32)), max_size=8)
worked = st.builds(
    lambda made, *more: Worked(MESSAGE, [d for d, _ in made], [e for _, e in made], *more),
    rows,
    parts(),
    st.lists(findings, max_size=3),
    st.lists(findings, max_size=3),
)


@given(worked=worked)
def test_it_comes_back_equal(worked: Worked) -> None:
    sent = frame(columns(worked, NUMBERS))
    assert LENGTH.unpack(sent[: LENGTH.size]) == (len(sent) - LENGTH.size,)
    back = read_columns(MESSAGE, read_frame(sent[LENGTH.size :]), SUBJECTS)
    assert back == worked
    assert all(type(draft.rank) is Rank for draft in back.drafts)


@pytest.mark.parametrize(
    "lost",
    [
        Worked(MESSAGE, again="e/0/1"),
        Worked(MESSAGE, taken=1),
        Worked(MESSAGE, [Draft(SUBJECTS[0], "", "", 0, 0, Rank.MISSING, b"", b"frames")]),
        Worked(MESSAGE, parts=[Part(1, 2, SUBJECTS[0], b"")]),  # type: ignore[arg-type]
    ],
    ids=["retry", "windows", "frames", "gap"],
)
def test_what_columns_have_no_place_for_is_not_said(lost: Worked) -> None:
    with pytest.raises(ValueError, match=r"consecutive|alone"):
        columns(lost, NUMBERS)


@pytest.mark.parametrize("column", range(7))
def test_columns_of_different_lengths_are_refused(column: int) -> None:
    draft = Draft(SUBJECTS[0], "", "", 0, 0, Rank.MISSING, b"")
    part = Part(0, 10, SUBJECTS[0], bytes(32))  # type: ignore[arg-type]
    made = columns(Worked(MESSAGE, [draft], [bytes(32)], [part]), NUMBERS)  # type: ignore[list-item]
    assert read_columns(MESSAGE, made, SUBJECTS).drafts == [draft]
    with pytest.raises(ValueError, match="lengths"):
        read_columns(MESSAGE, (*made[:column], [], *made[column + 1 :]), SUBJECTS)


def test_a_subject_that_was_not_told_is_not_said() -> None:
    stranger = Subject(Pseudonym("p0"), bytes(32), "g", "g/0")
    with pytest.raises(KeyError):
        columns(Worked(MESSAGE, [Draft(stranger, "", "", 0, 0, Rank.MISSING, b"")]), NUMBERS)
