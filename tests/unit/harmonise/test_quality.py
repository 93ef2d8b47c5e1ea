"""IEC 61968-9 annex D, ReadingQualityType: codes, and the rank that follows from them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.errors import Rejected
from bal.harmonise.quality import ASSUMED_VALID, quality
from bal.model import Rank


@pytest.mark.parametrize(
    ("codes", "rank"),
    [
        ((), Rank.MEASURED),  # IEC 61968-11 ReadingQuality: good unless a quality says otherwise
        (("1.0.0",), Rank.MEASURED),
        (("3.0.1", "1.4.6"), Rank.MEASURED),
        (("3.11.0",), Rank.MEASURED),
        (("3.7.1",), Rank.CORRECTED),
        (("3.8.0",), Rank.ESTIMATED),
        (("3.12.0",), Rank.ESTIMATED),
        (("3.7.1", "3.8.0"), Rank.ESTIMATED),
        (("2.5.259",), Rank.MISSING),
        (("2.5.259", "3.7.1"), Rank.MISSING),
        (("2.5.258",), Rank.MEASURED),
    ],
)
def test_rank(codes: tuple[str, ...], rank: Rank) -> None:
    found = quality(codes)
    assert found.rank == rank
    assert found.stated_missing == (rank == Rank.MISSING)
    assert json.loads(found.json) == list(found.codes) == sorted(codes or (ASSUMED_VALID,))
    assert found.malformed == 0


def test_codes_are_a_sorted_set() -> None:
    assert quality((" 3.8.0", "1.0.0", "3.8.0\n")).codes == ("1.0.0", "3.8.0")


def test_a_code_of_another_form_is_kept_and_counted() -> None:
    found = quality(('"good"', "1.0.0"))
    assert found.codes == ('"good"', "1.0.0")
    assert (found.malformed, found.rank) == (1, Rank.MEASURED)
    assert json.loads(found.json) == list(found.codes)


@pytest.mark.parametrize("code", ["", " ", "x" * 33, "a b", "é", "\x07", " " * 5000])
def test_what_cannot_be_kept_is_refused(code: str) -> None:
    with pytest.raises(Rejected, match="quality-malformed"):
        quality((code,))


def test_too_many_are_refused() -> None:
    with pytest.raises(Rejected, match="quality-malformed"):
        quality(tuple(f"1.0.{n}" for n in range(33)))


@given(st.lists(st.text(max_size=40), max_size=40))
def test_any_codes_are_taken_or_refused(codes: list[str]) -> None:
    try:
        found = quality(tuple(codes))
    except Rejected:
        return
    assert set(found.codes) == {code.strip(" \t\r\n") for code in codes} or not codes
