"""IEC 61968-9 annex C, ReadingType: what codes mean, and that the tables are the published."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.harmonise import reading_type
from bal.harmonise.reading_type import DIRECTIONS, INTERVALS_S, decode

FORWARD_KWH_15_MIN = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"
D29 = "0.26.0.0.1.1.12.0.0.0.0.0.0.0.0.224.3.72.0"


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (FORWARD_KWH_15_MIN, ("active energy", "Wh", 3, "forward", 900)),
        ("0.0.2.4.19.1.12.0.0.0.0.0.0.0.0.0.72.0", ("active energy", "Wh", 0, "reverse", 900)),
        ("0.26.0.1.1.1.12.0.0.0.0.0.0.0.224.3.72.0", ("active energy", "Wh", 3, "forward", None)),
        (
            "0.0.5.4.15.1.12.0.0.0.0.0.0.0.0.3.73.0",
            ("reactive energy", "varh", 3, "quadrant1", 1800),
        ),
        ("0.0.7.4.1.1.12.0.0.0.0.0.0.0.0.0.71.0", ("apparent energy", "VAh", 0, "forward", 3600)),
        ("0.2.2.0.1.1.37.0.0.0.0.0.0.0.0.0.38.0", ("active power", "W", 0, "forward", 900)),
        ("0.0.2.6.1.1.8.0.0.0.0.0.0.0.0.3.38.0", ("active power", "W", 3, "forward", 900)),
        ("0.0.0.12.0.1.54.0.0.0.0.0.0.0.128.0.29.0", ("voltage", "V", 0, "none", None)),
        ("0.0.0.12.0.1.4.0.0.0.0.0.0.0.64.-3.5.0", ("current", "A", -3, "none", None)),
        ("0.0.0.12.0.1.15.0.0.0.0.0.0.0.0.0.33.0", ("frequency", "Hz", 0, "none", None)),
        ("0.0.0.12.0.1.38.0.0.0.0.0.0.0.0.0.65.0", ("power factor", "1", 0, "none", None)),
        ("0.0.0.12.0.1.55.0.0.0.0.0.0.0.0.0.9.0", ("phase angle", "deg", 0, "none", None)),
        ("0.0.0.12.0.0.46.0.0.0.0.0.0.0.0.0.23.0", ("temperature", "degC", 0, "none", None)),
    ],
)
def test_decoded(code: str, meaning: tuple[str, str, int, str, int | None]) -> None:
    found = decode(code)
    assert found is not None
    name, unit, multiplier, direction, interval_s = meaning
    assert (found.quantity.name, found.quantity.unit) == (name, unit)
    assert (found.multiplier, found.direction) == (multiplier, direction)
    assert found.interval_s == interval_s
    assert found.at_instant == (interval_s is None)
    fields = code.split(".")
    assert found.register == ".".join([*fields[:15], "0", *fields[16:]])


def test_kwh_and_wh_are_one_register() -> None:
    kilo, unit = decode(FORWARD_KWH_15_MIN), decode(FORWARD_KWH_15_MIN.replace("3.72", "0.72"))
    assert kilo is not None
    assert unit is not None
    assert kilo.register == unit.register == unit.notation


def test_a_bulk_quantity_holds_at_an_instant_whatever_the_measuring_period() -> None:
    found = decode("0.0.2.1.1.1.12.0.0.0.0.0.0.0.0.3.72.0")
    assert found is not None
    assert found.at_instant
    assert found.interval_s is None


def test_a_delta_without_a_length_covers_an_unknown_interval() -> None:
    found = decode("0.0.0.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0")
    assert found is not None
    assert not found.at_instant
    assert found.interval_s is None


def test_19_fields_are_read_from_the_end() -> None:
    found = decode(D29)
    assert found is not None
    assert found.register == found.notation == D29
    assert (found.fields, found.multiplier, found.quantity.unit) == (19, 3, "Wh")
    assert found.at_instant
    assert found.direction == ""


@pytest.mark.parametrize(
    "code",
    [
        "",
        "0",
        "1-0:1.8.0*255",
        "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72",  # 17 fields
        "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0.0.0",  # 20
        "0.0.2.4.1.7.12.0.0.0.0.0.0.0.0.3.72.0",  # natural gas
        "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.42.0",  # energy in cubic metres
        "0.0.2.4.1.1.54.0.0.0.0.0.0.0.0.3.72.0",  # voltage in Wh
        "0.0.2.4.6.1.12.0.0.0.0.0.0.0.0.3.72.0",  # no such flow direction
        "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.4.72.0",  # no such multiplier
        "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.03.72.0",  # a leading zero
        "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.+3.72.0",
        "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0. 3.72.0",
        "0.0.2.4.1.1.12.0.0.0.0.0.0.0.-1.3.72.0",
        "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.٣.72.0",
        "0." * 100,
        D29.replace("72", "42"),
    ],
)
def test_what_has_no_meaning_here(code: str) -> None:
    assert decode(code) is None


codes = st.lists(st.integers(0, 999), min_size=15, max_size=15)


@given(codes, st.sampled_from([-3, 0, 3, 6]), st.sampled_from([(12, 72), (37, 38), (54, 29)]))
def test_only_the_multiplier_is_lost_in_the_register(
    fields: list[int], multiplier: int, meaning: tuple[int, int]
) -> None:
    kind, unit = meaning
    fields[4], fields[5], fields[6] = 1, 1, kind
    code = ".".join(map(str, [*fields, multiplier, unit, 0]))
    found = decode(code)
    assert found is not None
    assert found.notation == code
    back = found.register.split(".")
    back[15] = str(found.multiplier)
    assert ".".join(back) == code
    again = decode(found.register)
    assert again is not None
    assert again.register == found.register


@given(st.text(max_size=150))
def test_any_text_is_decoded_or_not(text: str) -> None:
    found = decode(text)
    assert found is None or found.notation == text


def test_our_tables_agree_with_the_published_ones(shared_data: Path) -> None:
    path = shared_data / "cim" / "readingtype_codes.json"
    tables = json.loads(path.read_text())["tables"]
    assert {str(code) for code in DIRECTIONS} == set(tables["flowDirection"])
    minutes = {"24-hour": 1440}
    of_edition_2 = range(78, 84)  # not in the published table
    for code, length_s in INTERVALS_S.items():
        if code in of_edition_2:
            continue
        text = tables["measuringPeriod"][str(code)]
        match = re.match(r"([0-9]+)-minute", text)
        stated = int(match[1]) if match else minutes[text]
        assert length_s == 60 * stated, text
    for (kind, unit), quantity in reading_type._QUANTITIES.items():
        assert str(kind) in tables["measurementKind"]
        if unit == 0 or quantity.unit == "1":
            continue
        word = {"varh": "reactive hours", "var": "ampere reactive", "VAh": "VAh", "VA": "ampere"}
        words = {"Wh": "Wh", "W": "watt", "V": "volt", "A": "ampere", "Hz": "hertz", "K": "kelvin"}
        angles = {"deg": "degrees", "rad": "radian", "degC": "celsius"}
        expected = {**word, **words, **angles}[quantity.unit]
        assert expected.lower() in tables["unit"][str(unit)].lower()
    assert {str(one) for one in reading_type._MULTIPLIERS} == set(tables["multiplier"])
