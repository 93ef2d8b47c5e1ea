"""Plays a stretch of the grid's day: a head-end that reads its meters every quarter-hour."""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from field.cim_writer import IntervalEnergy, meter_readings
from field.simbench import GridMeter, Quarter

FORMAT = "cim"


class Sender(Protocol):
    """What the head-end asks of its line to the platform; `mqtt_client.FieldClient` is one."""

    async def publish(self, form: str, raw: bytes) -> str:
        """Send one message at least once; returns the hex SHA-256 that receipts name it by."""
        ...

    async def wait_certified(self, message_hex: str, timeout_s: float) -> Mapping[str, object]:
        """The certified summary of a message; TimeoutError when it doesn't come in time."""
        ...


@dataclass(frozen=True, slots=True)
class Delivery:
    """One quarter-hour as the platform took it."""

    quarter: Quarter
    message: str  # hex SHA-256 of the raw message
    raw: bytes
    summary: Mapping[str, object]  # the certified summary: batch, first_index, count, checkpoint


class HeadEnd:
    """A DSO's head-end: one CIM message a quarter-hour that holds one reading of every meter."""

    def __init__(self, sender: Sender, meters: Iterable[GridMeter]) -> None:
        self._sender = sender
        self._meters = tuple(meters)

    def message(self, quarter: Quarter) -> bytes:
        """The MeterReadings message of one quarter-hour; the same each time."""
        return meter_readings(
            IntervalEnergy(meter.name, quarter.end, energy_wh)
            for meter, energy_wh in zip(self._meters, quarter.energy_wh, strict=True)
        )

    async def deliver(self, quarter: Quarter, timeout_s: float = 30) -> Delivery:
        """Send one quarter-hour and wait until the platform has certified it.

        Raises TimeoutError when it has not by then; sending the same again is safe.
        """
        raw = self.message(quarter)
        message = await self._sender.publish(FORMAT, raw)
        summary = await self._sender.wait_certified(message, timeout_s)
        return Delivery(quarter, message, raw, summary)

    async def play(
        self, quarters: Iterable[Quarter], timeout_s: float = 30
    ) -> AsyncIterator[Delivery]:
        """Deliver one quarter-hour after the other, each certified before the next is sent."""
        for quarter in quarters:
            yield await self.deliver(quarter, timeout_s)
