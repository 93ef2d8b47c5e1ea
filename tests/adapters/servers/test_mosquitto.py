"""Mosquitto lets in who has certificate and password, each to its own topics; nothing is lost."""

import os
import signal
import socket
import ssl
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from infra.certificates import client_context
from infra.mosquitto_accounts import connect_code
from infra.servers import process
from infra.servers.connect import Identity, MosquittoAt
from tests.broker_accounts import accounts
from tests.servers_fixture import start

WAIT_S = 20
NOT_AUTHORISED = 135  # MQTT 5 §2.4


def context(at: MosquittoAt, one: Identity | None) -> ssl.SSLContext:
    return client_context(at.ca, one and one.certificate, one and one.key)


class Client:
    """paho, MQTT 5, with what came back kept."""

    def __init__(self, at: MosquittoAt, user: str, password: str, *, clean: bool = True) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.acknowledged: dict[int, int] = {}
        self.changed = threading.Condition()
        self.connected = False
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=f"test-{user}", protocol=mqtt.MQTTv5
        )
        self._client.username_pw_set(user, password)
        self._client.tls_set_context(context(at, at.client))
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish
        expiry = Properties(PacketTypes.CONNECT)
        expiry.SessionExpiryInterval = 0 if clean else 0xFFFFFFFF
        self._client.connect(at.host, at.port, clean_start=clean, properties=expiry)
        self._client.loop_start()
        self.wait(lambda: self.connected)

    def wait(self, until: Any) -> None:
        with self.changed:
            assert self.changed.wait_for(until, WAIT_S)

    def _note(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def _on_connect(self, _c: Any, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
        self.connected = reason.value == 0
        self._note()

    def _on_disconnect(self, *_: Any) -> None:
        self.connected = False

    def _on_message(self, _c: Any, _u: Any, message: Any) -> None:
        self.messages.append((message.topic, bytes(message.payload)))
        self._note()

    def _on_publish(self, _c: Any, _u: Any, mid: int, reason: Any, _p: Any) -> None:
        self.acknowledged[mid] = reason.value
        self._note()

    def subscribe(self, topic: str) -> None:
        subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.subscribe(topic, qos=1)
        assert subscribed.wait(WAIT_S)

    def publish(self, topic: str, payload: bytes) -> int:
        """The reason code of its PUBACK."""
        mid = self._client.publish(topic, payload, qos=1).mid
        self.wait(lambda: mid in self.acknowledged)
        return self.acknowledged[mid]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def test_who_has_no_certificate_of_ours_is_refused(
    mosquitto_server: MosquittoAt, foreign: Identity
) -> None:
    at, login = mosquitto_server, mosquitto_server.users["monitor"]
    for one in (None, foreign):
        with pytest.raises(OSError, match=r"(?i)certificate|ca|reset|closed|eof"):
            connect_code(at.host, at.port, context(at, one), login.user, login.password)


def test_plain_mqtt_gets_no_answer(mosquitto_server: MosquittoAt) -> None:
    with socket.create_connection((mosquitto_server.host, mosquitto_server.port), 5) as wire:
        wire.sendall(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04test")
        with suppress(ConnectionError):
            assert wire.recv(4)[:1] != b"\x20"


def test_a_wrong_password_is_refused(mosquitto_server: MosquittoAt) -> None:
    at = mosquitto_server
    ours = context(at, at.client)
    # MQTT 3.1.1 §3.1, §3.2; §3.2.2.3: 0 accepted, 5 not authorised
    assert connect_code(at.host, at.port, ours, "monitor", "wrong") == 5
    assert connect_code(at.host, at.port, ours, "nobody", "wrong") == 5
    right = at.users["monitor"].password
    assert connect_code(at.host, at.port, ours, "monitor", right) == 0


def test_a_device_sends_and_reads_what_is_its_own(mosquitto_server: MosquittoAt) -> None:
    at = mosquitto_server
    accounts(at).put({"acl-meter": "secret-1", "acl-other": "secret-2"})
    collector = Client(at, "collector", at.users["collector"].password)
    collector.subscribe("in/+/der")
    receipts = Client(at, "receipts", at.users["receipts"].password)
    device = Client(at, "acl-meter", "secret-1")
    other = Client(at, "acl-other", "secret-2")
    try:
        other.subscribe("receipts/#")
        device.subscribe("receipts/acl-meter")
        assert device.publish("in/acl-meter/der", b"mine") == 0
        collector.wait(lambda: ("in/acl-meter/der", b"mine") in collector.messages)
        assert receipts.publish("receipts/acl-meter", b"receipt") == 0
        device.wait(lambda: ("receipts/acl-meter", b"receipt") in device.messages)
        for topic in ("in/acl-other/der", "receipts/acl-meter", "in/acl-meter/der/more"):
            assert device.publish(topic, b"not mine") == NOT_AUTHORISED
            device.wait(lambda: device.connected)  # 2.0.11 ends the connection behind its answer
        assert [topic for topic, _ in collector.messages] == ["in/acl-meter/der"]
        assert other.messages == []
    finally:
        for client in (collector, receipts, device, other):
            client.close()


def test_a_removed_device_is_kept_out(mosquitto_server: MosquittoAt) -> None:
    at, ours = mosquitto_server, context(mosquitto_server, mosquitto_server.client)
    accounts(at).put({"gone-meter": "secret"})

    def code() -> int:
        return connect_code(at.host, at.port, ours, "gone-meter", "secret")

    assert eventually(lambda: code() == 0)
    accounts(at).remove("gone-meter")
    assert eventually(lambda: code() == 5)


def test_what_it_wrote_survives_a_kill(own_folder: Path) -> None:
    at = start(own_folder, "mosquitto").mosquitto
    assert at is not None
    accounts(at).put({"meter": "secret"})
    password = at.users["collector"].password
    collector = Client(at, "collector", password, clean=False)
    collector.subscribe("in/#")
    collector.close()  # from now on it is away, and its session is kept
    device = Client(at, "meter", "secret")
    sent = [f"reading {number}".encode() for number in range(300)]
    for payload in sent:
        assert device.publish("in/meter/der", payload) == 0
    device.close()
    child = process.found(at.place.folder)
    assert child is not None
    saved, now_s = at.place.folder / "data" / "mosquitto.db", time.time()
    assert eventually(lambda: saved.exists() and saved.stat().st_mtime > now_s)  # every 1 to 2 s
    os.kill(child.pid, signal.SIGKILL)
    again = start(own_folder, "mosquitto").mosquitto
    assert again == at
    collector = Client(again, "collector", password, clean=False)
    collector.wait(lambda: len(collector.messages) >= len(sent))
    collector.close()
    assert [payload for _, payload in collector.messages] == sent


def eventually(holds: Any) -> bool:
    for _ in range(200):
        if holds():
            return True
        time.sleep(0.05)
    return False
