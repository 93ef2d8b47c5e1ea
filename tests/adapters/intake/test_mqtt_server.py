"""The intake server: who may say what, and what each version of MQTT answers."""

import asyncio
import json
import ssl
from hashlib import sha256

import mqtt5
import pytest
from intake_support import RawClient, V3Client, V5Client, running

from bal.errors import Unavailable
from infra.mqtt_server import MqttServer

GOOD = b"<a/>"
PUBACK = mqtt5.PubAckReasonCode
CONNACK = mqtt5.ConnAckReasonCode
DISCONNECT = mqtt5.DisconnectReasonCode


def digest(raw):
    return sha256(raw).hexdigest()


# --- a message's way ---


def test_v5_puback_and_receipt(keys, run):
    with V5Client(keys, run.port) as client:
        assert client.connect().reason_code is CONNACK.SUCCESS
        assert client.subscribe("receipts/a").reason_codes == [1]
        client.publish("in/a/cim", GOOD, 7)
        answer, receipt = client.read(), client.read()
        assert (answer.packet_id, answer.reason_code) == (7, PUBACK.SUCCESS)
        assert (receipt.topic, receipt.qos) == ("receipts/a", mqtt5.QoS.AT_LEAST_ONCE)
        assert json.loads(receipt.payload)["message"] == digest(GOOD)
        assert run.platform.rows() == [("a", "cim", GOOD)]
        client.send(mqtt5.PubAckPacket(receipt.packet_id).write())
        client.send(mqtt5.DisconnectPacket().write())
        assert client.read() is None
    assert run.server.undelivered == 0


def test_v3_puback_and_receipt(keys, run):
    with V3Client(keys, run.port) as client:
        assert client.connect() == 0
        assert client.subscribe("receipts/a") == b"\x01"
        client.publish("in/a/der", b"{}", 7)
        assert client.packet() == b"\x40\x02\x00\x07"
        topic, receipt = client.receipt()
        assert (topic, receipt["type"], receipt["message"]) == (
            "receipts/a", "accepted", digest(b"{}"),
        )  # fmt: skip
        client.send(b"\xe0\x00")
        assert client.packet() == b""
    assert run.platform.rows() == [("a", "der", b"{}")]


@pytest.mark.parametrize("kind", [V3Client, V5Client])
def test_no_puback_before_the_bus_has_it(keys, run, kind):
    run.platform.gate = asyncio.Event()
    with kind(keys, run.port) as client:
        client.connect()
        client.publish("in/a/cim", GOOD, 1)
        run.wait_for(lambda: run.platform.accepting == 1)
        client.send(b"\xc0\x00")
        assert client.packet() == b"\xd0\x00"  # PINGRESP, and no PUBACK before it
        run.call(run.platform.gate.set)
        assert client.packet() == b"\x40\x02\x00\x01"
        assert len(run.platform.rows()) == 1


@pytest.mark.parametrize("kind", [V3Client, V5Client])
def test_qos_0_is_taken_without_an_answer(keys, run, kind):
    with kind(keys, run.port) as client:
        client.connect()
        client.publish("in/a/cim", GOOD)
        run.wait_for(lambda: len(run.platform.rows()) == 1)
        client.send(b"\xc0\x00")
        assert client.packet() == b"\xd0\x00"
    assert run.server.undelivered == 1  # nobody was subscribed


def test_a_whole_session_in_one_write(keys, run):
    packets = [
        mqtt5.ConnectPacket("c", username="a", password=b"pw-a"),
        mqtt5.SubscribePacket(1, [mqtt5.TopicFilter("receipts/a")]),
        mqtt5.PublishPacket("in/a/cim", GOOD, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=2),
        mqtt5.PingReqPacket(),
    ]
    with V5Client(keys, run.port) as client:
        client.send(b"".join(packet.write() for packet in packets))
        names = [type(client.read()).__name__ for _ in range(5)]
    assert names[:2] == ["ConnAckPacket", "SubAckPacket"]
    assert set(names[2:]) == {"PubAckPacket", "PublishPacket", "PingRespPacket"}


def test_a_session_in_single_bytes(keys, run):
    with V5Client(keys, run.port) as client:
        whole = mqtt5.ConnectPacket("c", username="a", password=b"pw-a").write()
        publish = mqtt5.PublishPacket("in/a/cim", GOOD, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=2)
        for byte in whole + publish.write():
            client.send(bytes((byte,)))
        assert client.read().reason_code is CONNACK.SUCCESS
        assert client.read().packet_id == 2


def test_messages_reach_the_service_in_their_order(keys, run):
    messages = [b"<a>%d</a>" % n for n in range(300)]
    with V3Client(keys, run.port) as client:
        client.connect()
        for n, message in enumerate(messages, 1):
            client.publish("in/a/cim", message, n)
        assert len({client.packet() for _ in messages}) == 300
    assert [raw for _, _, raw in run.platform.rows()] == messages


# --- who may say what ---

FOREIGN_TOPICS = ["in/b/cim", "in/a", "in/a/", "in/a/cim/x", "in//cim", "receipts/a", "IN/a/cim"]


@pytest.mark.parametrize("topic", FOREIGN_TOPICS)
def test_v5_a_foreign_topic_is_not_authorised(keys, run, topic):
    with V5Client(keys, run.port) as client:
        client.connect()
        client.publish(topic, GOOD, 3)
        answer = client.read()
        assert (answer.packet_id, answer.reason_code) == (3, PUBACK.NOT_AUTHORIZED)
        client.publish("in/a/cim", GOOD, 4)  # the session goes on
        assert client.read().reason_code is PUBACK.SUCCESS
        client.publish(topic, GOOD)
        assert client.read().reason_code is DISCONNECT.NOT_AUTHORIZED
        assert client.read() is None
    assert len(run.platform.rows()) == 1


@pytest.mark.parametrize("topic", FOREIGN_TOPICS)
@pytest.mark.parametrize("packet_id", [None, 3])
def test_v3_a_foreign_topic_closes_without_puback(keys, run, topic, packet_id):
    with V3Client(keys, run.port) as client:
        client.connect()
        client.publish(topic, GOOD, packet_id)
        assert client.packet() == b""
    assert run.platform.rows() == []


def test_only_the_own_receipts_can_be_subscribed_to(keys, run):
    filters = ["receipts/b", "#", "receipts/+", "in/a/cim", "$share/g/receipts/a", "receipts/a"]
    with V5Client(keys, run.port) as client, V3Client(keys, run.port) as old:
        client.connect("new")
        assert client.subscribe(*filters).reason_codes == [0x87] * 5 + [1]
        old.connect("old")
        assert old.subscribe(*filters) == b"\x80" * 5 + b"\x01"
        client.send(mqtt5.UnsubscribePacket(5, ["receipts/b", "receipts/a"]).write())
        assert client.read().reason_codes == [0x11, 0]
        old.send(b"\xa2\x0e\x00\x05" + b"\x00\x0areceipts/a")
        assert old.packet() == b"\xb0\x02\x00\x05"
        run.call(run.server.deliver, "a", b"{}")
    assert run.server.undelivered == 1


REFUSED_CONNECTS = [
    ({"name": "b"}, 0x87, 5),  # not the certificate's name
    ({"name": "nobody"}, 0x87, 5),
    ({"password": "wrong"}, 0x87, 4),
    ({"password": ""}, 0x87, 4),
    ({"client_id": "x" * 129}, 0x85, 2),
]


@pytest.mark.parametrize(("how", "v5", "v3"), REFUSED_CONNECTS)
def test_refused_connects(keys, run, how, v5, v3):
    with V5Client(keys, run.port) as client:
        changed = {**how, "password": how["password"].encode()} if "password" in how else how
        assert client.connect(**changed).reason_code == v5
        assert client.read() is None
    with V3Client(keys, run.port) as client:
        assert client.connect(**how) == v3
        assert client.packet() == b""
    assert run.server.sessions() == []


def test_a_certificate_other_than_the_enrolled_one(keys, run):
    run.platform.fingerprints["a"] = "00" * 32
    with V5Client(keys, run.port) as client, V3Client(keys, run.port) as old:
        assert client.connect().reason_code is CONNACK.NOT_AUTHORIZED
        assert old.connect() == 4


def test_what_is_not_offered_at_connect(keys, run):
    with V5Client(keys, run.port) as client:
        assert client.connect(will=mqtt5.Will("in/a/cim")).reason_code is CONNACK.NOT_AUTHORIZED
    with V5Client(keys, run.port) as client:
        answer = client.connect(authentication_method="SCRAM-SHA-1")
        assert answer.reason_code is CONNACK.BAD_AUTHENTICATION_METHOD
    with V5Client(keys, run.port) as client:
        client.send(mqtt5.ConnectPacket("c").write())
        assert client.read().reason_code is CONNACK.NOT_AUTHORIZED
    with V3Client(keys, run.port) as client:
        assert client.connect("", flags=0xC0) == 2  # [MQTT-3.1.3-8]


def test_what_connack_says(keys, run):
    with V5Client(keys, run.port) as client:
        said = client.connect("", session_expiry_interval=3600)
    assert said.assigned_client_id.startswith("gridseal-")
    assert (said.session_present, said.session_expiry_interval) == (False, 0)
    assert (said.receive_max, said.max_qos, said.topic_alias_max) == (1000, 1, 0)
    assert said.max_packet_size > 4 * 1024 * 1024
    assert said.server_keep_alive == 600  # it asked for none
    offered = (
        said.retain_available,
        said.wildcard_subscription_available,
        said.subscription_id_available,
        said.shared_subscription_available,
    )
    assert offered == (False, False, False, False)


@pytest.mark.parametrize("name", [None, "foreign-a", "expired-a"])
def test_tls_refuses_who_has_no_certificate_of_ours(keys, run, name):
    try:
        with V5Client(keys, run.port, name) as client:
            assert client.connect() is None
    except (ssl.SSLError, ConnectionError):
        pass  # TLS 1.3 tells the client after its handshake, when it first writes or reads
    assert run.hub.connections == set()


def test_a_context_that_asks_for_no_certificate_is_not_started(keys, run):
    context = keys.server()
    context.verify_mode = ssl.CERT_OPTIONAL
    with pytest.raises(ValueError, match="certificate"):
        run.do(MqttServer(run.platform).start("127.0.0.1", 0, context))


# --- messages that are not taken ---


def test_v5_a_refused_message(keys, run):
    with V5Client(keys, run.port) as client:
        client.connect()
        client.subscribe("receipts/a")
        client.publish("in/a/cim", b"\n<!DOCTYPE a><a/>", 5)
        answer, receipt = client.read(), client.read()
        assert (answer.packet_id, answer.reason_code) == (5, PUBACK.PAYLOAD_FORMAT_INVALID)
        assert answer.reason_str.startswith("dtd-forbidden: ")
        said = json.loads(receipt.payload)
        assert said == {
            "type": "refused", "message": digest(b"\n<!DOCTYPE a><a/>"), "code": "dtd-forbidden",
            "severity": "refused", "field": "", "line": "2", "clause": "XML 1.0 §2.8",
            "text": "a document type or entity declaration is not taken",
        }  # fmt: skip
    assert run.platform.rows() == []


def test_v5_no_reason_string_for_who_wants_none(keys, run):
    """MQTT 5 §3.1.2.11.7."""
    with V5Client(keys, run.port) as client:
        client.connect(request_problem_info=False)
        client.publish("in/a/xyz", b"", 5)
        assert client.read().reason_str is None


@pytest.mark.parametrize("packet_id", [None, 5])
def test_v3_a_refused_message_is_acknowledged_and_named(keys, run, packet_id):
    with V3Client(keys, run.port) as client:
        client.connect()
        client.subscribe("receipts/a")
        client.publish("in/a/xyz", b"{}", packet_id)
        if packet_id:
            assert client.packet() == b"\x40\x02\x00\x05"  # or it would be sent for ever
        _, said = client.receipt()
        assert (said["type"], said["code"]) == ("refused", "format-unknown")
    assert run.platform.rows() == []


FAILURES = [(Unavailable("the bus is full"), 0x97), (RuntimeError("a bug"), 0x80)]


@pytest.mark.parametrize(("failure", "code"), FAILURES)
def test_v5_a_failure_behind(keys, run, failure, code):
    run.platform.failure = failure
    with V5Client(keys, run.port) as client:
        client.connect()
        client.publish("in/a/cim", GOOD, 1)
        answer = client.read()
        assert answer.reason_code == code
        assert "bug" not in (answer.reason_str or "")
        client.publish("in/a/cim", GOOD)
        assert client.read().reason_code == code  # DISCONNECT: QoS 0 has no other answer


@pytest.mark.parametrize(("failure", "code"), FAILURES)
def test_v3_a_failure_behind_closes_without_puback(keys, run, failure, code):
    run.platform.failure = failure
    with V3Client(keys, run.port) as client:
        client.connect()
        client.publish("in/a/cim", GOOD, 1)
        assert client.packet() == b""


@pytest.mark.parametrize(
    ("failure", "v5"), [(Unavailable("later"), 0x88), (RuntimeError("a bug"), 0x80)]
)
def test_a_failure_to_authenticate(keys, run, monkeypatch, failure, v5):
    async def fail(*_):
        raise failure

    monkeypatch.setattr(run.platform, "authenticate", fail)
    with V5Client(keys, run.port) as client, V3Client(keys, run.port) as old:
        assert client.connect().reason_code == v5
        assert old.connect() == 3


# --- sessions ---


def test_takeover_and_several_sessions_of_one_credential(keys, run):
    """MQTT 5 §3.1.4: the older session of a client id is ended."""
    with V5Client(keys, run.port) as first, V5Client(keys, run.port) as other:
        first.connect("x")
        other.connect("y")
        other.subscribe("receipts/a")
        with V5Client(keys, run.port) as second:
            second.connect("x")
            second.subscribe("receipts/a")
            assert first.read().reason_code is DISCONNECT.SESSION_TAKEN_OVER
            assert first.read() is None
            assert run.call(run.server.sessions) == ["a", "a"]
            run.call(run.server.deliver, "a", b'{"n":1}')
            assert second.read().payload == other.read().payload == b'{"n":1}'
    run.wait_for(lambda: run.server.undelivered == 2)  # sent, but neither was acknowledged


def test_the_same_client_id_of_another_credential_is_another_session(keys, run):
    with V5Client(keys, run.port) as a, V5Client(keys, run.port, "b") as b:
        a.connect("x")
        b.connect("x", name="b")
        assert run.call(run.server.sessions) == ["a", "b"]


@pytest.mark.parametrize("kind", [V3Client, V5Client])
def test_revocation_closes_at_once(keys, run, kind):
    with kind(keys, run.port) as client, kind(keys, run.port, "b") as other:
        client.connect()
        other.connect(name="b")
        assert run.call(run.server.disconnect, "a") == 1
        packets = client.packets()
        assert packets == [] if kind is V3Client else packets[0][2] == 0x98
        assert run.call(run.server.sessions) == ["b"]
        assert run.call(run.server.disconnect, "a") == 0


def test_revocation_finds_a_session_that_is_being_authenticated(keys, run, monkeypatch):
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def slow(*_):
        entered.set()
        await go_on.wait()
        return True

    monkeypatch.setattr(run.platform, "authenticate", slow)
    with V5Client(keys, run.port) as client:
        client.send(mqtt5.ConnectPacket("c", username="a", password=b"pw-a").write())
        run.wait_for(entered.is_set)
        assert run.call(run.server.disconnect, "a") == 1
        run.call(go_on.set)
        assert client.read() is None
    assert run.server.sessions() == []


def test_stop_answers_what_is_under_way_and_says_goodbye(keys, tmp_path):
    with running(keys, tmp_path / "journal.db") as run, V5Client(keys, run.port) as client:
        run.platform.gate = asyncio.Event()
        client.connect()
        client.publish("in/a/cim", GOOD, 1)
        run.wait_for(lambda: run.platform.accepting == 1)
        stop = asyncio.run_coroutine_threadsafe(run.server.stop(), run.loop)
        run.wait_for(lambda: run.hub.stopping)
        run.call(run.platform.gate.set)
        assert client.read().reason_code is PUBACK.SUCCESS
        assert client.read().reason_code is DISCONNECT.SERVER_SHUTTING_DOWN
        assert client.read() is None
        stop.result(10)
        assert run.hub.connections == set()
        with pytest.raises(ConnectionError):
            RawClient(keys, run.port)
