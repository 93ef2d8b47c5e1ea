"""The intake server under clients that ask too much, read too little or break the protocol."""

import asyncio
import json
import ssl
import time
from contextlib import suppress

import mqtt5
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from intake_support import RawClient, V3Client, V5Client, running

from bal.collect.guard import Limits
from infra.mqtt_packets import length_bytes
from infra.mqtt_server import MqttLimits

GOOD = b"<a/>"
DISCONNECT = mqtt5.DisconnectReasonCode
CONNACK = mqtt5.ConnAckReasonCode
GONE = (ConnectionError, ssl.SSLError)  # what a client meets that writes to a closed connection


@pytest.fixture
def serve(keys, tmp_path):
    """Serves a platform with limits of the test's own."""
    opened = []

    def start(*, message_bytes_max=4 * 1024 * 1024, **limits):
        mqtt = MqttLimits(message_bytes_max=message_bytes_max, linger_s=0.1, **limits)
        guard_limits = Limits(message_bytes_max=message_bytes_max)
        context = running(keys, tmp_path / "j.db", limits=mqtt, guard_limits=guard_limits)
        opened.append(context)
        return context.__enter__()

    yield start
    for context in opened:
        context.__exit__(None, None, None)


# --- what MQTT 5 names a reason for ---


def connected(keys, run, kind=V5Client, **how):
    client = kind(keys, run.port)
    client.connect(**how)
    return client


@pytest.mark.parametrize(
    ("publish", "reason"),
    [
        ({"qos": mqtt5.QoS.EXACTLY_ONCE}, DISCONNECT.QOS_NOT_SUPPORTED),
        ({"retain": True}, DISCONNECT.RETAIN_NOT_SUPPORTED),
        ({"topic_alias": 1}, DISCONNECT.TOPIC_ALIAS_INVALID),
    ],
)
def test_v5_what_is_not_offered(keys, run, publish, reason):
    with connected(keys, run) as client:
        client.publish("in/a/cim", GOOD, 1, **publish)
        assert client.read().reason_code is reason
        assert client.read() is None
    assert run.platform.rows() == []


def test_v3_qos_2_closes_and_retain_is_passed_over(keys, run):
    with connected(keys, run, V3Client) as client:
        client.publish("in/a/cim", GOOD, 1, first=0x33)
        assert client.packet() == b"\x40\x02\x00\x01"
        client.publish("in/a/cim", GOOD, 2, first=0x34)
        assert client.packet() == b""
    assert len(run.platform.rows()) == 1


def test_a_message_over_the_limit_is_named_by_the_guard(keys, serve):
    run = serve(message_bytes_max=1000)
    with connected(keys, run) as client, connected(keys, run, V3Client, client_id="d") as old:
        client.publish("in/a/cim", b"x" * 1001, 1)
        assert client.read().reason_str.startswith("message-too-large: ")
        old.subscribe("receipts/a")
        old.publish("in/a/cim", b"x" * 1001, 1)
        assert old.packet() == b"\x40\x02\x00\x01"
        assert old.receipt()[1]["code"] == "message-too-large"
    assert run.platform.rows() == []


def test_a_packet_over_the_limit_ends_the_session(keys, serve):
    run = serve(message_bytes_max=1000)
    size = 1000 + 64 * 1024
    with connected(keys, run) as client, connected(keys, run, V3Client, client_id="d") as old:
        client.publish("in/a/cim", b"x" * size, 1)
        assert client.read().reason_code is DISCONNECT.PACKET_TOO_LARGE
        old.subscribe("receipts/a")
        old.send(b"\x32" + length_bytes(size + 1))  # only announced
        assert old.receipt()[1]["code"] == "message-too-large"
        assert old.packet() == b""


def test_a_message_of_the_largest_size(keys, run):
    largest = b"<a>" + b"x" * (4 * 1024 * 1024 - 7) + b"</a>"
    with connected(keys, run) as client:
        client.publish("in/a/cim", largest, 1)
        assert client.read().reason_code == 0
    assert run.platform.rows() == [("a", "cim", largest)]


def test_v5_receive_maximum(keys, serve):
    run = serve(in_flight_max=3)
    run.platform.gate = asyncio.Event()
    client = V5Client(keys, run.port)
    assert client.connect().receive_max == 3
    for n in range(1, 5):
        client.publish("in/a/cim", GOOD, n)
    assert client.read().reason_code is DISCONNECT.RECEIVE_MAX_EXCEEDED
    run.call(run.platform.gate.set)
    client.close()


@pytest.mark.parametrize(
    "limits", [{"in_flight_max": 5}, {"in_flight_bytes_max": 20}, {"all_in_flight_bytes_max": 20}]
)
def test_back_pressure_holds_the_client_not_the_memory(keys, serve, limits):
    run = serve(**limits)
    run.platform.gate = asyncio.Event()
    with connected(keys, run, V3Client) as client:
        for n in range(1, 101):
            client.publish("in/a/cim", GOOD, n)
        run.wait_for(lambda: run.platform.accepting >= 5)
        time.sleep(0.05)
        assert run.call(lambda: run.platform.accepting) == 6  # the one that fills it is read
        run.call(run.platform.gate.set)
        acknowledged = sorted(client.packet()[2:] for _ in range(100))
        assert acknowledged == [n.to_bytes(2, "big") for n in range(1, 101)]
    run.wait_for(lambda: run.hub.in_flight_bytes == 0 and not run.hub.held_back)


def test_a_packet_identifier_that_is_in_use(keys, run):
    run.platform.gate = asyncio.Event()
    with connected(keys, run) as client, connected(keys, run, V3Client, client_id="d") as old:
        client.publish("in/a/cim", GOOD, 1)
        client.publish("in/a/cim", GOOD, 1)
        assert client.read().reason_code is DISCONNECT.PROTOCOL_ERROR
        old.publish("in/a/cim", b"<b/>", 1)
        old.publish("in/a/cim", b"<b/>", 1, first=0x3A)  # DUP: the first is still under way
        old.send(b"\xc0\x00")
        assert old.packet() == b"\xd0\x00"
        run.call(run.platform.gate.set)
        assert old.packet() == b"\x40\x02\x00\x01"
        old.send(b"\xc0\x00")
        assert old.packet() == b"\xd0\x00"
    assert sorted(raw for _, _, raw in run.platform.rows()) == [GOOD, b"<b/>"]


# --- receipts that are not read ---


def test_the_readers_window_is_kept(keys, run):
    with connected(keys, run, receive_max=2) as client:
        client.subscribe("receipts/a")
        for n in range(5):
            run.call(run.server.deliver, "a", b"%d" % n)
        got = [client.read(), client.read()]
        client.send(b"\xc0\x00")
        assert isinstance(client.read(), mqtt5.PingRespPacket)
        for n in range(2, 5):
            client.send(mqtt5.PubAckPacket(got[n - 2].packet_id).write())
            got.append(client.read())
        assert [packet.payload for packet in got] == [b"%d" % n for n in range(5)]
        assert len({packet.packet_id for packet in got}) == 5


@pytest.mark.parametrize("limits", [{"receipts_waiting_max": 3}, {"receipts_waiting_bytes_max": 6}])
def test_a_reader_that_never_acknowledges_is_cut(keys, serve, limits):
    run = serve(**limits)
    with connected(keys, run, receive_max=1) as client:
        client.subscribe("receipts/a")
        for _ in range(5):
            run.call(run.server.deliver, "a", b"{}")
        assert client.read().payload == b"{}"
        assert client.read().reason_code is DISCONNECT.QUOTA_EXCEEDED
    assert run.server.undelivered == 5


def test_a_receipt_larger_than_the_client_takes(keys, run):
    with connected(keys, run, max_packet_size=40) as client:
        client.subscribe("receipts/a")
        run.call(run.server.deliver, "a", b"x" * 200)
        run.call(run.server.deliver, "a", b"{}")
        assert client.read().payload == b"{}"
        client.publish("in/a/xyz", GOOD, 1)
        assert client.read().reason_str is None  # with its sentence it would be too large
    run.wait_for(lambda: run.server.undelivered == 3)  # too large, two unacknowledged


def test_a_subscription_of_qos_0_and_none(keys, run):
    with connected(keys, run) as client:
        wanted = [mqtt5.TopicFilter("receipts/a", max_qos=mqtt5.QoS.AT_MOST_ONCE)]
        client.send(mqtt5.SubscribePacket(1, wanted).write())
        assert client.read().reason_codes == [0]
        run.call(run.server.deliver, "a", b"{}")
        assert client.read().packet_id is None
    run.call(run.server.deliver, "nobody", b"{}")
    assert run.server.undelivered == 1


def test_a_client_that_does_not_read_is_cut(keys, serve):
    run = serve(write_stall_s=0.3)
    with connected(keys, run) as client:
        client.subscribe("receipts/a")
        for _ in range(15):
            run.call(run.server.deliver, "a", b"x" * 1_000_000)
        run.wait_for(lambda: not run.hub.connections)
    assert run.server.undelivered == 15


# --- time and number ---


def test_keep_alive_and_connect_timeout(keys, serve):
    run = serve(connect_timeout_s=0.3, keep_alive_s_max=60)
    with V5Client(keys, run.port) as silent, connected(keys, run, keep_alive=1) as client:
        old = connected(keys, run, V3Client, client_id="d", keep_alive_s=1)
        assert silent.read() is None
        assert client.read().reason_code is DISCONNECT.KEEP_ALIVE_TIMEOUT
        assert old.packet() == b""
        old.close()


def test_a_ping_keeps_a_session_alive(keys, run):
    with connected(keys, run, keep_alive=1) as client:
        for _ in range(4):
            time.sleep(0.5)
            client.send(b"\xc0\x00")
            assert isinstance(client.read(), mqtt5.PingRespPacket)


def test_a_connect_in_drops_is_cut_too(keys, serve):
    run = serve(connect_timeout_s=0.5)
    packet = mqtt5.ConnectPacket("c", username="a", password=b"pw-a").write()

    def send_slowly(client):
        for byte in packet:
            client.send(bytes((byte,)))
            time.sleep(0.1)

    with V5Client(keys, run.port) as client, pytest.raises(GONE):
        send_slowly(client)


def test_limits_that_mqtt_cannot_say():
    for wrong in ({"in_flight_max": 65536}, {"in_flight_max": 0}, {"keep_alive_s_max": 65536}):
        with pytest.raises(ValueError, match="to 65535"):
            MqttLimits(**wrong)


def test_sessions_are_limited(keys, serve):
    run = serve(sessions_per_credential_max=2, sessions_max=3)
    clients = [V5Client(keys, run.port, name) for name in ("a", "a", "a", "b", "b")]
    answers = [
        client.connect(f"c{n}", name=name).reason_code
        for n, (client, name) in enumerate(zip(clients, "aaabb", strict=True))
    ]
    assert answers == [0, 0, CONNACK.QUOTA_EXCEEDED, 0, CONNACK.SERVER_BUSY]
    for client in clients:
        client.close()
    run.wait_for(lambda: run.server.sessions() == [])


def test_topic_filters_are_limited(keys, run):
    with connected(keys, run) as client:
        wanted = [mqtt5.TopicFilter("receipts/a")] * 17
        client.send(mqtt5.SubscribePacket(1, wanted).write())
        assert client.read().reason_code is DISCONNECT.QUOTA_EXCEEDED


# --- broken clients ---

V5_BROKEN = [
    (mqtt5.ConnectPacket("c", username="a", password=b"pw-a").write(), 0x82),
    (b"\x36\x06\x00\x01a\x00\x01\x00", 0x81),  # QoS 3
    (b"\x30\x05\x00\x02\xff\xfe\x00", 0x81),  # a topic that is not UTF-8
    (b"\x30\x05\x00\x02a\x00\x00", 0x81),  # U+0000
    (b"\x32\x06\x00\x01a\x00\x00\x00", 0x82),  # MQTT 5 §2.2.1: packet identifier 0
    (b"\x82\x03\x00\x01\x00", 0x82),  # no filter
    (b"\x82\x05\x00\x01\x00\x00\x05", 0x81),  # a filter that is cut off
    (b"\x62\x02\x00\x01", 0x82),  # PUBREL
    (b"\x20\x03\x00\x00\x00", 0x82),  # CONNACK
    (b"\xf0\x00", 0x82),  # AUTH
    (b"\xc1\x00", 0x81),
    (b"\xff\xff\xff\xff\xff\xff", 0x81),
]


@pytest.mark.parametrize(("packet", "reason"), V5_BROKEN)
def test_v5_broken_packets_end_the_session_with_a_reason(keys, run, capfd, packet, reason):
    with connected(keys, run) as client:
        client.send(packet)
        answer = client.read()
        assert isinstance(answer, mqtt5.DisconnectPacket)
        assert answer.reason_code == reason
        assert client.read() is None
    assert "panicked" not in capfd.readouterr().err


FIRST_PACKETS = [
    (b"\xc0\x00", []),
    (b"\x10\x0c\x00\x04MQTT\x03\x02\x00\x3c\x00\x00", [b"\x20\x02\x00\x01"]),
    (b"\x10\x0e\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x00", [b"\x20\x02\x00\x01"]),
    (b"\x10\x0c\x00\x04MQTT\x06\x02\x00\x3c\x00\x00", [b"\x20\x02\x00\x01"]),
    (b"\x10\x0c\x00\x04MQTT\x04\x03\x00\x3c\x00\x00", []),  # the reserved flag
    (b"\x10\x0c\x00\x04MQTT\x04\x42\x00\x3c\x00\x00", []),  # password without user name
    (b"\x10\x80\x80\x02", []),  # 32 KiB of CONNECT
    (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" + b" " * 100, []),
]


@pytest.mark.parametrize(("packet", "answers"), FIRST_PACKETS)
def test_what_is_no_connect(keys, run, packet, answers):
    with RawClient(keys, run.port) as client:
        client.send(packet)
        assert client.packets() == answers


def test_v5_a_malformed_connect_is_answered(keys, run):
    with V5Client(keys, run.port) as client:
        client.send(b"\x10\x0d\x00\x04MQTT\x05\xc2\x00\x3c\x00\x00\x00")
        assert client.read().reason_code is CONNACK.MALFORMED_PACKET


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=5), st.booleans())
def test_noise_ends_its_own_session_at_most(keys, run, noise, version_5):
    kind = V5Client if version_5 else V3Client
    with connected(keys, run, kind) as client, suppress(*GONE):
        for piece in noise:
            client.send(piece[:1] + length_bytes(len(piece) - 1) + piece[1:])
    assert run.platform.rows() == []
    with connected(keys, run, client_id="witness") as witness:
        witness.subscribe("receipts/a")
        run.call(run.server.deliver, "a", json.dumps({"still": "here"}).encode())
        assert witness.read().payload == b'{"still": "here"}'
