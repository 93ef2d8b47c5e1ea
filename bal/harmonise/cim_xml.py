"""Reads the XML of IEC 61968-9 MeterReadings: what each MeterReading says, and where it stands.

Lenient on what head-ends vary in (namespaces, prefixes, an envelope around it, the order of
elements, further elements), strict on XML itself: UTF-8, well-formed, no document type.
Nothing is interpreted here: texts stay as sent.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from lxml import etree

from bal.errors import Rejected
from bal.harmonise import cim_event, cim_tree
from bal.harmonise.cim_around import Around
from bal.harmonise.cim_event import SentEvent
from bal.harmonise.cim_tree import Name, local_names, named

MARKUP_MAX = 524_288  # `<` in one message: bounds memory, which the bytes alone don't

# A prolog up to a document type declaration (XML 1.0 §2.8 allows it nowhere else).
_DOCTYPE = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:[ \t\r\n]+|<\?.*?\?>|<!--.*?-->)*+<!DOCTYPE", re.DOTALL
)
_ENCODING = re.compile(rb"""(?:\xef\xbb\xbf)?<\?xml\s[^>]*?\sencoding\s*=\s*["']([^"']*)""")
_ENCODINGS = frozenset({b"utf-8", b"us-ascii", b"ascii"})

# In well-formed XML the first three are all in which a look-alike of a tag may stand.
_TAGS = re.compile(
    rb"<(?:!--.*?-->|!\[CDATA\[.*?\]\]>|\?.*?\?>|"
    rb"""(/?)(?:[^\s<>/:"'=!?]++:)?+(?:MeterReading|EndDeviceEvent)(?=[\s/>])"""
    rb"""(?:[^"'<>]++|"[^"]*"|'[^']*')*+>)""",
    re.DOTALL,
)

_NOTHING_AROUND = Around()
_PIECES = frozenset({"MeterReading", "EndDeviceEvent"})
_NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"


class Said(NamedTuple):
    """What tells what a value means: mostly the same from device to device."""

    time: str | None
    notation: str | None
    begin: str | None
    end: str | None
    qualities: tuple[str, ...]
    doubled: tuple[tuple[str, tuple[str, ...]], ...]  # every text by element, if one is doubled


class Sent(NamedTuple):
    """One Readings or IntervalReading element; texts as sent, None where absent."""

    line: int  # of its start tag, from 1
    value: str | None
    said: Said


class MeterReading(NamedTuple):
    """One MeterReading element, or an EndDeviceEvent that stands by itself: raw[start:end]."""

    start: int
    end: int
    named_by: str  # Meter; UsagePoint where there is no Meter; "" where there is neither
    elements: int  # how many of these there are
    mrid: str | None
    names: tuple[Name, ...]
    sent: tuple[Sent, ...]
    ignored: tuple[str, ...]  # elements with a meaning that no record carries
    events: tuple[SentEvent, ...] = ()
    around: Around = _NOTHING_AROUND  # the same of all elements of one message


class Document(NamedTuple):
    """What one message has."""

    readings: list[MeterReading]
    chosen: bool  # what texts say decided between them: see `cim_tree.Reference`


def read(raw: bytes) -> list[MeterReading]:
    """All MeterReading elements of one message, and EndDeviceEvents of their own, in order.

    Raises Rejected: not-utf8, dtd-forbidden, xml-malformed, too-many-items.
    """
    return read_document(raw).readings


def read_document(raw: bytes) -> Document:
    """As `read`, and how it was read."""
    check_bytes(raw)
    try:
        root = etree.fromstring(raw, _parser())
    except etree.XMLSyntaxError as error:
        raise Rejected(
            "xml-malformed", "not well-formed XML", line=error.lineno or None, clause="XML 1.0 §2.1"
        ) from None
    reader = _Reader()
    elements = list(reader.pieces(root))
    spans = _spans(raw)
    if len(spans) != len(elements):  # not reached, as far as we know: refuse what is not understood
        raise Rejected("xml-malformed", "the tags of MeterReading can't be told apart")
    readings = [reader.piece(element, *span) for element, span in zip(elements, spans, strict=True)]
    return Document(readings, reader.chosen)


def too_many_elements(raw: bytes) -> bool:
    """True where the tags of one message would take more memory than their bytes let expect."""
    return len(raw) > MARKUP_MAX and raw.count(b"<") > MARKUP_MAX


def check_bytes(raw: bytes) -> None:
    """What has to be refused of any XML before a parser sees it.

    Raises Rejected: not-utf8, dtd-forbidden, too-many-items.
    """
    if too_many_elements(raw):
        raise Rejected("too-many-items", f"more than {MARKUP_MAX} tags in one message")
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise Rejected("not-utf8", "the message is not UTF-8", line=line) from None
    encoding = _ENCODING.match(raw)
    if encoding is not None and encoding[1].lower() not in _ENCODINGS:
        raise Rejected("not-utf8", "the XML declaration names an encoding other than UTF-8", line=1)
    doctype = _DOCTYPE.match(raw)
    if doctype is not None:
        raise Rejected(
            "dtd-forbidden",
            "a document type declaration is not allowed",
            line=raw.count(b"\n", 0, doctype.end()) + 1,
            clause="XML 1.0 §2.8",
        )


def _parser() -> etree.XMLParser:
    """One a message: lxml's parsers keep state. The bytes are known to be UTF-8."""
    return etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )


def _spans(raw: bytes) -> list[tuple[int, int]]:
    """Byte ranges of the outermost MeterReading elements of well-formed `raw`."""
    spans: list[tuple[int, int]] = []
    start = depth = 0
    for match in _TAGS.finditer(raw):
        if match[1] is None:
            continue
        if match[1]:
            depth -= 1
        else:
            if depth == 0:
                start = match.start()
            depth += not raw.endswith(b"/>", 0, match.end())
        if depth == 0:
            spans.append((start, match.end()))
    return spans


class _Reader:
    """Reads the elements of one message."""

    def __init__(self) -> None:
        self.around = Around()
        self.chosen = False
        self._names = local_names
        self._ignored: list[str] = []  # of the MeterReading that is being read

    def pieces(self, element: etree._Element) -> Iterator[etree._Element]:
        """The outermost MeterReading and EndDeviceEvent elements in document order."""
        name = self._names[element.tag]
        if name in _PIECES:
            if not self.around.begun:
                self.around.begin(element)
            yield element
            return
        self.around.take(element, name)
        for child in element:
            yield from self.pieces(child)

    def piece(self, element: etree._Element, start: int, end: int) -> MeterReading:
        if self._names[element.tag] == "EndDeviceEvent":
            device = cim_event.device(element)
            self.chosen = self.around.has_events = True
            events = (cim_event.read(element),)
            return MeterReading(start, end, *device, (), (), events, self.around)
        return self._meter_reading(element, start, end)

    def _meter_reading(self, element: etree._Element, start: int, end: int) -> MeterReading:
        names = self._names
        sent: list[Sent] = []
        meters: list[etree._Element] = []
        usage_points: list[etree._Element] = []
        events: list[SentEvent] = []
        self._ignored = []
        for child in element:
            name = names[child.tag]
            if name == "Readings":
                sent.append(self._sent(child, ()))
            elif name == "Meter":
                meters.append(child)
            elif name == "UsagePoint":
                usage_points.append(child)
            elif name == "IntervalBlocks":
                sent += self._block(child)
            elif name in {"EndDeviceEvents", "EndDeviceEvent"}:
                events += self._events(child)
        named_by = "Meter" if meters else "UsagePoint" if usage_points else ""
        found = meters or usage_points
        mrid, called = named(found[0]) if found else (None, ())
        return MeterReading(
            start,
            end,
            named_by,
            len(found),
            mrid,
            called,
            tuple(sent),
            tuple(dict.fromkeys(self._ignored)) if self._ignored else (),
            tuple(events),
            self.around,
        )

    def _events(self, element: etree._Element) -> list[SentEvent]:
        """EndDeviceEvents is one event; or the element around several EndDeviceEvent."""
        if not len(element):
            self._ignored.append("EndDeviceEvents")
            return []
        self.chosen = self.around.has_events = True
        within = [child for child in element if self._names[child.tag] == "EndDeviceEvent"]
        return [cim_event.read(one) for one in within or [element]]

    def _block(self, block: etree._Element) -> list[Sent]:
        """The IntervalReadings of one IntervalBlocks, which share its ReadingType."""
        notations: list[str] = []
        intervals: list[etree._Element] = []
        for child in block:
            name = self._names[child.tag]
            if name == "IntervalReadings":
                intervals.append(child)
            elif name == "ReadingType":
                notations += self._reference(child)
        shared = tuple(notations)
        return [self._sent(interval, shared) for interval in intervals]

    def _sent(self, element: etree._Element, shared: tuple[str, ...]) -> Sent:
        """One reading. shared: what the block says about the reading type."""
        names = self._names
        values: list[str] = []
        times: list[str] = []
        notations: list[str] = []
        begins: list[str] = []
        ends: list[str] = []
        qualities: list[str] = []
        for child in element:
            name = names[child.tag]
            if name == "timeStamp":
                times.append(child.text or "")
            elif name == "value":
                if child.get(_NIL) not in {"true", "1"}:
                    values.append(child.text or "")
            elif name == "ReadingType":
                notations += self._reference(child)
            elif name == "timePeriod":
                begins += [one.text or "" for one in child if names[one.tag] == "start"]
                ends += [one.text or "" for one in child if names[one.tag] == "end"]
            elif name == "ReadingQualities":
                qualities += self._qualities(child)
        if not notations:
            notations += shared
        doubled: tuple[tuple[str, tuple[str, ...]], ...] = ()
        if max(len(times), len(values), len(notations), len(begins), len(ends)) > 1:
            doubled = (
                ("timeStamp", tuple(times)),
                ("value", tuple(values)),
                ("ReadingType", tuple(notations)),
                ("timePeriod.start", tuple(begins)),
                ("timePeriod.end", tuple(ends)),
            )
        said = Said(
            times[0] if times else None,
            notations[0] if notations else None,
            begins[0] if begins else None,
            ends[0] if ends else None,
            tuple(qualities),
            doubled,
        )
        return Sent(element.sourceline or 1, values[0] if values else None, said)

    def _qualities(self, element: etree._Element) -> list[str]:
        found: list[str] = []
        for child in element:
            name = self._names[child.tag]
            if name == "ReadingQualityType":
                found += self._reference(child)
            elif name == "comments":
                self._ignored.append("ReadingQualities.comments")
        return found

    def _reference(self, element: etree._Element) -> tuple[str, ...]:
        """What a ReadingType or ReadingQualityType gives or refers to; several that differ."""
        ref = element.get("ref")
        if ref is not None and not len(element):  # nearly all of them
            return (ref,)
        texts, chosen = cim_tree.reference(element)
        self.chosen = self.chosen or chosen
        return texts
