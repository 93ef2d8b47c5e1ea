"""OBIS codes and the ReadingType codes that say the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.errors import Rejected
from bal.harmonise import obis, reading_type
from bal.harmonise.obis import Obis, of_reading_type, parse

groups = st.integers(0, 255)
registers = st.sampled_from(sorted(obis._OBIS.values()))
intervals = st.sampled_from([None, *obis._MEASURING_PERIODS])


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("1-0:1.8.0*255", Obis(1, 0, 1, 8, 0, 255)),
        ("1-0:1.8.0.255", Obis(1, 0, 1, 8, 0, 255)),
        ("1-0:1.8.0", Obis(1, 0, 1, 8, 0, 255)),
        ("1.8.0", Obis(1, 0, 1, 8, 0, 255)),
        ("1.8.0*01", Obis(1, 0, 1, 8, 0, 1)),
        ("0100010800FF", Obis(1, 0, 1, 8, 0, 255)),
        ("0100010800ff", Obis(1, 0, 1, 8, 0, 255)),
        (" 1-1:1.29.0\n", Obis(1, 1, 1, 29, 0, 255)),
        ("7-0:3.0.0*255", Obis(7, 0, 3, 0, 0, 255)),
        ("0-0:96.1.0*255", Obis(0, 0, 96, 1, 0, 255)),
    ],
)
def test_the_forms_of_a_code(text: str, code: Obis) -> None:
    """IEC 62056-6-1 value group A, value group B and value group F may be left out."""
    assert parse(text) == code


@pytest.mark.parametrize(
    "text",
    [
        *("", "1.8", "1-0:1.8.0*256", "1-0:1.8.0*", "1:1.8.0", "0100010800F", "0100010800FG"),
        *("-1-0:1.8.0", "1-0:1.8.-1", "1-0:1.8.٠", "1-0:1.8.0*255" + " " * 40, "0x0100010800FF"),
    ],
)
def test_what_is_no_code(text: str) -> None:
    with pytest.raises(Rejected) as error:
        parse(text)
    assert error.value.code == "obis-malformed"


@given(st.builds(Obis, groups, groups, groups, groups, groups, groups))
def test_both_forms_lead_back_to_the_code(code: Obis) -> None:
    assert parse(code.text) == parse(code.hex) == parse(code.hex.lower()) == code


@pytest.mark.parametrize(
    ("code", "interval_s", "expected"),
    [
        ("1.8.0", None, "0.0.0.1.1.1.12.0.0.0.0.0.0.0.0.0.72.0"),
        ("1.8.0", 900, "0.0.2.1.1.1.12.0.0.0.0.0.0.0.0.0.72.0"),  # read every 15 minutes
        ("1.8.1", None, "0.0.0.1.1.1.12.0.0.0.0.1.0.0.0.0.72.0"),
        ("1.8.4", None, "0.0.0.1.1.1.12.0.0.0.0.4.0.0.0.0.72.0"),
        ("2.8.0", None, "0.0.0.1.19.1.12.0.0.0.0.0.0.0.0.0.72.0"),
        ("1.9.0", None, "8.0.0.9.1.1.12.0.0.0.0.0.0.0.0.0.72.0"),
        ("1.29.0", 900, "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0"),
        ("2.29.0", 3600, "0.0.7.4.19.1.12.0.0.0.0.0.0.0.0.0.72.0"),
        ("3.8.0", None, "0.0.0.1.5.1.12.0.0.0.0.0.0.0.0.0.73.0"),
        ("4.8.0", None, "0.0.0.1.13.1.12.0.0.0.0.0.0.0.0.0.73.0"),
        ("5.8.0", None, "0.0.0.1.15.1.12.0.0.0.0.0.0.0.0.0.73.0"),
        ("6.8.0", None, "0.0.0.1.16.1.12.0.0.0.0.0.0.0.0.0.73.0"),
        ("7.8.0", None, "0.0.0.1.17.1.12.0.0.0.0.0.0.0.0.0.73.0"),
        ("8.8.0", None, "0.0.0.1.18.1.12.0.0.0.0.0.0.0.0.0.73.0"),
        ("9.8.0", None, "0.0.0.1.1.1.12.0.0.0.0.0.0.0.0.0.71.0"),
        ("15.8.0", None, "0.0.0.1.20.1.12.0.0.0.0.0.0.0.0.0.72.0"),
        ("16.8.0", None, "0.0.0.1.4.1.12.0.0.0.0.0.0.0.0.0.72.0"),
        ("1.7.0", None, "0.0.0.12.1.1.37.0.0.0.0.0.0.0.0.0.38.0"),
        ("2.7.0", None, "0.0.0.12.19.1.37.0.0.0.0.0.0.0.0.0.38.0"),
        ("21.7.0", None, "0.0.0.12.1.1.37.0.0.0.0.0.0.0.128.0.38.0"),
        ("63.7.0", None, "0.0.0.12.5.1.37.0.0.0.0.0.0.0.32.0.63.0"),
        ("1.6.0", 900, "8.8.2.6.1.1.8.0.0.0.0.0.0.0.0.0.38.0"),
        ("1.6.2", 1800, "8.8.5.6.1.1.8.0.0.0.0.2.0.0.0.0.38.0"),
        ("1.5.0", 900, "0.2.2.6.1.1.8.0.0.0.0.0.0.0.0.0.38.0"),
        ("1.2.0", None, "0.8.0.3.1.1.8.0.0.0.0.0.0.0.0.0.38.0"),
        ("32.7.0", None, "0.0.0.12.0.1.54.0.0.0.0.0.0.0.129.0.29.0"),
        ("52.7.0", None, "0.0.0.12.0.1.54.0.0.0.0.0.0.0.65.0.29.0"),
        ("72.7.0", None, "0.0.0.12.0.1.54.0.0.0.0.0.0.0.33.0.29.0"),
        ("31.7.0", None, "0.0.0.12.0.1.4.0.0.0.0.0.0.0.128.0.5.0"),
        ("51.7.0", None, "0.0.0.12.0.1.4.0.0.0.0.0.0.0.64.0.5.0"),
        ("71.7.0", None, "0.0.0.12.0.1.4.0.0.0.0.0.0.0.32.0.5.0"),
        ("91.7.0", None, "0.0.0.12.0.1.4.0.0.0.0.0.0.0.16.0.5.0"),
        ("13.7.0", None, "0.0.0.12.0.1.38.0.0.0.0.0.0.0.0.0.65.0"),
        ("14.7.0", None, "0.0.0.12.0.1.15.0.0.0.0.0.0.0.0.0.33.0"),
        ("81.7.4", None, "0.0.0.12.0.1.5.0.0.0.0.0.0.0.136.0.9.0"),
    ],
)
def test_the_common_registers(code: str, interval_s: int | None, expected: str) -> None:
    """Quantity, processing, tariff: IEC 62056-6-1 value group C, value group D, value group E."""
    assert obis.reading_type(parse(code), interval_s) == expected
    assert of_reading_type(expected) == parse(code)


@pytest.mark.parametrize(
    "code",
    [
        *("7-0:3.0.0", "1-1:1.29.0", "1-0:1.8.0*1", "0-0:96.1.0", "1.8.64", "1.29.1", "32.8.0"),
        *("14.7.1", "81.7.15", "81.8.4", "1.99.0", "99.8.0"),
    ],
)
def test_what_has_no_reading_type(code: str) -> None:
    assert obis.reading_type(parse(code)) is None


def test_an_interval_that_reading_types_do_not_have() -> None:
    assert obis.reading_type(parse("1.29.0"), 901) is None
    assert obis.reading_type(parse("1.29.0"), 0) is None


@pytest.mark.parametrize(
    "code",
    [
        "",
        "1.8.0",
        "0.0.2.4.1.7.58.0.0.0.0.0.0.0.0.0.42.0",  # gas
        "0.0.59.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0",  # a rolling block
        "0.0.2.4.1.1.12.0.0.0.0.64.0.0.0.0.72.0",  # tariff 64
        "0.0.2.4.1.1.12.0.0.0.0.1.0.0.0.0.72.0",  # an interval of one tariff
        "0.0.0.12.0.1.5.0.0.0.0.1.0.0.136.0.9.0",  # an angle of one tariff
        "0." * 200,
        "x" + ".0" * 17,
    ],
)
def test_a_reading_type_without_an_obis_code(code: str) -> None:
    assert of_reading_type(code) is None


def test_the_sum_of_all_phases_is_the_total() -> None:
    """The code of Platone D2.9 as it was meant: sum, bulk quantity, phases A, B, C, kWh."""
    assert of_reading_type("0.26.0.1.1.1.12.0.0.0.0.0.0.0.224.3.72.0") == parse("1-0:1.8.0*255")
    assert of_reading_type("0.0.0.1.1.2.12.0.0.0.0.0.0.0.0.3.72.0") == parse("1-0:1.8.0*255")


@given(registers, intervals, st.sampled_from([-3, 0, 3, 6]), st.integers(0, 63))
def test_the_two_codes_of_a_register_are_one(
    register: Obis, interval_s: int | None, multiplier: int, tariff: int
) -> None:
    if obis.reading_type(register._replace(e=tariff)) is not None:
        register = register._replace(e=tariff)
    code = obis.reading_type(register, interval_s, multiplier)
    assert code is not None
    assert of_reading_type(code) == register
    decoded = reading_type.decode(code)
    assert decoded is not None, "every code is one that a reading may come with"
    assert decoded.multiplier == multiplier
    assert decoded.interval_s in {interval_s, None}


def test_no_two_registers_share_a_reading_type() -> None:
    codes = [obis.reading_type(register) for register in obis._OBIS.values()]
    assert len(set(codes)) == len(codes) == len(obis._OBIS)
    assert len(codes) > 400


@given(st.text(max_size=60))
def test_any_text_is_a_code_or_refused(text: str) -> None:
    of_reading_type(text)
    try:
        found = parse(text)
    except Rejected:
        return
    assert parse(found.text) == found
