"""The fast way through a large regular message: one pattern a shape, learnt from the message.

A head-end writes a thousand MeterReading elements alike but for their texts. The first one is
cut out and read by `cim_xml` with every text replaced by a marker; where a marker turns up in
what was read tells what the text at that place means. The same tags, with other texts, are then
a regular expression. An element that does not match is learnt in its turn.

Why this reads the same as `cim_xml`: outside the captured texts a match is equal to the sample,
but for white space between tags; a captured text holds no markup, no reference, no control
character; comments, CDATA sections and processing instructions send the whole message to
`cim_xml`. So the message is well-formed if the samples are. The tests hold both ways together.
"""

import re
from collections.abc import Callable
from itertools import pairwise
from operator import itemgetter
from typing import NamedTuple

from bal.errors import Rejected
from bal.harmonise import cim_xml
from bal.harmonise.cim_xml import MeterReading, Sent

MESSAGE_MIN = 4_096  # bytes; below it learning costs more than it saves
ELEMENT_MAX = 16_384  # bytes; a longer one is many readings of one device, which gain nothing
SHAPES_MAX = 8  # a message of more shapes is not regular
GAP_MAX = 4_096  # characters of white space between two elements
CAPTURES_MAX = 48  # in one shape

_START = re.compile(r"<((?:[A-Za-z_][\w.-]*:)?MeterReading)[\s/>]", re.ASCII)
_TOKEN = re.compile(r"""<(?:[^"'<>]|"[^"<]*"|'[^'<]*')*>|[^<]+""")
_READING = re.compile(r"<(?:[^\s<>/:]+:)?(?:Readings|IntervalReadings)[\s/>]")
_REF = re.compile(r'(?<=\sref=")[^"<&\x00-\x1f]*(?=")')
_SPACE = " \t\r\n"
_GAP = r"[ \t\r\n]*+"
_TEXT = r"([^<&\x00-\x08\x0b-\x1f]*+)"  # no carriage return: XML 1.0 §2.11 would change it
_ATTRIBUTE = r'([^"<&\x00-\x1f]*+)'
_MARK = "\N{SYMBOL FOR UNIT SEPARATOR}"  # only ASCII messages come here, so no text holds it

_ABSENT = "(?:(?!)())?"  # the last group: it takes no part in any match, its text is None

_Groups = tuple[str | None, ...]
_Pick = Callable[[_Groups], _Groups]
_Build = Callable[[re.Match[str]], MeterReading]
_Line = Callable[[int], int]  # offset → line
_new = tuple.__new__  # makes a named tuple in half the time that its own constructor takes


class _Shape(NamedTuple):
    """One learnt shape: what matches it, and what makes a MeterReading of a match."""

    match: Callable[[str, int], re.Match[str] | None]
    build: _Build


def read(raw: bytes) -> list[MeterReading] | None:
    """What `cim_xml.read` would return; None where the message is small or not regular."""
    if len(raw) < MESSAGE_MIN or not _plain(raw):
        return None
    text = raw.decode("ascii")
    first = _START.search(text)
    if first is None:
        return None
    end_tag = f"</{first[1]}>"
    start, stop = first.start(), text.rfind(end_tag) + len(end_tag)
    head, tail = text[:start], text[stop:]
    line = _lines(text)
    shapes: list[_Shape] = []
    found: list[MeterReading] = []
    at = start
    while at < stop:
        for shape in shapes:
            match = shape.match(text, at)
            if match is not None:
                found.append(shape.build(match))
                at = match.end()
                if not text.startswith("<", at):
                    gap = text[at : at + GAP_MAX]
                    at += len(gap) - len(gap.lstrip(_SPACE))
                break
        else:
            end = text.find(end_tag, at, stop) + len(end_tag)
            sample = text[at:end] if end - at <= ELEMENT_MAX else ""
            learnt = _learn(head, sample, tail, line) if len(shapes) < SHAPES_MAX else None
            if learnt is None or learnt.match(text, at) is None:
                return None
            shapes.insert(0, learnt)
    return found


def _lines(text: str) -> _Line:
    """Offsets to lines, from 1; to be asked in ascending order."""
    if "\n" not in text:
        return lambda _: 1
    line, counted = 1, 0

    def count(at: int) -> int:
        nonlocal line, counted
        line += text.count("\n", counted, at)
        counted = at
        return line

    return count


def _plain(raw: bytes) -> bool:
    """No more than tags and texts after the XML declaration, as far as single bytes can tell.

    memchr looks for one byte at the speed of memory, for two at a hundredth of that.
    """
    declared = raw.find(b"?>") + 2 if raw.startswith(b"<?xml") else 0
    return (
        raw.isascii()
        and b"&" not in raw
        and (b"!" not in raw or b"<!" not in raw)  # comments, CDATA, a document type
        and (b"]" not in raw or b"]]>" not in raw)
        and raw.find(b"?", declared) < 0  # processing instructions
        and not cim_xml.too_many_elements(raw)
    )


def _learn(head: str, sample: str, tail: str, line: _Line) -> _Shape | None:
    """The shape of one element; None where it is not one that a pattern can stand for."""
    tokens = _TOKEN.findall(sample)
    if "".join(tokens) != sample or len(tokens) > 16 * CAPTURES_MAX:
        return None
    marked = _mark(tokens)
    if marked is None:
        return None
    element = "".join(token.text for token in marked)
    prefix = head.encode()
    try:
        # twice: an element that may stand once, as the root, may not be repeated
        read_twice = cim_xml.read(prefix + (element * 2).encode() + tail.encode())
    except Rejected:
        return None
    span = len(prefix), len(prefix) + len(element.encode())
    if len(read_twice) != 2 or read_twice[0][:2] != span:
        return None
    read = read_twice[0]
    pattern, numbers, starts = _pattern(marked)
    # one doubled is not one text; readings elsewhere than where they belong have no tag of theirs
    if any(one.doubled for one in read.sent) or len(read.sent) != len(starts):
        return None
    if len(numbers) > CAPTURES_MAX:
        return None
    compiled = re.compile(pattern)

    def number(text: str | None) -> int:
        return compiled.groups - 1 if text is None else numbers[text] - 1

    try:
        build = _builder(read, number, starts, line)
    except KeyError:  # a text that is not one marker
        return None
    return _Shape(compiled.match, build)


class _Token(NamedTuple):
    text: str  # with markers
    kind: str  # tag, text, space


def _mark(tokens: list[str]) -> list[_Token] | None:
    """The tokens with markers in place of texts.

    None where a text stands beside elements: only an element's whole content is captured.
    """
    marked: list[_Token] = []
    count = 0

    def mark(_: object = None) -> str:
        nonlocal count
        count += 1
        return f"{_MARK}{count}{_MARK}"

    before = ""
    for token, after in pairwise([*tokens, ""]):
        if token.startswith("<"):
            # a quote in quotes could end an attribute early; a line feed makes two lines of a tag
            if "'" in token or "\n" in token:
                return None
            marked.append(_Token(_REF.sub(mark, token), "tag"))
            if _opens(token) and after.startswith("</"):
                marked.append(_Token(mark(), "text"))  # empty here, elsewhere it may not be
        elif _opens(before) and after.startswith("</"):
            marked.append(_Token(mark(), "text"))
        elif token.strip(_SPACE):
            return None
        else:
            marked.append(_Token(token, "space"))
        before = token
    return marked


def _opens(tag: str) -> bool:
    return tag.startswith("<") and not tag.startswith("</") and not tag.endswith("/>")


def _pattern(marked: list[_Token]) -> tuple[str, dict[str, int], list[int]]:
    """The pattern, marker → group number, and the number of the empty group before each reading."""
    pattern: list[str] = []
    groups = 0
    numbers: dict[str, int] = {}
    starts: list[int] = []
    for token, after in pairwise([*marked, _Token("", "text")]):
        if token.kind == "space":
            continue  # white space between tags is allowed wherever two tags meet
        if _READING.match(token.text) is not None:
            groups += 1
            starts.append(groups)
            pattern.append("()")
        for piece in re.split(f"({_MARK}[0-9]+{_MARK})", token.text):
            if piece.startswith(_MARK):
                groups += 1
                numbers[piece] = groups
                pattern.append(_TEXT if token.kind == "text" else _ATTRIBUTE)
            else:
                pattern.append(re.escape(piece))
        if token.kind == "tag" and after.kind != "text":
            pattern.append(_GAP)
    pattern.append(_ABSENT)
    return "".join(pattern), numbers, starts


def _builder(
    read: MeterReading, number: Callable[[str | None], int], starts: list[int], line: _Line
) -> _Build:
    """What does with a match what `cim_xml` did with the sample.

    number: where in match.groups() a marker's text stands; raises KeyError for what is no marker.
    starts: the number of the empty group before each reading.
    """
    named_by, elements, ignored = read.named_by, read.elements, read.ignored
    mrid = number(read.mrid)
    names = [itemgetter(*map(number, name)) for name in read.names]
    texts = [itemgetter(*map(number, sent[1:6])) for sent in read.sent]  # value to end
    qualities = [[number(code) for code in sent.qualities] for sent in read.sent]

    def build(match: re.Match[str]) -> MeterReading:
        groups = match.groups()
        span = match.span()
        found = tuple([pick(groups) for pick in names])
        sent: list[Sent] = []
        for start, pick, codes in zip(starts, texts, qualities, strict=True):
            quality = tuple([groups[code] for code in codes])
            sent.append(_new(Sent, (line(match.start(start)), *pick(groups), quality, ())))
        return _new(
            MeterReading,
            (*span, named_by, elements, groups[mrid], found, tuple(sent), ignored),
        )

    if len(names) != 1 or len(texts) != 1 or qualities != [[]]:
        return build
    [start], [name], [text] = starts, names, texts

    def build_one(match: re.Match[str]) -> MeterReading:
        """The same for one name and one reading without qualities, in half the time."""
        groups = match.groups()
        sent = (_new(Sent, (line(match.start(start)), *text(groups), (), ())),)
        return _new(
            MeterReading,
            (*match.span(), named_by, elements, groups[mrid], (name(groups),), sent, ignored),
        )

    return build_one
