"""A page as CIM XML leads back to the certified bytes, and is one that harmonise reads."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from bal.errors import Rejected, Stop
from bal.harmonise import harmonise
from bal.harmonise.cim_scan import MESSAGE_MIN
from bal.harmonise.quantity import decimal_text
from bal.harmonise.reading_type import decode
from bal.provide.cim_out import meter_readings, records_of_cim, shifted
from bal.provide.rdf import Viewed
from tests.unit.harmonise.conftest import PLATFORM, SENDER, commit_parts, subject_of
from tests.unit.harmonise.test_rdf import CIM
from tests.unit.provide.messages import page_of, pages

MINE = "{http://iec.ch/TC57/2011/MeterReadings#}"
EVERY_KIND = page_of([(CIM, "cim")])
# What follows from the reading type, the value and the times: the same whoever says it.
SAME = ("begin", "end", "time", "value", "unit", "register", "quality", "kind", "event")


def grouped(page: list[Viewed]) -> list[Viewed]:
    """A page in the order of its document: device by device."""
    devices = list(dict.fromkeys(json.loads(one.record)["device"] for one in page))
    return sorted(page, key=lambda one: devices.index(json.loads(one.record)["device"]))


@settings(max_examples=200, deadline=None)
@given(pages)
def test_cim_leads_back_to_the_same_bytes(page: list[Viewed]) -> None:
    body = meter_readings(page)
    assert records_of_cim(body) == grouped(page)
    other = etree.tostring(etree.fromstring(body), encoding="utf-16", pretty_print=True)
    assert records_of_cim(other) == grouped(page)


def test_what_was_doubled_does_not_turn_into_a_reading() -> None:
    times = "<timeStamp>2026-01-15T10:15:00Z</timeStamp>" * 2
    kwh = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"
    sent = (
        CIM[: CIM.index(b"<Readings>")]
        + (
            f'<Readings>{times}<value>1</value><ReadingType ref="{kwh}"/></Readings>'
            "</MeterReading></MeterReadings>"
        ).encode()
    )
    page = page_of([(sent, "cim")])
    root = etree.fromstring(meter_readings(page))
    assert root.find(f".//{MINE}value") is None
    assert [one["event"] for one in read_again(page)] == ["incomplete"]
    assert records_of_cim(meter_readings(page)) == page


def read_again(page: list[Viewed]) -> list[dict[str, Any]]:
    taken = harmonise(
        meter_readings(page), "cim", resolve=lambda names: subject_of(str(names.mrid)),
        platform=PLATFORM, sender=SENDER, commit_parts=commit_parts,
    )  # fmt: skip
    assert taken.refused == []
    return [json.loads(draft.record) for draft in taken.records]


@settings(max_examples=200, deadline=None)
@given(pages)
def test_harmonise_loses_no_value_of_it(page: list[Viewed]) -> None:
    sent = [json.loads(one.record) for one in grouped(page)]
    for before, after in zip(sent, read_again(page), strict=True):
        assert after["quality"] == before["quality"]
        coded = before["kind"] == "telemetry" and decode(before["register"]) is not None
        if before["kind"] == "reading" or coded:
            expected = {name: before.get(name) for name in SAME} | {"kind": "reading"}
            assert {name: after.get(name) for name in SAME} == expected
        else:
            assert after["kind"] == "event"
            verbatim = before.get("verbatim", {})
            value = before.get("value") or only(verbatim.get("value", []))
            doubled = any(len(texts) > 1 for name, texts in verbatim.items() if name != "id")
            if value and printable(value) and not doubled:
                [found] = after["verbatim"]["value"]
                assert found == value or shifted(found, 0) == value


def only(texts: list[str]) -> str | None:
    return texts[0] if len(texts) == 1 else None


def printable(text: str) -> bool:
    return all(" " <= one <= "\ud7ff" or one in "\t\r\n" for one in text) and bool(text.strip())


def test_a_large_page_is_regular_enough_for_the_fast_reader() -> None:
    from bal.harmonise import cim_scan

    record = EVERY_KIND[0].record
    own = json.loads(record)["device"].encode()
    page = [
        Viewed(f"{n:064x}", n, record.replace(own, subject_of(str(n)).pseudonym.encode()))
        for n in range(50)
    ]
    body = meter_readings(page)
    assert len(body) > MESSAGE_MIN
    assert cim_scan.read(body) is not None
    assert len(read_again(page)) == 50


def test_elements_stand_in_the_order_of_the_2011_schema() -> None:
    root = etree.fromstring(meter_readings(EVERY_KIND[:1]))
    assert root.tag == f"{MINE}MeterReadings"
    [meter_reading] = root
    assert [one.tag.removeprefix(MINE) for one in meter_reading] == ["Meter", "Readings"]
    names = [one.tag.removeprefix(MINE) for one in meter_reading[1]]
    assert names[:5] == ["timeStamp", "value", "ReadingQualities", "ReadingType", "timePeriod"]
    assert [name.partition("}")[2] for name in names[5:]] == ["commitment", "index", "rest"]
    assert meter_reading[1].findtext(f"{MINE}value") == "0.2105"  # kWh, as it was sent
    assert [one.tag.removeprefix(MINE) for one in meter_reading[1][4]] == ["end", "start"]


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        ((b"<value>0.2105", b"<value>0.2106"), None),
        ((b"<value>0.2105", b"<value>0.21050"), "same"),
        ((b"10:15:00Z</timeStamp>", b"10:16:00Z</timeStamp>"), "view-contradicts"),
        ((b'"unit":"Wh"', b'"unit":"Wh","value":"1"'), "view-contradicts"),
        ((b'"unit":"Wh"', b'"unit":"Wh","quality":["1.0.0"]'), "view-contradicts"),
        ((b'"unit":"Wh"', b'"unit":7'), "view-malformed"),
        ((b'{"evidence"', b'{{"evidence"'), "view-malformed"),
        ((b"<timeStamp>", b"<timeStamp/><timeStamp>"), "view-malformed"),
        ((b"<gridseal:index>0", b"<gridseal:index>00"), "view-malformed"),
        ((b"<gridseal:commitment>", b"<gridseal:commitment>x"), "view-malformed"),
        ((b"<mRID>", b"<mRID>x"), "view-malformed"),
        ((b"</MeterReadings>", b""), "xml-malformed"),
        ((b"<MeterReadings", b"<!DOCTYPE MeterReadings><MeterReadings"), "dtd-forbidden"),
    ],
)
def test_what_is_altered_is_another_record_or_none(
    damage: tuple[bytes, bytes], code: str | None
) -> None:
    good = meter_readings(EVERY_KIND[:1])
    assert damage[0] in good
    bad = good.replace(*damage, 1)
    if code in {None, "same"}:
        [found] = records_of_cim(bad)
        assert (found == EVERY_KIND[0]) is (code == "same")
    else:
        with pytest.raises(Rejected) as refused:
            records_of_cim(bad)
        assert refused.value.code == code


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.data())
def test_any_bytes_are_refused_or_hold_no_record(raw: bytes, data: st.DataObject) -> None:
    good = meter_readings(EVERY_KIND)
    at = data.draw(st.integers(0, len(good)))
    for text in (raw, good[:at] + raw + good[at:]):
        try:
            records_of_cim(text)
        except Rejected:
            continue


def test_a_row_that_holds_no_record_stops_the_read() -> None:
    for record in (b'{"kind":', b"[]", b"{}", b'{"device":"x","end":"y","value":1}'):
        with pytest.raises(Stop, match="record-unreadable"):
            meter_readings([Viewed("ab" * 32, 1, record)])


@given(st.from_regex(r"-?[0-9]{1,12}(\.[0-9]{1,6})?", fullmatch=True), st.integers(-12, 12))
def test_a_value_is_shifted_as_harmonise_shifts_it(text: str, power: int) -> None:
    """IEC 61968-9 annex C: multipliers from p to T."""
    assert shifted(text, power) == decimal_text(text, power)
    assert shifted(shifted(text, power), -power) == decimal_text(text, 0)
