"""The instants of a stream of frames, fifty in each second."""

from bal.harmonise.instant import TIME_LENGTH_MAX, Instant, parse

_SECOND = 19  # characters up to the point


def instant(text: str) -> Instant:
    """As `bal.harmonise.instant.parse`, in a third of the time where the second is known."""
    zone = "Z" if text.endswith("Z") else text[-6:]
    digits = text[_SECOND + 1 : -len(zone)]
    if not (
        text[_SECOND : _SECOND + 1] == "."
        and digits.isdigit()
        and digits.isascii()
        and len(text) <= TIME_LENGTH_MAX
    ):
        return parse(text)
    second = parse(text[:_SECOND] + zone)
    fraction = digits[:6].rstrip("0")
    cut = digits[6:].strip("0") != ""
    if not fraction:
        return Instant(second.us, second.text, cut)
    us = second.us + int(fraction.ljust(6, "0"))
    return Instant(us, f"{second.text[:-1]}.{fraction}Z", cut)
