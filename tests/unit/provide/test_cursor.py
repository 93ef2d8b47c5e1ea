import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.errors import Rejected
from bal.provide.cursor import seal, unseal

KEY, OTHER = b"k" * 32, b"o" * 32
places = st.lists(
    st.text(st.characters(exclude_categories=["Cs"])) | st.integers(-(2**63), 2**63) | st.none(),
    max_size=7,
)
queries = st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=5)


@given(queries, places)
def test_a_cursor_gives_its_place_under_any_key_that_is_still_known(
    query: list[str], place: list[object]
) -> None:
    cursor = seal(KEY, query, place)
    assert unseal([OTHER, KEY], query, cursor) == place


@given(queries, places, st.data())
def test_a_changed_cursor_is_refused(
    query: list[str], place: list[object], data: st.DataObject
) -> None:
    cursor = seal(KEY, query, place)
    at = data.draw(st.integers(0, len(cursor) - 1))
    other = "A" if cursor[at] != "A" else "B"
    changed = cursor[:at] + other + cursor[at + 1 :]
    with pytest.raises(Rejected, match="cursor-invalid"):
        unseal([KEY], query, changed)


@given(queries, queries, places)
def test_a_cursor_belongs_to_its_query(
    query: list[str], other: list[str], place: list[object]
) -> None:
    cursor = seal(KEY, query, place)
    if query != other:
        with pytest.raises(Rejected):
            unseal([KEY], other, cursor)


@pytest.mark.parametrize("text", ["", "A", "AAAA", "ä", "x" * 5000, "%%%%", "\ud800"])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(Rejected, match="cursor-invalid"):
        unseal([KEY], [], text)


def test_a_cursor_has_one_form() -> None:
    cursor = seal(KEY, [], ["a", 1])
    for changed in (cursor + "=", cursor[:9] + "!" + cursor[9:], cursor + "\n", f" {cursor}"):
        with pytest.raises(Rejected, match="cursor-invalid"):
            unseal([KEY], [], changed)


def test_a_cursor_of_another_key_is_refused() -> None:
    with pytest.raises(Rejected):
        unseal([OTHER], [], seal(KEY, [], [1]))
    with pytest.raises(Rejected):
        unseal([], [], seal(KEY, [], [1]))
