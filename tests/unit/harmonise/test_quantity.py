import re
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.errors import Rejected
from bal.harmonise.quantity import VALUE_LENGTH_MAX, decimal_text, double_text

NORMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?")


def exactly(text: str, shift: int) -> Fraction:
    """Without the context's precision, which Decimal.scaleb rounds to."""
    return Fraction(Decimal(text)) * Fraction(10) ** shift


decimals = st.from_regex(r"[+-]?([0-9]{1,20}(\.[0-9]{0,17})?|\.[0-9]{1,18})", fullmatch=True)
spaces = st.text(" \t\r\n", max_size=3)


@given(decimals, st.integers(-12, 12), spaces, spaces)
def test_shift_is_exact(text: str, shift: int, before: str, after: str) -> None:
    result = decimal_text(before + text + after, shift)
    assert Fraction(result) == exactly(text, shift)
    assert NORMAL.fullmatch(result)
    assert result != "-0"


@given(decimals, st.integers(-12, 12))
def test_a_result_is_its_own_normal_form(text: str, shift: int) -> None:
    result = decimal_text(text, shift)
    if len(result) <= VALUE_LENGTH_MAX:
        assert decimal_text(result, 0) == result


@pytest.mark.parametrize(
    ("text", "shift", "expected"),
    [
        ("1.234", 3, "1234"),
        ("0.2100", 3, "210"),
        ("+1.5", 0, "1.5"),
        (" 1.50 ", 0, "1.5"),
        ("\n7\t", 0, "7"),
        ("-0.0", 3, "0"),
        ("-0", 0, "0"),
        ("5.", 0, "5"),
        (".5", 0, "0.5"),
        ("007", 0, "7"),
        ("12", -3, "0.012"),
        ("1", 12, "1000000000000"),
        ("-4200", 0, "-4200"),
        ("9" * 40, 0, "9" * 40),
    ],
)
def test_known_values(text: str, shift: int, expected: str) -> None:
    """XML Schema 1.1 part 2 §3.3.3, within XML 1.0 §2.3 white space."""
    assert decimal_text(text, shift) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "NaN",
        "INF",
        "-INF",
        "1e3",
        "1e400",
        "1E3",
        "12,5",
        "1 2",
        "--1",
        "+-1",
        "+",
        ".",
        "1.2.3",
        "0x10",
        "1_000",
        "٣",
        "½",
        "²",
        "1\xa0",
        "\ufeff1",
        "9" * 41,
        "1.5 kWh",
    ],
)
def test_what_is_no_decimal_is_refused(text: str) -> None:
    with pytest.raises(Rejected) as error:
        decimal_text(text, 3)
    assert error.value.code == "value-not-decimal"
    assert error.value.clause


@pytest.mark.parametrize(
    ("text", "shift", "expected"),
    [
        ("1.23456789E7", 0, "12345678.9"), ("1e-05", 3, "0.01"), (" -2.5e+3 ", -3, "-2.5"),
        ("0E0", 0, "0"), ("1e40", 0, "1" + "0" * 40), ("7", 3, "7000"), (".5e1", 0, "5"),
    ],
)  # fmt: skip
def test_an_exponent_moves_the_point(text: str, shift: int, expected: str) -> None:
    """XML Schema 1.1 part 2 §3.3.5, xsd:double."""
    assert double_text(text, shift) == expected


@pytest.mark.parametrize(
    "text",
    ["1e41", "1e400", "1e-99", "e5", "1e", "1e5.0", "1 e5", "1e 5", "NaN", "INF", "1e5e5", "1E+",
     "9" * 39 + "e1", "1,5e3", "1e٣"],
)  # fmt: skip
def test_what_is_no_number_is_refused_with_an_exponent_too(text: str) -> None:
    with pytest.raises(Rejected) as error:
        double_text(text, 3)
    assert error.value.code == "value-not-decimal"


@given(st.integers(-(10**12), 10**12), st.integers(-40, 40), st.integers(-12, 12))
def test_an_exponent_is_exact(number: int, exponent: int, shift: int) -> None:
    expected = Fraction(number) * Fraction(10) ** (exponent + shift)
    assert Fraction(double_text(f"{number}e{exponent}", shift)) == expected


@given(st.text(max_size=50))
def test_any_text_gives_a_decimal_or_a_refusal(text: str) -> None:
    try:
        result = decimal_text(text, 3)
    except Rejected:
        assert re.fullmatch(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)", text.strip(" \t\r\n")) is None
    else:
        assert Fraction(result) == exactly(text.strip(" \t\r\n"), 3)
