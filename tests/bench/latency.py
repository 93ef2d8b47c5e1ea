"""One-reading messages by MQTT at a steady rate: time to the accepted and the certified receipt.

The client is as light as can be, because it shares the machine: packets are made before the clock
runs, and receipts are noted with their time and read afterwards.
"""

import asyncio
import json
import os
import ssl
import statistics
import tempfile
import time
from hashlib import sha256
from pathlib import Path

import mqtt5

from tests.journey.conftest import Running, cim

AT_LEAST_ONCE = mqtt5.QoS.AT_LEAST_ONCE


class Line(asyncio.Protocol):
    """One MQTT 5 connection over TLS, with the receipts it was sent."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.receipts: list[tuple[float, bytes]] = []  # when it was there, PUBLISH packet
        self.subscribed = asyncio.Event()
        self.room = asyncio.Event()  # below the server's Receive Maximum
        self._window = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def publish(self, packet: bytes) -> None:
        """Send one packet made before."""
        self._window -= 1
        if self._window <= 0:
            self.room.clear()
        self.transport.write(packet)

    def data_received(self, data: bytes) -> None:
        now, answer = time.perf_counter(), b""
        self._buffer += data
        for packet in self._packets():
            kind = packet[0] >> 4
            if kind == 3:
                self.receipts.append((now, packet))
                answer += b"\x40\x02" + _packet_id(packet)
            elif kind == 4:  # PUBACK
                self._give(1)
            elif kind == 2:
                connack = mqtt5.read(memoryview(packet))[0]
                assert isinstance(connack, mqtt5.ConnAckPacket)
                self._give(connack.receive_max)
            elif kind == 9:
                self.subscribed.set()
        if answer:
            self.transport.write(answer)

    def _give(self, room: int) -> None:
        self._window += room
        self.room.set()

    def _packets(self) -> list[bytes]:
        """The whole packets at hand."""
        found, at = [], 0
        while len(self._buffer) - at >= 2:
            size, shift, end = 0, 0, at + 1
            while end < len(self._buffer):
                size |= (self._buffer[end] & 0x7F) << shift
                shift, end = shift + 7, end + 1
                if self._buffer[end - 1] < 0x80:
                    break
            else:
                break
            if end + size > len(self._buffer):
                break
            found.append(bytes(self._buffer[at : end + size]))
            at = end + size
        del self._buffer[:at]
        return found


async def connected(files: Path, address: str) -> Line:
    """A line that is subscribed to its receipts."""
    context = ssl.create_default_context(cafile=files / "ca.crt")
    context.load_cert_chain(files / "device.crt", files / "device.key")
    host, port = address.split(":")
    _, line = await asyncio.get_running_loop().create_connection(
        Line, host, int(port), ssl=context, server_hostname=host
    )
    password = (files / "password").read_bytes()
    connect = mqtt5.ConnectPacket("bench", username="bench", password=password)
    filters = [mqtt5.TopicFilter("receipts/bench", max_qos=AT_LEAST_ONCE)]
    line.transport.write(connect.write() + mqtt5.SubscribePacket(1, filters).write())
    await line.subscribed.wait()
    return line


def _packet_id(publish: bytes) -> bytes:
    """Of a PUBLISH of QoS 1: it stands behind the topic."""
    at = 2
    while publish[at - 1] >= 0x80:
        at += 1
    at += 2 + int.from_bytes(publish[at : at + 2], "big")
    return publish[at : at + 2]


async def play(
    files: Path, address: str, rate: int, seconds: int, first: int = 0
) -> dict[str, list[float]]:
    """Publish by the clock, open loop; latencies in ms from the scheduled time."""
    packets: list[bytes] = []
    numbers: dict[str, int] = {}
    for number in range(rate * seconds):
        end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_768_435_200 + 900 * number))
        raw = cim(("bench", end, f"{first + number}.5"))
        numbers[sha256(raw).hexdigest()] = number
        made = mqtt5.PublishPacket(
            "in/bench/cim", raw, qos=AT_LEAST_ONCE, packet_id=number % 65_535 + 1
        )
        packets.append(made.write())
    line = await connected(files, address)
    began = time.perf_counter() + 0.1
    for number, packet in enumerate(packets):
        pause = began + number / rate - time.perf_counter()
        if pause > 0:
            await asyncio.sleep(pause)
        await line.room.wait()
        line.publish(packet)
    deadline = time.perf_counter() + 30
    while len(line.receipts) < 2 * len(packets) and time.perf_counter() < deadline:
        await asyncio.sleep(0.05)
    line.transport.close()
    found: dict[str, list[float]] = {"accepted": [], "certified": []}
    for at, packet in line.receipts:
        publish = mqtt5.read(memoryview(packet))[0]
        assert isinstance(publish, mqtt5.PublishPacket)
        receipt = json.loads(bytes(publish.payload))
        scheduled = began + numbers[receipt["message"]] / rate
        found[receipt["type"]].append((at - scheduled) * 1000)
    lost = len(packets) - min(len(found["accepted"]), len(found["certified"]))
    assert lost == 0, f"{lost} messages have no receipt"
    return found


def main(
    rate: int = 500, seconds: int = 8, rounds: int = 5
) -> dict[str, tuple[float, float, float]]:
    """p50 and p99 in ms of each receipt, medians of the rounds, and the largest of all.

    With the default configuration: a head goes on chain every ten seconds.
    """
    found: dict[str, list[list[float]]] = {"accepted": [], "certified": []}
    with tempfile.TemporaryDirectory() as name:
        platform = Running(Path(name), "[anchor]\ninterval_s = 10\n")  # the default
        platform.start()
        try:
            files = platform.enrol("bench")
            asyncio.run(play(files, platform.mqtt_at, rate, 2))  # warm
            for number in range(1, rounds + 1):
                first = 10_000_000 * number
                times = asyncio.run(play(files, platform.mqtt_at, rate, seconds, first=first))
                for kind, values in times.items():
                    found[kind].append(values)
        finally:
            platform.kill()
    return {
        kind: (
            statistics.median(statistics.median(values) for values in turns),
            statistics.median(statistics.quantiles(values, n=100)[98] for values in turns),
            max(max(values) for values in turns),
        )
        for kind, turns in found.items()
    }


def disk(seconds: float = 4) -> tuple[float, float]:
    """p99 and maximum in ms of an fdatasync of 4 KiB, 200 a second: what the disk itself adds."""
    times = []
    with tempfile.TemporaryFile() as file:
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            os.pwrite(file.fileno(), bytes(4096), len(times) % 64 * 4096)
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - started) * 1000)
            time.sleep(0.005)
    return statistics.quantiles(times, n=100)[98], max(times)


if __name__ == "__main__":
    print("disk: fdatasync p99 {:.1f} ms, max {:.1f} ms".format(*disk()))
    for kind, (p50, p99, most) in main().items():
        print(f"{kind:10} p50 {p50:7.1f} ms   p99 {p99:7.1f} ms   max {most:7.1f} ms")
