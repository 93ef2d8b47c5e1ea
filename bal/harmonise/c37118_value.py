"""Numbers of a C37.118 data frame as normalised decimals; docs/spec/c37118.md has the rules.

A float of 32 bits becomes the shortest of 6 to 9 significant digits that gives the same bits back;
an integer is scaled exactly. Only what is made of a rectangular phasor is rounded, to 9 digits, and
in the same way on every machine. Absent is None.
"""

from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import lru_cache
from math import atan2, inf, isfinite, nextafter, sqrt
from struct import Struct

import msgspec

from bal.c37118.data import ABSENT
from bal.harmonise.pmu_number import exact

DIGITS = 9  # significant, of what is computed

_FLOAT = Struct(">f")
_number = msgspec.json.Decoder(float).decode
_TINY = 1e-40  # rad
_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)
_ROUND = Context(prec=DIGITS, rounding=ROUND_HALF_EVEN)
_STEPS = 4  # neighbours of a double, within which every libm finds the same arc tangent

Pair = tuple[str | None, str | None]
_NONE: Pair = None, None


def text32(value: float) -> str | None:
    """A float of 32 bits; None where it is no number."""
    if not isfinite(value):
        return None
    bits = _FLOAT.pack(value)
    text = f"{value:.8g}"
    if _FLOAT.pack(_number(text)) != bits:
        text = f"{value:.9g}"
    elif len(text) > 7:  # eight digits, perhaps: fewer may do
        for digits in (6, 7):
            shorter = f"{value:.{digits}g}"
            if _FLOAT.pack(_number(shorter)) == bits:
                text = shorter
                break
    return _plain(text)


def _plain(text: str) -> str:
    """Without exponent or -0; the format `g` leaves no other zeros."""
    if "e" in text:
        return exact(text)
    return "0" if text == "-0" else text


def decimal32(value: float) -> Decimal:
    """A scale or an offset as the decimal that `text32` shows; not a number is 0."""
    return Decimal(text32(value) or "0")


def scaled(number: int, places: int) -> str:
    """`number` / 10^places, exactly."""
    whole, fraction = divmod(abs(number), 10**places)
    sign = "-" if number < 0 else ""
    digits = f"{fraction:0{places}d}".rstrip("0") if fraction else ""
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"


def written(number: Decimal) -> str:
    """A decimal without exponent, zeros at the end or -0."""
    if not number:
        return "0"
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def linear(scale: float, offset: float) -> Callable[[int], str | None]:
    """scale × integer + offset, exactly: analog values by configuration 3 (ANSCALE)."""
    by, more = decimal32(scale), decimal32(offset)

    def of(value: int) -> str | None:
        if value == ABSENT:
            return None
        return written(_EXACT.add(_EXACT.multiply(by, Decimal(value)), more))

    return of


# --- phasors ------------------------------------------------------------------------------


def float_polar(size: float, angle: float) -> Pair:
    """Magnitude and angle as sent."""
    found = text32(size), text32(angle)
    return found if None not in found else _NONE


def float_rectangular(real: float, imaginary: float) -> Pair:
    """sqrt(re² + im²) in double precision, which IEEE 754 leaves no choice in; and the angle."""
    if not (isfinite(real) and isfinite(imaginary)):
        return _NONE
    size = _plain(f"{sqrt(real * real + imaginary * imaginary):.{DIGITS}g}")
    return size, angle_of(imaginary, real)


def fixed_polar_2(factor: int) -> Callable[[int, int], Pair]:
    """By configuration 2: the magnitude in units of factor × 10^-5, the angle of 10^-4 rad."""

    def of(size: int, angle: int) -> Pair:
        return _NONE if angle == ABSENT else (scaled(size * factor, 5), scaled(angle, 4))

    return of


def fixed_rectangular_2(factor: int) -> Callable[[int, int], Pair]:
    """By configuration 2: real and imaginary part in units of factor × 10^-5."""

    def of(real: int, imaginary: int) -> Pair:
        if ABSENT in {real, imaginary}:
            return _NONE
        square = (real * real + imaginary * imaginary) * factor * factor
        return written(_ROUND.sqrt(Decimal(square).scaleb(-10))), angle_of(imaginary, real)

    return of


def fixed_polar_3(scale: float, turn: float) -> Callable[[int, int], Pair]:
    """By configuration 3: X = Y X' e^(-jθ), Y the scale and θ the angle (PHSCALE)."""
    by, off = decimal32(scale), decimal32(turn)

    def of(size: int, angle: int) -> Pair:
        if angle == ABSENT:
            return _NONE
        turned = _EXACT.subtract(Decimal(angle).scaleb(-4), off)
        return written(_EXACT.multiply(by, Decimal(size))), written(turned)

    return of


def fixed_rectangular_3(scale: float, turn: float) -> Callable[[int, int], Pair]:
    """By configuration 3; the angle is rounded before θ is taken off it."""
    by, off = decimal32(scale), decimal32(turn)
    square_of_scale = _EXACT.multiply(by, by)
    sign = -1 if by < 0 else 1

    def of(real: int, imaginary: int) -> Pair:
        if ABSENT in {real, imaginary}:
            return _NONE
        square = _EXACT.multiply(square_of_scale, Decimal(real * real + imaginary * imaginary))
        angle = Decimal(angle_of(sign * imaginary, sign * real))
        return written(_ROUND.sqrt(square)), written(_EXACT.subtract(angle, off))

    return of


def angle_of(imaginary: float, real: float) -> str:
    """The angle in radians in (-π, π], rounded to 9 significant digits.

    0 of a phasor of 0, and where it is below 10^-40.

    A libm's arc tangent is not always the nearest double, and another one's may be another. So
    where its neighbours would be rounded otherwise it is computed to 40 digits.
    """
    found = atan2(imaginary + 0.0, real)  # + 0.0: no minus before a zero
    if abs(found) < _TINY and real > 0:
        return "0"
    if imaginary == 0 or real == 0:
        return _AXES[(found > 0) - (found < 0), imaginary == 0]
    low = high = found
    for _ in range(_STEPS):
        low, high = nextafter(low, -inf), nextafter(high, inf)
    text = f"{low:.{DIGITS}g}"
    if text != f"{high:.{DIGITS}g}":
        return written(_ROUND.plus(_angle(Decimal(imaginary), Decimal(real))))
    return _plain(text)


# --- an arc tangent of forty digits --------------------------------------------------------------

_LONG = Context(prec=40, rounding=ROUND_HALF_EVEN)
_PI = Decimal("3.141592653589793238462643383279502884197")
_AXES = {  # sign of the arc tangent, whether the imaginary part is 0
    (0, True): "0",
    (1, True): written(_ROUND.plus(_PI)),
    (1, False): written(_ROUND.divide(_PI, Decimal(2))),
    (-1, False): written(_ROUND.divide(-_PI, Decimal(2))),
}


def _angle(imaginary: Decimal, real: Decimal) -> Decimal:
    """atan2 to about 38 digits; neither is 0."""
    ratio = _LONG.divide(abs(imaginary), abs(real))
    found = (
        _arc(ratio)
        if ratio <= 1
        else _LONG.subtract(_LONG.divide(_PI, Decimal(2)), _arc(_LONG.divide(1, ratio)))
    )
    if real < 0:
        found = _LONG.subtract(_PI, found)
    return -found if imaginary < 0 else found


@lru_cache(maxsize=64)
def _arc(tangent: Decimal) -> Decimal:
    """The arc tangent of 0 to 1: halved three times, then its series."""
    one = Decimal(1)
    for _ in range(3):  # atan x = 2 atan(x / (1 + sqrt(1 + x²)))
        root = _LONG.sqrt(_LONG.add(one, _LONG.multiply(tangent, tangent)))
        tangent = _LONG.divide(tangent, _LONG.add(one, root))
    square = _LONG.multiply(tangent, tangent)
    power = found = tangent
    for n in range(3, 90, 2):
        power = _LONG.multiply(power, -square)
        found = _LONG.add(found, _LONG.divide(power, Decimal(n)))
    return _LONG.multiply(found, Decimal(8))
