"""CIM IEC 61968-9 MeterReadings, read from a centre's export and written for the platform."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from xml.sax.saxutils import escape, quoteattr

from lxml import etree

from bal.errors import Rejected
from bal.times import rfc3339
from field.cim_writer import NAMESPACE
from field.dso_value import (
    Meter,
    Register,
    Value,
    check_name,
    decimal_text,
    qualities_of,
    register_of,
    us_of,
)

MESSAGE_NAMESPACE = "http://iec.ch/TC57/2011/schema/message"  # IEC 61968-100 §5
_XML = "XML 1.0"

Refuse = Callable[[Rejected, int], None]


# --- reading --------------------------------------------------------------------------------------


def read(
    raw: bytes, authority: str, name_type: str, refuse: Refuse, doubt: Refuse
) -> Iterator[tuple[int, Value]]:
    """Each value of a MeterReadings document with its line; what is none is told to `refuse`.

    doubt: told what of a value is kept otherwise than sent; authority, name_type: of meters whose
    names come without. Raises Rejected where it is not XML, has a document type, or no
    MeterReading.
    """
    if b"<!DOCTYPE" in raw or b"<!ENTITY" in raw or raw[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        raise Rejected("dtd-forbidden", "a document type is not taken", clause=f"{_XML} §2.8")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False,
        remove_comments=True, remove_pis=True,
    )  # fmt: skip
    try:
        root = etree.fromstring(raw, parser)
    except etree.XMLSyntaxError as error:
        line = error.lineno or 1
        raise Rejected("xml-malformed", "not well-formed XML", line=line, clause=_XML) from None
    if root.getroottree().docinfo.doctype:
        raise Rejected("dtd-forbidden", "a document type is not taken", clause=f"{_XML} §2.8")
    found = [one for one in root.iter() if _name(one) == "MeterReading"]
    if not found:
        raise Rejected("no-meter-reading", "there is no MeterReading in it")
    for element in found:
        try:
            meter = _meter(element, authority, name_type)
        except Rejected as error:
            refuse(error, _line(element))
            continue
        for reading, code in _readings(element):
            try:
                yield _line(reading), _value(meter, reading, code, doubt)
            except Rejected as error:
                refuse(error, _line(reading))


def _name(element: etree._Element) -> str:
    return etree.QName(element).localname


def _line(element: etree._Element) -> int:
    return int(element.sourceline or 0)


def _children(element: etree._Element, name: str) -> list[etree._Element]:
    return [one for one in element if _name(one) == name]


def _text(element: etree._Element, *path: str) -> str:
    for name in path:
        inside = _children(element, name)
        if not inside:
            return ""
        element = inside[0]
    return (element.text or "").strip()


def _meter(element: etree._Element, authority: str, name_type: str) -> Meter:
    named = _children(element, "Meter") or _children(element, "UsagePoint")
    if len(named) != 1:
        raise Rejected("meter-unnamed", "not one Meter in a MeterReading", field="Meter")
    mrid = _text(named[0], "mRID")
    if mrid:
        return Meter(check_name(mrid), mrid=True)
    for names in _children(named[0], "Names"):
        name = _text(names, "name")
        if name:
            kind = _text(names, "NameType", "name") or name_type
            by = _text(names, "NameType", "NameTypeAuthority", "name") or authority
            check_name(f"{name}{kind}{by}")
            return Meter(check_name(name), False, kind, by)
    raise Rejected("meter-unnamed", "the Meter has neither mRID nor name", field="Meter")


def _readings(element: etree._Element) -> Iterator[tuple[etree._Element, str]]:
    """Each Readings or IntervalReadings element with its ReadingType."""
    for reading in _children(element, "Readings"):
        yield reading, _ref(reading, "ReadingType")
    for block in _children(element, "IntervalBlocks"):
        code = _ref(block, "ReadingType")
        for reading in _children(block, "IntervalReadings"):
            yield reading, code


def _ref(element: etree._Element, name: str) -> str:
    return next((str(one.get("ref", "")) for one in _children(element, name)), "")


def _value(meter: Meter, reading: etree._Element, code: str, doubt: Refuse) -> Value:
    register: Register = register_of(code)
    value = decimal_text(_text(reading, "value"), register.multiplier)
    qualities = [_ref(one, "ReadingQualityType") for one in _children(reading, "ReadingQualities")]
    time = _text(reading, "timeStamp") or _text(reading, "timePeriod", "end")
    try:
        instant = datetime.fromisoformat(time)
    except ValueError:
        raise Rejected("time-malformed", "the time is not RFC 3339", field="timeStamp") from None
    if instant.tzinfo is None:
        text = "the time has no offset from UTC"
        raise Rejected("time-without-offset", text, field="timeStamp", clause="RFC 3339 §4.4")
    try:
        end_us = us_of(instant)
    except OverflowError:
        raise Rejected("time-out-of-range", "the time is out of range", field="time") from None
    codes = qualities_of(qualities, lambda error: doubt(error, _line(reading)))
    return Value(meter, register.register, end_us, value, codes)


# --- writing --------------------------------------------------------------------------------------


def write(
    values: Sequence[Value], *, message_id: str, made_us: int, source: str = "DSO Data Server"
) -> bytes:
    """An EventMessage (IEC 61968-100) with MeterReadings of `values`, which are sorted by meter.

    message_id: makes the bytes of each message its own, so that a value that comes back to what it
    was is no repetition of an earlier message. The same arguments give the same bytes.
    """
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<EventMessage xmlns="{MESSAGE_NAMESPACE}">',
        "  <Header>",
        "    <Verb>created</Verb>",
        "    <Noun>MeterReadings</Noun>",
        f"    <Timestamp>{rfc3339(made_us)}</Timestamp>",
        f"    <Source>{escape(source)}</Source>",
        f"    <MessageID>{escape(message_id)}</MessageID>",
        "  </Header>",
        "  <Payload>",
        *readings_lines(values),
        "  </Payload>",
        "</EventMessage>",
        "",
    ]
    return "\n".join(lines).encode()


def document(values: Sequence[Value]) -> bytes:
    """The same values as a bare MeterReadings document, as the query API gives them."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', *readings_lines(values), ""]
    return "\n".join(lines).encode()


def readings_lines(values: Iterable[Value]) -> list[str]:
    """The MeterReadings element, one MeterReading for each run of values of one meter."""
    lines = [f'<MeterReadings xmlns="{NAMESPACE}">']
    meter: Meter | None = None
    blocks: dict[str, list[Value]] = {}
    for value in values:
        if meter is not None and value.meter != meter:
            lines += _meter_lines(meter, blocks)
            blocks = {}
        meter = value.meter
        blocks.setdefault(value.register, []).append(value)
    if meter is not None:
        lines += _meter_lines(meter, blocks)
    return [*lines, "</MeterReadings>"]


def _meter_lines(meter: Meter, blocks: dict[str, list[Value]]) -> Iterator[str]:
    yield "<MeterReading>"
    instants: list[str] = []
    for register, values in blocks.items():
        reference = f"<ReadingType ref={quoteattr(register)}/>"
        if not register_of(register).interval_s:
            instants += [f"<Readings>{_reading(value)}{reference}</Readings>" for value in values]
            continue
        yield "<IntervalBlocks>"
        for value in values:
            yield f"<IntervalReadings>{_reading(value)}</IntervalReadings>"
        yield f"{reference}</IntervalBlocks>"
    yield "<Meter>"
    if meter.mrid:
        yield f"<mRID>{escape(meter.name)}</mRID>"
    else:
        yield f"<Names><name>{escape(meter.name)}</name>{_name_type(meter)}</Names>"
    yield "</Meter>"
    yield from instants  # behind Meter, in the order of the 2011 schema
    yield "</MeterReading>"


def _name_type(meter: Meter) -> str:
    authority = ""
    if meter.authority:
        authority = f"<NameTypeAuthority><name>{escape(meter.authority)}</name></NameTypeAuthority>"
    if not meter.kind and not authority:
        return ""
    name = f"<name>{escape(meter.kind)}</name>" if meter.kind else ""
    return f"<NameType>{name}{authority}</NameType>"


def _reading(value: Value) -> str:
    qualities = "".join(
        f"<ReadingQualities><ReadingQualityType ref={quoteattr(code)}/></ReadingQualities>"
        for code in value.qualities
    )
    return f"<timeStamp>{rfc3339(value.end_us)}</timeStamp><value>{value.value}</value>{qualities}"
