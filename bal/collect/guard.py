"""The first of two stages of refusal: what is refused before the bus, with an answer at once.

The guard asks only whether the bytes are a message of their format that later stages can take
in safely: size, UTF-8, well-formedness, no DTD, depth, no doubled members. What the message
says is the business of harmonise. It keeps nothing and returns nothing; see docs/spec/intake.md.
"""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from typing import NoReturn
from xml.parsers import expat

from lxml import etree

from bal import cms
from bal.collect import c37118, plain, regular
from bal.errors import Rejected


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one message may ask of the platform."""

    message_bytes_max: int = 4 * 1024 * 1024
    depth_max: int = 64  # elements, or JSON objects and arrays, one inside another
    items_max: int = 500_000  # XML tags, or JSON members and elements; 4 MiB of <a/> is 176 MB


DEFAULT_LIMITS = Limits()
_LIMITS = "Gridseal docs/spec/limits-and-codes.md"
_INTAKE = "Gridseal docs/spec/intake.md"


def guard(raw: bytes, form: str, limits: Limits = DEFAULT_LIMITS) -> None:
    """Return only if `raw` may go to the bus as a message of format `form`.

    form: one of `bal.harmonise.FORMATS`, two of them binary, four XML, three JSON. Raises Rejected,
    and nothing else whatever the bytes are, with the code, the line in `raw` where there is one,
    and the clause. No text quotes the input.
    """
    if len(raw) > limits.message_bytes_max:
        text = f"{len(raw)} bytes; a message has at most {limits.message_bytes_max}"
        raise Rejected("message-too-large", text, clause=_LIMITS)
    check = _FORMATS.get(form)
    if check is None:
        known = ", ".join(sorted(_FORMATS))
        text = f"formats taken here are: {known}"
        raise Rejected("format-unknown", text, field="format", clause=_INTAKE)
    if not raw or raw.isspace():
        raise Rejected("message-empty", "the message has no content", clause=_INTAKE)
    check(raw, limits)


# --- text ---------------------------------------------------------------------------------


def _text(raw: bytes, clause: str) -> str:
    """`raw` decoded from UTF-8; Rejected("not-utf8") otherwise."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in raw[:2]:
        # UTF-16 and UTF-32 of `<` or `{`: without a BOM their bytes could pass for UTF-8
        raise Rejected("not-utf8", "the message is UTF-16 or UTF-32", line=1, clause=clause)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        text = f"byte {error.start} is not UTF-8: {error.reason}"
        raise Rejected("not-utf8", text, line=line, clause=clause) from None


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _refuse_control(line: int | None, clause: str) -> NoReturn:
    text = "a character that no XML document can carry (NUL or another control character)"
    raise Rejected("control-character", text, line=line, clause=clause)


def _refuse_depth(limits: Limits, line: int | None) -> NoReturn:
    text = f"nested more than {limits.depth_max} levels deep"
    raise Rejected("depth-exceeded", text, line=line, clause=_LIMITS)


def _refuse_items(limits: Limits) -> NoReturn:
    text = f"more than {limits.items_max} tags, members or elements"
    raise Rejected("too-many-items", text, clause=_LIMITS)


# --- XML ----------------------------------------------------------------------------------

_XML_CHAR = "XML 1.0 §2.2"
_XML_UTF8 = "XML 1.0 §4.3.3"
_XML_DECLARATION = re.compile(rb"(?:\xef\xbb\xbf)?<\?xml\s([^>]*?)\?>")
_XML_ENCODING = re.compile(rb"encoding\s*=\s*[\"']([^\"'>]*)[\"']")


def _check_xml(raw: bytes, limits: Limits) -> None:
    """A UTF-8 BOM is taken (XML 1.0 §4.3.3); a declared encoding must be UTF-8 or ASCII."""
    text = _text(raw, _XML_UTF8)
    declaration = _XML_DECLARATION.match(raw)
    encoding = declaration and _XML_ENCODING.search(declaration[1])
    if encoding and encoding[1].lower() not in (b"utf-8", b"us-ascii", b"ascii"):
        raise Rejected(
            "not-utf8", "an encoding other than UTF-8 is declared", line=1, clause=_XML_UTF8
        )
    nul = text.find("\0")
    if nul >= 0:
        _refuse_control(_line(text, nul), _XML_CHAR)
    # one byte is looked for at the speed of memory, two at a hundredth of that: a tenth of it all
    if b"!" in raw and (b"<!DOCTYPE" in raw or b"<!ENTITY" in raw):
        _check_no_doctype(raw)
    if raw.count(b"<") > limits.items_max:
        _refuse_items(limits)
    if len(raw) >= regular.MESSAGE_MIN and (short := regular.condensed(text)) is not None:
        with suppress(Rejected):  # the whole message says where
            _check_tree(short.encode(), limits)
            return
    _check_tree(raw, limits)


def _check_tree(raw: bytes, limits: Limits) -> None:
    root = _parse_xml(raw, limits)
    if root.getroottree().docinfo.doctype:  # what the scan above cannot see must not pass either
        _refuse_dtd(None)
    deep = _too_deep(limits.depth_max)(root)
    if isinstance(deep, list) and deep:
        first = deep[0]
        _refuse_depth(limits, first.sourceline if isinstance(first, etree._Element) else None)


def _refuse_dtd(line: int | None) -> NoReturn:
    text = "a document type or entity declaration is not taken"
    raise Rejected("dtd-forbidden", text, line=line, clause="XML 1.0 §2.8")


def _check_no_doctype(raw: bytes) -> None:
    """Tell a real declaration from a comment or CDATA section that only contains the letters.

    expat reports a doctype when it meets its name, before it reads any declaration inside, and
    the handler ends the parse there: no entity is ever declared, let alone expanded.
    """
    parser = expat.ParserCreate("utf-8")

    def refuse(*_: object) -> NoReturn:
        _refuse_dtd(parser.CurrentLineNumber)

    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(raw, True)
    except expat.ExpatError as error:
        _refuse_xml(expat.errors.messages[error.code], error.lineno)


def _refuse_xml(reason: str, line: int | None) -> NoReturn:
    text = f"not well-formed XML: {reason}"
    raise Rejected("xml-malformed", text, line=line, clause="XML 1.0 §2.1")


def _parse_xml(raw: bytes, limits: Limits) -> etree._Element:
    # The encoding is given, so that no declaration (UTF-7, say) can make other text of the bytes.
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        load_dtd=False,
        dtd_validation=False,
        no_network=True,
        huge_tree=False,  # libxml2's own limits: 256 levels, 10 MB a text node, no amplification
        recover=False,
    )
    try:
        return etree.fromstring(raw, parser)
    except etree.XMLSyntaxError as error:
        line = error.lineno or None
        kind = error.error_log.last_error if error.error_log else None
        if error.code == etree.ErrorTypes.ERR_INVALID_CHAR:
            _refuse_control(line, _XML_CHAR)
        if "Excessive depth" in str(error):
            _refuse_depth(limits, line)
        # libxml2's sentence may quote the document, its error's name never does
        name = kind.type_name if kind is not None else "no root element"
        _refuse_xml(name.removeprefix("ERR_").replace("_", " ").lower(), line)


@cache
def _too_deep(depth_max: int) -> etree.XPath:
    """Finds the elements at level `depth_max` + 1; stops where the document is shallower."""
    return etree.XPath("/*" * (depth_max + 1))


# --- JSON ---------------------------------------------------------------------------------

_JSON = "RFC 8259 §2"
_JSON_STRING = "RFC 8259 §7"
_JSON_UNIQUE = "RFC 8259 §4; RFC 7493 §2.3"
_JSON_UNICODE = "RFC 8259 §8.2; RFC 7493 §2.1"
# A string, closed or not, or one structural character. Every alternative that begins also ends,
# so a scan is linear whatever the text.
_JSON_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{},:]', re.DOTALL)
_JSON_CONSTANT = re.compile(r'"(?:[^"\\]++|\\.)*+"?|NaN|Infinity', re.DOTALL)
_JSON_ESCAPE = re.compile(r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u....|\\.", re.DOTALL)
_UNICODE_NONCHARACTER = re.compile("[\ufffe\uffff]")  # XML 1.0 §2.2 leaves them out, too


class _Duplicate(Exception):
    """A member's name stands twice in one object."""


class _Constant(Exception):
    """NaN, Infinity or -Infinity, which Python's reader would take."""


def _check_json(raw: bytes, limits: Limits, *, constants: bool = False) -> None:
    """constants: NaN and Infinity are left to harmonise, which refuses the one value."""
    if raw.startswith(b"\xef\xbb\xbf"):
        text = "a byte order mark before JSON"
        raise Rejected("json-malformed", text, line=1, clause="RFC 8259 §8.1")
    text = _text(raw, "RFC 8259 §8.1")
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > limits.items_max:
        _refuse_items(limits)
    _check_json_depth(text, limits)
    try:
        json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_keep if constants else _no_constant,
            parse_int=_keep,  # numbers are judged by harmonise; as text they cost nothing here
            parse_float=_keep,
        )
    except _Duplicate:
        line = _duplicate_line(text)
        sentence = "a member's name stands twice in one object"
        raise Rejected("json-duplicate-key", sentence, line=line, clause=_JSON_UNIQUE) from None
    except json.JSONDecodeError as error:
        if error.msg.startswith("Invalid control character"):
            _refuse_control(error.lineno, _JSON_STRING)
        _refuse_json(error.msg, error.lineno)
    except _Constant:
        _refuse_json("NaN and Infinity are no numbers", _constant_line(text))
    _check_json_characters(text)


def _refuse_json(reason: str, line: int | None) -> NoReturn:
    raise Rejected("json-malformed", f"not JSON: {reason}", line=line, clause=_JSON)


def _keep(number: str) -> str:
    return number


def _no_constant(_: str) -> NoReturn:
    raise _Constant


def _constant_line(text: str) -> int | None:
    words = (token for token in _JSON_CONSTANT.finditer(text) if token[0][0] != '"')
    first = next(words, None)
    return None if first is None else _line(text, first.start())


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Duplicate
    return members


def _check_json_depth(text: str, limits: Limits) -> None:
    if text.count("{") + text.count("[") <= limits.depth_max:
        return  # it can't be deeper than it has brackets
    depth = 0
    for token in _JSON_TOKEN.finditer(text):
        mark = token[0]
        if mark in ("{", "["):
            depth += 1
            if depth > limits.depth_max:
                _refuse_depth(limits, _line(text, token.start()))
        elif mark in ("}", "]"):
            depth -= 1


def _duplicate_line(text: str) -> int | None:
    """Where the first doubled name of a well-formed beginning stands; read again, rarely."""
    open_objects: list[set[str] | None] = []  # None for an array
    name_next = False
    for token in _JSON_TOKEN.finditer(text):
        mark = token[0]
        if mark in ("{", "["):
            open_objects.append(set() if mark == "{" else None)
        elif mark in ("}", "]"):
            open_objects.pop()
        names = open_objects[-1] if open_objects else None
        if mark.startswith('"') and name_next and names is not None:
            name = json.loads(mark)
            if name in names:
                return _line(text, token.start())
            names.add(name)
        name_next = mark in ("{", ",") and names is not None
    return None


def _check_json_characters(text: str) -> None:
    """Refuse what has no UTF-8 form or no XML form; `text` is well-formed JSON."""
    raw = _UNICODE_NONCHARACTER.search(text)
    if raw:
        _refuse_control(_line(text, raw.start()), _XML_CHAR)
    if "\\" not in text:
        return
    for escape in _JSON_ESCAPE.finditer(text):
        mark = escape[0]
        if len(mark) == 6:
            code = int(mark[2:], 16)
            if 0xD800 <= code <= 0xDFFF:
                line = _line(text, escape.start())
                sentence = "half of a surrogate pair stands alone"
                raise Rejected("not-unicode", sentence, line=line, clause=_JSON_UNICODE)
            if (code < 0x20 and code not in (0x09, 0x0A, 0x0D)) or code in (0xFFFE, 0xFFFF):
                _refuse_control(_line(text, escape.start()), _XML_CHAR)
        elif mark in (r"\b", r"\f"):
            _refuse_control(_line(text, escape.start()), _XML_CHAR)


# --- what most messages consist of ----------------------------------------------------------


def _check_der(raw: bytes, limits: Limits) -> None:
    if not plain.is_der(raw, limits.depth_max, limits.items_max):
        _check_json(raw, limits)


def _check_frames(raw: bytes, limits: Limits) -> None:
    if not plain.is_frames(raw, limits.depth_max, limits.items_max):
        _check_json(raw, limits, constants=True)


def _check_cms(raw: bytes, limits: Limits) -> None:
    """CMS SignedData around JSON. Whether the signature holds is the registry's trust to say."""
    signed = cms.read(raw)
    _check_json(raw[signed.start : signed.end], limits)


_FORMATS: dict[str, Callable[[bytes, Limits], None]] = {
    "c37118": lambda raw, _: c37118.check(raw),
    "cim": _check_xml,
    "cls": _check_cms,
    "der": _check_der,
    "espi": _check_xml,
    "pmu": _check_frames,
    "sep2": _check_xml,
    "sunspec": partial(_check_json, constants=True),
    "vde2418": _check_xml,
}
