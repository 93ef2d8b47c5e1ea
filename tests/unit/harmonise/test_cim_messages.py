"""Meters, envelopes and whole messages; what single readings come to is in test_cim.py."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from bal import jcs
from bal.errors import Rejected
from bal.model import Draft, Harmonised, Subject

Take = Callable[..., Harmonised]
METER = "<Meter><Names><name>M1</name></Names></Meter>"
READING = (
    "<Readings><timeStamp>2026-01-15T10:15:00+01:00</timeStamp><value>1.5</value>"
    '<ReadingType ref="0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"/></Readings>'
)


def message(*readings: str, meter: str = METER) -> bytes:
    body = "".join(readings)
    return f"<MeterReadings><MeterReading>{meter}{body}</MeterReading></MeterReadings>".encode()


def record(draft: Draft) -> dict[str, Any]:
    decoded = jcs.decode(draft.record)
    assert isinstance(decoded, dict)
    return decoded


@pytest.mark.parametrize(
    ("meter", "code"),
    [
        ("", "meter-unnamed"),
        ("<Meter/>", "meter-unnamed"),
        ("<Meter><Names/></Meter>", "meter-unnamed"),
        ("<Meter/><UsagePoint><mRID>u</mRID></UsagePoint>", "meter-unnamed"),
        (METER + METER, "meter-ambiguous"),
        ("<Meter><Names><name> </name></Names></Meter>", "name-invalid"),
        ("<Meter><mRID>a\x85b</mRID></Meter>", "name-invalid"),
        ("<Meter><mRID>a&#9;b</mRID></Meter>", "name-invalid"),
        (f"<Meter><mRID>{'a' * 257}</mRID></Meter>", "name-invalid"),
        ("<Meter>" + "<Names><name>n</name></Names>" * 17 + "</Meter>", "name-invalid"),
        ("<Meter><mRID>forbidden</mRID></Meter>", "subject-not-allowed"),
    ],
)
def test_one_bad_meter_costs_no_other(
    take: Take, owners: tuple[Subject, Subject], meter: str, code: str
) -> None:
    good = f"<MeterReading>{METER}{READING}</MeterReading>"
    bad = f"<MeterReading>{meter}{READING}{READING}</MeterReading>"
    raw = f"<MeterReadings>\n{good}\n{bad}{good}</MeterReadings>".encode()
    found = take(raw)
    assert len(found.records) == 2
    assert [(f.code, f.line) for f in found.refused] == [(code, 3)]
    platform, sender = owners
    device = found.records[0].subject
    assert [part.subject for part in found.parts] == [
        platform,
        device,
        platform,
        sender,
        device,
        platform,
    ]
    for finding in found.refused:
        assert "forbidden" not in json.dumps(finding.as_json())


def test_a_message_of_one_device_is_one_part(take: Take) -> None:
    twice = f"<MeterReading>{METER}{READING}</MeterReading>" * 2
    found = take(f"<MeterReadings>{twice}</MeterReadings>".encode())
    assert len(found.parts) == 1
    assert found.parts[0].subject == found.records[0].subject == found.records[1].subject


def test_nothing_good_is_one_part_of_the_sender(
    take: Take, owners: tuple[Subject, Subject]
) -> None:
    found = take(message(READING, meter=""))
    assert not found.records
    assert [part.subject for part in found.parts] == [owners[1]]


@pytest.mark.parametrize(
    ("meter", "identity"),
    [
        ("<Meter><mRID>6b2a/9 \u00fc</mRID></Meter>", "mrid:6b2a%2F9%20%C3%BC"),
        (METER + "<UsagePoint><mRID>up</mRID></UsagePoint>", "name://M1"),
        ("<UsagePoint><mRID>up</mRID></UsagePoint>" + METER, "name://M1"),
        ("<UsagePoint><mRID>up</mRID></UsagePoint>", "mrid:up"),  # IEC 61968-9 UsagePoint
        (
            (
                "<Meter><Names><NameType><name>T/1</name><NameTypeAuthority><name>A</name>"
                "</NameTypeAuthority></NameType><name>\n  N \n</name></Names></Meter>"
            ),
            "name:A/T%2F1/N",
        ),
        ("<Meter><mRID/><Names><name>N</name></Names></Meter>", "name://N"),
    ],
)
def test_identity(take: Take, subject: Callable[[str], Subject], meter: str, identity: str) -> None:
    found = take(message(READING, meter=meter))
    assert found.records[0].subject == subject(identity)


@pytest.mark.parametrize(
    "wrap",
    [
        "<MeterReadings>{}</MeterReadings>",
        '<m:MeterReadings xmlns:m="urn:vendor">{}</m:MeterReadings>',
        (
            '<Message xmlns="http://iec.ch/TC57/2011/schema/message"><Header><Verb>created</Verb>'
            "</Header><Payload><MeterReadings>{}</MeterReadings></Payload></Message>"
        ),
        (
            "<?xml version='1.0' encoding='utf-8' ?>\n<?pi x?><!-- <!DOCTYPE a> -->"
            "<MeterReadings><!-- <MeterReading> -->{}</MeterReadings><!-- end -->"
        ),
        "\ufeff<MeterReadings><x a='<![CDATA['/>{}</MeterReadings>".replace("<![CDATA[", ">"),
        "<MeterReadings><x><![CDATA[<MeterReading></MeterReading>]]></x>{}</MeterReadings>",
    ],
)
def test_envelopes(take: Take, wrap: str) -> None:
    """With and without that of IEC 61968-100 Message.xsd."""
    body = f"<MeterReading a='>' b=\"/\">{METER}{READING}</MeterReading>"
    raw = wrap.replace("{}", body + body.replace("M1", "M2")).encode()
    found = take(raw)
    assert [record(draft)["value"] for draft in found.records] == ["1500"] * 2
    spans = [raw[part.start : part.end] for part in found.parts]
    assert spans[1] == body.encode()


@pytest.mark.parametrize(
    ("raw", "code", "line"),
    [
        (b"", "xml-malformed", 1),
        (b"   ", "xml-malformed", 1),
        (b"<MeterReadings>\n<MeterReading>", "xml-malformed", 2),
        (b"<a></b>", "xml-malformed", 1),
        (b"<a>&x;</a>", "xml-malformed", 1),
        (b"<a>&#xD800;</a>", "xml-malformed", 1),
        (b"<a>\x00</a>", "xml-malformed", 1),
        (b"<a/>\n\xff", "not-utf8", 2),
        (b"<a>\xed\xa0\x80</a>", "not-utf8", 1),
        (b"\xff\xfe<\x00a\x00/\x00>\x00", "not-utf8", 1),
        (b'<?xml version="1.0" encoding="ISO-8859-1"?><MeterReadings/>', "not-utf8", 1),
        (b"<MeterReadings/>", "no-meter-reading", None),
        (b"<!DOCTYPE a><a/>", "dtd-forbidden", 1),
        (b"<?xml version='1.0'?>\n<!-- x -->\n<!DOCTYPE a []><a>&b;</a>", "dtd-forbidden", 3),
        (b"<a>" * 300 + b"</a>" * 300, "xml-malformed", 1),
        (b"<a>" + b"<b/>" * 600_000 + b"</a>", "too-many-items", None),
    ],
)
def test_what_cannot_be_read_at_all(take: Take, raw: bytes, code: str, line: int | None) -> None:
    with pytest.raises(Rejected) as error:
        take(raw)
    assert (error.value.code, error.value.line) == (code, line)


def test_a_message_of_more_readings_than_a_batch_part(take: Take) -> None:
    found = take(message(*[READING] * 8200))
    assert len(found.records) == 8200
    assert len(found.parts) == 1


def test_the_format_is_known_or_refused(take: Take) -> None:
    with pytest.raises(Rejected, match="format-unknown"):
        take(b"<a/>", "scl")


def test_it_is_a_function_of_the_message(take: Take) -> None:
    raw = message(READING, READING.replace("72.0", "42.0"), READING.replace("1.5", "x"))
    assert take(raw) == take(raw)
