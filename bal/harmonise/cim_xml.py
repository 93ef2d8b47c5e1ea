"""Reads the XML of IEC 61968-9 MeterReadings: what each MeterReading says, and where it stands.

Lenient on what head-ends vary in (namespaces, prefixes, an envelope around it, the order of
elements), strict on XML itself: UTF-8, well-formed, no document type.
Nothing is interpreted here: texts stay as sent.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from lxml import etree

from bal.errors import Rejected
from bal.harmonise import cim_event, cim_lost, cim_tree
from bal.harmonise.cim_around import Around
from bal.harmonise.cim_event import SentEvent
from bal.harmonise.cim_lost import Lost, Scale
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


class Texts(NamedTuple):
    """All that a reading has of one element."""

    name: str
    texts: tuple[str, ...]
    lines: tuple[int, ...]  # of each one's start tag


class Said(NamedTuple):
    """What tells what a value means: mostly the same from device to device."""

    time: str | None
    notation: str | None
    begin: str | None
    end: str | None
    qualities: tuple[str, ...]
    # every text, if an element stands twice or one beside the value may change it; else empty
    doubled: tuple[Texts, ...]


class Sent(NamedTuple):
    """One Readings or IntervalReading element; texts as sent, None where absent."""

    line: int  # of its start tag, from 1
    value: str | None
    said: Said


def defined(sent: Sent, around: Around) -> Sent:
    """With the codes of the types that the message itself defines instead of their names."""
    said = sent.said
    doubled = [
        one._replace(texts=tuple(map(around.code, one.texts))) if one.name == "ReadingType" else one
        for one in said.doubled
    ]
    return sent._replace(
        said=said._replace(
            notation=None if said.notation is None else around.code(said.notation),
            qualities=tuple(map(around.code, said.qualities)),
            doubled=tuple(doubled),
        )
    )


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
    lost: tuple[Lost, ...] = ()  # with values that no record carries


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


def _texts(name: str, elements: list[etree._Element]) -> Texts:
    texts = tuple(one.text or "" for one in elements)
    return Texts(name, texts, tuple(one.sourceline or 1 for one in elements))


class _Reader:
    """Reads the elements of one message."""

    def __init__(self) -> None:
        self.around = Around()
        self.chosen = False
        self._names = local_names
        self._ignored: list[str] = []  # of the MeterReading that is being read
        self._lost: list[Lost] = []

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
        self._ignored, self._lost = [], []
        scales = [one for child in element for one in cim_lost.scales(child)]
        for child in element:
            name = names[child.tag]
            if name == "Readings":
                sent.append(self._sent(child, (), scales))
            elif name == "Meter":
                meters.append(child)
            elif name == "UsagePoint":
                usage_points.append(child)
            elif name == "IntervalBlocks":
                sent += self._block(child, scales)
            elif name in {"EndDeviceEvents", "EndDeviceEvent"}:
                events += self._events(child)
            elif not cim_lost.scales(child):
                self._other(child, "MeterReading")
        if meters and any(map(len, usage_points)):
            self._ignored.append("MeterReading.UsagePoint")
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
            tuple(self._lost),
        )

    def _other(self, element: etree._Element, within: str) -> None:
        """What is no element of the standard's, or none with a meaning here: it is told."""
        if self._names[element.tag] == "valuesInterval" and not len(element):
            return  # nothing in it
        name = f"{within}.{cim_lost.told(self._names[element.tag])}"
        if cim_lost.has_value(element):
            self._lost.append(Lost(element.sourceline or 1, name))
        else:
            self._ignored.append(name)

    def _events(self, element: etree._Element) -> list[SentEvent]:
        """EndDeviceEvents is one event; or the element around several EndDeviceEvent."""
        if not len(element):
            self._ignored.append("EndDeviceEvents")
            return []
        self.chosen = self.around.has_events = True
        within = [child for child in element if self._names[child.tag] == "EndDeviceEvent"]
        return [cim_event.read(one) for one in within or [element]]

    def _block(self, block: etree._Element, scales: list[Scale]) -> list[Sent]:
        """The IntervalReadings of one IntervalBlocks, which share its ReadingType."""
        notations: list[str] = []
        intervals: list[etree._Element] = []
        for child in block:
            name = self._names[child.tag]
            if name == "IntervalReadings":
                intervals.append(child)
            elif name == "ReadingType":
                notations += self._reference(child)
            elif found := cim_lost.scales(child):
                scales = scales + found
            else:
                self._other(child, "IntervalBlocks")
        shared = tuple(notations)
        return [self._sent(interval, shared, scales) for interval in intervals]

    def _sent(self, element: etree._Element, shared: tuple[str, ...], scales: list[Scale]) -> Sent:
        """One reading. shared: what the block says about the reading type; scales: what it and
        the MeterReading say about the value's scale.
        """
        names = self._names
        values: list[etree._Element] = []
        times: list[etree._Element] = []
        notations: list[str] = []
        types: list[etree._Element] = []
        begins: list[etree._Element] = []
        ends: list[etree._Element] = []
        qualities: list[str] = []
        for child in element:
            name = names[child.tag]
            if name == "timeStamp":
                times.append(child)
            elif name == "value":
                if child.get(_NIL) not in {"true", "1"}:
                    values.append(child)
                    scales = scales + cim_lost.attributes(child) if len(child.attrib) else scales
            elif name == "ReadingType":
                given = self._reference(child)
                notations += given
                types += [child] * len(given)
            elif name == "timePeriod":
                begins += [one for one in child if names[one.tag] == "start"]
                ends += [one for one in child if names[one.tag] == "end"]
            elif name == "ReadingQualities":
                qualities += self._qualities(child)
            elif found := cim_lost.scales(child):
                scales = scales + found
            else:
                self._other(child, names[element.tag])
        if not types:
            notations += shared
            types = [element] * len(notations)
        doubled: tuple[Texts, ...] = ()
        if scales or max(len(times), len(values), len(notations), len(begins), len(ends)) > 1:
            doubled = (
                _texts("timeStamp", times),
                _texts("value", values),
                Texts("ReadingType", tuple(notations), tuple(one.sourceline or 1 for one in types)),
                _texts("timePeriod.start", begins),
                _texts("timePeriod.end", ends),
                Texts("multiplier", *(tuple(zip(*scales, strict=True)) or ((), ()))),
            )
        said = Said(
            times[0].text or "" if times else None,
            notations[0] if notations else None,
            begins[0].text or "" if begins else None,
            ends[0].text or "" if ends else None,
            tuple(qualities),
            doubled,
        )
        return Sent(element.sourceline or 1, values[0].text or "" if values else None, said)

    def _qualities(self, element: etree._Element) -> list[str]:
        found: list[str] = []
        for child in element:
            name = self._names[child.tag]
            if name == "ReadingQualityType":
                found += self._reference(child)
            else:
                self._other(child, "ReadingQualities")
        return found

    def _reference(self, element: etree._Element) -> tuple[str, ...]:
        """What a ReadingType or ReadingQualityType gives or refers to; several that differ."""
        ref = element.get("ref")
        if ref is not None and not len(element):  # nearly all of them
            return (ref,)
        texts, chosen = cim_tree.reference(element)
        self.chosen = self.chosen or chosen
        return texts
