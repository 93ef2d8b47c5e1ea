"""Query strings and forms, read strictly: what is odd is refused, never guessed.

WHATWG URL §5.1 (application/x-www-form-urlencoded) says how they are written.
"""

import re
import unicodedata
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from urllib.parse import unquote_plus

from bal.errors import Rejected

PARAMETERS_MAX = 32
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_LINES = {ord(one): " " for one in "\t\n\r"}
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,17}")
_INSTANT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,6}))?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})"
)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - naive on purpose: the offset is taken off by hand


def parameters(raw: bytes, with_lines: Collection[str] = ()) -> dict[str, str]:
    """The parameters of a query string or form body, in order, each at most once.

    with_lines: those whose values may have several lines, and tabs.
    Raises Rejected: query-malformed, not-utf8, parameter-repeated, control-character.
    """
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError:
        raise Rejected(
            "query-malformed", "A byte over 0x7F stands unescaped.", clause="RFC 3986 §2"
        ) from None
    if _BAD_ESCAPE.search(text):
        raise Rejected("query-malformed", "A % without two hex digits.", clause="RFC 3986 §2.1")
    pieces = [piece for piece in text.split("&") if piece]
    if len(pieces) > PARAMETERS_MAX:
        raise Rejected("query-malformed", f"More than {PARAMETERS_MAX} parameters.")
    found: dict[str, str] = {}
    for piece in pieces:
        name, _, value = piece.partition("=")
        name, value = _unescape(name), _unescape(value)
        if name in found:
            raise Rejected("parameter-repeated", "Given more than once.", field=shown(name))
        _check_characters(name, name)
        lines = _LINES if name in with_lines else {}
        _check_characters(name, value.translate(lines))
        found[name] = value
    return found


def check_known(given: Collection[str], known: Collection[str]) -> None:
    """Raises Rejected("parameter-unknown") for the first name that is not known."""
    for name in given:
        if name not in known:
            raise Rejected(
                "parameter-unknown", f"Known are: {', '.join(known) or 'none'}.", field=shown(name)
            )


def decimal(name: str, text: str, least: int, most: int) -> int:
    """A whole number as we would print it: no sign, no leading zero, no other digits."""
    value = int(text) if _DECIMAL.fullmatch(text) else -1
    if not least <= value <= most:
        raise Rejected(
            "parameter-invalid", f"Must be a whole number, {least} to {most}.", field=name
        )
    return value


def one_of(name: str, text: str, choices: Collection[str]) -> str:
    """`text` if it is one of `choices`; else Rejected("parameter-invalid")."""
    if text not in choices:
        raise Rejected("parameter-invalid", f"Must be one of {', '.join(choices)}.", field=name)
    return text


def matching(name: str, text: str, pattern: re.Pattern[str], meaning: str) -> str:
    """`text` if all of it matches; else Rejected("parameter-invalid")."""
    if not pattern.fullmatch(text):
        raise Rejected("parameter-invalid", f"Must be {meaning}.", field=name)
    return text


def instant_us(name: str, text: str) -> int:
    """Microseconds since 1970 of an RFC 3339 time with an offset.

    Refused: no offset, lower case, more than 6 digits of a second, a leap second, no such day.
    """
    match = _INSTANT.fullmatch(text)
    if match is None:
        hint = " A + must be written %2B." if " " in text else ""
        raise Rejected(
            "time-malformed",
            f"Must be like 2026-01-15T10:00:00Z or with an offset like +01:00.{hint}",
            field=name,
            clause="RFC 3339 §5.6",
        )
    try:
        local = datetime.fromisoformat(match[1]) - _EPOCH
    except ValueError:
        raise Rejected(
            "time-malformed", "No such time.", field=name, clause="RFC 3339 §5.7"
        ) from None
    return local // timedelta(microseconds=1) + _fraction_us(match[2]) - _offset_us(name, match[3])


def shown(name: str) -> str:
    """A caller's own name, cut to what an answer may repeat."""
    return "".join(c if c.isprintable() else "?" for c in name[:64])


def required(given: Mapping[str, str], name: str) -> str:
    """The value of a parameter that must be there; else Rejected("parameter-missing")."""
    value = given.get(name)
    if value is None:
        raise Rejected("parameter-missing", "This parameter is needed.", field=name)
    return value


def _unescape(text: str) -> str:
    try:
        return unquote_plus(text, errors="strict")
    except UnicodeDecodeError:  # a lone surrogate's three bytes are refused here too
        raise Rejected("not-utf8", "An escape does not give UTF-8.", clause="RFC 3629 §3") from None


def _check_characters(name: str, text: str) -> None:
    # C…: control (NUL), format (right-to-left mark), private use, surrogate, unassigned
    if any(unicodedata.category(c)[0] == "C" for c in text):
        raise Rejected(
            "control-character", "Control and format characters are refused.", field=shown(name)
        )


def _fraction_us(digits: str | None) -> int:
    return int((digits or "").ljust(6, "0"))


def _offset_us(name: str, text: str) -> int:
    if text == "Z":
        return 0
    hours, minutes = int(text[1:3]), int(text[4:6])
    if hours > 23 or minutes > 59:
        raise Rejected("time-malformed", "No such offset.", field=name, clause="RFC 3339 §5.7")
    return (hours * 60 + minutes) * 60_000_000 * (-1 if text[0] == "-" else 1)
