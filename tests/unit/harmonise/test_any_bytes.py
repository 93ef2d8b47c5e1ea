"""Whatever the bytes are: a result or Rejected, parts that cover them, the same again."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bal import jcs
from bal.errors import Rejected
from bal.model import Harmonised

Take = Callable[..., Harmonised]
CIM = (
    b'<MeterReadings xmlns="u"><MeterReading><Meter><Names><name>M1</name></Names></Meter>'
    b"<Readings><timeStamp>2026-01-15T10:15:00Z</timeStamp><value>1.5</value>"
    b'<ReadingType ref="0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"/></Readings></MeterReading>'
    b"<MeterReading><Meter><mRID>2</mRID></Meter><IntervalBlocks><IntervalReadings/>"
    b"</IntervalBlocks></MeterReading></MeterReadings>"
)
EVENTS = (
    b'<m><Header><Verb>created</Verb></Header><EndDeviceEvents xmlns="u"><EndDeviceEvent>'
    b"<createdDateTime>2026-01-15T09:07:30Z</createdDateTime><Assets><mRID>M1</mRID></Assets>"
    b'<EndDeviceEventType ref="3.26.0.85"/><EndDeviceEventDetails><name>a</name><value>b</value>'
    b"</EndDeviceEventDetails></EndDeviceEvent></EndDeviceEvents><ReadingType><mRID>k</mRID>"
    b"<Names><name>0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0</name></Names></ReadingType></m>"
)
DER = (
    b'[{"device":"d","readings":[{"time":"2026-01-15T10:15:00Z","measurand":"voltage",'
    b'"value":230.1,"unit":"V"}]},{"readings":[{}]}]'
)
SEP2 = (
    b'<MirrorUsagePointList xmlns="urn:ieee:std:2030.5:ns"><MirrorUsagePoint><deviceLFDI>'
    b"3E4F45AB31EDFE5B67E343E5E4562E31984E23E5</deviceLFDI><MirrorMeterReading><mRID>08</mRID>"
    b"<MirrorReadingSet><timePeriod><duration>1800</duration><start>1768471200</start>"
    b"</timePeriod><Reading><value>1</value><localID>01</localID></Reading><Reading>"
    b"<qualityFlags>04</qualityFlags><value>2</value><localID>02</localID></Reading>"
    b"</MirrorReadingSet><ReadingType><accumulationBehaviour>4</accumulationBehaviour>"
    b"<intervalLength>900</intervalLength><uom>72</uom></ReadingType></MirrorMeterReading>"
    b"</MirrorUsagePoint><MirrorUsagePoint/></MirrorUsagePointList>"
)
STATUS = (
    b'<DERStatus xmlns="http://ieee.org/2030.5"><stateOfChargeStatus><dateTime>1768471200'
    b"</dateTime><value>70</value></stateOfChargeStatus><alarmStatus>00</alarmStatus>"
    b"<readingTime>1768471200</readingTime></DERStatus>"
)


def settle(take: Take, raw: bytes, form: str) -> None:
    try:
        found = take(raw, form)
    except Rejected as error:
        with pytest.raises(Rejected, match=error.code):
            take(raw, form)
        return
    assert found == take(raw, form)
    for draft in found.records:
        jcs.decode(draft.record)
        assert draft.begin_us <= draft.end_us
    for finding in [*found.findings, *found.refused]:
        assert jcs.encode(finding.as_json())


def damaged(good: bytes, data: st.DataObject) -> bytes:
    """The message, broken in one to four places."""
    raw = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw)))
        raw[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=4))
    return bytes(raw)


@given(st.binary(max_size=200), st.sampled_from(["cim", "der", "sep2"]))
def test_any_bytes(take: Take, raw: bytes, form: str) -> None:
    settle(take, raw, form)


@settings(max_examples=200)
@given(
    st.sampled_from(
        [("cim", CIM), ("cim", EVENTS), ("der", DER), ("sep2", SEP2), ("sep2", STATUS)]
    ),
    st.data(),
)
def test_damaged_messages(take: Take, sample: tuple[str, bytes], data: st.DataObject) -> None:
    form, good = sample
    settle(take, damaged(good, data), form)


scalars = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8)
members = st.sampled_from(
    ["device", "readings", "time", "begin", "end", "measurand", "value", "unit", "phase", "mRID"]
)
values = st.recursive(
    scalars | st.sampled_from(["activePower", "W", "2026-01-15T10:15:00Z", "-1.5"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(members, inner, max_size=5),
    max_leaves=12,
)


@settings(max_examples=200)
@given(values)
def test_any_json(take: Take, value: Any) -> None:
    settle(take, json.dumps(value).encode(), "der")


@settings(max_examples=100)
@given(st.lists(st.text(max_size=12), min_size=5, max_size=5))
def test_any_texts_in_a_reading(take: Take, texts: list[str]) -> None:
    escaped = [
        "".join(f"&#{ord(char)};" if char in '<&"\r' else char for char in text) for text in texts
    ]
    name, time, value, kind, quality = escaped
    raw = (
        f"<MeterReading><Meter><mRID>{name}</mRID></Meter><Readings><timeStamp>{time}</timeStamp>"
        f'<value>{value}</value><ReadingType ref="{kind}"/><ReadingQualities>'
        f'<ReadingQualityType ref="{quality}"/></ReadingQualities></Readings></MeterReading>'
    ).encode()
    settle(take, raw, "cim")


@settings(max_examples=100)
@given(st.lists(st.text(max_size=12), min_size=7, max_size=7))
def test_any_texts_in_a_mirror(take: Take, texts: list[str]) -> None:
    escaped = [
        "".join(f"&#{ord(char)};" if char in '<&"\r' else char for char in text) for text in texts
    ]
    mrid, start, duration, value, flags, local, uom = escaped
    raw = (
        f'<MirrorMeterReading xmlns="urn:ieee:std:2030.5:ns"><mRID>{mrid}</mRID><MirrorReadingSet>'
        f"<timePeriod><duration>{duration}</duration><start>{start}</start></timePeriod><Reading>"
        f"<qualityFlags>{flags}</qualityFlags><value>{value}</value><localID>{local}</localID>"
        "</Reading><Reading><timePeriod><duration>900</duration><start>1768471200</start>"
        f"</timePeriod><value>{value}</value></Reading></MirrorReadingSet><ReadingType>"
        f"<uom>{uom}</uom></ReadingType></MirrorMeterReading>"
    ).encode()
    settle(take, raw, "sep2")


names = st.sampled_from(
    ["MirrorUsagePoint", "MirrorMeterReading", "MirrorReadingSet", "Reading", "ReadingType",
     "timePeriod", "start", "duration", "value", "localID", "qualityFlags", "touTier", "mRID",
     "deviceLFDI", "lastUpdateTime", "intervalLength", "uom", "kind", "accumulationBehaviour",
     "subIntervalLength", "DERStatus", "stateOfChargeStatus", "dateTime", "readingTime", "other",
     "multiplier", "displacement", "alarmStatus", "inverterStatus", "statWAvail", "reservePercent",
     "rtgMaxW", "type", "modesSupported", "setMaxW", "updatedTime", "rtgMinPFOverExcited"]
)  # fmt: skip
texts = st.sampled_from(
    ["0", "1", "900", "1800", "1768471200", "72", "04", "-1", "x", " 7 ", "9" * 20, "AB" * 20, ""]
)


def element(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    inside = st.lists(children, max_size=6).map("".join)
    return st.builds("<{0}>{1}</{0}>".format, names, inside)


elements = st.recursive(st.builds("<{0}>{1}</{0}>".format, names, texts), element, max_leaves=30)
roots = st.sampled_from(
    ["MirrorUsagePointList", "MirrorUsagePoint", "MirrorMeterReadingList", "MirrorMeterReading",
     "MirrorReadingSet", "DERStatus", "DERAvailability", "DERCapability", "DERSettings"]
)  # fmt: skip


@settings(max_examples=200)
@given(roots, st.lists(elements, max_size=6))
def test_any_elements_of_ieee_2030_5(take: Take, root: str, inside: list[str]) -> None:
    start = f'<{root} xmlns="urn:ieee:std:2030.5:ns">'
    settle(take, f"{start}{''.join(inside)}</{root}>".encode(), "sep2")
