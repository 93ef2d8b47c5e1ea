"""The fast way through a large regular message: one pattern a shape, learnt from an element.

A head-end writes a thousand MeterReading elements alike but for their texts. The first one is
cut out and read by `cim_xml` with every text replaced by a marker; where a marker turns up in
what was read tells what the text at that place means. The same tags, with other texts, are then
a regular expression. An element that does not match is learnt in its turn. What follows a match
is first compared with it: most often one element differs from the next in the device's names and
the values alone.

Why this reads the same as `cim_xml`: outside the captured texts a match is equal to the sample,
but for white space between tags; a captured text holds no markup, no reference, no control
character; comments, CDATA sections and processing instructions send the whole message to
`cim_xml`. So the message is well-formed if the samples are. The tests hold both ways together.

A shape is kept for the messages to come: what it reads of a text is a function of that text and
of what stands before the first element and behind the last one, by which it is kept.
"""

import re
from collections.abc import Callable
from itertools import pairwise
from operator import itemgetter
from typing import NamedTuple

from bal.errors import Rejected
from bal.harmonise import cim_odd, cim_xml
from bal.harmonise.cim_xml import MeterReading, Said, Sent

MESSAGE_MIN = 4_096  # bytes; below it learning costs more than it saves
ELEMENT_MAX = 16_384  # bytes; a longer one is many readings of one device, which gain nothing
SHAPES_MAX = 8  # a message of more shapes is not regular
AROUND_KEPT_MAX = 32  # surroundings of which shapes are kept
AROUND_KEPT_LENGTH_MAX = 8_192  # characters; longer ones hardly come again
GAP_MAX = 4_096  # characters of white space between two elements
CAPTURES_MAX = 48  # in one shape
ODD_MAX = 32  # elements in one message that are read by themselves, as no pattern fits them
VAIN_MAX = 16  # elements without a like one behind them, until that is no longer expected

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
_Line = Callable[[int], int]  # offset → line
_Build = Callable[[re.Match[str], _Line], MeterReading]
_new = tuple.__new__  # makes a named tuple in half the time that its own constructor takes


class _Shape(NamedTuple):
    """One learnt shape: what matches it, and what makes a MeterReading of a match."""

    match: Callable[[str, int], re.Match[str] | None]
    build: _Build
    own: "_Own"


class _Own(NamedTuple):
    """The texts that are each device's own, numbered in their order; -1 for one that is absent."""

    groups: tuple[int, ...]
    mrid: int
    names: tuple[int, ...]
    values: tuple[int, ...]


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
    shapes = _shapes_kept(head, tail)
    found: list[MeterReading] = []
    at, vain, learnt_here, odd = start, 0, 0, 0
    while at < stop:
        for shape in shapes:
            match = shape.match(text, at)
            if match is not None:
                found.append(shape.build(match, line))
                at = _after_gap(text, match.end())
                if vain < VAIN_MAX:
                    count = len(found)
                    at = _read_like(text, at, match, shape.own, found)
                    vain += len(found) == count
                break
        else:
            end = text.find(end_tag, at, stop) + len(end_tag)
            sample = text[at:end] if end - at <= ELEMENT_MAX else ""
            learnt = _learn(head, sample, tail) if learnt_here < SHAPES_MAX else None
            if learnt is not None and learnt.match(text, at) is not None:
                shapes.insert(0, learnt)
                del shapes[SHAPES_MAX:]
                learnt_here += 1
                continue
            odd += 1
            one = cim_odd.read(head, sample, tail, at, line(at)) if odd <= ODD_MAX else None
            if one is None:
                return None
            found.append(one)
            at = _after_gap(text, end)
    return cim_odd.alike(found) if odd else found or None


_kept: dict[tuple[str, str], list[_Shape]] = {}  # head and tail → what was learnt between them


def _shapes_kept(head: str, tail: str) -> list[_Shape]:
    """The shapes learnt of messages with this head and tail, to be added to."""
    shapes = _kept.get((head, tail))
    if shapes is None:
        shapes = []
        if len(head) + len(tail) <= AROUND_KEPT_LENGTH_MAX:
            if len(_kept) >= AROUND_KEPT_MAX:
                _kept.clear()
            _kept[head, tail] = shapes
    return shapes


def _after_gap(text: str, at: int) -> int:
    if text.startswith("<", at):
        return at
    gap = text[at : at + GAP_MAX]
    return at + len(gap) - len(gap.lstrip(_SPACE))


def _read_like(
    text: str, at: int, match: re.Match[str], own: _Own, found: list[MeterReading]
) -> int:
    """Read on from `at`, which is returned, while elements are like the last one found.

    Alike are those that differ from it in `own` alone. This takes two thirds of the time of a
    match, half where there are qualities or several readings: for each text a search for the
    next `<`, then a comparison of the tags up to the next text.
    """
    places = [match.span(group) for group in own.groups]
    tags = [text[end:start] for (_, end), (start, _) in pairwise([*places, (at, at)])]
    # a text ends at the next `<`; without a line feed it leaves the lines as they are
    if not tags or not all(tag.startswith("<") for tag in tags):
        return at
    if not all(text[start:end].isprintable() for start, end in places):
        return at
    head, follow = text[match.start() : places[0][0]], [(tag, len(tag)) for tag in tags]
    gap, lines = at - match.end(), text.count("\n", match.start(), at)
    build = _builder_like(found[-1], own)
    find, follows, length_of_head, down = text.find, text.startswith, len(head), 0
    while follows(head, at):
        end = at + length_of_head
        texts: list[str | None] = []
        for tag, length in follow:
            start, end = end, find("<", end)
            one = text[start:end]
            if not follows(tag, end) or not one.isprintable():
                return _after_gap(text, at)
            texts.append(one)
            end += length
        texts.append(None)
        down += lines
        found.append(build(at, end - gap, texts, down))
        at = end
    return _after_gap(text, at)


def _builder_like(
    one: MeterReading, own: _Own
) -> Callable[[int, int, list[str | None], int], MeterReading]:
    """What makes a MeterReading like `one` from start, end, `own` texts and how far down it is."""
    named = [(*name[:2], place) for name, place in zip(one.names, own.names, strict=True)]
    said = [(sent.line, place, sent.said) for sent, place in zip(one.sent, own.values, strict=True)]
    _, _, named_by, elements, _, _, _, ignored, events, around, _ = one
    mrid = own.mrid

    def build(start: int, end: int, texts: list[str | None], down: int) -> MeterReading:
        names = tuple([(authority, kind, texts[place]) for authority, kind, place in named])
        sent = tuple([_new(Sent, (line + down, texts[place], what)) for line, place, what in said])
        return _new(
            MeterReading,
            (start, end, named_by, elements, texts[mrid], names, sent, ignored, events, around, ()),
        )

    if len(named) != 1 or len(said) != 1:
        return build
    [(authority, kind, name)], [(line, value, what)] = named, said

    def build_one(start: int, end: int, texts: list[str | None], down: int) -> MeterReading:
        """The same for one name and one reading, in half the time."""
        names = ((authority, kind, texts[name]),)
        sent = (_new(Sent, (line + down, texts[value], what)),)
        return _new(
            MeterReading,
            (start, end, named_by, elements, texts[mrid], names, sent, ignored, events, around, ()),
        )

    return build_one


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


def _learn(head: str, sample: str, tail: str) -> _Shape | None:
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
        read_twice, chosen = cim_xml.read_document(prefix + (element * 2).encode() + tail.encode())
    except Rejected:
        return None
    if chosen:  # what the texts say decides here, so that tags alone don't
        return None
    span = len(prefix), len(prefix) + len(element.encode())
    if len(read_twice) != 2 or read_twice[0][:2] != span:
        return None
    read = read_twice[0]
    pattern, numbers, starts = _pattern(marked)
    # one doubled is not one text; what is lost has a line of its own, and so have readings
    if read.lost or any(one.said.doubled for one in read.sent) or len(read.sent) != len(starts):
        return None
    if len(numbers) > CAPTURES_MAX:
        return None
    compiled = re.compile(pattern)

    def number(text: str | None) -> int:
        return compiled.groups - 1 if text is None else numbers[text] - 1

    try:
        build = _builder(read, number, starts)
    except KeyError:  # a text that is not one marker
        return None
    return _Shape(compiled.match, build, _own(read, numbers))


def _own(read: MeterReading, numbers: dict[str, int]) -> _Own:
    """numbers: marker → group."""
    names, values = [name for _, _, name in read.names], [sent.value for sent in read.sent]
    groups = sorted(numbers[text] for text in [read.mrid, *names, *values] if text is not None)

    def place(text: str | None) -> int:
        return -1 if text is None else groups.index(numbers[text])

    return _Own(
        tuple(groups), place(read.mrid), tuple(map(place, names)), tuple(map(place, values))
    )


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


def _builder(read: MeterReading, number: Callable[[str | None], int], starts: list[int]) -> _Build:
    """What does with a match what `cim_xml` did with the sample.

    number: where in match.groups() a marker's text stands; raises KeyError for what is no marker.
    starts: the number of the empty group before each reading.
    """
    named_by, elements = read.named_by, read.elements
    rest = read.ignored, read.events, read.around, ()
    mrid = number(read.mrid)
    names = [itemgetter(*map(number, name)) for name in read.names]
    values = [number(sent.value) for sent in read.sent]
    texts = [itemgetter(*map(number, sent.said[:4])) for sent in read.sent]  # time to end
    qualities = [[number(code) for code in sent.said.qualities] for sent in read.sent]

    def build(match: re.Match[str], line: _Line) -> MeterReading:
        groups = match.groups()
        span = match.span()
        found = tuple([pick(groups) for pick in names])
        sent: list[Sent] = []
        for start, value, pick, codes in zip(starts, values, texts, qualities, strict=True):
            said = _new(Said, (*pick(groups), tuple([groups[code] for code in codes]), ()))
            sent.append(_new(Sent, (line(match.start(start)), groups[value], said)))
        return _new(
            MeterReading,
            (*span, named_by, elements, groups[mrid], found, tuple(sent), *rest),
        )

    if len(names) != 1 or len(texts) != 1 or qualities != [[]]:
        return build
    [start], [name], [value], [text] = starts, names, values, texts

    def build_one(match: re.Match[str], line: _Line) -> MeterReading:
        """The same for one name and one reading without qualities, in half the time."""
        groups = match.groups()
        said = _new(Said, (*text(groups), (), ()))
        sent = (_new(Sent, (line(match.start(start)), groups[value], said)),)
        called, of = (name(groups),), (named_by, elements, groups[mrid])
        return _new(MeterReading, (*match.span(), *of, called, sent, *rest))

    return build_one
