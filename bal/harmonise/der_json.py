"""Reads the JSON of a DER telemetry message without losing anything: byte ranges, number texts.

Duplicate members, NaN and Infinity are refused; a number stays the text that was sent.
"""

import json
import re
from typing import Any, NamedTuple, NoReturn

from bal.errors import Rejected

DEPTH_MAX = 64
_SPACE = " \t\r\n"


class Number(str):
    """A JSON number's literal text; a subclass, so that it doesn't pass for a string."""

    __slots__ = ()


class Constant(str):
    """NaN, Infinity or -Infinity, where a format takes them as far as to refuse one value."""

    __slots__ = ()


class Item(NamedTuple):
    """One device's object: raw[start:end] and its value; objects are dict, arrays list."""

    start: int
    end: int
    value: Any
    pointer: str  # RFC 6901: "" for the message's only object, else "/<number>"


def read(raw: bytes, *, constants: bool = False) -> list[Item]:
    """The object, or each element of the array, that the message consists of.

    constants: NaN and Infinity become a `Constant` instead of refusing the message.
    Raises Rejected: not-utf8, json-malformed, json-duplicate-key, depth-exceeded.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise Rejected("not-utf8", "the message is not UTF-8", line=line) from None
    _check_depth(raw)
    decoder = _lenient if constants else _decoder
    found: list[tuple[int, int, Any]] = []
    at = _skip(text, 0)
    array = text.startswith("[", at)
    if not array:
        value, end = _value(text, at, decoder)
        found.append((at, end, value))
        at = end
    else:
        at = _skip(text, at + 1)
        while not (text.startswith("]", at) and not found):
            value, end = _value(text, at, decoder)
            found.append((at, end, value))
            at = _skip(text, end)
            if text.startswith("]", at):
                break
            if not text.startswith(",", at):
                raise _malformed(text, at, "expecting a comma or the end of the array")
            at = _skip(text, at + 1)
        at += 1
    at = _skip(text, at)
    if at != len(text):
        raise _malformed(text, at, "something stands after the end")
    return _items(text, found, array=array)


def _items(text: str, found: list[tuple[int, int, Any]], *, array: bool) -> list[Item]:
    """From offsets of characters to offsets of bytes."""
    items: list[Item] = []
    at = offset = 0
    for number, (start, end, value) in enumerate(found):
        first = offset + len(text[at:start].encode())
        last = first + len(text[start:end].encode())
        items.append(Item(first, last, value, f"/{number}" if array else ""))
        at, offset = end, last
    return items


def _value(text: str, at: int, decoder: json.JSONDecoder) -> tuple[Any, int]:
    try:
        return decoder.raw_decode(text, at)
    except json.JSONDecodeError as error:
        raise _malformed(text, error.pos, error.msg) from None
    except Rejected as error:  # by a hook below, which doesn't know where it stands
        error.line = text.count("\n", 0, at) + 1
        raise


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


def _malformed(text: str, at: int, what: str) -> Rejected:
    return Rejected(
        "json-malformed",
        f"not JSON: {what[:1].lower()}{what[1:]}",
        line=text.count("\n", 0, at) + 1,
        clause="RFC 8259 §2",
    )


_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


def _check_depth(raw: bytes) -> None:
    """Before the decoder recurses. Strings are skipped; if one is open the rest is malformed."""
    if raw.count(b"{") + raw.count(b"[") <= DEPTH_MAX:
        return  # most often: they are counted in a hundredth of the time
    depth = 0
    for match in _STRUCTURE.finditer(raw):
        byte = match[0][:1]
        if byte in b"[{":
            depth += 1
            if depth > DEPTH_MAX:
                line = raw.count(b"\n", 0, match.start()) + 1
                raise Rejected("depth-exceeded", f"nested more than {DEPTH_MAX} deep", line=line)
        elif byte != b'"':
            depth -= 1


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Rejected("json-duplicate-key", "an object has a member twice", clause="RFC 8259 §4")
    return members


def _constant(_: str) -> NoReturn:
    raise Rejected("json-malformed", "NaN and Infinity are not JSON", clause="RFC 8259 §6")


_decoder = json.JSONDecoder(
    object_pairs_hook=_members, parse_float=Number, parse_int=Number, parse_constant=_constant
)
_lenient = json.JSONDecoder(
    object_pairs_hook=_members, parse_float=Number, parse_int=Number, parse_constant=Constant
)
