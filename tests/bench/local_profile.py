"""The local profile: Mosquitto, Kafka, Cassandra, Anvil and the platform on the same machine.

CIM messages of 1,000 readings go in by MQTT until they are certified rows in Cassandra; what each
process and each of the platform's threads took of the processors stands beside the rate, and one
transaction a reading on the same Anvil. Settling in Cassandra and the feed of Kafka's consumers may
wait while messages go in; what can be borne for hours is the rate at which nothing is left waiting,
and that is the maximum whose shares the latencies are of. Then reads by REST.
`python -m tests.bench.local_profile` starts the servers in a folder that it removes, and takes
some five minutes.
"""

import asyncio
import http.client
import json
import math
import os
import re
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlencode

import mqtt5
import msgspec
from eth_account import Account

from infra.anchor_contract import AnchorContract, address_of
from infra.rpc_provider import remote_web3
from infra.servers import stack
from infra.servers.connect import read
from tests.adapters import test_metrics as metrics
from tests.bench.latency import AT_LEAST_ONCE, Line, connected
from tests.bench.pipeline import METERS, message
from tests.bench.processors import children, spent_s
from tests.journey.conftest import READING_TYPE, Caller, Running

CACHE = Path(__file__).resolve().parents[2] / ".cache"
SERVERS = ("kafka", "cassandra", "mosquitto", "anvil")
SENDER = "bench"
CHILDREN = {  # of the platform's process, by their code
    "bulk_child": "bulk processes",
    "settling_process": "settling process",
    "feed_process": "feed process",
}
WARM, MEASURED = 60, 1000  # messages: so many that what waits to be settled and fed waits no longer
LATENCY_S = {0.1: 60, 0.5: 25, 0.8: 25}  # seconds at each share of the maximum
REST_S = 10  # for what one part leaves to be settled, which is not the next one's price
PATIENCE_S = 180
TRANSACTIONS = 100
DAYS_READ = 101
YEAR_DAYS, DAY_SLOTS, SLOT_S = 365, 96, 900
YEAR_BEGIN_S = 1_735_689_600  # 2025-01-01T00:00:00Z
YEAR_METER = "year-meter"


@dataclass
class Figures:
    """What was found; rates in readings a second, times in milliseconds."""

    rate: float = 0.0  # certified; settling and feeding may wait
    borne: float = 0.0  # until nothing waits: the maximum
    transactions: float = 0.0
    seconds: float = 0.0  # that the measured messages took
    shares: dict[str, float] = field(default_factory=dict)  # processor seconds by process or thread
    latency: dict[float, dict[str, tuple[float, float]]] = field(default_factory=dict)
    half_of_rate: dict[str, tuple[float, float]] = field(default_factory=dict)
    day_ms: tuple[float, float] = (0.0, 0.0)
    day_cpu_ms: tuple[float, float] = (0.0, 0.0)  # of the platform and of Cassandra, a day
    year_ms: float = 0.0
    load: float = 0.0  # of the machine before, as the kernel has it; ours alone is less than 3


# -- processors -----------------------------------------------------------------------------------


class Processors:
    """Who takes how much, from one look to the next."""

    def __init__(self, platform: Running, pids: dict[str, int]) -> None:
        self._platform, self._pids = platform, pids
        self._before = self._look()

    def waiting(self) -> bool:
        """Whether anything that was certified is not fed or not settled yet."""
        said = metrics.read(Caller(self._platform, "", "").http.get("/metrics").text)
        behind = metrics.at(said, "log_entries") - metrics.at(said, "fed_entries")
        return behind > 0 or metrics.at(said, "unsettled_blocks") > 0

    def _look(self) -> dict[str, float]:
        found = {name: spent_s(pid) for name, pid in self._pids.items()}
        assert self._platform.process is not None
        for child in children(self._platform.process.pid):
            command = Path(f"/proc/{child}/cmdline").read_text(encoding="utf-8")
            (work,) = (name for code, name in CHILDREN.items() if code in command)
            name = f"platform: {work}"
            found[name] = found.get(name, 0.0) + spent_s(child)
        text = Caller(self._platform, "", "").http.get("/metrics").text
        pattern = re.compile(r'gridseal_thread_cpu_seconds_total\{thread="(.*?)"\} ([\d.e+-]+)')
        for thread, seconds in pattern.findall(text):
            found[f"platform: {thread}"] = float(seconds)
        return found

    def since(self) -> dict[str, float]:
        """Processor seconds since this object was made, the largest first."""
        now = self._look()
        found = {name: now[name] - self._before.get(name, 0.0) for name in now}
        return dict(sorted(found.items(), key=lambda one: -one[1]))


# -- messages -------------------------------------------------------------------------------------


def packets_of(raws: Sequence[bytes]) -> list[bytes]:
    """PUBLISH packets, ready to be sent."""
    return [
        mqtt5.PublishPacket(
            f"in/{SENDER}/cim", raw, qos=AT_LEAST_ONCE, packet_id=number % 65_535 + 1
        ).write()
        for number, raw in enumerate(raws)
    ]


def broker_of(files: Path) -> str:
    """host:port of the broker that a sender was enrolled for."""
    found: str = json.loads((files / "client.json").read_text())["broker"]
    return found.removeprefix("mqtts://")


async def play(
    line: Line, raws: Sequence[bytes], per_s: float | None
) -> tuple[float, dict[str, list[float]]]:
    """Send all, by the clock or as fast as they are taken; seconds, and ms to the receipts."""
    packets = packets_of(raws)
    numbers = {sha256(raw).hexdigest(): number for number, raw in enumerate(raws)}
    line.receipts.clear()
    began, sent = time.perf_counter(), []
    for number, packet in enumerate(packets):
        if per_s is not None:
            pause = began + number / per_s - time.perf_counter()
            if pause > 0:
                await asyncio.sleep(pause)
        at = time.perf_counter() if per_s is None else began + number / per_s
        sent.append(at)
        await asyncio.wait_for(line.room.wait(), PATIENCE_S)
        line.publish(packet)
        await asyncio.sleep(0)
    times: dict[str, list[float]] = {"accepted": [], "certified": []}
    until = time.perf_counter() + PATIENCE_S
    read_to = last = 0.0
    while len(times["certified"]) < len(raws):
        assert time.perf_counter() < until, f"{len(times['certified'])} of {len(raws)} certified"
        await asyncio.sleep(0.02)
        fresh, read_to = line.receipts[int(read_to) :], len(line.receipts)
        for at, packet in fresh:
            publish = mqtt5.read(memoryview(packet))[0]
            assert isinstance(publish, mqtt5.PublishPacket)
            receipt = json.loads(bytes(publish.payload))
            assert receipt["type"] in times, receipt
            times[receipt["type"]].append((at - sent[numbers[receipt["message"]]]) * 1000)
            last = max(last, at)
    return last - began, times


def tail(times: Sequence[float]) -> tuple[float, float]:
    """Median and 99th percentile, which of fewer than a hundred is the largest."""
    ordered = sorted(times)
    return statistics.median(ordered), ordered[math.ceil(0.99 * len(ordered)) - 1]


def year_messages() -> list[bytes]:
    """A year of quarter-hours of one meter, a message a day."""
    namespace = "http://iec.ch/TC57/2011/MeterReadings#"
    raws = []
    for day in range(YEAR_DAYS):
        readings = "".join(
            "<m:Readings><m:timeStamp>"
            + time.strftime(
                "%Y-%m-%dT%H:%M:%SZ",
                time.gmtime(YEAR_BEGIN_S + (day * DAY_SLOTS + slot + 1) * SLOT_S),
            )
            + f"</m:timeStamp><m:value>{(day * 7 + slot) % 400 / 100:.2f}</m:value>"
            f'<m:ReadingType ref="{READING_TYPE}"/></m:Readings>'
            for slot in range(DAY_SLOTS)
        )
        meter = f"<m:Meter><m:Names><m:name>{YEAR_METER}</m:name></m:Names></m:Meter>"
        raws.append(
            f'<m:MeterReadings xmlns:m="{namespace}"><m:MeterReading>{meter}{readings}'
            "</m:MeterReading></m:MeterReadings>".encode()
        )
    return raws


# -- what is measured -----------------------------------------------------------------------------


def transactions(url: str, count: int = TRANSACTIONS) -> float:
    """One transaction a reading on that node; transactions a second, each waited for."""
    web3 = remote_web3(url)
    admin, anchorer = os.urandom(32), os.urandom(32)
    for key in (admin, anchorer):
        address = Account.from_key(key).address
        web3.provider.make_request("anvil_setBalance", [address, hex(10**21)])  # type: ignore[arg-type]
    contract = AnchorContract.deploy(web3, admin)
    logs = [os.urandom(32) for _ in range(count)]
    for log in logs:
        contract.open(log, address_of(anchorer), admin)
    started = time.perf_counter()
    for log in logs:
        contract.send_anchor(log, 1, os.urandom(32), [], anchorer)
    return count / (time.perf_counter() - started)


async def load(platform: Running, files: Path, pids: dict[str, int], found: Figures) -> None:
    """The rate, then latencies at shares of it, then the year."""
    line = await connected(files, broker_of(files))
    number = 0

    def some(count: int) -> list[bytes]:
        nonlocal number
        number += count
        return [message(one) for one in range(number - count, number)]

    await play(line, some(WARM), None)
    processors, raws = Processors(platform, pids), some(MEASURED)
    began = time.perf_counter()
    found.seconds, _ = await play(line, raws, None)
    found.rate = MEASURED * METERS / found.seconds
    while processors.waiting():
        assert time.perf_counter() < began + PATIENCE_S, "settling and feeding do not end"
        await asyncio.sleep(0.2)
    found.borne = MEASURED * METERS / (time.perf_counter() - began)
    found.shares = processors.since()

    async def at(rate: float, seconds: float) -> dict[str, tuple[float, float]]:
        await asyncio.sleep(REST_S)
        per_s = rate / METERS
        _, times = await play(line, some(max(20, int(per_s * seconds))), per_s)
        return {kind: tail(values) for kind, values in times.items()}

    for share, seconds in LATENCY_S.items():
        found.latency[share] = await at(found.borne * share, seconds)
    found.half_of_rate = await at(found.rate / 2, LATENCY_S[0.5])
    await play(line, year_messages(), None)
    line.transport.close()


class _Page(msgspec.Struct):
    items: list[msgspec.Raw]
    next: str | None


class Reader:
    """A client of the gateway that costs as little as one can: it shares the two cores."""

    def __init__(self, platform: Running, token: str) -> None:
        host, port = platform.http_at.split(":")
        context = ssl.create_default_context(cafile=platform.ready["ca"])
        self._http = http.client.HTTPSConnection(host, int(port), context=context)
        self._headers = {"Authorization": f"Bearer {token}"}
        self._decode = msgspec.json.Decoder(_Page).decode

    def page(self, **asked: str) -> _Page:
        """One page of readings."""
        self._http.request("GET", f"/v1/readings?{urlencode(asked)}", headers=self._headers)
        answer = self._http.getresponse()
        body = answer.read()
        assert answer.status == 200, body
        return self._decode(body)

    def readings(self, **asked: str) -> int:
        """Page by page; how many."""
        page = self.page(**asked)
        count = len(page.items)
        while page.next is not None:
            page = self.page(**asked, cursor=page.next)
            count += len(page.items)
        return count


def reads(platform: Running, pids: dict[str, int], found: Figures) -> None:
    """One device's day, and its year page by page, by a client of the gateway."""
    assert platform.process is not None
    both = platform.process.pid, pids["cassandra"]
    caller = platform.client("reader", "readings.read devices.read", "--all-devices")
    reader = Reader(platform, caller.token())
    words = ("--why", "bench", "--json", "--data", platform.data)
    listed = platform.cli("device", "list", *words).splitlines()
    device = next(json.loads(line)["device"] for line in listed if YEAR_METER in line)
    time.sleep(REST_S)
    times, before = list[float](), [0.0, 0.0]
    for number in range(2 * DAYS_READ):
        if number == DAYS_READ:  # the first ones compile what the server reads by
            times, before = [], [spent_s(pid) for pid in both]
        begin, end = (
            time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(YEAR_BEGIN_S + 86_400 * day + 1))
            for day in (number, number + 1)  # an interval belongs to where it ends
        )
        started = time.perf_counter()
        page = reader.page(device=device, **{"from": begin, "to": end})
        times.append((time.perf_counter() - started) * 1000)
        assert len(page.items) == DAY_SLOTS, len(page.items)
    found.day_ms = tail(times)
    platform_s, cassandra_s = (spent_s(pid) - then for pid, then in zip(both, before, strict=True))
    found.day_cpu_ms = platform_s / DAYS_READ * 1000, cassandra_s / DAYS_READ * 1000
    turns = []
    for _ in range(3):
        started = time.perf_counter()
        assert reader.readings(device=device, limit="10000") == YEAR_DAYS * DAY_SLOTS
        turns.append((time.perf_counter() - started) * 1000)
    found.year_ms = statistics.median(turns)


def main() -> Figures:
    """All figures, in one run."""
    found = Figures(load=os.getloadavg()[0])
    with tempfile.TemporaryDirectory() as name:
        data = Path(name).resolve() / "data"
        data.mkdir()
        try:
            seen = stack.up(data, SERVERS, CACHE, lambda *_: None)
            assert all(one.is_up for one in seen), [f"{one.name}: {one.state}" for one in seen]
            pids = {one.name: one.pid for one in seen}
            config = "[anchor]\ninterval_s = 10\n"
            platform = Running(Path(name), config, profile="local", data=data)
            platform.start()
            try:
                files = platform.enrol(SENDER, "--subjects", "any", "--group", "north", "--bulk")
                asyncio.run(load(platform, files, pids, found))
                found.transactions = transactions(read(data).chains["anvil"].url)
                reads(platform, pids, found)
            finally:
                platform.kill()
        finally:
            stack.down(data, SERVERS, lambda *_: None)
    return found


def rows(found: Figures) -> list[tuple[str, str, str]]:
    """What, figure and goal, as docs/benchmarks.md has them."""
    ratio = found.rate / found.transactions
    each_us = sum(found.shares.values()) / (MEASURED * METERS) * 1e6
    lines = [
        ("load of the machine before", f"{found.load:.1f}", ""),
        ("CIM of 1,000 meters by MQTT → certified rows in Cassandra", f"{found.rate:,.0f}/s",
         "≥ 5,000/s"),
        ("  until they are settled and at Kafka's consumers, too", f"{found.borne:,.0f}/s", ""),
        ("  of the processors, everything", f"{each_us:.0f} µs a reading", "≤ 400 µs"),
        ("one transaction a reading on the same Anvil", f"{found.transactions:,.1f}/s", ""),
        ("  certified / one transaction a reading", f"{ratio:,.0f} ×", "≥ 40 ×"),
    ]  # fmt: skip
    for share, kinds in found.latency.items():
        for kind, (p50, p99) in kinds.items():
            goal = {"accepted": "p99 ≤ 150 ms", "certified": "p99 ≤ 500 ms"}[kind]
            figure = f"p50 {p50:,.0f}, p99 {p99:,.0f} ms"
            lines.append((f"{kind}, at {share:.0%} of that", figure, goal if share == 0.5 else ""))
    low, *_, high = found.latency.values()
    for kind in low:
        figure = f"{high[kind][1] / low[kind][1]:.1f} ×"
        lines.append((f"  {kind}, p99 at 80 % / at 10 %", figure, "≤ 3 ×"))
    for kind, (p50, p99) in found.half_of_rate.items():
        figure = f"p50 {p50:,.0f}, p99 {p99:,.0f} ms"
        lines.append((f"{kind}, at half of the rate in the first line", figure, ""))
    p50, p99 = found.day_ms
    ours, theirs = found.day_cpu_ms
    lines += [
        ("a device's day by REST", f"p50 {p50:.1f}, p99 {p99:.1f} ms", "p50 ≤ 10 ms"),
        ("  of the processors", f"platform {ours:.1f} + Cassandra {theirs:.1f} ms", ""),
        ("its year, 35,040 readings by pages", f"{found.year_ms:,.0f} ms", "≤ 2,000 ms"),
    ]
    return lines


def parts(found: Figures) -> list[tuple[str, str, str]]:
    """Who took how much of the processors until nothing waited: who, share, µs a reading."""
    total, readings = sum(found.shares.values()), MEASURED * METERS
    return [
        (who, f"{seconds / total:.1%}", f"{seconds / readings * 1e6:.1f} µs")
        for who, seconds in found.shares.items()
        if seconds / total >= 0.005
    ]


if __name__ == "__main__":
    result = main()
    for one in rows(result) + parts(result):
        sys.stdout.write("{:<60} {:>28}   {}\n".format(*one))
