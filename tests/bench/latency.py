"""One-reading messages by MQTT at a steady rate: time to the accepted and the certified receipt."""

import asyncio
import json
import ssl
import statistics
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import gmqtt

from tests.journey.conftest import Running, cim


async def play(
    files: Path, address: str, rate: int, seconds: int, first: int = 0
) -> dict[str, list[float]]:
    """Publish by the clock, open loop; latencies in ms from the scheduled time."""
    context = ssl.create_default_context(cafile=files / "ca.crt")
    context.load_cert_chain(files / "device.crt", files / "device.key")
    client = gmqtt.Client("bench")
    client.set_auth_credentials("bench", (files / "password").read_text())
    due: dict[str, float] = {}
    found: dict[str, list[float]] = {"accepted": [], "certified": []}
    subscribed = asyncio.Event()

    def on_message(_: Any, __: str, payload: bytes, ___: int, ____: Any) -> int:
        receipt = json.loads(payload)
        found[receipt["type"]].append((time.perf_counter() - due[receipt["message"]]) * 1000)
        return 0

    client.on_message = on_message
    client.on_subscribe = lambda *_: subscribed.set()
    host, port = address.split(":")
    await client.connect(host, int(port), ssl=context, version=5)
    client.subscribe("receipts/bench", qos=1)
    await subscribed.wait()
    began = time.perf_counter() + 0.1
    for number in range(rate * seconds):
        at = began + number / rate
        pause = at - time.perf_counter()
        if pause > 0:
            await asyncio.sleep(pause)
        end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_768_435_200 + 900 * number))
        raw = cim(("bench", end, f"{first + number}.5"))
        due[sha256(raw).hexdigest()] = at
        client.publish("in/bench/cim", raw, qos=1)
    deadline = time.perf_counter() + 30
    while len(found["certified"]) < len(due) and time.perf_counter() < deadline:
        await asyncio.sleep(0.05)
    await client.disconnect()
    lost = len(due) - min(len(found["accepted"]), len(found["certified"]))
    assert lost == 0, f"{lost} messages have no receipt"
    return found


def main(rate: int = 500, seconds: int = 15) -> dict[str, tuple[float, float, float]]:
    """p50, p99 and maximum in ms of each receipt, with the default configuration."""
    with tempfile.TemporaryDirectory() as name:
        platform = Running(Path(name), "[anchor]\ninterval_s = 10\n")  # the default
        platform.start()
        try:
            files = platform.enrol("bench")
            asyncio.run(play(files, platform.mqtt_at, rate, 2))  # warm
            found = asyncio.run(play(files, platform.mqtt_at, rate, seconds, first=10_000_000))
        finally:
            platform.kill()
    return {
        kind: (
            statistics.median(values),
            statistics.quantiles(values, n=100)[98],
            max(values),
        )
        for kind, values in found.items()
    }


if __name__ == "__main__":
    for kind, (p50, p99, most) in main().items():
        print(f"{kind:10} p50 {p50:7.1f} ms   p99 {p99:7.1f} ms   max {most:7.1f} ms")
