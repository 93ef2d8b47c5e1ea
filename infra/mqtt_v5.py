"""MQTT 5 (OASIS, 2019) for the intake, on the sans-I/O codec `mqtt5`.

mqtt5 0.8.0 aborts inside (a Rust panic, with a trace on stderr) on a string that is not UTF-8,
and lets packet identifier 0 and empty subscriptions pass; so every string and identifier is
looked at here before the codec sees the packet.
"""

from collections.abc import Callable, Sequence

import mqtt5

from infra.mqtt_packets import (
    CONNECT,
    DISCONNECT,
    PINGREQ,
    PUBACK,
    PUBLISH,
    SUBSCRIBE,
    UNSUBSCRIBE,
    Acknowledge,
    Code,
    Connect,
    Cursor,
    Leave,
    Malformed,
    Offer,
    Packet,
    Ping,
    Publish,
    Subscribe,
    Unsubscribe,
    packet_end,
)


class V5:
    """The codec of one session; it remembers what the client said it can take."""

    version = 5

    def __init__(self) -> None:
        self._problem_text = True
        self._packet_bytes_max = 1 << 28

    def read(self, packet: bytes) -> Packet:
        """One whole control packet that a client may send."""
        check_strings(packet)
        try:
            value, size = mqtt5.read(memoryview(packet))
        except (ValueError, IndexError, OverflowError) as error:
            raise Malformed(str(error)) from None
        if size != len(packet):
            raise Malformed("not one whole packet")
        return self._packet(value)

    def _packet(self, value: mqtt5.Packet) -> Packet:
        match value:
            case mqtt5.PublishPacket():
                return _publish(value)
            case mqtt5.PubAckPacket():
                return Acknowledge(value.packet_id)
            case mqtt5.PingReqPacket():
                return Ping()
            case mqtt5.SubscribePacket():
                if value.subscription_id is not None:
                    # CONNACK said that they are not available (§3.2.2.3.12)
                    raise Malformed("a subscription identifier", Code.PROTOCOL_ERROR)
                filters = [(each.pattern, int(each.max_qos)) for each in value.topic_filters]
                return Subscribe(value.packet_id, filters)
            case mqtt5.UnsubscribePacket():
                return Unsubscribe(value.packet_id, value.patterns)
            case mqtt5.DisconnectPacket():
                return Leave()
            case mqtt5.ConnectPacket():
                return self._connect(value)
            case _:
                raise Malformed("a packet that this server never asks for", Code.PROTOCOL_ERROR)

    def _connect(self, value: mqtt5.ConnectPacket) -> Connect:
        self._problem_text = value.request_problem_info
        self._packet_bytes_max = value.max_packet_size or self._packet_bytes_max
        return Connect(
            client_id=value.client_id,
            name=value.username,
            password=value.password,
            keep_alive_s=value.keep_alive,
            clean=value.clean_start,
            will=value.will is not None,
            receive_max=value.receive_max,
            packet_bytes_max=value.max_packet_size,
            problem_text=value.request_problem_info,
            session_expiry=value.session_expiry_interval > 0,
            enhanced_authentication=value.authentication_method is not None,
        )

    def connack(self, code: Code, text: str = "", offer: Offer | None = None) -> bytes:
        """CONNACK; never with a session present (§3.2.2.1.1): the device's spool is the session."""
        if offer is None:
            shown = Code.NOT_AUTHORIZED if code is Code.BAD_CREDENTIALS else code
            reason = mqtt5.ConnAckReasonCode(shown)
            return mqtt5.ConnAckPacket(reason_code=reason, reason_str=text or None).write()
        return mqtt5.ConnAckPacket(
            reason_code=mqtt5.ConnAckReasonCode(code),
            session_expiry_interval=0 if offer.session_expiry else None,
            assigned_client_id=offer.client_id,
            server_keep_alive=offer.keep_alive_s,
            receive_max=offer.receive_max,
            max_qos=mqtt5.QoS.AT_LEAST_ONCE,
            retain_available=False,
            max_packet_size=offer.packet_bytes_max,
            topic_alias_max=0,
            wildcard_subscription_available=False,
            subscription_id_available=False,
            shared_subscription_available=False,
        ).write()

    def puback(self, packet_id: int, code: Code, text: str = "") -> bytes | None:
        """PUBACK with its reason; the sentence only where the client wants and can take it."""
        if code is Code.SUCCESS:
            return b"\x40\x02" + packet_id.to_bytes(2, "big")  # §3.4.2.1
        reason = mqtt5.PubAckReasonCode(code)
        if text and self._problem_text:
            packet = mqtt5.PubAckPacket(packet_id, reason_code=reason, reason_str=text).write()
            if len(packet) <= self._packet_bytes_max:
                return packet
        return mqtt5.PubAckPacket(packet_id, reason_code=reason).write()

    def publish(self, topic: str, payload: bytes, packet_id: int | None) -> bytes:
        """PUBLISH of QoS 1, or of QoS 0 without packet id."""
        qos = mqtt5.QoS.AT_MOST_ONCE if packet_id is None else mqtt5.QoS.AT_LEAST_ONCE
        return mqtt5.PublishPacket(topic, payload, qos=qos, packet_id=packet_id).write()

    def suback(self, packet_id: int, granted: Sequence[int | None]) -> bytes:
        """SUBACK; 0x87 for a filter that is not the client's own."""
        codes = [
            mqtt5.SubAckReasonCode(Code.NOT_AUTHORIZED if qos is None else qos) for qos in granted
        ]
        return mqtt5.SubAckPacket(packet_id, codes).write()

    def unsuback(self, packet_id: int, existed: Sequence[bool]) -> bytes:
        """UNSUBACK."""
        codes = mqtt5.UnsubAckReasonCode
        answers = [codes.SUCCESS if was else codes.NO_SUBSCRIPTION_EXISTED for was in existed]
        return mqtt5.UnsubAckPacket(packet_id, answers).write()

    def disconnect(self, code: Code, text: str = "") -> bytes:
        """DISCONNECT with its reason."""
        reason = mqtt5.DisconnectReasonCode(code)
        return mqtt5.DisconnectPacket(reason_code=reason, reason_str=text or None).write()


def _publish(value: mqtt5.PublishPacket) -> Publish:
    if value.subscription_ids:  # [MQTT-3.3.4-6]
        raise Malformed("a subscription identifier in a client's PUBLISH", Code.PROTOCOL_ERROR)
    return Publish(
        value.topic,
        value.payload,
        int(value.qos),
        value.packet_id,
        value.retain,
        value.duplicate,
        value.topic_alias is not None,
    )


# §2.2.2.2, table 2-4: how each property's value is written
_PROPERTIES: dict[int, Sequence[Callable[[Cursor], object]]] = {
    **dict.fromkeys((1, 23, 25, 36, 37, 40, 41, 42), (Cursor.u8,)),
    **dict.fromkeys((19, 33, 34, 35), (Cursor.u16,)),
    **dict.fromkeys((2, 17, 24, 39), (Cursor.u16, Cursor.u16)),
    **dict.fromkeys((3, 8, 18, 21, 26, 28, 31), (Cursor.text,)),
    **dict.fromkeys((9, 22), (Cursor.binary,)),
    11: (Cursor.varint,),
    38: (Cursor.text, Cursor.text),
}


def check_strings(packet: bytes) -> None:
    """Return only if this is a packet for the intake, its strings UTF-8 without U+0000, its id > 0.

    Everything else is left to the codec. Raises Malformed.
    """
    ends = packet_end(packet, 0)
    if ends is None or ends[1] != len(packet):
        raise Malformed("not one whole packet")
    cursor, kind = Cursor(packet, ends[0]), packet[0] & 0xF0
    if kind == PUBLISH:
        cursor.text()
        if packet[0] & 0x06:
            cursor.packet_id()
        _check_properties(cursor)
    elif kind == CONNECT:
        _check_connect(cursor)
    elif kind in (SUBSCRIBE, UNSUBSCRIBE):
        cursor.packet_id()
        _check_properties(cursor)
        if not cursor.left():  # [MQTT-3.8.3-2], [MQTT-3.10.3-2]
            raise Malformed("a subscription without filter", Code.PROTOCOL_ERROR)
        while cursor.left():
            cursor.text()
            cursor.take(1 if kind == SUBSCRIBE else 0)
    elif kind == PUBACK:
        cursor.packet_id()
        _check_reason(cursor)
    elif kind == DISCONNECT:
        _check_reason(cursor)
    elif kind != PINGREQ:  # QoS 2, AUTH, and what only a server sends
        raise Malformed("a packet that this server never asks for", Code.PROTOCOL_ERROR)


def _check_connect(cursor: Cursor) -> None:
    cursor.text()
    cursor.u8()
    flags = cursor.u8()
    cursor.u16()
    _check_properties(cursor)
    cursor.text()
    if flags & 0x04:
        _check_properties(cursor)
        cursor.text()
        cursor.binary()
    if flags & 0x80:
        cursor.text()


def _check_reason(cursor: Cursor) -> None:
    if cursor.left():
        cursor.u8()
    if cursor.left():
        _check_properties(cursor)


def _check_properties(cursor: Cursor) -> None:
    size = cursor.varint()
    if not size:
        return
    properties = Cursor(cursor.take(size))
    while properties.left():
        steps = _PROPERTIES.get(properties.varint())
        if steps is None:
            raise Malformed("an unknown property")
        for step in steps:
            step(properties)
