"""The head-end sends one message a quarter-hour and waits for each to be certified."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256

import pytest

from field.simbench import GridMeter, Quarter
from field.simulator import Delivery, HeadEnd

BEGIN = datetime(2026, 1, 15, 10, 0, tzinfo=UTC)
METERS = [GridMeter(f"{number:010d}", "", "", "H0-A", Decimal(2000)) for number in (1, 2)]
QUARTERS = [Quarter(BEGIN + timedelta(minutes=15) * n, (n, 100 + n)) for n in range(4)]


class Line:
    """Certifies what it gets, in the order of getting; keeps the last `lost` for itself."""

    def __init__(self, lost: int = 0) -> None:
        self.sent: list[bytes] = []
        self.lost = lost

    async def publish(self, form: str, raw: bytes) -> str:
        assert form == "cim"
        self.sent.append(raw)
        return sha256(raw).hexdigest()

    async def wait_certified(self, message_hex: str, timeout_s: float) -> Mapping[str, object]:
        known = [sha256(raw).hexdigest() for raw in self.sent]
        if known.index(message_hex) >= len(QUARTERS) - self.lost:
            raise TimeoutError
        return {"type": "certified", "message": message_hex, "count": len(METERS)}


def play(line: Line) -> list[Delivery]:
    async def collect() -> list[Delivery]:
        return [delivery async for delivery in HeadEnd(line, METERS).play(QUARTERS)]

    return asyncio.run(collect())


def test_a_message_a_quarter_hour_each_certified() -> None:
    line = Line()
    deliveries = play(line)
    assert [delivery.quarter for delivery in deliveries] == QUARTERS
    assert [delivery.raw for delivery in deliveries] == line.sent
    assert len(set(line.sent)) == 4
    assert all(delivery.summary["message"] == delivery.message for delivery in deliveries)
    assert line.sent[3].count(b"<MeterReading>") == 2
    assert b"<timeStamp>2026-01-15T11:00:00Z</timeStamp>" in line.sent[3]
    assert b"<value>0.103</value>" in line.sent[3]


def test_what_is_not_certified_in_time_is_said() -> None:
    line = Line(lost=1)
    with pytest.raises(TimeoutError):
        play(line)
    assert len(line.sent) == 4


def test_a_quarter_of_other_meters_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        HeadEnd(Line(), METERS[:1]).message(QUARTERS[0])
