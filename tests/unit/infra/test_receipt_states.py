"""How far entries are: of a page, as of each by itself."""

from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from bal.model import Anchor
from infra.receipts import Receipts


class Heads:
    """Anchored heads by size, with their states."""

    def __init__(self, heads: dict[int, str]) -> None:
        self._heads, self.asked = heads, 0

    def covering(self, index: int) -> tuple[Anchor, bytes, str] | None:
        """The smallest head above an index."""
        self.asked += 1
        size = min((size for size in self._heads if size > index), default=None)
        if size is None:
            return None
        return Anchor("1", "0x", "0x", size, 1, "0x"), b"", self._heads[size]


@given(
    st.dictionaries(st.integers(1, 40), st.sampled_from(["anchored", "final"])),
    st.lists(st.integers(0, 45)),
)
def test_the_states_of_a_page_are_those_of_its_entries(
    known: dict[int, str], indexes: list[int]
) -> None:
    heads = Heads(known)
    receipts = Receipts(*cast("tuple[Any, Any, Any]", (None,) * 3), lambda: heads)
    states = receipts.states_of(indexes)
    assert heads.asked <= len(known) + 1
    found = [heads.covering(index) for index in indexes]
    assert states == [one[2] if one else "included" for one in found]


def test_without_a_chain_all_are_included() -> None:
    receipts = Receipts(*cast("tuple[Any, Any, Any]", (None,) * 3), lambda: None)
    assert receipts.states_of([3, 1]) == ["included", "included"]
