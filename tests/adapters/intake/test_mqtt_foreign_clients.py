"""Clients that are not ours: paho-mqtt, and mosquitto_pub and mosquitto_sub where installed."""

import json
import queue
import shutil
import subprocess
import time
from hashlib import sha256

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

GOOD = b"<a/>"
BOTH = pytest.mark.parametrize("version", [paho.MQTTv311, paho.MQTTv5])


class Paho:
    """A paho client on its own thread, and what it was told."""

    def __init__(self, keys, port, version, *, name="a", user="a", password="pw-a"):
        self.connected = queue.Queue()
        self.acknowledged = queue.Queue()
        self.receipts = queue.Queue()
        self.closed = queue.Queue()
        self.subscribed = queue.Queue()
        self.it = paho.Client(CallbackAPIVersion.VERSION2, client_id="paho", protocol=version)
        self.it.tls_set_context(keys.client(name))
        self.it.username_pw_set(user, password)
        self.it.on_connect = lambda _, __, ___, reason, ____: self.connected.put(reason.value)
        self.it.on_disconnect = lambda _, __, ___, reason, ____: self.closed.put(reason.value)
        self.it.on_publish = lambda _, __, mid, reason, ___: self.acknowledged.put(reason.value)
        self.it.on_subscribe = lambda _, __, ___, codes, ____: self.subscribed.put(
            [code.value for code in codes]
        )
        self.it.on_message = lambda _, __, message: self.receipts.put(json.loads(message.payload))
        self.it.connect("127.0.0.1", port)
        self.it.loop_start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.it.disconnect()
        self.it.loop_stop()


@BOTH
def test_paho_publishes_and_hears(keys, run, version):
    with Paho(keys, run.port, version) as client:
        assert client.connected.get(timeout=10) == 0
        client.it.subscribe("receipts/a", **_subscription(version))
        assert client.subscribed.get(timeout=10) == [1]
        messages = [b"<a>%d</a>" % n for n in range(50)]
        for message in messages:
            client.it.publish("in/a/cim", message, qos=1)
        assert {client.acknowledged.get(timeout=10) for _ in messages} == {0}
        receipts = [client.receipts.get(timeout=10) for _ in messages]
        client.it.publish("in/a/der", b'{"a":1,"a":2}', qos=1)
        refused = client.receipts.get(timeout=10)
        run.call(run.server.deliver, "a", b'{"type":"certified"}')
        assert client.receipts.get(timeout=10) == {"type": "certified"}
    assert {receipt["message"] for receipt in receipts} == {
        sha256(message).hexdigest() for message in messages
    }
    assert refused["code"] == "json-duplicate-key"
    assert client.acknowledged.get(timeout=10) == (0 if version == paho.MQTTv311 else 0x99)
    assert [raw for _, _, raw in run.platform.rows()] == messages


def _subscription(version):
    return {"qos": 1} if version == paho.MQTTv311 else {"options": SubscribeOptions(qos=1)}


@BOTH
def test_paho_on_a_foreign_topic(keys, run, version):
    with Paho(keys, run.port, version) as client:
        assert client.connected.get(timeout=10) == 0
        client.it.publish("in/b/cim", GOOD, qos=1)
        if version == paho.MQTTv5:
            assert client.acknowledged.get(timeout=10) == 0x87
        else:
            client.closed.get(timeout=10)
            assert client.acknowledged.empty()
        client.it.subscribe("receipts/b", **_subscription(version)) if version == 5 else None
        if version == paho.MQTTv5:
            assert client.subscribed.get(timeout=10) == [0x87]
    assert run.platform.rows() == []


@BOTH
@pytest.mark.parametrize(("who", "v3"), [({"password": "wrong"}, 4), ({"user": "b"}, 5)])
def test_paho_with_the_wrong_credentials(keys, run, version, who, v3):
    with Paho(keys, run.port, version, **who) as client:
        told = client.connected.get(timeout=10)
        # paho translates the return codes of 3.1.1 into the reasons of 5
        assert told == (0x87 if version == paho.MQTTv5 else {4: 0x86, 5: 0x87}[v3])
    assert run.server.sessions() == []


MOSQUITTO = shutil.which("mosquitto_pub"), shutil.which("mosquitto_sub")


@pytest.fixture
def mosquitto(keys, run):
    """Runs one of the two programs as device `a`."""
    if None in MOSQUITTO:
        pytest.skip("optional: mosquitto_pub and mosquitto_sub are not installed")
    common = ["-h", "127.0.0.1", "-p", str(run.port), "-u", "a", "-P", "pw-a", "-q", "1"]
    common += ["--cafile", str(keys.folder / "ca.crt"), "--cert", str(keys.folder / "a.crt")]
    common += ["--key", str(keys.folder / "a.key")]

    def start(program, *arguments):
        return subprocess.Popen(
            [program, *common, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    return start


@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
def test_mosquitto(keys, run, mosquitto, version):
    with mosquitto(MOSQUITTO[1], "-V", version, "-t", "receipts/a", "-C", "2") as reader:
        run.wait_for(
            lambda: any(
                each._receipts and each._receipts.subscribed for each in run.hub.open.get("a", [])
            )
        )
        for payload in ("<a/>", "<a>"):
            publish = ["-V", version, "-t", "in/a/cim", "-m", payload]
            with mosquitto(MOSQUITTO[0], *publish) as writer:
                said = writer.communicate(timeout=10)[0].decode()
            assert writer.returncode == 0
        lines = reader.communicate(timeout=10)[0].splitlines()
    assert [json.loads(line)["type"] for line in lines] == ["accepted", "refused"]
    assert ("Payload" in said or "153" in said or "0x99" in said) == (version == "mqttv5"), said
    assert run.platform.rows() == [("a", "cim", GOOD)]
    with mosquitto(MOSQUITTO[0], "-V", version, "-t", "in/b/cim", "-m", "<b/>") as writer:
        time.sleep(0.5)
        writer.terminate()
        writer.communicate(timeout=10)
    assert run.platform.rows() == [("a", "cim", GOOD)]
