"""A JSON number's literal as a normalised decimal, exactly; it is never a float."""

import re

from bal.errors import Rejected

LITERAL_LENGTH_MAX = 40  # characters as sent
VALUE_LENGTH_MAX = 80  # characters once an exponent is resolved

_LITERAL = re.compile(r"(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?")  # RFC 8259 §6


def exact(literal: str) -> str:
    """`literal` without exponent, plus sign, trailing zeros or `-0`.

    Raises Rejected("value-not-decimal") where it is no number of RFC 8259 (NaN, Infinity), or too
    long as sent or written out (1e400).
    """
    found = _LITERAL.fullmatch(literal) if len(literal) <= LITERAL_LENGTH_MAX else None
    if found is None:
        raise _refused()
    sign, whole, fraction, power = found.groups(default="")
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return "0"
    shift = int(power or "0") - len(fraction)  # the value is digits × 10^shift
    if shift + len(digits) > VALUE_LENGTH_MAX or shift < -VALUE_LENGTH_MAX - LITERAL_LENGTH_MAX:
        raise _refused()
    if shift >= 0:
        number = digits + "0" * shift
    else:
        digits = digits.rjust(1 - shift, "0")
        number = f"{digits[:shift]}.{digits[shift:]}".rstrip("0").rstrip(".")
    if len(number) > VALUE_LENGTH_MAX:
        raise _refused()
    return sign + number


def _refused() -> Rejected:
    return Rejected(
        "value-not-decimal",
        f"not a number of at most {LITERAL_LENGTH_MAX} characters, {VALUE_LENGTH_MAX} written out",
        clause="RFC 8259 §6",
    )
