"""Decimal text, moved by powers of ten: beside the stages, because harmonise reads and provide
writes values in other units than the record's. Never a float."""


def normalised(whole: str, fraction: str, shift: int, *, negative: bool) -> str:
    """`whole`.`fraction` times ten to the power `shift`, exactly; digits only, either may be empty.

    Without exponent, plus sign, leading or trailing zero, point at the end or `-0`.
    """
    if shift > 0:
        fraction = fraction.ljust(shift, "0")
        whole, fraction = whole + fraction[:shift], fraction[shift:]
    elif shift < 0:
        whole = whole.rjust(-shift, "0")
        whole, fraction = whole[:shift], whole[shift:] + fraction
    number = whole.lstrip("0") or "0"
    fraction = fraction.rstrip("0")
    if fraction:
        number = f"{number}.{fraction}"
    return f"-{number}" if negative and number != "0" else number
