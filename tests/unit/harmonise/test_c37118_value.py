"""Decimals of C37.118 values: nothing sent is lost; what is computed is the same everywhere."""

from decimal import Decimal, localcontext
from fractions import Fraction
from math import isfinite
from struct import pack, unpack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bal.harmonise import c37118_value as value
from tests.c37118_streams import floats, i16, scales, u16

NORMAL = r"0|-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?"


def test_the_shortest_decimal_of_a_float() -> None:
    for text in ("230.1", "0", "0.1", "-12.5", "16777216", "123456790000", "0.00001", "100.07759"):
        [sent] = unpack(">f", pack(">f", float(text)))
        assert value.text32(sent) == text
    assert value.text32(unpack(">f", bytes.fromhex("42c827b9"))[0]) == "100.07758"
    assert value.text32(-0.0) == "0"
    for nothing in (float("nan"), float("inf"), float("-inf")):
        assert value.text32(nothing) is None


@settings(max_examples=1000)
@given(floats)
def test_a_float_is_got_back_from_its_decimal(sent: float) -> None:
    text = value.text32(sent)
    if not isfinite(sent):
        assert text is None
        return
    assert text is not None
    assert len(text) <= 80
    assert pack(">f", float(text)) == pack(">f", sent + 0.0)
    assert text == value.written(Decimal(text))
    assert len(text.replace("-", "").replace(".", "").strip("0")) <= 9


@given(st.integers(-(2**40), 2**40), st.integers(0, 6))
def test_integers_are_scaled_exactly(number: int, places: int) -> None:
    text = value.scaled(number, places)
    assert Fraction(text) == Fraction(number, 10**places)
    assert text == value.written(Decimal(text))


@given(u16, i16, st.integers(0, 0xFFFFFF))
def test_fixed_polar_phasors_are_exact(size: int, angle: int, factor: int) -> None:
    """Standard: magnitude × factor × 10^-5, angle × 10^-4 rad."""
    found = value.fixed_polar_2(factor)(size, angle)
    if angle == -0x8000:
        assert found == (None, None)
        return
    assert Fraction(found[0] or "") == Fraction(size * factor, 100_000)
    assert Fraction(found[1] or "") == Fraction(angle, 10_000)


@given(u16, i16, scales, scales)
def test_configuration_3_scales_and_turns(size: int, angle: int, scale: float, turn: float) -> None:
    by, off = Fraction(value.text32(scale) or ""), Fraction(value.text32(turn) or "")
    found = value.fixed_polar_3(scale, turn)(size, angle)
    if angle != -0x8000:
        assert Fraction(found[0] or "") == by * size
        exact = Fraction(angle, 10_000) - off
        assert abs(Fraction(found[1] or "") - exact) <= abs(exact) / 10**50
    linear = value.linear(scale, turn)(angle)
    if angle != -0x8000:
        assert abs(Fraction(linear or "") - (by * angle + off)) <= abs(by * angle + off) / 10**18


def long_angle(imaginary: float, real: float) -> Decimal:
    """Another way to the arc tangent: Newton's on tan, by series of 60 digits."""
    with localcontext() as context:
        context.prec = 70
        y, x = Decimal(imaginary), Decimal(real)
        size = (x * x + y * y).sqrt()
        sine, cosine = y / size, x / size
        at = Decimal(__import__("math").atan2(imaginary, real))
        for _ in range(4):
            s, c = sine_cosine(at)
            at += sine * c - cosine * s
        return at


def sine_cosine(at: Decimal) -> tuple[Decimal, Decimal]:
    sine, cosine, term = Decimal(0), Decimal(0), Decimal(1)
    for n in range(1, 80):
        cosine, sine = (cosine + term, sine) if n % 2 else (cosine, sine + term)
        term = term * at / n * (1 if n % 2 else -1)
    return sine, cosine


@settings(max_examples=300)
@given(i16, i16)
def test_angles_are_rounded_correctly(imaginary: int, real: int) -> None:
    if imaginary == 0 or real == 0:
        return
    exact = long_angle(imaginary, real)
    text = value.angle_of(imaginary, real)
    assert text == value.written(value._ROUND.plus(exact))
    by_digits = value.written(value._ROUND.plus(value._angle(Decimal(imaginary), Decimal(real))))
    assert by_digits == text, "the way for the rare ones leads there, too"


@pytest.mark.parametrize(
    ("imaginary", "real", "angle"),
    [(0, 1, "0"), (0, -1, "3.14159265"), (-0.0, -1.0, "3.14159265"), (1, 0, "1.57079633"),
     (-1, 0, "-1.57079633"), (0, 0, "0"), (1e-45, 3e38, "0"), (1, 1, "0.785398163")],
)  # fmt: skip
def test_angles_on_the_axes(imaginary: float, real: float, angle: str) -> None:
    assert value.angle_of(imaginary, real) == angle


@given(i16, i16, st.integers(0, 0xFFFFFF))
def test_fixed_rectangular_magnitudes(real: int, imaginary: int, factor: int) -> None:
    size, _ = value.fixed_rectangular_2(factor)(real, imaginary)
    if -0x8000 in {real, imaginary}:
        assert size is None
        return
    exact = Fraction((real**2 + imaginary**2) * factor**2, 10**10)
    found = Fraction(size or "")
    step = found / 10**8 if found else Fraction(0)
    assert (found - step) ** 2 <= exact <= (found + step) ** 2


def test_a_negative_scale_turns_a_phasor_round() -> None:
    size, angle = value.fixed_rectangular_3(-2.0, 0.0)(3, 4)
    assert (size, angle) == ("10", "-2.21429744")
    assert value.fixed_rectangular_3(2.0, 0.5)(3, 4) == ("10", "0.427295218")


@given(floats, floats)
def test_any_floats_as_a_rectangular_phasor(real: float, imaginary: float) -> None:
    for text in value.float_rectangular(real, imaginary):
        assert text is None or text == value.written(Decimal(text))
    assert (value.float_rectangular(real, imaginary)[0] is None) == (
        not (isfinite(real) and isfinite(imaginary))
    )
