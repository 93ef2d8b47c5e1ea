"""Times and numbers as head-ends write them: what can be read in one way only is taken."""

from collections.abc import Callable
from typing import Any

import pytest

from bal import jcs
from bal.model import Harmonised

Take = Callable[..., Harmonised]
DELTA = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"


def message(*inside: str) -> bytes:
    meter = "<Meter><mRID>M1</mRID></Meter>"
    reading = f"<MeterReading>{meter}{''.join(inside)}</MeterReading>"
    namespace = "http://iec.ch/TC57/2011/MeterReadings#"
    return f'<MeterReadings xmlns="{namespace}">{reading}</MeterReadings>'.encode()


def reading(time: str, more: str = "", *, value: str = "<value>1</value>") -> str:
    at = f"<timeStamp>{time}</timeStamp>{more}"
    return f'<Readings>{at}{value}<ReadingType ref="{DELTA}"/></Readings>'


def told(found: Harmonised) -> tuple[list[dict[str, Any]], list[str], list[tuple[str, str]]]:
    return (
        [jcs.decode(draft.record) for draft in found.records],
        [one.code for one in found.findings],
        [(one.code, one.field) for one in found.refused],
    )


@pytest.mark.parametrize(
    "time",
    ["2026-01-15T11:15:00+0100", "2026-01-15 10:15:00Z", "2026-01-15T10:15Z", "20260115T101500Z"],
)
def test_a_time_of_another_form_is_taken_and_told(take: Take, time: str) -> None:
    [record], codes, refused = told(take(message(reading(time))))
    assert (record["begin"], record["end"], record["value"]) == (
        "2026-01-15T10:00:00Z", "2026-01-15T10:15:00Z", "1000",
    )  # fmt: skip
    assert (codes, refused) == (["time-form"], [])
    assert [one["code"] for one in record["findings"]] == ["time-form"]


def test_each_reading_says_it_for_itself(take: Take) -> None:
    records, codes, _ = told(
        take(message(reading("2026-01-15T10:15:00Z"), reading("2026-01-15T11:30:00+0100")))
    )
    assert ["findings" in one for one in records] == [False, True]
    assert codes == ["time-form"]


def test_a_period_of_another_form(take: Take) -> None:
    ends = "<start>2026-01-15 10:00Z</start><end>2026-01-15T10:15:00Z</end>"
    period = f"<timePeriod>{ends}</timePeriod>"
    [record], codes, _ = told(take(message(reading("2026-01-15T10:20:00Z", period))))
    assert (record["begin"], codes) == ("2026-01-15T10:00:00Z", ["time-form"])


def test_a_reading_that_is_kept_as_sent(take: Take) -> None:
    twice = reading("2026-01-15T11:15:00+0100", "<timeStamp>2026-01-15T10:15:00Z</timeStamp>")
    [event], codes, _ = told(take(message(twice)))
    assert (event["event"], event["time"]) == ("incomplete", "2026-01-15T10:15:00Z")
    assert codes == ["reading-ambiguous", "time-form"]


def test_without_an_offset_it_is_refused_in_any_form(take: Take) -> None:
    found = take(message(reading("2026-10-25 02:15"), reading("2026-10-25T02:15:00")))
    assert told(found)[2] == [("time-without-offset", "timeStamp")] * 2


def test_an_events_time(take: Take) -> None:
    event = (
        "<EndDeviceEvents><createdDateTime>{}</createdDateTime>"
        '<EndDeviceEventType ref="3.26.0.216"/></EndDeviceEvents>'
    )
    sent = [event.format("2026-01-15 11:15:00+0100"), event.format("2026-01-15T10:15:00")]
    [record], codes, refused = told(take(message(*sent)))
    assert (record["time"], codes) == ("2026-01-15T10:15:00Z", ["time-form"])
    assert refused == [("time-without-offset", "createdDateTime")]


def test_a_value_with_an_exponent(take: Take) -> None:
    """As Java writes a register of 12,345.6789 MWh."""
    value = "<value>1.23456789E7</value>"
    [record], codes, refused = told(take(message(reading("2026-01-15T10:15:00Z", value=value))))
    assert (record["value"], codes, refused) == ("12345678900", [], [])
