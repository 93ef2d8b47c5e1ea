"""CIM IEC 61968-9 MeterReadings, written for the platform."""

from collections.abc import Iterable, Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

from bal.times import rfc3339
from field.cim_writer import NAMESPACE
from field.dso_value import Meter, Value, register_of

MESSAGE_NAMESPACE = "http://iec.ch/TC57/2011/schema/message"  # IEC 61968-100 Message.xsd


def write(
    values: Sequence[Value], *, message_id: str, made_us: int, source: str = "DSO Data Server"
) -> bytes:
    """An IEC 61968-100 EventMessage with MeterReadings of `values`, which are sorted by meter.

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
    end, period = rfc3339(value.end_us), ""
    if value.begin_us is not None:
        begin = rfc3339(value.begin_us)
        period = f"<timePeriod><end>{end}</end><start>{begin}</start></timePeriod>"
    return f"<timeStamp>{end}</timeStamp><value>{value.value}</value>{qualities}{period}"
