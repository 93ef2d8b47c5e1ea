"""Every field of a ReadingType code in words; and that a sentence says what the code says."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.harmonise import reading_type, reading_type_tables, reading_type_words
from bal.harmonise.reading_type_words import NAMES, describe, sentence

DELTA_KWH = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"


def test_the_fields_in_their_order() -> None:
    assert [(field.name, field.code, field.meaning) for field in describe(DELTA_KWH)] == [
        ("macroPeriod", "0", "not applicable"),
        ("aggregate", "0", "not applicable"),
        ("measuringPeriod", "2", "15-minute interval"),
        ("accumulation", "4", "delta data"),
        ("flowDirection", "1", "forward"),
        ("commodity", "1", "electricity secondary metered"),
        ("measurementKind", "12", "energy"),
        ("interharmonicNumerator", "0", "not applicable"),
        ("interharmonicDenominator", "0", "not applicable"),
        ("argumentNumerator", "0", "not applicable"),
        ("argumentDenominator", "0", "not applicable"),
        ("tou", "0", "not applicable"),
        ("cpp", "0", "not applicable"),
        ("consumptionTier", "0", "not applicable"),
        ("phases", "0", "not applicable"),
        ("multiplier", "3", "kilo"),
        ("unit", "72", "Wh"),
        ("currency", "0", "not applicable"),
    ]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            DELTA_KWH,
            "energy in kWh, forward, electricity secondary metered, delta data, 15-minute interval",
        ),
        (  # Platone D2.9's own example as it was meant
            "0.26.0.1.1.1.12.0.0.0.0.0.0.0.224.3.72.0",
            "energy in kWh, forward, phases ABC, electricity secondary metered, bulk quantity, sum",
        ),
        (  # and as it was printed
            "0.26.0.0.1.1.12.0.0.0.0.0.0.0.0.224.3.72.0",
            "active energy in kWh, phases ABC, 19 fields instead of 18: the others are not decoded",
        ),
        (  # IEC 61968-9 ReadingType.tou, ReadingType.cpp, ReadingType.consumptionTier
            "0.0.2.4.1.1.12.0.0.0.0.1.2.3.0.3.72.0",
            (
                "energy in kWh, forward, electricity secondary metered, delta data, 15-minute "
                "interval, time-of-use tariff 1, critical peak period 2, consumption tier 3"
            ),
        ),
        (
            "8.8.53.6.19.1.8.0.0.0.0.2.0.0.0.3.38.0",
            (
                "demand in kW, reverse, electricity secondary metered, indicating, "
                "15-minute fixed block, maximum, billing period, time-of-use tariff 2"
            ),
        ),
        (  # IEC 61968-9 ReadingType.interharmonic
            "0.0.0.12.0.1.4.5.1.0.0.0.0.0.128.-3.5.0",
            "current in mA, phase A, electricity secondary metered, instantaneous, harmonic 5/1",
        ),
        (
            "13.0.0.4.1.7.58.0.0.0.0.0.1.3.0.3.42.0",
            (
                "volume in 10^3 m³, forward, natural gas, delta data, calendar month, "
                "critical peak period 1, consumption tier 3"
            ),
        ),
        # IEC 61968-9 ReadingType.argument
        ("0.0.0.0.0.0.3.0.0.1.60.0.0.0.0.-2.80.978", "currency in 10^-2 money, argument 1/60, EUR"),
        (
            "0.0.2.4.6.1.12.0.0.0.0.0.0.0.0.3.999.0",
            (
                "energy in 10^3 unknown unit 999, unknown flowDirection 6, "
                "electricity secondary metered, delta data, 15-minute interval"
            ),
        ),
        (".".join("0" * 18), "nothing: every field is not applicable"),
        ("1-0:1.8.0*255", "no ReadingType code: that is 18 numbers between dots"),
    ],
)
def test_a_sentence(code: str, words: str) -> None:
    assert sentence(code) == words


def test_a_code_in_no_table_is_called_unknown() -> None:
    code = "1.1.8.5.6.99.1.1.2.3.4.5.6.7.1.4.1.1"
    unknown = [field.name for field in describe(code) if field.meaning.startswith("unknown")]
    assert unknown == [
        *NAMES[:7],
        *("phases", "multiplier", "unit", "currency"),
    ]


@pytest.mark.parametrize(
    "text",
    ["", "0.0.2", "1-0:1.8.0*255", "0." * 100, DELTA_KWH + ".0.0", DELTA_KWH.replace("72", "072")],
)
def test_what_is_no_code_is_one_field(text: str) -> None:
    [field] = describe(text)
    assert (field.name, field.code) == ("ReadingType", text)
    assert field.meaning == sentence(text)


@given(st.lists(st.integers(-30, 400), min_size=17, max_size=20))
def test_any_numbers_have_a_sentence(numbers: list[int]) -> None:
    code = ".".join(map(str, numbers))
    fields = describe(code)
    assert all(field.meaning for field in fields)
    assert "\n" not in sentence(code)
    if len(numbers) in {18, 19}:
        assert ".".join(field.code for field in fields) == code


@given(st.text(max_size=150))
def test_any_text_has_a_sentence(text: str) -> None:
    assert describe(text)
    assert sentence(text)


def test_every_published_code_has_words(shared_data: Path) -> None:
    """IEC 61968-9 ReadingType.macroPeriod, ReadingType.aggregate, ReadingType.measuringPeriod,
    ReadingType.accumulation, ReadingType.flowDirection, ReadingType.commodity,
    ReadingType.measurementKind, ReadingType.phases, ReadingType.multiplier, ReadingType.unit,
    ReadingType.currency.
    """
    path = shared_data / "cim" / "readingtype_codes.json"
    published = json.loads(path.read_text())
    assert tuple(published["field_order"]) == NAMES
    for name, codes in published["tables"].items():
        ours = reading_type_words._TABLES[name]
        assert set(map(int, codes)) <= set(ours), name
    for code, text in published["tables"]["measuringPeriod"].items():
        digits = re.findall("[0-9]+", text)
        words = reading_type_tables.MEASURING_PERIODS[int(code)]
        assert all(digit in words for digit in digits), (text, words)


def test_what_a_record_is_made_of_has_words() -> None:
    tables = reading_type_words._TABLES
    assert set(reading_type.DIRECTIONS) == set(tables["flowDirection"])
    assert set(reading_type.INTERVALS_S) <= set(tables["measuringPeriod"])
    assert set(tables["multiplier"]) == reading_type._MULTIPLIERS
    for kind, unit in reading_type._QUANTITIES:
        assert kind in tables["measurementKind"]
        assert unit in tables["unit"]


@pytest.mark.parametrize(
    ("of", "words"),
    [
        ("12.72", "energy in Wh"), ("12.73", "reactive energy in varh"),
        ("12.71", "apparent energy in VAh"), ("37.38", "power in W"),
        ("37.63", "reactive power in var"), ("8.61", "apparent demand in VA"),
    ],
)  # fmt: skip
def test_a_kind_by_its_unit(of: str, words: str) -> None:
    kind, unit = of.split(".")
    code = f"0.0.2.4.1.1.{kind}.0.0.0.0.0.0.0.0.0.{unit}.0"
    assert sentence(code).startswith(f"{words}, forward, ")


def test_a_maximum_says_of_what_and_over_what() -> None:
    told = sentence("8.8.2.6.1.1.8.0.0.0.0.0.0.0.0.0.38.0")
    assert told.startswith("demand in W, forward, ")
    assert told.endswith("15-minute interval, maximum, billing period")
