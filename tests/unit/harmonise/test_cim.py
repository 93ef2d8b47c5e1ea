"""What each form of IEC 61968-9 MeterReadings comes to."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bal import jcs
from bal.harmonise import cim
from bal.harmonise.cim_xml import MeterReading
from bal.model import Draft, Harmonised, Rank, Subject

Take = Callable[..., Harmonised]
DELTA_KWH = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"
BULK_KWH = "0.26.0.1.1.1.12.0.0.0.0.0.0.0.224.3.72.0"
UNKNOWN = "0.0.2.4.1.7.58.0.0.0.0.0.0.0.0.0.42.0"  # gas, by volume
NS = 'xmlns="http://iec.ch/TC57/2011/MeterReadings#"'
METER = "<Meter><Names><name>M1</name></Names></Meter>"


def reading(
    value: str | None = "<value>1.5</value>",
    time: str = "<timeStamp>2026-01-15T10:15:00+01:00</timeStamp>",
    ref: str = DELTA_KWH,
    more: str = "",
) -> str:
    kind = f'<ReadingType ref="{ref}"/>' if ref else ""
    return f"<Readings>{time}{value or ''}{kind}{more}</Readings>"


def message(*readings: str, meter: str = METER) -> bytes:
    body = "".join(readings)
    return (
        f"<MeterReadings {NS}><MeterReading>{meter}{body}</MeterReading></MeterReadings>".encode()
    )


def record(draft: Draft) -> dict[str, Any]:
    decoded = jcs.decode(draft.record)
    assert isinstance(decoded, dict)
    return decoded


def only(found: Harmonised) -> dict[str, Any]:
    assert not found.refused
    assert len(found.records) == 1
    return record(found.records[0])


def test_an_interval(take: Take, subject: Callable[[str], Subject]) -> None:
    found = take(message(reading()))
    device = subject("name://M1").pseudonym
    assert found.findings == []
    register = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0"
    evidence = found.parts[0].commitment.hex()
    assert only(found) == {
        "begin": "2026-01-15T09:00:00Z",
        "device": device,
        "end": "2026-01-15T09:15:00Z",
        "evidence": evidence,
        "hasPhenomenonTime": {
            "hasBeginning": {
                "id": "#begin",
                "inXSDDateTimeStamp": "2026-01-15T09:00:00Z",
                "type": "Instant",
            },
            "hasEnd": {
                "id": "#end",
                "inXSDDateTimeStamp": "2026-01-15T09:15:00Z",
                "type": "Instant",
            },
            "id": "#interval",
            "type": "ProperInterval",
        },
        "hasResult": {
            "hasValue": "1500",
            "id": "#value",
            "isMeasuredIn": {"id": "qunit:W-HR", "type": "UnitOfMeasure"},
            "type": "PropertyValue",
        },
        "id": "",
        "kind": "reading",
        "madeBy": {"id": device, "type": ["GridMeter", "Power_meter"]},
        "observes": {
            "broader": "s4grid:ActiveEnergy",
            "id": f"{device}#{register}",
            "notation": DELTA_KWH,
            "type": ["EnergyAndPowerProperty", "Property"],
        },
        "quality": ["0.0.0"],
        "register": register,
        "type": "Observation",
        "unit": "Wh",
        "v": "1",
        "value": "1500",
    }
    draft = found.records[0]
    assert (draft.kind, draft.register, draft.rank) == ("reading", register, Rank.MEASURED)
    assert draft.end_us - draft.begin_us == 900_000_000


def test_an_instant(take: Take) -> None:
    found = only(take(message(reading(ref=BULK_KWH))))
    assert found["time"] == found["hasTimestamp"] == "2026-01-15T09:15:00Z"
    assert {"begin", "end", "hasPhenomenonTime"}.isdisjoint(found)


def test_figure_1_of_d29(take: Take, shared_data: Path) -> None:
    found = take((shared_data / "d29_figure_1.xml").read_bytes())
    active, reactive = (record(draft) for draft in found.records)
    assert not found.refused
    assert (active["value"], active["unit"]) == ("1234", "Wh")
    assert (reactive["value"], reactive["unit"]) == ("321", "varh")
    assert active["time"] == "2019-09-13T12:30:00Z"
    code = "0.26.0.0.1.1.12.0.0.0.0.0.0.0.0.224.3.72.0"
    assert active["register"] == active["observes"]["notation"] == code
    assert [(f.code, f.line) for f in found.findings] == [
        ("reading-type-19-fields", 16),
        ("reading-type-19-fields", 21),
    ]
    assert [f["code"] for f in active["findings"]] == ["reading-type-19-fields"]
    assert len(found.parts) == 1


def test_figure_1_of_d29_as_printed(take: Take, shared_data: Path) -> None:
    found = take((shared_data / "d29_figure_1_as_printed.xml").read_bytes())
    event = only(found)
    assert (event["kind"], event["event"], event["time"]) == (
        "event",
        "incomplete",
        "2019-09-13T12:30:00Z",
    )
    codes = [f"0.26.0.0.1.1.12.0.0.0.0.0.0.0.0.224.3.{unit}.0" for unit in (72, 73)]
    assert event["verbatim"] == {
        "id": "#verbatim",
        "readingType": codes,
        "timeStamp": ["2019-09-13T15:30:00+03:00"] * 2,
    }
    assert [finding.code for finding in found.findings] == [
        "reading-ambiguous",
        "reading-ambiguous",
        "value-missing",
        "reading-type-19-fields",
    ]
    assert len(event["findings"]) == 4
    at = [(finding.field, finding.line) for finding in found.findings]
    assert at == [("timeStamp", 19), ("ReadingType", 20), ("value", 16), ("ReadingType", 18)]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (reading(value="<value>NaN</value>"), "value-not-decimal"),
        (reading(value="<value>1e400</value>"), "value-not-decimal"),
        (reading(value="<value>12,5</value>"), "value-not-decimal"),
        (reading(value="<value/>"), "value-not-decimal"),
        (reading(time="<timeStamp>2026-01-15T10:15:00</timeStamp>"), "time-without-offset"),
        (reading(time="<timeStamp>2026-01-15T23:59:60Z</timeStamp>"), "time-leap-second"),
        (reading(time="<timeStamp>yesterday</timeStamp>"), "time-malformed"),
        (reading(time="<timeStamp>1969-01-01T00:00:00Z</timeStamp>"), "time-out-of-range"),
        (reading(time=""), "time-missing"),
        (reading(value=None, time=""), "time-missing"),
        (
            reading(
                more="<timePeriod><start>2026-01-15T11:00:00Z</start>"
                "<end>2026-01-15T10:00:00Z</end></timePeriod>"
            ),
            "interval-reversed",
        ),
        (
            reading(more='<ReadingQualities><ReadingQualityType ref=" "/></ReadingQualities>'),
            "quality-malformed",
        ),
        (reading(ref="x" * 2000), "text-too-long"),
    ],
)
def test_one_bad_reading_costs_no_other(take: Take, wrong: str, code: str) -> None:
    found = take(message(reading(), "\n", wrong, reading(ref=BULK_KWH)))
    assert [record(draft)["value"] for draft in found.records] == ["1500", "1500"]
    assert [(f.code, f.severity, f.line) for f in found.refused] == [(code, "refused", 2)]
    assert found.refused[0].clause
    assert found.refused[0].field
    assert found.findings == []


def test_interval_blocks(take: Take) -> None:
    """IEC 61968-9 IntervalReading.timeStamp is the end of the interval."""
    block = (
        f"<IntervalBlocks><IntervalReadings><timeStamp>2026-01-15T00:15:00Z</timeStamp>"
        "<value>0.1</value></IntervalReadings><IntervalReadings>"
        "<timeStamp>2026-01-15T00:30:00Z</timeStamp><value>0.2</value><ReadingQualities>"
        "<ReadingQualityType ref='3.8.0'/></ReadingQualities><ReadingQualities>"
        "<ReadingQualityType><mRID>1.4.6</mRID></ReadingQualityType></ReadingQualities>"
        f'</IntervalReadings><ReadingType ref="{DELTA_KWH}"/></IntervalBlocks>'
    )
    found = take(message(block))
    first, second = (record(draft) for draft in found.records)
    assert (first["begin"], first["end"]) == ("2026-01-15T00:00:00Z", "2026-01-15T00:15:00Z")
    assert (second["begin"], second["end"]) == ("2026-01-15T00:15:00Z", "2026-01-15T00:30:00Z")
    assert (first["quality"], second["quality"]) == (["0.0.0"], ["1.4.6", "3.8.0"])
    assert [draft.rank for draft in found.records] == [Rank.MEASURED, Rank.ESTIMATED]
    assert (first["value"], second["value"]) == ("100", "200")


@pytest.mark.parametrize(
    ("more", "ref", "begin", "codes"),
    [
        ("<start>2026-01-15T09:00:00Z</start>", DELTA_KWH, "2026-01-15T09:00:00Z", []),
        (
            "<start>2026-01-15T08:00:00Z</start>",
            DELTA_KWH,
            "2026-01-15T08:00:00Z",
            ["interval-length-differs"],
        ),
        (
            "<start>2026-01-15T08:00:00Z</start>",
            DELTA_KWH.replace("0.0.2", "0.0.0"),
            "2026-01-15T08:00:00Z",
            [],
        ),
        ("", DELTA_KWH.replace("0.0.2", "0.0.0"), None, ["interval-length-unknown"]),
        ("<start>2026-01-15T09:15:00Z</start>", DELTA_KWH, None, ["interval-empty"]),
        ("", BULK_KWH, None, []),
    ],
)
def test_periods(take: Take, more: str, ref: str, begin: str | None, codes: list[str]) -> None:
    period = f"<timePeriod><end>2026-01-15T09:15:00Z</end>{more}</timePeriod>"
    found = take(message(reading(ref=ref, more=period)))
    one = only(found)
    assert one.get("begin") == begin
    assert one.get("end", one.get("time")) == "2026-01-15T09:15:00Z"
    assert [finding.code for finding in found.findings] == codes
    assert [finding["code"] for finding in one.get("findings", [])] == codes


def test_a_time_finer_than_a_microsecond_is_told(take: Take) -> None:
    found = take(message(reading(time="<timeStamp>2026-01-15T09:15:00.1234567Z</timeStamp>")))
    assert only(found)["end"] == "2026-01-15T09:15:00.123456Z"
    assert [finding.code for finding in found.findings] == ["time-cut"]


@pytest.mark.parametrize("ref", [UNKNOWN, "1-0:1.8.0*255", "Wirkarbeit \u00e4\u2028", 'a"b\\c'])
def test_an_unknown_reading_type_is_kept_verbatim(take: Take, ref: str) -> None:
    escaped = ref.replace('"', "&quot;")
    found = take(message(reading(value="<value> 12,5 </value>", ref=escaped)))
    event = only(found)
    assert (event["kind"], event["event"], event["notation"]) == ("event", "unmapped", ref)
    assert event["verbatim"] == {
        "id": "#verbatim",
        "readingType": [ref],
        "timeStamp": ["2026-01-15T10:15:00+01:00"],
        "value": [" 12,5 "],
    }
    assert event["time"] == "2026-01-15T09:15:00Z"
    plain = ref.isascii() and " " not in ref
    assert event.get("register", "") == found.records[0].register == (ref if plain else "")
    assert [finding.code for finding in found.findings] == ["reading-type-unmapped"]


@pytest.mark.parametrize(
    ("wrong", "codes"),
    [
        (reading(value=None), ["value-missing"]),
        (reading(ref=""), ["reading-type-missing"]),
        (reading(value=None, ref=""), ["value-missing", "reading-type-missing"]),
        (reading(value="<value>1</value><value>2</value>"), ["reading-ambiguous"]),
        (reading(value="<value>1</value><value>1</value>"), ["reading-ambiguous"]),
    ],
)
def test_what_is_incomplete_is_kept(take: Take, wrong: str, codes: list[str]) -> None:
    found = take(message(wrong))
    assert only(found)["event"] == "incomplete"
    assert [finding.code for finding in found.findings] == codes


def test_times_that_differ_span_the_event(take: Take) -> None:
    times = "".join(f"<timeStamp>2026-01-15T1{n}:00:00Z</timeStamp>" for n in (2, 0, 1))
    event = only(take(message(reading(time=times))))
    assert (event["begin"], event["end"]) == ("2026-01-15T10:00:00Z", "2026-01-15T12:00:00Z")


@pytest.mark.parametrize("value", [None, "", " "])  # an element without text is no value
def test_a_value_stated_missing(take: Take, value: str | None) -> None:
    quality = '<ReadingQualities><ReadingQualityType ref="2.5.259"/></ReadingQualities>'
    found = take(message(reading(value=value, more=quality)))
    one = only(found)
    assert (one["kind"], one["quality"], found.findings) == ("reading", ["2.5.259"], [])
    assert {"value", "unit", "hasResult"}.isdisjoint(one)
    measured = take(message(reading())).records[0]
    draft = found.records[0]
    assert draft.rank == Rank.MISSING < measured.rank
    assert (draft.kind, draft.register, draft.begin_us, draft.end_us) == (
        measured.kind,
        measured.register,
        measured.begin_us,
        measured.end_us,
    )


@pytest.mark.parametrize(
    "kind",
    [
        f"<ReadingType><mRID>{DELTA_KWH}</mRID></ReadingType>",
        f"<ReadingType><Names><name>{DELTA_KWH}</name></Names></ReadingType>",
        f"<ReadingType> {DELTA_KWH}\n</ReadingType>",
        f"<ReadingType ref='{DELTA_KWH}'><mRID>other</mRID></ReadingType>",
    ],
)
def test_a_reading_type_may_be_given_in_place(take: Take, kind: str) -> None:
    assert only(take(message(reading(ref="", more=kind))))["value"] == "1500"


def test_order_and_further_elements_do_not_matter(take: Take) -> None:
    raw = message(
        "<valuesInterval/>",
        f"<Readings><reason>billing</reason><ReadingType ref='{DELTA_KWH}'/><!-- x -->"
        "<value>1.<!-- -->5</value><source/><timeStamp><![CDATA[2026-01-15T09:15:00Z]]>"
        "</timeStamp></Readings>",
    )
    assert only(take(raw))["value"] == "1500"


def test_events_of_the_device_are_not_dropped_in_silence(take: Take) -> None:
    found = take(message(reading(), "<EndDeviceEvents/>"))
    assert [finding.code for finding in found.findings] == ["element-not-mapped"]
    assert len(found.records) == 1
    found = take(message("<isCoincidentTrigger>false</isCoincidentTrigger>"))
    assert [finding.code for finding in found.refused] == ["no-reading"]


def test_names_are_kept_unless_spaces_make_them_long() -> None:
    def named(name: str) -> MeterReading:
        return MeterReading(0, 1, "Meter", 1, None, ((None, None, name),), (), ())

    assert cim._names(named(" kept ")).names == (("", "", "kept"),)
    assert cim._names(named(" kept ")) is cim._names(named(" kept "))
    long = named("not kept" + " " * cim.NAMES_KEPT_LENGTH_MAX)
    assert cim._names(long).names == (("", "", "not kept"),)
    assert cim._names(long) is not cim._names(long)
