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
CAPTURES_MAX = 48  # in one shape

_START = re.compile(r"<((?:[A-Za-z_][\w.-]*:)?MeterReading)[\s/>]", re.ASCII)
_TOKEN = re.compile(r"""<(?:[^"'<>]|"[^"<]*"|'[^'<]*')*>|[^<]+""")
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
    shapes: list[_Shape] = []
    found: list[MeterReading] = []
    at = start
    while at < stop:
        for shape in shapes:
            match = shape.match(text, at)
            if match is not None:
                found.append(shape.build(match))
                at = match.end()
                break
        else:
            end = text.find(end_tag, at, stop) + len(end_tag)
            sample = text[at:end].lstrip(_SPACE) if end - at <= ELEMENT_MAX else ""
            learnt = _learn(head, sample, tail) if len(shapes) < SHAPES_MAX else None
            if learnt is None or learnt.match(text, at) is None:
                return None
            shapes.insert(0, learnt)
    return found


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


def _learn(head: str, sample: str, tail: str) -> _Shape | None:
    """The shape of one element; None where it is not one that a pattern can stand for."""
    tokens = _TOKEN.findall(sample)
    if "".join(tokens) != sample or len(tokens) > 16 * CAPTURES_MAX:
        return None
    marking = _mark(tokens)
    if marking is None:
        return None
    marked, token_at = marking
    element = "".join(text for text, _ in marked)
    prefix = head.encode()
    try:
        # twice: an element that may stand once, as the root, may not be repeated
        read_twice = cim_xml.read(prefix + (element * 2).encode() + tail.encode())
    except Rejected:
        return None
    start, end = len(prefix), len(prefix) + len(element.encode())
    if len(read_twice) != 2 or (read_twice[0].start, read_twice[0].end) != (start, end):
        return None
    sent_at = [token_at[one.at - start] for one in read_twice[0].sent]
    pattern, numbers, starts = _pattern(marked, frozenset(sent_at))
    if len(numbers) > CAPTURES_MAX or any(one.doubled for one in read_twice[0].sent):
        return None
    compiled = re.compile(pattern)

    def number(text: str | None) -> int:
        return compiled.groups - 1 if text is None else numbers[text] - 1

    try:
        build = _builder(read_twice[0], number, [starts[token] for token in sent_at])
    except KeyError:  # a text that is not one marker
        return None
    return _Shape(compiled.match, build)


def _mark(tokens: list[str]) -> tuple[list[tuple[str, str]], dict[int, int]] | None:
    """Each token, with a marker for its text, and its kind; and byte offset → token.

    None where a text stands beside elements: only an element's whole content is captured.
    """
    marked: list[tuple[str, str]] = []
    at: dict[int, int] = {}
    offset = count = 0

    def add(text: str, kind: str) -> None:
        nonlocal offset
        at[offset] = len(marked)
        marked.append((text, kind))
        offset += len(text.encode())

    def mark(_: object = None) -> str:
        nonlocal count
        count += 1
        return f"{_MARK}{count}{_MARK}"

    before = ""
    for token, after in pairwise([*tokens, ""]):
        whole_content = _opens(before) and after.startswith("</")
        if token.startswith("<"):
            if "'" in token:  # a quote in quotes could end an attribute early
                return None
            add(_REF.sub(mark, token), "tag")
            if _opens(token) and after.startswith("</"):
                add(mark(), "text")  # empty here, elsewhere it may not be
        elif whole_content:
            add(mark(), "text")
        elif token.strip(_SPACE):
            return None
        else:
            add(token, "space")
        before = token
    return marked, at


def _opens(tag: str) -> bool:
    return tag.startswith("<") and not tag.startswith("</") and not tag.endswith("/>")


def _pattern(
    marked: list[tuple[str, str]], sent_at: frozenset[int]
) -> tuple[str, dict[str, int], dict[int, int]]:
    """The pattern, marker → group number, and token → number of the empty group before it."""
    pattern = [_GAP, "()"]  # group 1: where the element starts
    groups = 1
    numbers: dict[str, int] = {}
    starts: dict[int, int] = {}
    for index, (text, kind) in enumerate(marked):
        if kind == "space":
            continue  # white space between tags is allowed wherever two tags meet
        if index in sent_at:
            groups += 1
            starts[index] = groups
            pattern.append("()")
        pieces = re.split(f"({_MARK}[0-9]+{_MARK})", text)
        for piece in pieces:
            if piece.startswith(_MARK):
                groups += 1
                numbers[piece] = groups
                pattern.append(_TEXT if kind == "text" else _ATTRIBUTE)
            else:
                pattern.append(re.escape(piece))
        following = [kind for _, kind in marked[index + 1 : index + 2]]
        if kind == "tag" and following and following[0] != "text":
            pattern.append(_GAP)
    pattern.append(_ABSENT)
    return "".join(pattern), numbers, starts


def _builder(read: MeterReading, number: Callable[[str | None], int], starts: list[int]) -> _Build:
    """What does with a match what `cim_xml` did with the sample.

    number: where in match.groups() a marker's text stands; raises KeyError for what is no marker.
    starts: the number of the empty group before each reading.
    """
    where = (read.named_by, read.elements)
    mrid, ignored = number(read.mrid), read.ignored
    names = [itemgetter(*map(number, name)) for name in read.names]
    texts = [itemgetter(*map(number, sent[1:6])) for sent in read.sent]  # value to end
    qualities = [[number(code) for code in sent.qualities] for sent in read.sent]

    def build(match: re.Match[str]) -> MeterReading:
        groups = match.groups()
        sent = tuple(
            _new(
                Sent, (match.start(at), *pick(groups), tuple([groups[code] for code in codes]), ())
            )
            for at, pick, codes in zip(starts, texts, qualities, strict=True)
        )
        found = tuple([pick(groups) for pick in names])
        span = match.start(1), match.end()
        return _new(MeterReading, (*span, *where, groups[mrid], found, sent, ignored))

    if len(names) != 1 or len(texts) != 1 or qualities != [[]]:
        return build
    [start], [name], [text] = starts, names, texts
    named_by, elements = where

    def build_one(match: re.Match[str]) -> MeterReading:
        """The same for one name and one reading without qualities, in half the time."""
        groups = match.groups()
        sent = (_new(Sent, (match.start(start), *text(groups), (), ())),)
        return _new(
            MeterReading,
            (
                match.start(1),
                match.end(),
                named_by,
                elements,
                groups[mrid],
                (name(groups),),
                sent,
                ignored,
            ),
        )

    return build_one
