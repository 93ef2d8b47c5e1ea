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

MARKUP_MAX = 524_288  # `<` in one message: bounds memory, which the bytes alone don't
TAGS_KEPT_MAX = 4_096
TAG_KEPT_LENGTH_MAX = 1_024  # characters, the namespace's included

# A prolog up to a document type declaration (XML 1.0 §2.8 allows it nowhere else).
_DOCTYPE = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:[ \t\r\n]+|<\?.*?\?>|<!--.*?-->)*+<!DOCTYPE", re.DOTALL
)
_ENCODING = re.compile(rb"""(?:\xef\xbb\xbf)?<\?xml\s[^>]*?\sencoding\s*=\s*["']([^"']*)""")
_ENCODINGS = frozenset({b"utf-8", b"us-ascii", b"ascii"})

# In well-formed XML the first three are all in which a look-alike of a tag may stand.
_TAGS = re.compile(
    rb"<(?:!--.*?-->|!\[CDATA\[.*?\]\]>|\?.*?\?>|"
    rb"""(/?)(?:[^\s<>/:"'=!?]++:)?+MeterReading(?=[\s/>])(?:[^"'<>]++|"[^"]*"|'[^']*')*+>)""",
    re.DOTALL,
)


Name = tuple[str | None, str | None, str | None]
"""Authority, type and name of one Names element, as sent; None where the element is absent."""


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
    """One MeterReading element, raw[start:end]."""

    start: int
    end: int
    named_by: str  # Meter; UsagePoint where there is no Meter; "" where there is neither
    elements: int  # how many of these there are
    mrid: str | None
    names: tuple[Name, ...]
    sent: tuple[Sent, ...]
    ignored: tuple[str, ...]  # elements with a meaning that no record carries


class _LocalNames(dict[object, str]):
    """Tag → name without namespace; all messages together have few different tags."""

    def __missing__(self, tag: object) -> str:
        text = str(tag)
        name = text.rpartition("}")[2]
        if len(text) <= TAG_KEPT_LENGTH_MAX:
            if len(self) >= TAGS_KEPT_MAX:
                self.clear()
            self[tag] = name
        return name


_local_names = _LocalNames()


def read(raw: bytes) -> list[MeterReading]:
    """All MeterReading elements of one message, in order.

    Raises Rejected: not-utf8, dtd-forbidden, xml-malformed, too-many-items.
    """
    check_bytes(raw)
    try:
        root = etree.fromstring(raw, _parser())
    except etree.XMLSyntaxError as error:
        raise Rejected(
            "xml-malformed", "not well-formed XML", line=error.lineno or None, clause="XML 1.0 §2.1"
        ) from None
    reader = _Reader()
    elements = list(reader.meter_readings(root))
    spans = _spans(raw)
    if len(spans) != len(elements):  # not reached, as far as we know: refuse what is not understood
        raise Rejected("xml-malformed", "the tags of MeterReading can't be told apart")
    return [
        reader.meter_reading(element, *span) for element, span in zip(elements, spans, strict=True)
    ]


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
        self._names = _local_names

    def meter_readings(self, element: etree._Element) -> Iterator[etree._Element]:
        """The outermost MeterReading elements in document order."""
        if self._names[element.tag] == "MeterReading":
            yield element
        else:
            for child in element:
                yield from self.meter_readings(child)

    def meter_reading(self, element: etree._Element, start: int, end: int) -> MeterReading:
        names = self._names
        sent: list[Sent] = []
        meters: list[etree._Element] = []
        usage_points: list[etree._Element] = []
        ignored: list[str] = []
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
            elif name == "EndDeviceEvents":
                ignored.append(name)
        named_by = "Meter" if meters else "UsagePoint" if usage_points else ""
        found = meters or usage_points
        mrid, named = self._named(found[0]) if found else (None, ())
        return MeterReading(
            start, end, named_by, len(found), mrid, named, tuple(sent), tuple(ignored)
        )

    def _named(self, element: etree._Element) -> tuple[str | None, tuple[Name, ...]]:
        """The first mRID and all Names of a Meter or UsagePoint."""
        mrid: str | None = None
        found: list[Name] = []
        for child in element:
            name = self._names[child.tag]
            if name == "mRID" and mrid is None:
                mrid = child.text or ""
            elif name == "Names":
                found.append(self._name(child))
        return mrid, tuple(found)

    def _name(self, element: etree._Element) -> Name:
        authority = kind = text = None
        for child in element:
            name = self._names[child.tag]
            if name == "name" and text is None:
                text = child.text or ""
            elif name == "NameType":
                kind = self._text(child, "name")
                authority = self._text(self._first(child, "NameTypeAuthority"), "name")
        return authority, kind, text

    def _first(self, element: etree._Element | None, name: str) -> etree._Element | None:
        if element is not None:
            for child in element:
                if self._names[child.tag] == name:
                    return child
        return None

    def _text(self, element: etree._Element | None, name: str) -> str | None:
        child = self._first(element, name)
        return None if child is None else child.text or ""

    def _block(self, block: etree._Element) -> list[Sent]:
        """The IntervalReadings of one IntervalBlocks, which share its ReadingType."""
        notations: list[str] = []
        intervals: list[etree._Element] = []
        for child in block:
            name = self._names[child.tag]
            if name == "IntervalReadings":
                intervals.append(child)
            elif name == "ReadingType":
                notations.append(self._reference(child))
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
                values.append(child.text or "")
            elif name == "ReadingType":
                notations.append(self._reference(child))
            elif name == "timePeriod":
                begins += [one.text or "" for one in child if names[one.tag] == "start"]
                ends += [one.text or "" for one in child if names[one.tag] == "end"]
            elif name == "ReadingQualities":
                qualities += [
                    self._reference(one) for one in child if names[one.tag] == "ReadingQualityType"
                ]
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

    def _reference(self, element: etree._Element) -> str:
        """What a ReadingType or ReadingQualityType refers to: by attribute, mRID, name or text."""
        ref = element.get("ref")
        if ref is not None:
            return ref
        for child in element:
            name = self._names[child.tag]
            if name == "mRID":
                return child.text or ""
            if name == "Names":
                return self._text(child, "name") or ""
        return element.text or ""
