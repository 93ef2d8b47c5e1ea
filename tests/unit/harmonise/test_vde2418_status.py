"""Status of a gateway's reading: the tables of the page, the vectors of TRuDI's own tests."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.harmonise import vde2418_status as status
from bal.harmonise.quality import quality
from bal.harmonise.vde2418_status import CODES, GATEWAY, METER, Bit

SPEC = Path(__file__).resolve().parents[3] / "docs" / "spec" / "vde-ar-2418-6.md"
BITS = GATEWAY | METER


@pytest.mark.parametrize(
    ("text", "ptb"),
    [  # TRuDI.Models.Tests/StatusFNNTests.cs: TestMapToStatusPtb as of 1.0.59, and later
        ("210500000004", 4), ("200500000004", 2), ("0500000004", 0), ("100500000004", 1),
        ("400500000004", 3), ("A084000020000000", 4), ("A004000020000000", 2),
        ("A000000020000000", 0), ("A008000020000000", 1), ("A002000020000000", 3),
    ],
)  # fmt: skip
def test_the_words_of_trudis_own_tests(text: str, ptb: int) -> None:
    """VDE AR 2418-6 statusFNN."""
    word = status.word(text)
    assert word is not None
    assert (word.status, word.unknown) == (ptb, False)
    counts, codes, doubts = status.read(None, text)
    assert counts == ptb
    assert {code for code, _ in doubts} <= {"status-bits"}
    assert set(CODES[ptb]) <= set(codes)


def rows(head: str) -> dict[int, Bit]:
    """The table of the page whose first column is called so."""
    table = SPEC.read_text(encoding="utf-8").split(f"| {head} |")[1].split("\n\n")[0]
    found = re.findall(r"^\| 0x(\w+) \| (\w+).*? \| (\d?) ?\| (?:`(.*?)` )?\|$", table, re.M)
    return {int(mask, 16): Bit(name, code, int(ptb or 0)) for mask, name, ptb, code in found}


def test_the_bits_are_those_of_the_page() -> None:
    assert rows("gateway's bit") == GATEWAY
    assert rows("meter's bit") == METER


def test_statuses_are_those_of_the_page() -> None:
    """VDE AR 2418-6 statusPTB."""
    page = SPEC.read_text(encoding="utf-8")
    found = re.findall(r"^\| ([0-4]) \| .*? \| (`.*`) \| (.*?) \|$", page, re.MULTILINE)
    assert {int(ptb): tuple(codes.strip("`").split("` `")) for ptb, codes, _ in found} == CODES
    for ptb, codes, becomes in found:
        counts, told, _ = status.read(ptb, None)
        assert (counts, list(told)) == (int(ptb), sorted(codes.strip("`").split("` `")))
        assert becomes.startswith("event `invalid`") == (int(ptb) in status.INVALID)
        if int(ptb) not in status.INVALID:
            assert quality(told).rank.name.lower() == becomes.split(",")[0]


halves = st.tuples(
    st.sets(st.sampled_from([mask for mask in GATEWAY if mask != 0x20000])),
    st.sets(st.sampled_from(sorted(METER))),
)


def word_of(gateway: set[int], meter: set[int], *, reverse: bool) -> str:
    sent = sum(gateway) | 0x05, sum(meter) | 0x04
    if reverse:
        sent = status._reversed(sent[0]), status._reversed(sent[1])
    return f"{sent[0]:08X}{sent[1]:08x}"


@given(halves)
def test_both_orders_of_bits_say_the_same(bits: tuple[set[int], set[int]]) -> None:
    either = status.word(word_of(*bits, reverse=False)), status.word(word_of(*bits, reverse=True))
    assert either[0] == either[1]
    assert either[0] is not None
    assert not either[0].unknown


@given(st.integers(0, (1 << 64) - 1))
def test_any_word_is_read_in_one_way_or_not_at_all(sent: int) -> None:
    text = f"{sent:016X}"
    word = status.word(text)
    _, codes, doubts = status.read(None, text)
    assert (f"fnn:{text}" in codes) == (word is None or word.unknown)
    assert ("state-unknown" in [code for code, _ in doubts]) == (word is None or word.unknown)


@pytest.mark.parametrize(
    "text",
    ["", "x", "0000000000000000", "FFFFFFFFFFFFFFFF", "00000005000000040", "A00000002000000",
     "0000000500000000", "0x00000500000004"],
)  # fmt: skip
def test_words_that_are_none(text: str) -> None:
    assert status.word(text) is None


def test_a_word_that_fits_both_ways_is_not_guessed() -> None:
    both = 0xA0000005 << 32 | 0x20000004
    assert status.word(f"{both:016X}") is None


def test_bits_without_a_name_and_words_of_oms() -> None:
    assert status.read("0", "8000000500000004")[1] == ("1.0.0", "fnn:8000000500000004")
    word = status.word("0002000512345678")
    assert word is not None
    assert word.unknown


def test_a_tampered_meter_is_questionable_where_nothing_else_is_said() -> None:
    told = (("status-bits", "statusFNN says meter: magnetically influenced"),)
    assert status.read(None, "0000000500000204") == (0, ("1.0.0", "1.10.0", "1.3.0"), told)
    assert status.read("0", "0000000500000204") == (0, ("1.0.0", "1.3.0"), told)


def test_the_bits_are_told_by_whose_they_are() -> None:
    [(code, text)] = status.read("0", "0000010500108504").doubts
    assert code == "status-differs"
    assert text == (
        "statusPTB is 0, which counts; statusFNN comes to 4 (gateway: fatal error;"
        " meter: mechanical interference, phase sequence is not L1, L2, L3)"
    )
    told = [("status-bits", "statusFNN says gateway: fatal error")]
    assert list(status.read("4", "0000010500000004").doubts) == told
    assert list(status.read(None, "0000010500000004").doubts) == told
    assert status.read("0", "0000000500040104").doubts == (), "states are no errors"
    assert "1.3" not in " ".join(status.read("0", "0000000500008004").codes), "no tampering"


def test_what_ptb_says_counts() -> None:
    counts, codes, doubts = status.read("0", "0000010500000004")
    assert (counts, codes) == (0, ("1.0.0", "1.1.0", "1.10.0"))
    assert [code for code, _ in doubts] == ["status-differs"]
    assert status.read("4", "0000000500000004").counts == 4


@pytest.mark.parametrize(
    ("ptb", "fnn", "counts", "codes", "doubts"),
    [
        (None, None, None, (), ["status-missing"]),
        ("5", None, None, ("ptb:5",), ["quality-malformed"]),
        ("5", "A000000020000000", 0, ("1.0.0", "ptb:5"), ["quality-malformed"]),
        (" 1 ", "?", 1, ("1.0.0", "1.1.0", "fnn:?"), ["state-unknown"]),
    ],
)
def test_statuses_that_are_not_understood(
    ptb: str | None, fnn: str | None, counts: int | None, codes: tuple[str, ...], doubts: list[str]
) -> None:
    found = status.read(ptb, fnn)
    assert (found.counts, found.codes) == (counts, codes)
    assert [code for code, _ in found.doubts] == doubts
