"""IEC 61968-9 MeterReadings as head-ends of several makers write them: one meaning of each."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from bal import jcs
from bal.errors import Rejected
from bal.harmonise import cim_scan, cim_xml, reading_type_tables
from bal.model import Draft, Harmonised, Subject

Take = Callable[..., Harmonised]
DELTA_KWH = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"
DELTA_WH = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0"

# Prefixes throughout, the meter by a name with its type and authority (as Platone D2.9 prints it).
PREFIXED = f"""<?xml version="1.0" encoding="UTF-8"?>
<mr:MeterReadings xmlns:mr="http://iec.ch/TC57/2011/MeterReadings#">
  <mr:MeterReading>
    <mr:Meter><mr:Names><mr:name>M1</mr:name></mr:Names></mr:Meter>
    <mr:Readings>
      <mr:timeStamp>2026-01-15T10:15:00+01:00</mr:timeStamp>
      <mr:value>1.5</mr:value>
      <mr:ReadingType ref="{DELTA_KWH}"/>
    </mr:Readings>
  </mr:MeterReading>
</mr:MeterReadings>"""

# An event message of a metering system: envelope, header, blocks of intervals, comments.
ENVELOPE = f"""<m:Message xmlns:m="http://iec.ch/TC57/2011/schema/message">
  <m:Header><m:Verb>created</m:Verb><m:Noun>MeterReadings</m:Noun><m:Revision>2.0</m:Revision>
    <m:Context>PRODUCTION</m:Context><m:Timestamp>2026-01-15T09:20:00Z</m:Timestamp>
    <m:Source>HES</m:Source><m:MessageID>0d0f4c0e</m:MessageID></m:Header>
  <m:Payload>
    <MeterReadings xmlns="http://iec.ch/TC57/2011/MeterReadings#">
      <MeterReading>
        <IntervalBlocks>
          <IntervalReadings>
            <timeStamp>2026-01-15T09:15:00.000Z</timeStamp>
            <value>1.500</value>
            <ReadingQualities><comments>by hand</comments>
              <ReadingQualityType ref="2.8.0"/></ReadingQualities>
          </IntervalReadings>
          <ReadingType ref="{DELTA_KWH}"/>
        </IntervalBlocks>
        <Meter><Names><name>M1</name></Names></Meter>
        <UsagePoint><mRID>up-1</mRID></UsagePoint>
        <valuesInterval><end>2026-01-15T09:15:00Z</end></valuesInterval>
      </MeterReading>
    </MeterReadings>
  </m:Payload>
</m:Message>"""

# No namespace at all; the usage point alone says whose it is.
BARE = f"""<MeterReadings><MeterReading><UsagePoint><Names><name>M1</name></Names></UsagePoint>
<Readings><value>1500</value><timeStamp>2026-01-15T09:15:00Z</timeStamp>
<ReadingType><Names><name>{DELTA_WH}</name></Names></ReadingType></Readings>
</MeterReading></MeterReadings>"""

# A maker's own namespace; types in place, with an id of their own beside the code.
OWN_NAMESPACE = f"""<MeterReadings xmlns="urn:maker:headend:3"><MeterReading>
<Meter><Names><name>M1</name></Names></Meter><Readings>
<ReadingType><mRID>7b6c1d0e</mRID><Names><name>{DELTA_KWH}</name></Names></ReadingType>
<timeStamp>2026-01-15T09:15:00Z</timeStamp><value>+01.50</value></Readings>
</MeterReading></MeterReadings>"""

# The first edition's namespace; the type defined beside the readings and referred to by its id.
DEFINED = f"""<MeterReadings xmlns="http://iec.ch/TC57/2009/MeterReadings#">
<MeterReading><Meter><Names><name>M1</name></Names></Meter><Readings>
<timeStamp>2026-01-15T09:15:00Z</timeStamp><value>1.5</value><ReadingType ref="kwh"/>
<ReadingQualities><ReadingQualityType ref="good"/></ReadingQualities></Readings></MeterReading>
<ReadingQualityType><mRID>good</mRID><system>1</system><category>0</category>
<subCategory>0</subCategory></ReadingQualityType>
<ReadingType><mRID>kwh</mRID><Names><name>{DELTA_KWH}</name></Names></ReadingType>
</MeterReadings>"""

# The parts of the code as elements, as the class ReadingType has them; 0 where absent.
PARTS = """<MeterReadings xmlns="http://iec.ch/TC57/2013/MeterReadings#"><MeterReading>
<Meter><Names><name>M1</name></Names></Meter><Readings>
<timeStamp>2026-01-15T09:15:00Z</timeStamp><value>1.5</value>
<ReadingType><accumulation>4</accumulation><commodity>1</commodity><flowDirection>1</flowDirection>
<interharmonic><denominator>0</denominator><numerator>0</numerator></interharmonic>
<measurementKind>12</measurementKind><measuringPeriod>2</measuringPeriod>
<multiplier>3</multiplier><unit>72</unit></ReadingType></Readings>
</MeterReading></MeterReadings>"""

DIALECTS = {
    "prefixed": PREFIXED,
    "envelope": ENVELOPE,
    "bare": BARE,
    "own namespace": OWN_NAMESPACE,
    "defined": DEFINED,
    "parts": PARTS,
}


def record(draft: Draft) -> dict[str, Any]:
    decoded = jcs.decode(draft.record)
    assert isinstance(decoded, dict)
    return decoded


@pytest.mark.parametrize("name", DIALECTS)
def test_the_same_reading_in_every_dialect(
    take: Take, subject: Callable[[str], Subject], name: str
) -> None:
    found = take(DIALECTS[name].encode())
    assert not found.refused
    [one] = map(record, found.records)
    assert (one["kind"], one["value"], one["unit"]) == ("reading", "1500", "Wh")
    assert (one["begin"], one["end"]) == ("2026-01-15T09:00:00Z", "2026-01-15T09:15:00Z")
    assert (one["register"], one["device"]) == (DELTA_WH, subject("name://M1").pseudonym)
    assert one["observes"]["notation"] in {DELTA_KWH, DELTA_WH}


@pytest.mark.parametrize(
    ("name", "quality"),
    [("prefixed", "0.0.0"), ("envelope", "2.8.0"), ("bare", "0.0.0"), ("defined", "1.0.0")],
)
def test_qualities_by_reference_or_defined(take: Take, name: str, quality: str) -> None:
    assert record(take(DIALECTS[name].encode()).records[0])["quality"] == [quality]


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("prefixed", []),
        (
            "envelope",
            [
                ("element-not-mapped", "ReadingQualities.comments"),
                ("element-not-mapped", "MeterReading.valuesInterval"),
                ("element-not-mapped", "MeterReading.UsagePoint"),
            ],
        ),
        ("bare", []),
        ("own namespace", [("namespace-not-iec", "xmlns")]),
        ("defined", []),
        ("parts", []),
    ],
)
def test_what_deviates_is_told(take: Take, name: str, codes: list[tuple[str, str]]) -> None:
    found = take(DIALECTS[name].encode())
    assert [(finding.code, finding.field) for finding in found.findings] == codes
    assert all(finding.clause for finding in found.findings)
    assert "by hand" not in str(found.findings)


@pytest.mark.parametrize("name", ["prefixed", "envelope", "bare"])
def test_a_dialect_of_many_meters_takes_the_fast_way(name: str) -> None:
    tag = "mr:MeterReading" if name == "prefixed" else "MeterReading"
    head, inside, tail = re.split(f"</?{tag}>", DIALECTS[name])
    many = "".join(f"<{tag}>{inside.replace('M1', f'M{n}')}</{tag}>" for n in range(60))
    raw = f"{head}{many}{tail}".encode()
    found = cim_scan.read(raw)
    assert found is not None
    assert found == cim_xml.read(raw)


def header(
    verb: str = "created", noun: str = "MeterReadings", context: str = "PRODUCTION"
) -> bytes:
    text = ENVELOPE.replace(">created<", f">{verb}<").replace(">MeterReadings<", f">{noun}<")
    return (
        text.replace(">PRODUCTION<", f">{context}<")
        .replace("<comments>by hand</comments>", "")
        .encode()
    )


@pytest.mark.parametrize("verb", ["cancel", "canceled", "Cancelled", "delete", "DELETED"])
def test_readings_that_are_taken_back_are_not_certified(take: Take, verb: str) -> None:
    """IEC 61968-100 HeaderType.Verb."""
    with pytest.raises(Rejected) as error:
        take(header(verb=verb))
    assert (error.value.code, error.value.field) == ("verb-not-taken", "Verb")
    assert error.value.line == 2


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (header(), None),
        (header(verb="reply"), None),
        (header(verb="Changed"), None),
        (header(verb="push"), "Verb"),
        (header(noun="EndDeviceControls"), "Noun"),
        (header(context="TESTING"), "Context"),
    ],
)
def test_a_header_that_says_something_else(take: Take, raw: bytes, field: str | None) -> None:
    """IEC 61968-100 HeaderType.Verb, HeaderType.Noun, HeaderType.Context."""
    found = take(raw)
    assert len(found.records) == 1
    expected = [("header-unexpected", field)] if field else []
    told = [one for one in found.findings if one.code != "element-not-mapped"]
    assert [(finding.code, finding.field) for finding in told] == expected
    assert {finding.line for finding in told} <= {2}


@pytest.mark.parametrize(
    "namespace",
    [
        "http://iec.ch/TC57/2008/MeterReadings#",
        "http://iec.ch/TC57/2017/MeterReadings#",
        "http://www.iec.ch/TC57/CIM100#",
        "HTTP://IEC.CH/TC57/2011/MeterReadings#",
    ],
)
def test_namespaces_of_iec(take: Take, namespace: str) -> None:
    raw = PREFIXED.replace("http://iec.ch/TC57/2011/MeterReadings#", namespace).encode()
    assert take(raw).findings == []


def test_a_type_that_gives_two_codes_is_ambiguous(take: Take) -> None:
    raw = OWN_NAMESPACE.replace("7b6c1d0e", DELTA_WH).replace("urn:maker:headend:3", "").encode()
    found = take(raw)
    [event] = map(record, found.records)
    assert (event["event"], event["verbatim"]["readingType"]) == (
        "incomplete",
        [DELTA_WH, DELTA_KWH],
    )
    assert [finding.code for finding in found.findings] == ["reading-ambiguous"]


def test_a_type_defined_twice_is_not_chosen_from(take: Take) -> None:
    other = f"<ReadingType><mRID>kwh</mRID><Names><name>{DELTA_WH}</name></Names></ReadingType>"
    raw = DEFINED.replace("</MeterReadings>", f"{other}</MeterReadings>").encode()
    found = take(raw)
    [event] = map(record, found.records)
    assert (event["event"], event["notation"]) == ("unmapped", "kwh")


def test_parts_in_words_are_kept_as_sent(take: Take) -> None:
    raw = PARTS.replace("<unit>72<", "<unit>Wh<").encode()
    found = take(raw)
    [event] = map(record, found.records)
    assert (event["event"], event["verbatim"]["value"]) == ("unmapped", ["1.5"])
    assert "unit=Wh" in event["notation"]
    assert [finding.code for finding in found.findings] == ["reading-type-unmapped"]


def test_a_nil_value_is_no_value(take: Take) -> None:
    nil = '<value xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:nil="true"/>'
    found = take(
        PREFIXED.replace("<mr:value>1.5</mr:value>", nil.replace("value", "mr:value")).encode()
    )
    [event] = map(record, found.records)
    assert event["event"] == "incomplete"
    assert [finding.code for finding in found.findings] == ["value-missing"]


@pytest.mark.parametrize("kind", [12, 37, 54, 4, 58])
def test_every_unit_is_a_value_or_an_event_that_says_so(take: Take, kind: int) -> None:
    for unit in reading_type_tables.UNITS:
        code = f"0.0.2.4.1.1.{kind}.0.0.0.0.0.0.0.0.3.{unit}.0"
        found = take(PREFIXED.replace(DELTA_KWH, code).encode())
        [one] = map(record, found.records)
        if one["kind"] == "reading":
            assert (one["value"], found.findings) == ("1500", [])
        else:
            assert (one["event"], one["notation"]) == ("unmapped", code)
            assert one["verbatim"]["value"] == ["1.5"]
            assert [finding.code for finding in found.findings] == ["reading-type-unmapped"]


@pytest.mark.parametrize("multiplier", sorted(reading_type_tables.MULTIPLIERS))
def test_every_multiplier_moves_the_point(take: Take, multiplier: int) -> None:
    code = f"0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.{multiplier}.72.0"
    [one] = map(record, take(PREFIXED.replace(DELTA_KWH, code).encode()).records)
    whole = "15" + "0" * (multiplier - 1) if multiplier > 0 else ""
    small = "0." + "0" * (-multiplier - 1) + "15" if multiplier < 0 else "1.5"
    assert one["value"] == (whole or small)


def test_a_period_that_only_the_message_can_state(take: Take) -> None:
    code = "0.0.100.6.1.1.8.0.0.0.0.0.0.0.0.3.38.0"
    found = take(PREFIXED.replace(DELTA_KWH, code).encode())
    [one] = map(record, found.records)
    assert one["time"] == "2026-01-15T09:15:00Z"
    assert [finding.code for finding in found.findings] == ["interval-length-unknown"]
