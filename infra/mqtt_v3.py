"""MQTT 3.1.1 (OASIS, 2014), the server's side of the codec, strict: what it reads, it would print.

Bracketed numbers are the standard's own conformance statements.
"""

from collections.abc import Callable, Sequence

from infra.mqtt_packets import (
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
    length_bytes,
    packet_end,
)

# §3.2.2.3, table 3.1
_CONNACK = {
    Code.SUCCESS: 0,
    Code.UNSUPPORTED_VERSION: 1,
    Code.CLIENT_ID: 2,
    Code.UNAVAILABLE: 3,
    Code.BUSY: 3,
    Code.QUOTA: 3,
    Code.UNSPECIFIED: 3,
    Code.BAD_CREDENTIALS: 4,
}
_NOT_AUTHORISED = 5


class V3:
    """The codec of one session; it has no state."""

    version = 4  # the protocol level of 3.1.1 [MQTT-3.1.2-2]

    def read(self, packet: bytes) -> Packet:
        """One whole control packet that a client may send; a refused PUBACK has no form here."""
        ends = packet_end(packet, 0)
        if ends is None or ends[1] != len(packet):
            raise Malformed("not one whole packet")
        kind, flags = packet[0] & 0xF0, packet[0] & 0x0F
        cursor = Cursor(packet, ends[0])
        if kind == PUBLISH:
            return _publish(flags, cursor)
        reader = _READERS.get(kind)
        if reader is None:
            raise Malformed("a packet that no client sends", Code.PROTOCOL_ERROR)
        if flags != _FLAGS.get(kind, 0):
            raise Malformed("reserved flags are set")  # [MQTT-2.2.2-2]
        value = reader(cursor)
        cursor.end()
        return value

    def connack(self, code: Code, text: str = "", offer: Offer | None = None) -> bytes:
        """CONNACK, never with a session present; `text` and `offer` have no place in it."""
        return bytes((0x20, 2, 0, _CONNACK.get(code, _NOT_AUTHORISED)))

    def puback(self, packet_id: int, code: Code, text: str = "") -> bytes | None:
        """PUBACK says 'received' and nothing else.

        A message refused for good is acknowledged, or the device would send it for ever; the
        refusal itself goes to its receipts topic. Anything else cannot be said: None.
        """
        if code not in (Code.SUCCESS, Code.PAYLOAD_FORMAT):
            return None
        return b"\x40\x02" + packet_id.to_bytes(2, "big")

    def publish(self, topic: str, payload: bytes, packet_id: int | None) -> bytes:
        """PUBLISH of QoS 1, or of QoS 0 without packet id."""
        name = topic.encode()
        head = len(name).to_bytes(2, "big") + name
        if packet_id is not None:
            head += packet_id.to_bytes(2, "big")
        first = b"\x30" if packet_id is None else b"\x32"
        return first + length_bytes(len(head) + len(payload)) + head + payload

    def suback(self, packet_id: int, granted: Sequence[int | None]) -> bytes:
        """SUBACK; 0x80 is its only failure."""
        codes = bytes(0x80 if qos is None else qos for qos in granted)
        return b"\x90" + length_bytes(2 + len(codes)) + packet_id.to_bytes(2, "big") + codes

    def unsuback(self, packet_id: int, existed: Sequence[bool]) -> bytes:
        """UNSUBACK."""
        return b"\xb0\x02" + packet_id.to_bytes(2, "big")

    def disconnect(self, code: Code, text: str = "") -> bytes:
        """A 3.1.1 server cannot say why it closes."""
        return b""


def _connect(cursor: Cursor) -> Packet:
    if cursor.text() != "MQTT" or cursor.u8() != V3.version:
        raise Malformed("not MQTT 3.1.1", Code.UNSUPPORTED_VERSION)
    flags = cursor.u8()
    user, password, clean, will = flags & 0x80, flags & 0x40, flags & 0x02, flags & 0x04
    if flags & 0x01:
        raise Malformed("the reserved connect flag is set")  # [MQTT-3.1.2-3]
    if password and not user:
        raise Malformed("a password without a user name")  # [MQTT-3.1.2-22]
    will_qos, will_retain = flags >> 3 & 3, flags & 0x20
    if will_qos == 3 or (not will and (will_qos or will_retain)):
        raise Malformed("will flags contradict each other")  # [MQTT-3.1.2-11] to [-15]
    keep_alive_s = cursor.u16()
    client_id = cursor.text()
    if will:
        cursor.text()
        cursor.binary()
    return Connect(
        client_id=client_id,
        name=cursor.text() if user else None,
        password=cursor.binary() if password else None,
        keep_alive_s=keep_alive_s,
        clean=bool(clean),
        will=bool(will),
    )


def _publish(flags: int, cursor: Cursor) -> Publish:
    qos, duplicate = flags >> 1 & 3, bool(flags & 0x08)
    if qos == 3:
        raise Malformed("QoS 3")  # [MQTT-3.3.1-4]
    if duplicate and not qos:
        raise Malformed("a duplicate of QoS 0")  # [MQTT-3.3.1-2]
    topic = cursor.text()
    if not topic or "+" in topic or "#" in topic:
        raise Malformed("a topic name that is empty or has wildcards")  # [MQTT-3.3.2-2], [-4.7.3-1]
    packet_id = cursor.packet_id() if qos else None
    return Publish(topic, cursor.rest(), qos, packet_id, bool(flags & 0x01), duplicate)


def _subscribe(cursor: Cursor) -> Packet:
    packet_id = cursor.packet_id()
    filters: list[tuple[str, int]] = []
    while cursor.left() or not filters:  # at least one [MQTT-3.8.3-3]
        name, qos = cursor.text(), cursor.u8()
        if not name or qos > 2:
            raise Malformed("a subscription without filter or with a QoS above 2")
        filters.append((name, qos))
    return Subscribe(packet_id, filters)


def _unsubscribe(cursor: Cursor) -> Packet:
    packet_id = cursor.packet_id()
    filters: list[str] = []
    while cursor.left() or not filters:  # at least one [MQTT-3.10.3-2]
        filters.append(cursor.text())
    return Unsubscribe(packet_id, filters)


def _puback(cursor: Cursor) -> Packet:
    return Acknowledge(cursor.packet_id())


def _ping(_: Cursor) -> Packet:
    return Ping()


def _leave(_: Cursor) -> Packet:
    return Leave()


_FLAGS = {SUBSCRIBE: 0x02, UNSUBSCRIBE: 0x02}
_READERS: dict[int, Callable[[Cursor], Packet]] = {
    0x10: _connect,
    PUBACK: _puback,
    SUBSCRIBE: _subscribe,
    UNSUBSCRIBE: _unsubscribe,
    PINGREQ: _ping,
    DISCONNECT: _leave,
}
