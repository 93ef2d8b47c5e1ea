"""The instants of a stream of frames, fifty in each second."""

from collections.abc import Iterable

from bal.harmonise.instant import TIME_LENGTH_MAX, Instant, parse

_SECOND = 19  # characters up to the point
_MICRO = _SECOND + 7  # up to the end of six digits of a fraction


def instants(texts: Iterable[str]) -> list[Instant]:
    """As `instant` of each, in a third of the time where neighbours are in one second."""
    found: list[Instant] = []
    start = end = clock = ""
    begin_us = 0
    for text in texts:
        digits = text[_SECOND + 1 : _MICRO]
        plain = digits.isdigit() and digits.isascii()
        if not (plain and text[: _SECOND + 1] == start and text[_MICRO:] == end):
            found.append(instant(text))
            if text[_SECOND : _SECOND + 1] == "." and text[_MICRO : _MICRO + 1] in {"Z", "+", "-"}:
                start, end = text[: _SECOND + 1], text[_MICRO:]
                second = instant(f"{start}000000{end}")
                begin_us, clock = second.us, second.text[:-1]
            continue
        fraction = digits.rstrip("0")
        shown = f"{clock}.{fraction}Z" if fraction else f"{clock}Z"
        found.append(Instant(begin_us + int(digits), shown, cut=False))
    return found


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
