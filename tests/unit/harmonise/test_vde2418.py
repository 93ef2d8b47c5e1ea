"""What readouts of smart meter gateways come to (docs/spec/vde-ar-2418-6.md)."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bal import jcs
from bal.errors import Rejected
from bal.harmonise import instant
from bal.model import Harmonised, Rank, Subject
from tests.unit.harmonise.message_kit import codes, records, refused, xml
from tests.unit.harmonise.test_any_bytes import damaged, settle

Take = Callable[..., Harmonised]
METER = "0A01454D48000051971E"
POINT = "DE00000000000000000000000000000001"
OWN = "0.0.0.1.1.1.12.0.0.0.0.0.0.0.0.0.72.0"
START = "2026-01-15T11:00:00+01:00"
SPEC = Path(__file__).resolve().parents[3] / "docs" / "spec" / "vde-ar-2418-6.md"


def reading(
    *inside: str, start: str = START, duration: object = 0, value: object = 639108, ptb: object = 0,
    **members: object,
) -> str:  # fmt: skip
    period = xml("timePeriod", duration=duration, start=start)
    plain = f"<espi:value>{value}</espi:value>"
    return xml("IntervalReading", plain, period, *inside, statusPTB=ptb, **members)


def list_of(
    *readings: str, meter: str | None = METER, obis: str = "0100010800ff", device: str = METER,
    **members: object,
) -> str:  # fmt: skip
    """A MeterReading."""
    name = {"qualifiedLogicalName": f"{obis}.{device}.sm"} if device else {}
    kind = xml("ReadingType", **({"obisCode": obis, "scaler": -1} | name | members))
    named = "" if meter is None else xml("Meter", meterId=meter)
    block = xml("IntervalBlock", xml("interval", duration=900, start=START), *readings)
    return xml("MeterReading", named, kind, block, meterReadingId=POINT)


def point(*lists: str, usage_point: str | None = POINT, **members: object) -> str:
    named = {} if usage_point is None else {"usagePointId": usage_point}
    inside = "<espi:ServiceCategory><espi:kind>0</espi:kind></espi:ServiceCategory>"
    customer = xml("Customer", customerId=f"customer-of-{usage_point}")
    return xml("UsagePoint", inside, customer, *lists, **(named | members))


def readout(*points: str) -> bytes:
    start = '<UsagePoints xmlns="http://vde.de/AR_2418-6.xsd" xmlns:espi="http://naesb.org/espi">'
    return f"{start}{''.join(points)}</UsagePoints>".encode()


def one_list(take: Take, *readings: str, **members: Any) -> Harmonised:
    return take(readout(point(list_of(*readings, **members))), "vde2418")


# --- published and printed ------------------------------------------------------------------


def test_trudis_own_sample_of_taf_7(
    take: Take, shared_data: Path, subject: Callable[[str], Subject]
) -> None:
    """VDE AR 2418-6 MeterReading, IntervalReading, ReadingType."""
    raw = (shared_data / "smgw" / "trudi_IF_Adapter_TRuDI_DatenTAF7.xml").read_bytes()
    # Its comments say what it means: "Messwert 11:30:00: 63910,8 Wh", "1-0:1.8.0*255 wird
    # aufgezeichnet", "Im TAF-7 handelt es sich im eine Originäre Messwerteliste"
    said = re.findall(r"<!-- Messwert (\S+): (\S+) Wh -->", raw.decode("utf-8-sig"))
    assert len(said) == 3
    found = take(raw, "vde2418")
    assert refused(found) == []
    for (clock, watt_hours), one in zip(said, records(found), strict=True):
        at = instant.parse(f"2017-06-26T{clock}+02:00")
        assert (one["time"], one["value"], one["unit"]) == (
            at.text, watt_hours.replace(",", "."), "Wh",
        )  # fmt: skip
        assert one["register"] == OWN  # bulkQuantity (1), forward (1), energy (12), Wh (72)
    assert {one.subject for one in found.records} == {subject(f"name:vde2418/meter/{METER}")}
    # statusPTB 0 is "Kein Fehler"; but statusFNN 0000010500100504 has the gateway's Fatal_Error
    assert {draft.rank for draft in found.records} == {Rank.MEASURED}
    assert codes(found) == ["status-differs"] * 3
    assert records(found)[0]["quality"] == ["1.0.0", "1.1.0", "1.10.0", "1.3.0"]


def test_the_readout_of_the_page_is_taken_as_it_says(take: Take) -> None:
    page = SPEC.read_text(encoding="utf-8")
    match = re.search(r"```xml\n(.*?)```", page, re.DOTALL)
    assert match is not None
    found = take(match[1].encode(), "vde2418")
    assert (refused(found), codes(found)) == ([], ["value-substitute"])
    assert [(one["value"], one["time"][11:16]) for one in records(found)] == [
        ("63910.8", "10:00"), ("63911.8", "10:15"),
    ]  # fmt: skip
    assert [draft.rank for draft in found.records] == [Rank.MEASURED, Rank.ESTIMATED]
    assert f"Register: `{found.records[0].register}`" in page


def test_the_registers_of_the_page(take: Take) -> None:
    """TAF 2: the meter's own list beside those that the gateway counts."""
    page = SPEC.read_text(encoding="utf-8")
    rows = re.findall(r"^\| (TAF \d|quarter)[^|]* \| (1-0:[\d.]+) \| `(.*?)` \|", page, re.M)
    assert len(rows) == 4
    for who, code, register in rows:
        device = "TAF-2-ID" if who == "TAF 2" else METER
        duration_s = 900 if who == "quarter" else 0
        found = one_list(take, reading(duration=duration_s), obis=code, device=device)
        assert [one["register"] for one in records(found)] == [register]


# --- whose it is ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("meter", "usage_point", "identity"),
    [
        (METER.lower(), POINT, f"name:vde2418/meter/{METER}"),
        (" 1EMH0012345678\n", None, "name:vde2418/meter/1EMH0012345678"),
        (None, POINT, f"name:vde2418/usage-point/{POINT}"),
    ],
)
def test_whose_it_is(
    take: Take, subject: Callable[[str], Subject], meter: str | None, usage_point: str | None,
    identity: str,
) -> None:  # fmt: skip
    """VDE AR 2418-6 UsagePoint."""
    raw = readout(point(list_of(reading(), meter=meter), usage_point=usage_point))
    assert take(raw, "vde2418").records[0].subject == subject(identity)


def test_what_names_nobody_is_about_its_sender(take: Take, owners: tuple[Subject, Subject]) -> None:
    raw = readout(point(list_of(reading(), meter=None), usage_point=None))
    assert take(raw, "vde2418").records[0].subject == owners[1]


def test_customers_bytes_are_never_the_platforms(
    take: Take, owners: tuple[Subject, Subject]
) -> None:
    raw = readout(
        point(list_of(reading(), meter="A", device="A"), list_of(reading(), meter="B", device="B")),
        point(list_of(reading(), meter="C", device="C"), usage_point="P2"),
    )
    found = take(raw, "vde2418")
    assert len({one.subject.pseudonym for one in found.records}) == 3
    for part in found.parts:
        text = raw[part.start : part.end]
        assert (b"customer" in text) == (b"<UsagePoint>" in text)
        assert b"customer" not in text or part.subject != owners[0]


def test_a_meter_that_is_not_the_senders(take: Take) -> None:
    raw = readout(point(list_of(reading(), meter="forbidden"), list_of(reading())))
    # names are in capital letters, so the fixture's word has to be one of a usage point
    assert refused(take(raw, "vde2418")) == []
    raw = readout(
        point(list_of(reading(), meter=None), usage_point="forbidden"), point(list_of(reading()))
    )
    found = take(raw, "vde2418")
    assert (len(found.records), refused(found)) == (1, ["subject-not-allowed"])


def test_records_and_findings_name_no_meter(take: Take) -> None:
    found = one_list(
        take, reading(ptb=4), reading(start="x"), obis="0100010801ff", description=METER
    )
    told = [jcs.encode(one.as_json()) for one in [*found.findings, *found.refused]]
    for text in [*(one.record for one in found.records), *told]:
        assert METER.encode() not in text
        assert POINT.encode() not in text


# --- the list -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "value"),
    [
        ({}, "63910.8"),
        ({"scaler": 0}, "639108"),
        ({"powerOfTenMultiplier": 3}, "63910800"),
        ({"uom": 72, "flowDirection": 1, "accumulationBehaviour": 3}, "63910.8"),
        ({"measurementPeriod": 900}, "63910.8"),  # how often it is read: the same register
    ],
)
def test_the_value_and_its_register(take: Take, members: dict[str, object], value: str) -> None:
    [one] = records(one_list(take, reading(), **members))
    assert (one["value"], one["register"]) == (value, OWN)


@pytest.mark.parametrize(
    ("members", "event", "code"),
    [
        ({"uom": 38}, "incomplete", "obis-differs"),
        ({"flowDirection": 19}, "incomplete", "obis-differs"),
        ({"accumulationBehaviour": 4}, "incomplete", "obis-differs"),
        ({"qualifiedLogicalName": f"0100010802ff.{METER}.sm"}, "incomplete", "obis-differs"),
        ({"device": ""}, "incomplete", "logical-name-missing"),
        ({"qualifiedLogicalName": "x"}, "incomplete", "logical-name-missing"),
        ({"obis": "0100"}, "unmapped", "obis-malformed"),
        ({"obis": "0700030000ff"}, "unmapped", "reading-type-unmapped"),  # gas
        ({"scaler": "x"}, "unmapped", "reading-type-unmapped"),
        ({"scaler": 30}, "unmapped", "reading-type-unmapped"),
    ],
)
def test_lists_that_are_kept_word_for_word(
    take: Take, members: dict[str, Any], event: str, code: str
) -> None:
    found = one_list(take, reading(), **members)
    [one] = records(found)
    assert (one["event"], codes(found)) == (event, [code])
    assert (one["verbatim"]["value"], one["verbatim"]["start"]) == (["639108"], [START])


@pytest.mark.parametrize(("kinds", "code"), [(0, "reading-type-missing"), (2, "reading-ambiguous")])
def test_a_list_has_one_reading_type(take: Take, kinds: int, code: str) -> None:
    whole = list_of(reading())
    kind = whole[whole.index("<ReadingType>") : whole.index("</ReadingType>") + 14]
    found = take(readout(point(whole.replace(kind, kind * kinds))), "vde2418")
    assert ([one["event"] for one in records(found)], codes(found)) == (["incomplete"], [code])


# --- times and statuses ---------------------------------------------------------------------


def test_a_quarter_hours_energy_is_over_its_interval(take: Take) -> None:
    """VDE AR 2418-6 DateTimeInterval."""
    [one] = records(one_list(take, reading(duration=900), obis="0100011d00ff"))
    assert (one["begin"], one["end"]) == ("2026-01-15T10:00:00Z", "2026-01-15T10:15:00Z")
    found = one_list(take, reading(), obis="0100011d00ff")
    assert codes(found) == ["interval-empty"]
    found = one_list(take, reading(duration=900))
    assert ([one["event"] for one in records(found)], codes(found)) == (
        ["incomplete"], ["interval-ambiguous"],
    )  # fmt: skip


def test_the_hour_that_comes_twice(take: Take) -> None:
    """2026-10-25 in Germany: 02:30 summer time, and an hour later 02:30 again."""
    twice = reading(start="2026-10-25T02:30:00+02:00"), reading(start="2026-10-25T02:30:00+01:00")
    assert [one["time"] for one in records(one_list(take, *twice))] == [
        "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("start", "time", "told"),
    [
        ("11:00:00", "10:00:00", []),
        ("11:00:03", "10:00:00", ["captured-off-target"]),
        ("10:59:58.5", "10:00:00", ["captured-off-target"]),
        ("11:01:00", "10:00:00", ["captured-off-target"]),
        ("11:01:01", "10:01:01", ["captured-off-target"]),
    ],
)
def test_the_target_time(take: Take, start: str, time: str, told: list[str]) -> None:
    found = one_list(take, reading(start=f"2026-01-15T{start}+01:00", targetTime=START))
    assert ([one["time"][11:19] for one in records(found)], codes(found)) == ([time], told)
    assert {one.severity for one in found.findings} <= {"info"}


@pytest.mark.parametrize("ptb", [3, 4])
def test_an_invalid_value_is_no_reading(take: Take, ptb: int) -> None:
    found = one_list(take, reading(ptb=ptb), reading(value=1))
    first, second = records(found)
    assert (first["event"], first["verbatim"]["value"]) == ("invalid", ["639108"])
    assert "1.5.258" in first["quality"]
    assert (second["value"], codes(found)) == ("0.1", ["value-invalid"])


def test_a_substitute_never_displaces_a_measurement(take: Take) -> None:
    found = one_list(take, reading(ptb=2))
    assert [draft.rank for draft in found.records] == [Rank.ESTIMATED]
    assert codes(found) == ["value-substitute"]


def test_without_a_status_that_is_told(take: Take) -> None:
    plain = reading().replace("<statusPTB>0</statusPTB>", "")
    found = one_list(take, plain)
    assert (records(found)[0]["quality"], codes(found)) == (["0.0.0"], ["status-missing"])


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (reading(start="2026-01-15T11:00:00"), "time-without-offset"),
        (reading(start="1484478000"), "time-malformed"),
        (reading(duration=-1), "time-malformed"),
        (reading(start="2200-12-31T23:59:59Z", duration=4_294_967_295), "time-out-of-range"),
        (reading(value="1.5"), "value-not-integer"),
        (reading(targetTime="x"), "time-malformed"),
        (reading(ptb="é"), "quality-malformed"),
        (xml("IntervalReading", value=1), "time-missing"),
        (xml("IntervalReading", xml("timePeriod", duration=0), value=1), "time-missing"),
    ],
)
def test_one_bad_reading_never_costs_another(take: Take, bad: str, code: str) -> None:
    found = one_list(take, bad, reading(value=7))
    assert ([one["value"] for one in records(found)], refused(found)) == (["0.7"], [code])
    assert found.refused[0].line == 1


def test_incomplete_readings_are_kept(take: Take) -> None:
    period = xml("timePeriod", duration=0, start=START)
    for bad, code in (
        (xml("IntervalReading", period, statusPTB=0), "value-missing"),
        (reading("<value>2</value>"), "reading-ambiguous"),
        (reading(period), "reading-ambiguous"),
    ):
        found = one_list(take, bad)
        assert ([one["event"] for one in records(found)], codes(found)) == (["incomplete"], [code])


def test_what_is_told_of_the_message(take: Take) -> None:
    log = xml("LogEntry", xml("LogEvent", text=METER))
    assert codes(take(readout(point(log, list_of(reading()))), "vde2418")) == []
    found = one_list(take, reading("<other/>", '<x:y xmlns:x="urn:x"/>'))
    assert codes(found) == ["element-not-mapped"] * 2
    assert refused(one_list(take)) == ["no-reading"]
    twice = list_of(reading()).replace("</Meter>", "</Meter><Meter><meterId>B</meterId></Meter>")
    assert refused(take(readout(point(twice)), "vde2418")) == ["meter-ambiguous"]


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (readout(), "no-meter-reading"),
        (readout(point()), "no-meter-reading"),
        (b'<Meter xmlns="http://vde.de/AR_2418-6.xsd"/>', "no-meter-reading"),
        (b'<UsagePoint xmlns="http://naesb.org/espi"/>', "namespace-unknown"),
        (b"<UsagePoints/>", "namespace-unknown"),
        (b"<!DOCTYPE a><a/>", "dtd-forbidden"),
        (b"<UsagePoints", "xml-malformed"),
    ],
)
def test_a_message_that_is_refused_whole(take: Take, raw: bytes, code: str) -> None:
    with pytest.raises(Rejected) as error:
        take(raw, "vde2418")
    assert error.value.code == code


# --- whatever the bytes are -----------------------------------------------------------------

GOOD = readout(
    point(list_of(reading(statusFNN="A000000020000000", targetTime=START)),
          list_of(reading(ptb=2), meter=None, device="TAF-2-ID"))
)  # fmt: skip


@settings(max_examples=200)
@given(st.data())
def test_damaged_readouts(take: Take, data: st.DataObject) -> None:
    settle(take, damaged(GOOD, data), "vde2418")


names = st.sampled_from(
    ["UsagePoint", "usagePointId", "MeterReading", "Meter", "meterId", "ReadingType", "obisCode",
     "qualifiedLogicalName", "scaler", "uom", "measurementPeriod", "IntervalBlock", "value",
     "IntervalReading", "timePeriod", "start", "duration", "targetTime", "statusPTB", "statusFNN"]
)  # fmt: skip
texts = st.sampled_from(
    ["0", "1", "4", "72", "900", START, "-1", "x", " 7 ", "9" * 20, "0100010800ff", "1.8.0",
     "0100010800ff.M.sm", "M", "A000000020000000", "0000010500100504", ""]
)  # fmt: skip


def element(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    inside = st.lists(children, max_size=6).map("".join)
    return st.builds("<{0}>{1}</{0}>".format, names, inside)


elements = st.recursive(st.builds("<{0}>{1}</{0}>".format, names, texts), element, max_leaves=30)


@settings(max_examples=200)
@given(st.lists(elements, max_size=6))
def test_any_elements(take: Take, inside: list[str]) -> None:
    settle(take, readout(point(*inside)), "vde2418")


@given(st.binary(max_size=200))
def test_any_bytes(take: Take, raw: bytes) -> None:
    settle(take, raw, "vde2418")
