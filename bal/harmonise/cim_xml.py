"""Reads the XML of IEC 61968-9 MeterReadings: what each MeterReading says, and where it stands.

Lenient on what head-ends vary in (namespaces, prefixes, an envelope around it, the order of
elements, further elements), strict on XML itself. One pass of expat gives content, byte offsets
and the refusal of a document type declaration before any entity could be declared; there is no
second parser that might see another document, and no tree of the whole message.
Nothing is interpreted here: texts stay as sent.
"""

from collections.abc import Iterator
from typing import NamedTuple
from xml.parsers import expat

from bal.errors import Rejected

DEPTH_MAX = 64
MARKUP_MAX = 524_288  # `<` in one message; bounds memory, not only bytes


Name = tuple[str | None, str | None, str | None]
"""Authority, type and name of one Names element, as sent; None where the element is absent."""


class Sent(NamedTuple):
    """One Readings or IntervalReading element; texts as sent, None where absent.

    What follows `value` is mostly the same from device to device, and tells what a value means.
    """

    at: int  # byte offset of its start tag
    value: str | None
    time: str | None
    notation: str | None
    begin: str | None
    end: str | None
    qualities: tuple[str, ...]
    doubled: tuple[tuple[str, tuple[str, ...]], ...]  # every text by element, if one is doubled


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


class _Element:
    """One element below MeterReading; a class of its own because it is built a million times."""

    __slots__ = ("at", "children", "name", "ref", "text")

    def __init__(self, name: str, ref: str | None, at: int) -> None:
        self.name = name
        self.ref = ref
        self.at = at
        self.text = ""
        self.children: list[_Element] = []

    def all(self, name: str) -> Iterator["_Element"]:
        return (child for child in self.children if child.name == name)

    def first(self, name: str) -> "_Element | None":
        return next(self.all(name), None)


def read(raw: bytes) -> list[MeterReading]:
    """All MeterReading elements of one message, in order.

    Raises Rejected: not-utf-8, xml-encoding, xml-dtd, xml-malformed, xml-too-deep,
    xml-too-many-elements.
    """
    if too_many_elements(raw):
        raise Rejected("xml-too-many-elements", f"more than {MARKUP_MAX} tags in one message")
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise Rejected("not-utf-8", "the message is not UTF-8", line=line) from None
    return _Reader(raw).read()


def too_many_elements(raw: bytes) -> bool:
    """True where the tags of one message would take more memory than their bytes let expect."""
    return len(raw) > MARKUP_MAX and raw.count(b"<") > MARKUP_MAX


class _Reader:
    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._depth = 0
        self._open: list[_Element] = []  # from MeterReading down to the element being read
        self._found: list[MeterReading] = []
        # The bytes are known to be UTF-8; an encoding named here overrides a declared one.
        self._parser = parser = expat.ParserCreate("utf-8")
        parser.buffer_text = True
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        parser.XmlDeclHandler = self._declaration
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text

    def read(self) -> list[MeterReading]:
        parser = self._parser
        try:
            parser.Parse(self._raw, True)
        except expat.ExpatError as error:
            raise Rejected(
                "xml-malformed",
                f"not well-formed XML: {expat.ErrorString(error.code)}",
                line=error.lineno,
                clause="XML 1.0 §2.1",
            ) from None
        finally:  # the handlers hold the reader, the reader the parser
            parser.StartElementHandler = parser.EndElementHandler = None
            parser.CharacterDataHandler = parser.XmlDeclHandler = None
            parser.StartDoctypeDeclHandler = None
        return self._found

    def _declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.upper() not in {"UTF-8", "US-ASCII", "ASCII"}:
            raise Rejected(
                "xml-encoding", "the XML declaration names an encoding other than UTF-8", line=1
            )

    def _doctype(self, *_: object) -> None:
        raise Rejected(
            "xml-dtd",
            "a document type declaration is not allowed",
            line=self._parser.CurrentLineNumber,
            clause="XML 1.0 §2.8",
        )

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise Rejected(
                "xml-too-deep",
                f"elements are nested more than {DEPTH_MAX} deep",
                line=self._parser.CurrentLineNumber,
            )
        name = name[name.find(":") + 1 :]
        above = self._open
        if above:
            element = _Element(name, attributes.get("ref"), self._parser.CurrentByteIndex)
            above[-1].children.append(element)
            above.append(element)
        elif name == "MeterReading":
            above.append(_Element(name, None, self._parser.CurrentByteIndex))

    def _text(self, text: str) -> None:
        if self._open:
            self._open[-1].text += text

    def _end(self, _name: str) -> None:
        self._depth -= 1
        if self._open:
            element = self._open.pop()
            if not self._open:
                self._found.append(_meter_reading(element, self._end_offset(element)))

    def _end_offset(self, element: _Element) -> int:
        """Where the element ends; expat tells where its end tag starts."""
        at = self._parser.CurrentByteIndex
        if not element.children and not element.text and self._raw[at - 2 : at] == b"/>":
            return at  # an empty-element tag: expat tells its end
        return self._raw.index(b">", at) + 1


def _meter_reading(element: _Element, end: int) -> MeterReading:
    sent: list[Sent] = []
    ignored: list[str] = []
    for child in element.children:
        if child.name == "Readings":
            sent.append(_sent(child, ()))
        elif child.name == "IntervalBlocks":
            notations = tuple(_reference(one) for one in child.all("ReadingType"))
            sent += [_sent(one, notations) for one in child.all("IntervalReadings")]
        elif child.name == "EndDeviceEvents":
            ignored.append(child.name)
    named_by, elements, mrid, names = _names(element)
    return MeterReading(
        element.at, end, named_by, elements, mrid, names, tuple(sent), tuple(ignored)
    )


def _names(element: _Element) -> tuple[str, int, str | None, tuple[Name, ...]]:
    """Who the values are from: element, how many of it, mRID, names."""
    for name in ("Meter", "UsagePoint"):
        found = list(element.all(name))
        if found:
            mrid = found[0].first("mRID")
            names = tuple(_name(one) for one in found[0].all("Names"))
            return name, len(found), mrid.text if mrid is not None else None, names
    return "", 0, None, ()


def _name(names: _Element) -> Name:
    kind = names.first("NameType")
    authority = kind.first("NameTypeAuthority") if kind is not None else None
    return _child_text(authority, "name"), _child_text(kind, "name"), _child_text(names, "name")


def _child_text(element: _Element | None, name: str) -> str | None:
    child = element.first(name) if element is not None else None
    return child.text if child is not None else None


def _sent(element: _Element, block_notations: tuple[str, ...]) -> Sent:
    times: list[str] = []
    values: list[str] = []
    notations: list[str] = []
    periods: list[_Element] = []
    qualities: list[str] = []
    for child in element.children:
        name = child.name
        if name == "timeStamp":
            times.append(child.text)
        elif name == "value":
            values.append(child.text)
        elif name == "ReadingType":
            notations.append(_reference(child))
        elif name == "timePeriod":
            periods.append(child)
        elif name == "ReadingQualities":
            qualities += [_reference(one) for one in child.all("ReadingQualityType")]
    sent_notations = tuple(notations) or block_notations
    begins = tuple(one.text for period in periods for one in period.all("start"))
    ends = tuple(one.text for period in periods for one in period.all("end"))
    doubled: tuple[tuple[str, tuple[str, ...]], ...] = ()
    if max(len(times), len(values), len(sent_notations), len(begins), len(ends)) > 1:
        doubled = (
            ("timeStamp", tuple(times)),
            ("value", tuple(values)),
            ("ReadingType", sent_notations),
            ("timePeriod.start", begins),
            ("timePeriod.end", ends),
        )
    return Sent(
        element.at,
        values[0] if values else None,
        times[0] if times else None,
        sent_notations[0] if sent_notations else None,
        begins[0] if begins else None,
        ends[0] if ends else None,
        tuple(qualities),
        doubled,
    )


def _reference(element: _Element) -> str:
    """What a ReadingType or ReadingQualityType refers to: by attribute, mRID, name or text."""
    if element.ref is not None:
        return element.ref
    for name in ("mRID", "Names"):
        child = element.first(name)
        if child is not None:
            return child.text if name == "mRID" else (_child_text(child, "name") or "")
    return element.text
