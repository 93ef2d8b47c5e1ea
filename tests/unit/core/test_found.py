"""Which device an item of a message is said to be about, and which it must not be."""

from collections.abc import Sequence
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from bal import jcs
from bal.found import Found, found_in
from bal.model import Digest, Draft, Finding, Part, Pseudonym, Rank, Subject


def subject(name: str, group: str = "north") -> Subject:
    key = sha256(name.encode()).digest()
    return Subject(Pseudonym(name), key, group, f"{group}/0")


PLATFORM, HEAD_END = subject("platform", "$platform"), subject("head-end", "$platform")
A, B = subject("a"), subject("b", "south")


def parts(*owned: tuple[bytes, Subject]) -> tuple[bytes, list[Part]]:
    """A message that is made of these bytes, and its parts."""
    raw, made = b"", []
    for content, owner in owned:
        made.append(Part(len(raw), len(raw) + len(content), owner, Digest(bytes(32))))
        raw += content
    return raw, made


def item(line: int | None, code: str = "time-cut", field: str = "") -> Finding:
    return Finding(code, "warning", "a text", field, line)


def record(owner: Subject, *findings: Finding) -> Draft:
    said = [{**one.as_json(), "id": f"#finding-{n}"} for n, one in enumerate(findings, 1)]
    data = jcs.encode({"findings": said, "id": "", "kind": "reading"})
    return Draft(owner, "reading", "r", 1, 1, Rank.MEASURED, data)


def devices(found: Sequence[Found]) -> list[tuple[str, str]]:
    return [(one.device, one.group) for one in found]


def test_of_a_message_of_one_device_all_is_its() -> None:
    raw, made = parts((b"one\ntwo", A))
    found = found_in(raw, made, [], [item(None)], [item(2), item(99)])
    assert devices(found) == [("a", "north")] * 3
    assert [one.finding.line for one in found] == [None, 2, 99]  # findings, then refusals


def test_what_is_the_platforms_or_of_a_sender_that_is_no_device_is_of_nobody() -> None:
    for owner in (PLATFORM, HEAD_END):
        raw, made = parts((b"one", owner))
        assert devices(found_in(raw, made, [], [], [item(1)])) == [("", "")]


def test_the_line_says_whose_it_is_where_one_device_has_bytes_in_it() -> None:
    raw, made = parts(
        (b"<m>\n ", PLATFORM), (b"<a>\n 1\n</a>", A), (b"\n ", PLATFORM), (b"<b/>", B),
        (b"<a/>", A), (b"\n</m>\n", PLATFORM),
    )  # fmt: skip
    found = found_in(raw, made, [], [], [item(line) for line in (1, 2, 3, 4, 5, 6, 7, 8, None, 0)])
    nobody, a = ("", ""), ("a", "north")
    assert devices(found) == [nobody, a, a, a, nobody, *[nobody] * 5]


def test_a_record_that_repeats_it_says_whose_it_is() -> None:
    raw, made = parts((b"[", PLATFORM), (b"{1}", A), (b",", PLATFORM), (b"{2}", B))
    first, second = item(1, field="/0/x"), item(1, field="/1/x")
    drafts = [record(A, first), record(B, second), record(B)]
    assert devices(found_in(raw, made, drafts, [first, second], [])) == [
        ("a", "north"), ("b", "south"),
    ]  # fmt: skip
    both = [record(A, first), record(B, first)]
    assert devices(found_in(raw, made, both, [first], [])) == [("", "")]
    assert devices(found_in(raw, made, drafts, [], [first])) == [("", "")]  # it has no record


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from([b"\n", b"x"]), min_size=1, max_size=6).map(b"".join),
            st.sampled_from([A, B, PLATFORM]),
        ),
        min_size=1,
        max_size=8,
    ),
    st.integers(0, 12),
)
def test_no_line_is_given_to_a_device_without_bytes_in_it(
    owned: list[tuple[bytes, Subject]], line: int
) -> None:
    raw, made = parts(*owned)
    [found] = found_in(raw, made, [], [], [item(line)])
    lines = raw.split(b"\n")
    owners = {
        part.subject.pseudonym
        for part in made
        for at in range(part.start, part.end)
        if raw.count(b"\n", 0, at) == line - 1 and raw[at : at + 1] != b"\n"
    }
    if len(made) > 1 and found.device:
        assert 1 <= line <= len(lines)
        others = owners - {"platform", found.device}
        assert not others
        assert not owners or found.device in owners
