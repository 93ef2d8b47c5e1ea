"""IEC 61968-9 EndDeviceEvents: what a meter reports beside its values."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bal import jcs
from bal.errors import Rejected
from bal.harmonise import cim_scan, cim_xml
from bal.inspection import inspect
from bal.model import Draft, Harmonised, Rank, Subject

Take = Callable[..., Harmonised]
READING = (
    "<Readings><timeStamp>2026-01-15T10:15:00+01:00</timeStamp><value>1.5</value>"
    '<ReadingType ref="0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"/></Readings>'
)
OUTAGE = (
    "<EndDeviceEvents><createdDateTime>2026-01-15T10:07:30+01:00</createdDateTime>"
    '<EndDeviceEventType ref="3.26.0.85"/></EndDeviceEvents>'
)
NAMES = "<Names><name>3.26.0.85</name></Names>"
PARTS = "<domain>26</domain><eventOrAction>85</eventOrAction><subDomain>0</subDomain><type>3</type>"

# As IEC 61968-9's EndDeviceEvents message has it, in the envelope of a head-end.
MESSAGE = """<?xml version="1.0" encoding="UTF-8"?>
<m:EventMessage xmlns:m="http://iec.ch/TC57/2011/schema/message">
  <m:Header><m:Verb>created</m:Verb><m:Noun>EndDeviceEvents</m:Noun></m:Header>
  <m:Payload>
    <EndDeviceEvents xmlns="http://iec.ch/TC57/2011/EndDeviceEvents#">
      <EndDeviceEvent>
        <mRID>evt-0001</mRID>
        <createdDateTime>2026-01-15T09:07:30Z</createdDateTime>
        <issuerID>HES</issuerID>
        <issuerTrackingID>4711</issuerTrackingID>
        <reason>supply lost</reason>
        <severity>high</severity>
        <userID>jane.doe</userID>
        <Assets><mRID>meter-1</mRID><Names><name>M1</name></Names></Assets>
        <EndDeviceEventDetails><name>duration</name><value>00:00:12</value></EndDeviceEventDetails>
        <EndDeviceEventDetails><name>phases</name><value>ABC</value></EndDeviceEventDetails>
        <EndDeviceEventType ref="3.26.0.85"/>
        <status><dateTime>2026-01-15T09:07:31Z</dateTime><value>active</value></status>
      </EndDeviceEvent>
      <EndDeviceEvent>
        <createdDateTime>2026-01-15T09:09:00Z</createdDateTime>
        <EndDeviceEventType ref="3.26.0.216"/>
        <UsagePoint><mRID>up-2</mRID></UsagePoint>
      </EndDeviceEvent>
    </EndDeviceEvents>
  </m:Payload>
</m:EventMessage>"""


def message(inside: str, meter: str = "<Meter><Names><name>M-0001</name></Names></Meter>") -> bytes:
    return (
        '<MeterReadings xmlns="http://iec.ch/TC57/2011/MeterReadings#">'
        f"<MeterReading>{meter}{inside}</MeterReading></MeterReadings>"
    ).encode()


def event(inside: str, time: str = "2026-01-15T09:07:30Z", code: str = "3.26.0.85") -> str:
    stamp = f"<createdDateTime>{time}</createdDateTime>" if time else ""
    kind = f'<EndDeviceEventType ref="{code}"/>' if code else ""
    return f"<EndDeviceEvents>{stamp}{kind}{inside}</EndDeviceEvents>"


def record(draft: Draft) -> dict[str, Any]:
    decoded = jcs.decode(draft.record)
    assert isinstance(decoded, dict)
    return decoded


def test_an_event_beside_readings(take: Take, subject: Callable[[str], Subject]) -> None:
    found = take(message(READING + OUTAGE))
    assert (found.findings, found.refused) == ([], [])
    reading, outage = found.records
    assert (reading.kind, outage.kind) == ("reading", "event")
    device = subject("name://M-0001").pseudonym
    assert record(outage) == {
        "device": device,
        "event": "occurrence",
        "evidence": found.parts[0].commitment.hex(),
        "hasTimestamp": "2026-01-15T09:07:30Z",
        "id": "",
        "kind": "event",
        "madeBy": {"id": device, "type": ["Device"]},
        "means": ["electricity meter: power, failed"],
        "notation": "3.26.0.85",
        "observes": {"id": f"{device}#3.26.0.85", "notation": "3.26.0.85", "type": ["Property"]},
        "quality": ["0.0.0"],
        "register": "3.26.0.85",
        "time": "2026-01-15T09:07:30Z",
        "type": "ProcedureExecution",
        "v": "1",
        "verbatim": {
            "createdDateTime": ["2026-01-15T10:07:30+01:00"],
            "endDeviceEventType": ["3.26.0.85"],
            "id": "#verbatim",
        },
    }
    assert (outage.register, outage.rank) == ("3.26.0.85", Rank.MEASURED)


def test_a_message_of_events(take: Take, subject: Callable[[str], Subject]) -> None:
    found = take(MESSAGE.encode())
    assert not found.refused
    outage, back = map(record, found.records)
    assert outage["verbatim"] == {
        "createdDateTime": ["2026-01-15T09:07:30Z"],
        "detailName": ["duration", "phases"],
        "detailValue": ["00:00:12", "ABC"],
        "endDeviceEventType": ["3.26.0.85"],
        "id": "#verbatim",
        "issuerID": ["HES"],
        "issuerTrackingID": ["4711"],
        "mRID": ["evt-0001"],
        "reason": ["supply lost"],
        "severity": ["high"],
        "statusDateTime": ["2026-01-15T09:07:31Z"],
        "statusValue": ["active"],
    }
    assert outage["device"] == subject("mrid:meter-1").pseudonym
    assert back["device"] == subject("mrid:up-2").pseudonym
    assert back["means"] == ["electricity meter: power, restored"]
    assert (outage["time"], back["time"]) == ("2026-01-15T09:07:30Z", "2026-01-15T09:09:00Z")
    # a person's name is not for a record; that it was sent is told
    assert [(one.code, one.line) for one in found.findings] == [("element-not-mapped", 6)]
    assert b"jane" not in b"".join(draft.record for draft in found.records)
    owners = [part.subject.pseudonym for part in found.parts]
    assert owners[1::2] == [outage["device"], back["device"]]


@pytest.mark.parametrize(
    ("sent", "name", "codes"),
    [
        (event("", code="3.26.999.85"), "unmapped", ["event-type-unmapped"]),
        (event("", code="POWER_FAIL"), "unmapped", ["event-type-unmapped"]),
        (event("", code="3.26.0"), "unmapped", ["event-type-unmapped"]),
        (event("", code=""), "incomplete", ["event-type-missing"]),
        (
            event('<EndDeviceEventType ref="3.26.0.216"/>'),
            "incomplete",
            ["reading-ambiguous"],
        ),
        (
            event("<createdDateTime>2026-01-15T09:08:00Z</createdDateTime>"),
            "incomplete",
            ["reading-ambiguous"],
        ),
        (event("<severity/><vendor>x</vendor>"), "occurrence", ["element-not-mapped"]),
        (event("", time="2026-01-15T09:07:30.1234567Z"), "occurrence", ["time-cut"]),
    ],
)
def test_what_has_no_meaning_is_kept(take: Take, sent: str, name: str, codes: list[str]) -> None:
    found = take(message(sent))
    assert not found.refused
    [one] = map(record, found.records)
    assert (one["event"], "means" in one) == (name, name == "occurrence")
    assert [finding.code for finding in found.findings] == codes
    assert [finding["code"] for finding in one["findings"]] == codes


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (event("", time=""), "time-missing"),
        (event("", time="2026-01-15T09:07:30"), "time-without-offset"),
        (event("", time="now"), "time-malformed"),
        (event(f"<reason>{'x' * 1025}</reason>"), "text-too-long"),
        (
            event(
                "<EndDeviceEventDetails><name>a</name><value>b</value></EndDeviceEventDetails>" * 33
            ),
            "text-too-long",
        ),
    ],
)
def test_a_bad_event_costs_no_other(take: Take, sent: str, code: str) -> None:
    found = take(message(f"{READING}\n{sent}{OUTAGE}"))
    assert [draft.kind for draft in found.records] == ["reading", "event"]
    assert [(one.code, one.line) for one in found.refused] == [(code, 2)]
    assert found.refused[0].clause


def test_a_text_that_names_the_device_is_withheld(take: Take) -> None:
    detail = "<EndDeviceEventDetails><name>serial</name><value>No. M-0001</value>"
    found = take(message(event(f"{detail}</EndDeviceEventDetails>")))
    [one] = map(record, found.records)
    assert (one["verbatim"]["detailName"], one["verbatim"]["detailValue"]) == (["serial"], [""])
    assert [finding.code for finding in found.findings] == ["element-not-mapped"]
    assert b"M-0001" not in found.records[0].record


@pytest.mark.parametrize(
    "inside",
    [
        "<EndDeviceEventType><mRID>3.26.0.85</mRID></EndDeviceEventType>",
        f"<EndDeviceEventType>{NAMES}</EndDeviceEventType>",
        f"<EndDeviceEventType><mRID>id</mRID>{NAMES}</EndDeviceEventType>",
        f"<EndDeviceEventType>{PARTS}</EndDeviceEventType>",
    ],
)
def test_a_type_may_be_given_in_place(take: Take, inside: str) -> None:
    [one] = map(record, take(message(event(inside, code=""))).records)
    assert one["notation"] == "3.26.0.85"


def test_inspect_says_what_happened() -> None:
    raw = message(READING + OUTAGE + event("", code="3.26.999.85"))
    [device] = inspect(raw, "cim").devices
    _, known, unknown = (one.meaning for one in device.seen)
    assert known == "electricity meter: power, failed"
    assert unknown.startswith("electricity meter: power, unknown subdomain 999, failed; has no")


def test_several_events_in_one_element(take: Take) -> None:
    several = OUTAGE.replace("EndDeviceEvents", "EndDeviceEvent") * 2
    found = take(message(f"<EndDeviceEvents>{several}</EndDeviceEvents>"))
    assert [record(draft)["event"] for draft in found.records] == ["occurrence"] * 2


@pytest.mark.parametrize("verb", ["created", "deleted"])
def test_events_that_are_taken_back(take: Take, verb: str) -> None:
    raw = MESSAGE.replace("created", verb, 1).encode()
    if verb == "created":
        assert len(take(raw).records) == 2
    else:
        with pytest.raises(Rejected, match="verb-not-taken"):
            take(raw)


def test_an_event_of_nobody_is_refused(take: Take) -> None:
    found = take(MESSAGE.replace("<UsagePoint><mRID>up-2</mRID></UsagePoint>", "").encode())
    assert len(found.records) == 1
    assert [(one.code, one.line) for one in found.refused] == [("meter-unnamed", 20)]


@pytest.mark.parametrize("gap", ["", "\n", "\n\n  "])
@pytest.mark.parametrize("odd", [OUTAGE, OUTAGE + "\n" + OUTAGE, "<EndDeviceEvents/>"])
@pytest.mark.parametrize("every", [1, 3, 7, 60])
def test_a_regular_message_with_events_in_it_is_read_alike(
    take: Take, gap: str, odd: str, every: int
) -> None:
    meters = [
        f"<MeterReading><Meter><mRID>{n:04d}</mRID></Meter>{READING}"
        f"{odd if n % every == every - 1 else ''}</MeterReading>"
        for n in range(60)
    ]
    for first in (0, 59):  # the odd one last, or first
        raw = f"<m>{gap}{gap.join(meters[first:] + meters[:first])}{gap}</m>".encode()
        found = cim_scan.read(raw)
        read = cim_xml.read(raw)
        assert found == read or (found is None and every == 1)
        events = sum(len(one.events) for one in read)
        assert len(take(raw).records) == 60 + events
        assert (events > 0) == ("<EndDeviceEvents/>" not in odd)


names = st.sampled_from(
    ["EndDeviceEvents", "EndDeviceEvent", "EndDeviceEventType", "EndDeviceEventDetails", "name",
     "createdDateTime", "status", "dateTime", "value", "Assets", "UsagePoint", "mRID", "Names",
     "MeterReading", "Meter", "Readings", "ReadingType", "ref", "domain", "subDomain", "Header",
     "Verb", "timeStamp", "interharmonic", "numerator", "unit", "other"]
)  # fmt: skip
texts = st.sampled_from(
    ["", "3.26.0.85", "2026-01-15T09:07:30Z", "M1", "x", "72", "-1", "deleted", "kwh", " "]
)
leaves = st.builds("<{0}>{1}</{0}>".format, names, texts)
elements = st.recursive(
    leaves | st.just(OUTAGE) | st.just(READING),
    lambda inner: st.builds(
        "<{0}>{1}</{0}>".format, names, st.lists(inner, max_size=5).map("".join)
    ),
    max_leaves=25,
)


@settings(max_examples=300)
@given(st.lists(elements, max_size=4))
def test_any_elements_are_read_or_refused(take: Take, inside: list[str]) -> None:
    raw = f"<m>{''.join(inside)}</m>".encode()
    try:
        found = take(raw)
    except Rejected:
        return
    for draft in found.records:
        jcs.decode(draft.record)


@settings(max_examples=100)
@given(st.lists(st.text(max_size=12), min_size=5, max_size=5))
def test_any_texts_in_an_event(take: Take, texts: list[str]) -> None:
    escaped = [
        "".join(f"&#{ord(one)};" if one in '<&"\r' else one for one in text) for text in texts
    ]
    time, code, reason, name, meter = escaped
    sent = event(f"<reason>{reason}</reason><name>{name}</name>", time=time, code=code)
    try:
        found = take(message(sent, f"<Meter><mRID>{meter}</mRID></Meter>"))
    except Rejected:  # a character that XML does not have
        return
    assert len(found.records) + len(found.refused) == 1
