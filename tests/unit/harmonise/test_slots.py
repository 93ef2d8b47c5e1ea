"""What the readings of one message say together."""

from collections.abc import Callable

import pytest

from bal.harmonise import slots
from bal.model import Harmonised
from bal.times import instant_us

Take = Callable[..., Harmonised]
KWH = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"


def meter(name: str, *values: str, time: str = "2026-01-15T10:15:00Z", more: str = "") -> str:
    readings = "".join(
        f"<Readings><timeStamp>{time}</timeStamp><value>{value}</value>"
        f'<ReadingType ref="{KWH}"/>{more}</Readings>'
        for value in values
    )
    named = f"<Meter><Names><name>{name}</name></Names></Meter>"
    return f"<MeterReading>{named}{readings}</MeterReading>\n"


def message(*meters: str) -> bytes:
    space = 'xmlns="http://iec.ch/TC57/2011/MeterReadings#"'
    return f"<MeterReadings {space}>\n{''.join(meters)}</MeterReadings>".encode()


def told(found: Harmonised) -> list[tuple[str, str, int | None]]:
    return [(one.code, one.severity, one.line) for one in found.findings]


def test_two_values_of_one_slot_are_told_of_both(take: Take) -> None:
    found = take(message(meter("M0", "1"), meter("M1", "1.5"), meter("M1", "1.6", "1.5")))
    assert len(found.records) == 4
    assert told(found) == [("slot-values-differ", "warning", line) for line in (3, 4, 4)]
    assert "1500, 1600, 1500; the last counts" in found.findings[0].text
    assert "2026-01-15T10:00:00Z to 2026-01-15T10:15:00Z" in found.findings[0].text


def test_the_same_value_twice_is_no_doubt(take: Take) -> None:
    found = take(message(meter("M1", "1.5", "1.50"), meter("M2", "2", "2")))
    assert (told(found), len(found.records)) == ([], 4)


def test_a_value_instead_of_an_estimate_is_none_of_it(take: Take) -> None:
    quality = '<ReadingQualities><ReadingQualityType ref="3.8.0"/></ReadingQualities>'
    assert told(take(message(meter("M1", "1"), meter("M1", "2", more=quality)))) == []
    other = meter("M1", "2", time="2026-01-15T10:30:00Z")
    assert told(take(message(meter("M1", "1"), other, meter("M2", "3")))) == []


@pytest.mark.parametrize(
    ("time", "codes"),
    [
        ("2026-01-16T10:00:00Z", []),
        ("2026-01-16T10:00:01Z", ["time-ahead"]),
        ("2062-01-15T10:00:00Z", ["time-ahead"]),
    ],
)
def test_a_time_far_ahead_of_its_receipt_is_told(take: Take, time: str, codes: list[str]) -> None:
    raw = message(meter("M1", "1"), meter("M2", "1", time=time), meter("M3", "1", time=time))
    received_us = instant_us("2026-01-15T10:00:00Z")
    found = take(raw, received_us=received_us)
    assert [one.code for one in found.findings] == codes
    assert len(found.records) == 3
    assert take(raw).findings == []
    assert slots.AHEAD_MAX_S == 86_400
