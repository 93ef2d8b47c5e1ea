"""Messages of every sort that harmonise takes, odd ones above all, and the pages they make."""

import json
from collections.abc import Iterable
from hashlib import sha256
from xml.sax.saxutils import escape, quoteattr

from hypothesis import strategies as st

from bal.errors import Rejected
from bal.harmonise.der import MEASURANDS, PHASES, UNITS
from bal.harmonise.sep2_der_table import MEMBERS, Value
from bal.harmonise.sunspec_table import MODELS
from bal.provide.rdf import Viewed
from tests.unit.harmonise.conftest import take_message

CODES = (
    "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0",  # kWh in a quarter of an hour
    "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0",  # the same register in Wh
    "0.0.0.1.1.1.12.0.0.0.0.0.0.0.0.6.73.0",  # a reading of the counter, Mvarh
    "0.26.0.0.1.1.12.0.0.0.0.0.0.0.0.224.3.72.0",  # 19 fields, as printed in D2.9
    "0.0.0.12.0.1.54.0.0.0.0.0.0.0.128.-3.29.0",  # mV
    "0.0.0.12.0.1.38.0.0.0.0.0.0.0.0.0.65.0",  # power factor
    "0.0.0.12.0.1.46.0.0.0.0.0.0.0.0.0.23.0",  # degrees
    "0.0.2.4.1.7.12.0.0.0.0.0.0.0.0.3.72.0",  # gas: unmapped
)
TIMES = (
    "2026-01-15T10:15:00Z",
    "2026-01-15T11:30:00.25+01:00",
    "2026-03-29T03:00:00.1234567+02:00",
    "1970-01-01T01:00:00Z",
)
xml_text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12).map(
    lambda text: text.replace("\ufffe", "").replace("\uffff", "")
)
notations = st.none() | st.sampled_from(CODES) | st.just("own: a/b#c%<&\"'\t\n") | xml_text
values = (
    st.none()
    | st.decimals(allow_nan=False, allow_infinity=False, places=4).map(lambda d: f"{d:f}")
    | st.sampled_from(["0", "-0.0", "+7", ".5", " 12.50 ", "x" * 3, "", "." + "1" * 39, "\r1"])
)
qualities = st.lists(
    st.sampled_from(["1.0.0", "2.5.259", "1.7.1", "2.8.0", "odd", '<&">', "3.12.9999"]), max_size=3
)
devices = st.sampled_from(["M1", "M2", "M3"])


@st.composite
def cim(draw: st.DrawFn) -> tuple[bytes, str]:
    """A MeterReadings message of a few devices."""
    parts = ["<MeterReadings>"]
    for device in draw(st.lists(devices, min_size=1, max_size=3)):
        parts.append(f"<MeterReading><Meter><Names><name>{device}</name></Names></Meter>")
        for _ in range(draw(st.integers(1, 4))):
            parts.append("<Readings>")
            times = draw(st.lists(st.sampled_from(TIMES), min_size=1, max_size=2))
            parts += [f"<timeStamp>{time}</timeStamp>" for time in times]
            value = draw(values)
            if value is not None:
                parts.append(f"<value>{escape(value, {chr(13): '&#13;'})}</value>")
            parts += [
                f"<ReadingQualities><ReadingQualityType ref={quoteattr(code)}/></ReadingQualities>"
                for code in draw(qualities)
            ]
            notation = draw(notations)
            if notation is not None:
                parts.append(f"<ReadingType ref={quoteattr(notation)}/>")
            begin = draw(st.none() | st.sampled_from(TIMES))
            if begin is not None:
                parts.append(f"<timePeriod><start>{begin}</start></timePeriod>")
            parts.append("</Readings>")
        parts.append("</MeterReading>")
    return "".join([*parts, "</MeterReadings>"]).encode(), "cim"


@st.composite
def der(draw: st.DrawFn) -> tuple[bytes, str]:
    """DER telemetry of a few devices; unknown measurands may hold any character."""
    items = []
    for device in draw(st.lists(devices, min_size=1, max_size=2, unique=True)):
        readings = []
        for _ in range(draw(st.integers(1, 4))):
            measurand = draw(st.sampled_from(sorted(MEASURANDS)) | st.text(max_size=8))
            units = [
                unit for unit, (base, _) in UNITS.items()
                for quantity in MEASURANDS.get(measurand, ()) if quantity.unit == base
            ]  # fmt: skip
            reading: dict[str, object] = {
                "measurand": measurand,
                "unit": draw(st.sampled_from(units) if units else st.text(max_size=3)),
                "value": draw(values.filter(lambda text: text is not None)),
                "quality": draw(qualities),
            }
            if draw(st.booleans()):
                reading["phase"] = draw(st.sampled_from(sorted(PHASES)))
            begin, end = draw(st.permutations(TIMES))[:2]
            reading |= {"begin": begin, "end": end} if draw(st.booleans()) else {"time": end}
            readings.append(reading)
        items.append({"device": device, "readings": readings})
    return json.dumps(items).encode(), "der"


@st.composite
def ratings(draw: st.DrawFn) -> tuple[bytes, str]:
    """DER resources of IEEE 2030.5: values of other units, states with and without words."""
    resource, time = draw(st.sampled_from([("DERSettings", "updatedTime"),
                                           ("DERStatus", "readingTime")]))  # fmt: skip
    parts = [f'<{resource} xmlns="urn:ieee:std:2030.5:ns"><{time}>1768471200</{time}>']
    for name, member in MEMBERS[resource].items():
        value = draw(st.sampled_from(["0", "7", "05", "77", ""]))
        inside = member.number if isinstance(member, Value) else ""
        text = f"<{inside}>{value}</{inside}><multiplier>-1</multiplier>" if inside else value
        parts.append(f"<{name}>{text}</{name}>")
    return "".join([*parts, f"</{resource}>"]).encode(), "sep2"


@st.composite
def registers(draw: st.DrawFn) -> tuple[bytes, str]:
    """SunSpec's models: a point may lack its scale factor, a state its symbol."""
    models: list[dict[str, object]] = []
    for number in draw(st.lists(st.sampled_from(sorted(MODELS)), min_size=1, max_size=2)):
        points = sorted(MODELS[number].points) or ["SN"]
        names = draw(st.lists(st.sampled_from(points), min_size=1, max_size=5))
        said = {
            name: draw(st.integers(1, 1 << 15) | st.sampled_from(["0x7", None])) for name in names
        }
        scales = {point.scale: -1 for point in MODELS[number].points.values() if point.scale}
        models.append({"ID": number, **said, **draw(st.sampled_from([scales, {}]))})
    return json.dumps({"timestamp": TIMES[0], "models": models}).encode(), "sunspec"


def page_of(messages: Iterable[tuple[bytes, str]]) -> list[Viewed]:
    """What one page of their records would hold: each once."""
    found: dict[bytes, None] = {}
    for raw, form in messages:
        try:
            taken = take_message(raw, form)
        except Rejected:
            continue
        found |= {draft.record: None for draft in taken.records}
    return [Viewed(sha256(record).hexdigest(), index, record) for index, record in enumerate(found)]


pages = (
    st.lists(cim() | der() | ratings() | registers(), min_size=1, max_size=3)
    .map(page_of)
    .filter(bool)
)
