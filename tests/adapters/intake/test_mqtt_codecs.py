"""Both codecs: the standards' own examples, and that no bytes get anything but Malformed out."""

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.mqtt_packets import (
    Acknowledge,
    Code,
    Connect,
    Cursor,
    Leave,
    Malformed,
    Ping,
    Publish,
    Subscribe,
    Unsubscribe,
    length_bytes,
    packet_end,
)
from infra.mqtt_v3 import V3
from infra.mqtt_v5 import V5, check_strings

# MQTT 3.1.1 §2.2.3 table 2.4, MQTT 5 §1.5.5: the border of each number of bytes
LENGTHS = [
    (0, b"\x00"), (127, b"\x7f"), (128, b"\x80\x01"), (16_383, b"\xff\x7f"),
    (16_384, b"\x80\x80\x01"), (2_097_151, b"\xff\xff\x7f"), (2_097_152, b"\x80\x80\x80\x01"),
    (268_435_455, b"\xff\xff\xff\x7f"), (321, b"\xc1\x02"),
]  # fmt: skip


@pytest.mark.parametrize(("length", "encoded"), LENGTHS)
def test_remaining_length(length, encoded):
    assert length_bytes(length) == encoded
    assert packet_end(b"\x30" + encoded, 0) == (1 + len(encoded), 1 + len(encoded) + length)
    assert all(packet_end((b"\x30" + encoded)[:n], 0) is None for n in range(len(encoded) + 1))
    assert Cursor(encoded).varint() == length


def test_a_remaining_length_of_five_bytes():
    with pytest.raises(Malformed):
        packet_end(b"\x30\x80\x80\x80\x80\x01", 0)


# §3.1.2, §3.1.3: the example of a CONNECT's variable header, with a payload
CONNECT = b"\x10\x15\x00\x04MQTT\x04\xc2\x00\x0a\x00\x01c\x00\x02me\x00\x02pw"
V3_PACKETS = [
    (CONNECT, Connect("c", "me", b"pw", 10, clean=True, will=False)),
    (
        b"\x10\x18\x00\x04MQTT\x04\x2c\x00\x00\x00\x01c\x00\x03a/b\x00\x04gone",
        Connect("c", None, None, 0, clean=False, will=True),
    ),
    (b"\x30\x05\x00\x03a/b", Publish("a/b", b"", 0, None)),
    (b"\x3b\x09\x00\x03a/b\x00\x0axy", Publish("a/b", b"xy", 1, 10, retain=True, duplicate=True)),
    # §3.8.3, figure 3.22: a/b with QoS 1, c/d with QoS 2
    (
        b"\x82\x0e\x00\x0a\x00\x03a/b\x01\x00\x03c/d\x02",
        Subscribe(10, [("a/b", 1), ("c/d", 2)]),
    ),
    (b"\xa2\x0c\x00\x0a\x00\x03a/b\x00\x03c/d", Unsubscribe(10, ["a/b", "c/d"])),
    (b"\x40\x02\x00\x0a", Acknowledge(10)),
    (b"\xc0\x00", Ping()),
    (b"\xe0\x00", Leave()),
]


@pytest.mark.parametrize(("packet", "value"), V3_PACKETS)
def test_v3_reads(packet, value):
    assert V3().read(packet) == value
    for n in range(len(packet)):
        with pytest.raises(Malformed):
            V3().read(packet[:n])
    with pytest.raises(Malformed):
        V3().read(packet + b"\x00")


V3_BROKEN = {
    "reserved connect flag": CONNECT.replace(b"\xc2", b"\xc3"),
    "password without name": b"\x10\x11\x00\x04MQTT\x04\x42\x00\x0a\x00\x01c\x00\x02pw",
    "will QoS without will": b"\x10\x0d\x00\x04MQTT\x04\x0a\x00\x0a\x00\x01c",
    "will QoS 3": b"\x10\x18\x00\x04MQTT\x04\x1c\x00\x00\x00\x01c\x00\x03a/b\x00\x04gone",
    "bytes left": CONNECT[:1] + b"\x16" + CONNECT[2:] + b"x",
    "QoS 3": b"\x36\x07\x00\x03a/b\x00\x01",
    "duplicate of QoS 0": b"\x38\x05\x00\x03a/b",
    "no topic": b"\x30\x02\x00\x00",
    "wildcard +": b"\x30\x05\x00\x03a/+",
    "wildcard #": b"\x30\x05\x00\x03a/#",
    # MQTT 3.1.1 §1.5.3: UTF-8, without U+0000 and surrogates
    "topic with NUL": b"\x30\x05\x00\x03a\x00b",
    "topic not UTF-8": b"\x30\x05\x00\x03a\xffb",
    "topic with a surrogate": b"\x30\x05\x00\x03\xed\xa0\x80",
    # MQTT 3.1.1 §2.3.1: a packet identifier is not 0
    "id 0": b"\x32\x07\x00\x03a/b\x00\x00",
    "SUBSCRIBE flags": b"\x80\x08\x00\x0a\x00\x03a/b\x01",
    "SUBSCRIBE without filter": b"\x82\x02\x00\x0a",
    "SUBSCRIBE QoS 3": b"\x82\x08\x00\x0a\x00\x03a/b\x03",
    "UNSUBSCRIBE without filter": b"\xa2\x02\x00\x0a",
    "PINGREQ with a body": b"\xc0\x01\x00",
    "DISCONNECT flags": b"\xe1\x00",
    "CONNACK": b"\x20\x02\x00\x00",
    "PUBREL": b"\x62\x02\x00\x01",
    "type 0": b"\x00\x00",
    "type 15": b"\xf0\x00",
}


@pytest.mark.parametrize("packet", V3_BROKEN.values(), ids=V3_BROKEN.keys())
def test_v3_refuses(packet):
    with pytest.raises(Malformed):
        V3().read(packet)


def test_v3_writes():
    wire = V3()
    codes = (Code.SUCCESS, Code.CLIENT_ID, Code.BUSY, Code.BAD_CREDENTIALS, Code.NOT_AUTHORIZED)
    assert [wire.connack(code)[3] for code in codes] == [0, 2, 3, 4, 5]
    assert wire.connack(Code.UNSUPPORTED_VERSION) == b"\x20\x02\x00\x01"
    assert wire.puback(10, Code.SUCCESS) == b"\x40\x02\x00\x0a"
    assert wire.puback(10, Code.PAYLOAD_FORMAT, "said on receipts/<name>") == b"\x40\x02\x00\x0a"
    assert wire.puback(10, Code.QUOTA) is None
    assert wire.puback(10, Code.NOT_AUTHORIZED) is None
    assert wire.publish("a/b", b"xy", 10) == b"\x32\x09\x00\x03a/b\x00\x0axy"
    assert wire.publish("a/b", b"xy", None) == b"\x30\x07\x00\x03a/bxy"
    assert wire.suback(10, [0, 1, None]) == b"\x90\x05\x00\x0a\x00\x01\x80"
    assert wire.unsuback(10, [True]) == b"\xb0\x02\x00\x0a"
    assert wire.disconnect(Code.TOO_LARGE) == b""


@given(st.text(min_size=1).filter(lambda t: not set(t) & set("+#\0")), st.binary(max_size=300))
def test_v3_reads_what_it_writes(topic, payload):
    try:
        name = topic.encode()
    except UnicodeEncodeError:
        return
    packet = V3().publish(name.decode(), payload, 7)
    assert V3().read(packet) == Publish(topic, payload, 1, 7)


V5_PACKETS = [
    mqtt5.ConnectPacket(
        "c",
        username="a",
        password=b"p",
        will=mqtt5.Will("t", payload=b"\xff", content_type="x", user_properties=[("k", "v")]),
        authentication_method="m",
        authentication_data=b"\xff",
        receive_max=5,
        max_packet_size=99,
        session_expiry_interval=7,
        user_properties=[("k", "v")],
    ),
    mqtt5.PublishPacket(
        "in/a/cim",
        b"\xff",
        qos=mqtt5.QoS.AT_LEAST_ONCE,
        packet_id=5,
        payload_format_indicator=1,
        message_expiry_interval=3,
        content_type="text",
        response_topic="r",
        correlation_data=b"\xff",
        topic_alias=3,
        user_properties=[("k", "v"), ("k", "w")],
    ),
    mqtt5.PublishPacket("in/a/cim", b""),
    mqtt5.SubscribePacket(3, [mqtt5.TopicFilter("a"), mqtt5.TopicFilter("b")]),
    mqtt5.UnsubscribePacket(3, ["a", "b"], user_properties=[("k", "v")]),
    mqtt5.PubAckPacket(4, reason_code=mqtt5.PubAckReasonCode.QUOTA_EXCEEDED, reason_str="full"),
    mqtt5.PubAckPacket(4),
    mqtt5.PingReqPacket(),
    mqtt5.DisconnectPacket(reason_str="bye", session_expiry_interval=3),
    mqtt5.DisconnectPacket(),
]


@pytest.mark.parametrize("packet", V5_PACKETS, ids=lambda packet: type(packet).__name__)
def test_v5_reads_what_the_codec_writes(packet):
    data = packet.write()
    check_strings(data)
    V5().read(data)
    for n in range(len(data)):
        with pytest.raises(Malformed):
            V5().read(data[:n])


@pytest.mark.parametrize("packet", V5_PACKETS, ids=lambda packet: type(packet).__name__)
@pytest.mark.parametrize("bad", [b"\xff", b"\x00"])
def test_v5_no_string_is_left_unchecked(packet, bad, capfd):
    """MQTT 5 §1.5.4: each byte in turn is made one that no string may have, and nothing aborts."""
    data = packet.write()
    for n in range(2, len(data)):
        try:
            V5().read(data[:n] + bad + data[n + 1 :])
        except Malformed:
            continue
    assert "panicked" not in capfd.readouterr().err


def test_v5_a_connect_becomes_what_it_asks_for():
    value = V5().read(V5_PACKETS[0].write())
    assert value == Connect(
        "c", "a", b"p", 0, clean=False, will=True, receive_max=5, packet_bytes_max=99,
        session_expiry=True, enhanced_authentication=True,
    )  # fmt: skip


@given(st.binary(max_size=80), st.sampled_from([V3, V5]))
def test_whatever_the_bytes_only_malformed_is_raised(body, codec):
    kinds = (0x10, 0x30, 0x32, 0x40, 0x82, 0xA2, 0xC0, 0xE0, 0xF0)
    for first in kinds:
        try:
            codec().read(bytes((first,)) + length_bytes(len(body)) + body)
        except Malformed as error:
            assert error.text  # noqa: PT017 - either outcome is right
