"""Senders: head-ends, phasor measurement units and the operator, who all keep a message until
they have its receipt, and send it again, and sometimes twice, late, or corrected."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from hashlib import sha256
from zoneinfo import ZoneInfo

from bal.errors import Unavailable
from bal.model import Rank
from tests.simulation.workers import Collector
from tests.simulation.world import HOUR_US, MINUTE_US, SECOND_US, World

READING_TYPE = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"
SLOT_US = 15 * MINUTE_US
RESEND_S = 60
RESEND_MAX_S = 1_800


@dataclass(slots=True)
class Sending:
    """A message that its sender keeps until it is certified."""

    form: str
    raw: bytes
    attempts: int = 0
    promised: set[str] = field(default_factory=set)  # batches of accepted notes
    certified: bool = False


class Sender:
    """Whoever sends; `kept` is its spool."""

    def __init__(self, world: World, name: str, collector: Collector) -> None:
        self.world, self.name, self.collector = world, name, collector
        self.dice = world.random(f"sender {name}")
        self.kept: dict[bytes, Sending] = {}

    def send(self, form: str, raw: bytes, delay_us: int = 0) -> None:
        """Spool a message and begin to send it."""
        key = sha256(raw).digest()
        self.kept.setdefault(key, Sending(form, raw))
        self.world.at(delay_us, lambda: self._attempt(key))
        if self.world.hit("message sent twice", 0.01, 0.1):
            self.world.at(delay_us + self.dice.randrange(2 * SECOND_US), lambda: self._attempt(key))

    def told(self, message_id: bytes) -> None:
        """The certified summary of a message."""
        if self.world.hit("summary lost", 0.005, 0.05):
            return
        sending = self.kept.get(message_id)
        if sending is not None and not sending.certified:
            sending.certified, sending.raw = True, b""  # what has a receipt may be forgotten

    def open(self) -> int:
        """Messages that are not certified yet."""
        return sum(not one.certified for one in self.kept.values())

    def _attempt(self, key: bytes) -> None:
        sending = self.kept[key]
        if sending.certified:
            return
        sending.attempts += 1
        world = self.world
        if not world.hit("request lost", 0.003, 0.05):
            try:
                batch = self.collector.take(self.name, sending.form, sending.raw)
                if not world.hit("accepted note lost", 0.003, 0.05):
                    sending.promised.add(batch)
            except Unavailable:
                world.seen["intake unavailable"] += 1
        wait_s = min(RESEND_MAX_S, RESEND_S * 2 ** min(sending.attempts, 5))
        world.at(int(wait_s * self.dice.uniform(0.5, 1.5) * SECOND_US), lambda: self._attempt(key))


@dataclass(slots=True)
class Slots:
    """What was sent for the slots of one meter: the values by rank."""

    values: dict[tuple[int, int], set[int]] = field(default_factory=dict)  # (end_us, rank)

    def sent(self, end_us: int, rank: Rank, value: int) -> None:
        self.values.setdefault((end_us, int(rank)), set()).add(value)

    def allowed(self, end_us: int) -> tuple[int, set[int]]:
        """The highest rank that was sent for a slot, and its values."""
        rank = max(rank for end, rank in self.values if end == end_us)
        return rank, self.values[end_us, rank]

    def ends(self) -> set[int]:
        return {end for end, _ in self.values}


class HeadEnd(Sender):
    """Reports its meters each quarter-hour: some later, some corrected, a few of a neighbour's."""

    def __init__(
        self,
        world: World,
        name: str,
        collector: Collector,
        *,
        meters: list[str],
        zone: str,
        ledger: dict[str, Slots] | None,
        joins_us: dict[str, int],
        jitter_us: int,
    ) -> None:
        """ledger: where to note what was sent, by meter; None: it need not be known.

        joins_us: by meter the end of its first slot, where it is new on that day; jitter_us: how
        far apart head-ends report.
        """
        super().__init__(world, name, collector)
        self.meters, self._zone, self._ledger = meters, ZoneInfo(zone), ledger
        self._joins_us, self._jitter_us = joins_us, jitter_us

    def quarter(self, end_us: int) -> None:
        """Report the quarter-hour that ended at `end_us` (UTC)."""
        meters = [one for one in self.meters if self._joins_us.get(one, 0) <= end_us]
        skipped: list[str] = []
        if self.dice.random() < 0.1:
            skipped = self.dice.sample(meters, min(len(meters), self.dice.randint(1, 5)))
        missing = set(skipped)
        told = [meter for meter in meters if meter not in missing]
        late_us = 0
        if self.dice.random() < 0.02:
            late_us = self.dice.randrange(5 * HOUR_US)
            self.world.injected["message late by hours"] += 1
        jitter_us = self.dice.randrange(self._jitter_us)
        if told:
            self.send("cim", self._message(told, end_us, Rank.MEASURED), jitter_us + late_us)
        if skipped:
            later_us = jitter_us + self.dice.randrange(5 * HOUR_US)
            self.world.injected["meters told late"] += len(skipped)
            self.send("cim", self._message(skipped, end_us, Rank.MEASURED), later_us)
        if meters and self.dice.random() < 0.05:
            some = self.dice.sample(meters, min(len(meters), self.dice.randint(1, 10)))
            later_us = self.dice.randrange(5 * HOUR_US)
            self.world.injected["values corrected"] += len(some)
            self.send("cim", self._message(some, end_us, Rank.CORRECTED), later_us)

    def leap_second(self, end_us: int) -> None:
        """A timestamp of second 60, which has no place on the platform's time scale: refused."""
        stamp = datetime.fromtimestamp(end_us // SECOND_US - 60, UTC)
        text = stamp.strftime("%Y-%m-%dT%H:%M:60Z")
        self.send("cim", _document([_reading(self.meters[0], text, 1, "")]))

    def _message(self, meters: list[str], end_us: int, rank: Rank) -> bytes:
        stamp = datetime.fromtimestamp(end_us // SECOND_US, self._zone).isoformat()
        quality = ""
        if rank is Rank.CORRECTED:
            quality = '<m:ReadingQualities><m:ReadingQualityType ref="2.7.0"/></m:ReadingQualities>'
        readings = []
        slot = end_us // SLOT_US
        for meter in meters:
            value = (hash_of(meter) + slot * (7 if rank is Rank.CORRECTED else 37)) % 5_000
            readings.append(_reading(meter, stamp, value, quality))
            if self._ledger is not None:
                self._ledger.setdefault(meter, Slots()).sent(end_us, rank, value)
        return _document(readings)


@cache
def hash_of(meter: str) -> int:
    """A number of the meter's own, the same in every run."""
    found: int = sum(ord(letter) * 31**at for at, letter in enumerate(meter)) % 4_999
    return found


def _reading(meter: str, stamp: str, value: int, quality: str) -> str:
    return (
        f"<m:MeterReading><m:Meter><m:Names><m:name>{meter}</m:name></m:Names></m:Meter>"
        f"<m:Readings><m:timeStamp>{stamp}</m:timeStamp><m:value>{value // 1000}.{value % 1000:03d}"
        f'</m:value>{quality}<m:ReadingType ref="{READING_TYPE}"/></m:Readings></m:MeterReading>'
    )


def _document(readings: list[str]) -> bytes:
    namespace = "http://iec.ch/TC57/2011/MeterReadings#"
    body = "".join(readings)
    return f'<m:MeterReadings xmlns:m="{namespace}">{body}</m:MeterReadings>'.encode()


class Pmu(Sender):
    """A phasor measurement unit of ten frames a second, a message a second."""

    frames_per_s = 10

    def stream(self, begin_us: int, seconds: int) -> None:
        """Send so many seconds from `begin_us` on (UTC), as they pass."""
        for second in range(seconds):
            at_us = begin_us + second * SECOND_US
            delay_us = at_us + SECOND_US - self.world.start_us - self.world.now_us
            if self.dice.random() < 0.05:
                delay_us += self.dice.randrange(4 * SECOND_US)
            self.world.at(delay_us, partial(self._send_second, at_us))

    def _send_second(self, begin_us: int) -> None:
        self.send("pmu", self._message(begin_us))

    def _message(self, begin_us: int) -> bytes:
        return ("[" + ",".join(self._frames(begin_us)) + "]").encode()

    def _frames(self, begin_us: int) -> Iterator[str]:
        for number in range(self.frames_per_s):
            time_us = begin_us + number * SECOND_US // self.frames_per_s
            at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)
            stamp = at.isoformat(timespec="microseconds")
            yield (
                f'{{"device":"{self.name}","timestamp":"{stamp}","readings":[{{"component":"BUS1",'
                f'"measurand":"frequency","phase":"A","data":{50 + time_us % 7 / 1000:.3f}}}]}}'
            )
