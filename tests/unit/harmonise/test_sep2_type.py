"""IEEE 2030.5 ReadingType as the code of IEC 61968-9 annex C.

IEEE 2030.5 ReadingBase.qualityFlags as those of IEC 61968-9 annex D.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.harmonise import reading_type
from bal.harmonise.quality import quality
from bal.harmonise.sep2_type import (
    MEMBERS,
    MULTIPLIER_MAX,
    SentType,
    mapped,
    notation,
    quality_codes,
    sent_type,
)
from bal.model import Rank

INSTANT = {"accumulationBehaviour": 12}


def sent(**members: int) -> SentType:
    plain = {"accumulationBehaviour": 4, "commodity": 1, "flowDirection": 1, "kind": 12, "uom": 72}
    found = sent_type({name: [str(value)] for name, value in (plain | members).items()})
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"intervalLength": 900}, "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0"),
        (
            {"intervalLength": 900, "powerOfTenMultiplier": 3, "flowDirection": 19},
            "0.0.2.4.19.1.12.0.0.0.0.0.0.0.0.3.72.0",
        ),
        ({"intervalLength": 3600, "uom": 73}, "0.0.7.4.1.1.12.0.0.0.0.0.0.0.0.0.73.0"),
        ({"intervalLength": 7200}, "32.0.0.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0"),
        ({"accumulationBehaviour": 9}, "0.0.0.9.1.1.12.0.0.0.0.0.0.0.0.0.72.0"),
        ({"kind": 0, "intervalLength": 900}, "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0"),
        (  # average active power of phase A over five minutes
            {"accumulationBehaviour": 0, "kind": 37, "uom": 38, "dataQualifier": 2, "phase": 128,
             "intervalLength": 300},
            "0.2.6.0.1.1.37.0.0.0.0.0.0.0.128.0.38.0",
        ),
        (  # voltage as clients send it: KindType has no word for it
            {"accumulationBehaviour": 12, "kind": 37, "uom": 29, "powerOfTenMultiplier": -1},
            "0.0.0.12.1.1.54.0.0.0.0.0.0.0.0.-1.29.0",
        ),
        (INSTANT | {"kind": 0, "uom": 5}, "0.0.0.12.1.1.4.0.0.0.0.0.0.0.0.0.5.0"),
        (INSTANT | {"kind": 0, "uom": 33}, "0.0.0.12.1.1.15.0.0.0.0.0.0.0.0.0.33.0"),
        (INSTANT | {"kind": 37, "uom": 65}, "0.0.0.12.1.1.38.0.0.0.0.0.0.0.0.0.65.0"),
        (  # demand over a rolling block of 15 minutes with 5 minutes each
            {"kind": 8, "uom": 38, "accumulationBehaviour": 6, "intervalLength": 900,
             "subIntervalLength": 300},
            "0.0.71.6.1.1.8.0.0.0.0.0.0.0.0.0.38.0",
        ),
    ],
)  # fmt: skip
def test_the_code_of_a_reading_type(members: dict[str, int], code: str) -> None:
    found = mapped(sent(**members), 0)
    assert found is not None
    assert found.notation == code
    decoded = reading_type.decode(code)
    assert decoded is not None
    assert (found.register, found.quantity, found.multiplier) == (
        decoded.register, decoded.quantity, decoded.multiplier,
    )  # fmt: skip


def test_the_reading_s_own_length_counts_where_none_is_sent() -> None:
    assert notation(sent(), 900) == notation(sent(intervalLength=900), 0)
    assert notation(sent(intervalLength=900), 1800) == notation(sent(intervalLength=900), 0)
    assert notation(sent(), 5000).startswith("32.0.0.4.")
    assert notation(sent(accumulationBehaviour=9), 900).startswith("0.0.0.9.")


def test_a_tier_and_a_block_have_registers_of_their_own() -> None:
    members = {"uom": ["72"], "kind": ["12"]}
    found = sent_type(members, ["3"], ["2"])
    assert found is not None
    assert notation(found) == "0.0.0.0.0.0.12.0.0.0.0.3.0.2.0.0.72.0"


@pytest.mark.parametrize(
    "members",
    [
        {"commodity": 7, "uom": 119},  # natural gas in cubic feet
        {"uom": 0},
        {"uom": 72, "kind": 37},  # power in Wh
        {"uom": 29, "kind": 12},  # energy in V
        {"uom": 38, "kind": 3},  # currency
        {"uom": 106, "kind": 0},  # ampere-hours
        {"flowDirection": 22},
        {"intervalLength": 900, "subIntervalLength": 120},  # no code has this rolling block
        {"intervalLength": 930, "subIntervalLength": 330},
        {"subIntervalLength": 300},
    ],
)
def test_what_has_no_meaning_here(members: dict[str, int]) -> None:
    assert mapped(sent(**members), 0) is None


@pytest.mark.parametrize("name", [*MEMBERS, "touTier"])
@pytest.mark.parametrize("text", ["", "x", "1.0", "0x1", "99999999999", "-10", "1 2"])
def test_an_element_that_is_no_number_of_its_type(name: str, text: str) -> None:
    """XML Schema 1.1 part 2 §3.4.13."""
    members: dict[str, list[str]] = {"uom": ["72"]}
    tou: list[str] = []
    if name == "touTier":
        tou.append(text)
    else:
        members[name] = [text]
    assert sent_type(members, tou) is None


def test_an_element_that_stands_twice() -> None:
    assert sent_type({"uom": ["72", "72"]}) is None


powers = st.integers(-MULTIPLIER_MAX, MULTIPLIER_MAX)
octets = st.integers(0, 255)
lengths = st.sampled_from([60, 120, 180, 300, 600, 900, 1200, 1800, 3600, 86400])
LENGTH_OF = {3: 60, 10: 120, 14: 180, 6: 300, 1: 600, 2: 900, 31: 1200, 5: 1800, 7: 3600, 4: 86400}


@given(
    st.builds(
        SentType, accumulation=octets, commodity=octets, flow=octets, length_s=lengths,
        kind=octets.filter(lambda kind: kind not in {0, 37}), multiplier=powers, phase=octets,
        qualifier=octets, sub_length_s=st.just(0), uom=octets, tou=octets, block=octets,
    )
)  # fmt: skip
def test_no_element_is_lost_in_the_code(one: SentType) -> None:
    fields = [int(text) for text in notation(one).split(".")]
    assert len(fields) == reading_type.FIELDS
    back = SentType(
        accumulation=fields[3], commodity=fields[5], flow=fields[4], kind=fields[6],
        length_s=LENGTH_OF[fields[2]], multiplier=fields[15], phase=fields[14],
        qualifier=fields[1], sub_length_s=0, uom=fields[16], tou=fields[11], block=fields[13],
    )  # fmt: skip
    assert back == one


@given(powers, octets, st.sampled_from([38, 61, 63, 71, 72, 73, 29, 5, 33, 65]))
def test_the_power_of_ten_is_not_in_the_register(power: int, phase: int, uom: int) -> None:
    """IEEE 2030.5 PowerOfTenMultiplierType."""
    one = sent(uom=uom, kind=0, phase=phase, powerOfTenMultiplier=power, intervalLength=900)
    plain = mapped(one._replace(multiplier=0), 0)
    found = mapped(one, 0)
    assert found is not None
    assert plain is not None
    assert (found.register, found.multiplier) == (plain.notation, power)


@pytest.mark.parametrize(
    ("flags", "codes", "rank"),
    [
        ("", (), Rank.MEASURED),
        ("00", (), Rank.MEASURED),
        ("01", ("1.0.0",), Rank.MEASURED),
        ("0001", ("1.0.0",), Rank.MEASURED),
        ("02", ("1.7.0",), Rank.CORRECTED),
        ("04", ("1.8.0",), Rank.ESTIMATED),
        ("08", ("1.8.0",), Rank.ESTIMATED),
        ("06", ("1.7.0", "1.8.0"), Rank.ESTIMATED),
        ("10", ("1.10.0",), Rank.MEASURED),
        ("20", ("1.11.0",), Rank.MEASURED),
        ("40", ("1.12.0",), Rank.ESTIMATED),
        ("7f", ("1.0.0", "1.10.0", "1.11.0", "1.12.0", "1.7.0", "1.8.0"), Rank.ESTIMATED),
        ("80", ("80",), Rank.MEASURED),
        ("8004", ("1.8.0", "8004"), Rank.ESTIMATED),
        ("0x04", ("0x04",), Rank.MEASURED),
        ("4", ("4",), Rank.MEASURED),
        ("000004", ("000004",), Rank.MEASURED),
    ],
)
def test_quality_flags(flags: str, codes: tuple[str, ...], rank: Rank) -> None:
    assert quality_codes(flags) == codes
    assert quality(codes).rank == rank
    assert quality(codes).malformed == sum("." not in code for code in codes)


@given(st.text(max_size=6))
def test_any_text_as_flags(flags: str) -> None:
    codes: Any = quality_codes(flags)
    assert all(isinstance(code, str) for code in codes)
