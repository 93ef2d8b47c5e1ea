"""kill -9 at random moments: what has a receipt is in the log once, and everything still agrees."""

import json
import random
import ssl
import threading
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest

from tests.journey.conftest import Running, cim
from tests.restarts import Restarts

KILLS = 20
SEED = 20260115


class Meter:
    """A foreign client that sends numbered readings, resends what has no receipt, keeps a book."""

    pace_s = 0.01  # from one reading to the next

    def __init__(self, files: Path, name: str, address: str) -> None:
        self.name = name
        self.sent: dict[str, bytes] = {}  # message → raw
        self.accepted: dict[str, dict[str, Any]] = {}
        self.certified: dict[str, dict[str, Any]] = {}
        self._number = 0
        self._stop = threading.Event()
        self._client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5
        )
        self._client.tls_set_context(context(files))
        self._client.username_pw_set(name, (files / "password").read_text())
        self._client.on_connect = self._subscribe
        self._client.on_message = self._receipt
        self._client.reconnect_delay_set(1, 1)
        host, port = address.split(":")
        self._client.connect_async(host, int(port))
        self._client.loop_start()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send no more."""
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive(), f"{self.name} does not stop sending"

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def resend(self, timeout_s: float) -> None:
        """Send again what has no certified receipt, a little at a time, until all have one."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            missing = [m for m in self.sent if m not in self.certified][:200]
            if not missing:
                return
            for message in missing:
                self._client.publish(f"in/{self.name}/cim", self.sent[message], qos=1)
            enough = time.monotonic() + 5
            while time.monotonic() < enough and any(m not in self.certified for m in missing):
                time.sleep(0.05)

    def _subscribe(self, client: mqtt.Client, *_: Any) -> None:
        client.subscribe(f"receipts/{self.name}", qos=1)

    def _receipt(self, _: Any, __: Any, message: mqtt.MQTTMessage) -> None:
        receipt = json.loads(message.payload)
        book = self.accepted if receipt["type"] == "accepted" else self.certified
        assert receipt["type"] in {"accepted", "certified"}
        book[receipt["message"]] = receipt

    def _send(self) -> None:
        while not self._stop.is_set():
            self._number += 1
            at = 1_768_435_200 + 900 * self._number
            end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
            raw = cim((self.name, end, f"{self._number}.125"))
            self.sent[sha256(raw).hexdigest()] = raw
            self._client.publish(f"in/{self.name}/cim", raw, qos=1)
            while not self._client.is_connected() and not self._stop.is_set():
                time.sleep(0.01)  # what is under way when the kill comes is enough
            time.sleep(self.pace_s)


def context(files: Path) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=files / "ca.crt")
    made.load_cert_chain(files / "device.crt", files / "device.key")
    return made


# paho drops a socket unclosed where the platform is killed in the middle of the TLS handshake
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket")
@pytest.mark.slow
def test_twenty_kills_lose_nothing_that_has_a_receipt(running: Running) -> None:
    chance = random.Random(SEED)
    files = running.enrol("meter-1")
    caller = running.client("auditor", "readings.read", "--all-devices")
    meter = Meter(files, "meter-1", running.mqtt_at)
    restarts = Restarts("gridseal up, killed")
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.05, 1.2))
        running.kill()
        restarts.time(running.start)
    meter.stop()
    meter.resend(timeout_s=120)
    meter.close()
    assert set(meter.certified) == set(meter.sent)
    assert len(meter.accepted) > KILLS
    caller.forget()
    check_readings(meter, caller.readings(versions="all", limit=10_000))
    assert running.stop() == 0
    running.check()
    restarts.check()


def check_readings(meter: Meter, items: list[dict[str, Any]]) -> None:
    """One item for each slot and evidence; every message's reading is there, with its value."""
    slots = [(i["record"]["end"], i["record"]["evidence"]) for i in items]
    assert len(slots) == len(set(slots))
    assert len(items) == len(meter.sent)
    values = {item["record"]["end"]: item["record"]["value"] for item in items}
    assert len(values) == len(meter.sent)
    firsts = [receipt["first_index"] for receipt in meter.certified.values()]
    assert sorted(item["index"] for item in items) == sorted(firsts)
