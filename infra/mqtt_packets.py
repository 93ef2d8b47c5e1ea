"""What a client of the intake may say, whichever version of MQTT it says it in.

`infra/mqtt_v3.py` (MQTT 3.1.1) and `infra/mqtt_v5.py` (MQTT 5) turn packets into these values and
answers into packets; `infra/mqtt_session.py` decides. No I/O here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

CONNECT = 0x10
PUBLISH = 0x30
PUBACK = 0x40
SUBSCRIBE = 0x80
UNSUBSCRIBE = 0xA0
PINGREQ = 0xC0
DISCONNECT = 0xE0


class Code(IntEnum):
    """Reasons, with the numbers of MQTT 5 §2.4; 3.1.1 has a word for few of them."""

    SUCCESS = 0x00
    UNSPECIFIED = 0x80
    MALFORMED = 0x81
    PROTOCOL_ERROR = 0x82
    UNSUPPORTED_VERSION = 0x84
    CLIENT_ID = 0x85
    BAD_CREDENTIALS = 0x86
    NOT_AUTHORIZED = 0x87
    UNAVAILABLE = 0x88
    BUSY = 0x89
    SHUTTING_DOWN = 0x8B
    AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE = 0x8D
    TAKEN_OVER = 0x8E
    RECEIVE_MAXIMUM = 0x93
    TOPIC_ALIAS = 0x94
    TOO_LARGE = 0x95
    QUOTA = 0x97
    ADMINISTRATIVE = 0x98
    PAYLOAD_FORMAT = 0x99
    RETAIN = 0x9A
    QOS = 0x9B


class Malformed(Exception):
    """The client broke the protocol; the session ends with `code`."""

    def __init__(self, text: str, code: Code = Code.MALFORMED) -> None:
        super().__init__(text)
        self.text = text
        self.code = code


@dataclass(frozen=True, slots=True)
class Connect:
    """CONNECT, less what the intake does not offer."""

    client_id: str
    name: str | None
    password: bytes | None
    keep_alive_s: int
    clean: bool
    will: bool
    receive_max: int = 65535  # how many unacknowledged receipts the client takes
    packet_bytes_max: int | None = None
    problem_text: bool = True  # MQTT 5 §3.1.2.11.7: may answers carry a reason string?
    session_expiry: bool = False
    enhanced_authentication: bool = False


@dataclass(frozen=True, slots=True)
class Publish:
    """PUBLISH; `packet_id` is None for QoS 0."""

    topic: str
    payload: bytes
    qos: int
    packet_id: int | None
    retain: bool = False
    duplicate: bool = False
    alias: bool = False  # a topic alias was used


@dataclass(frozen=True, slots=True)
class Subscribe:
    """SUBSCRIBE: filters with the QoS asked for."""

    packet_id: int
    filters: Sequence[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """UNSUBSCRIBE."""

    packet_id: int
    filters: Sequence[str]


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """PUBACK for a receipt."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class Ping:
    """PINGREQ."""


@dataclass(frozen=True, slots=True)
class Leave:
    """DISCONNECT."""


Packet = Connect | Publish | Subscribe | Unsubscribe | Acknowledge | Ping | Leave


@dataclass(frozen=True, slots=True)
class Offer:
    """What the server grants in a successful CONNACK; 3.1.1 can say none of it."""

    receive_max: int
    packet_bytes_max: int
    keep_alive_s: int | None = None  # where it differs from what the client asked for
    client_id: str | None = None  # where the server chose it
    session_expiry: bool = False  # the client asked for a session that outlives the connection


class Wire(Protocol):
    """One version of the protocol, for one session."""

    version: int

    def read(self, packet: bytes) -> Packet:
        """One whole control packet, fixed header included. Raises Malformed."""
        ...

    def connack(self, code: Code, text: str = "", offer: Offer | None = None) -> bytes:
        """The answer to CONNECT."""
        ...

    def puback(self, packet_id: int, code: Code, text: str = "") -> bytes | None:
        """The answer to a PUBLISH of QoS 1; None where the version cannot say `code`."""
        ...

    def publish(self, topic: str, payload: bytes, packet_id: int | None) -> bytes:
        """A receipt: QoS 1, or QoS 0 without a packet id."""
        ...

    def suback(self, packet_id: int, granted: Sequence[int | None]) -> bytes:
        """Granted QoS per filter; None: not authorised."""
        ...

    def unsuback(self, packet_id: int, existed: Sequence[bool]) -> bytes:
        """Whether each filter was subscribed to."""
        ...

    def disconnect(self, code: Code, text: str = "") -> bytes:
        """The last packet before the server closes; empty where the version has none."""
        ...


PINGRESP_PACKET = b"\xd0\x00"  # the same in both versions


def packet_end(buffer: bytes | bytearray, start: int) -> tuple[int, int] | None:
    """(begin of the body, end of the packet) that starts at `start`; None: not yet known.

    MQTT 3.1.1 §2.2.3, MQTT 5 §1.5.5: at most four bytes of seven bits, least significant first.
    The end may lie beyond the buffer. Raises Malformed.
    """
    length = 0
    for n in range(4):
        at = start + 1 + n
        if at >= len(buffer):
            return None
        length |= (buffer[at] & 0x7F) << (7 * n)
        if buffer[at] < 0x80:
            return at + 1, at + 1 + length
    raise Malformed("a remaining length of more than four bytes")


def length_bytes(length: int) -> bytes:
    """A remaining length as `packet_end` reads it."""
    out = bytearray()
    while True:
        length, low = divmod(length, 128)
        out.append(low | (0x80 if length else 0))
        if not length:
            return bytes(out)


class Cursor:
    """Reads a packet's body from the front; whatever is missing raises Malformed."""

    __slots__ = ("_at", "_body")

    def __init__(self, body: bytes, at: int = 0) -> None:
        self._body = body
        self._at = at

    def left(self) -> int:
        """Bytes not yet read."""
        return len(self._body) - self._at

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        begin, self._at = self._at, self._at + size
        if self._at > len(self._body):
            raise Malformed("a packet is shorter than its fields")
        return self._body[begin : self._at]

    def u8(self) -> int:
        """One byte."""
        return self.take(1)[0]

    def u16(self) -> int:
        """Two bytes, big-endian."""
        return int.from_bytes(self.take(2), "big")

    def packet_id(self) -> int:
        """A packet identifier; MQTT 3.1.1 §2.3.1, MQTT 5 §2.2.1: never 0."""
        value = self.u16()
        if value == 0:
            raise Malformed("packet identifier 0", Code.PROTOCOL_ERROR)
        return value

    def binary(self) -> bytes:
        """Two bytes of length, then so many bytes."""
        return self.take(self.u16())

    def text(self) -> str:
        """A UTF-8 string; MQTT 3.1.1 §1.5.3, MQTT 5 §1.5.4: no U+0000, no surrogate."""
        try:
            value = self.binary().decode("utf-8")
        except UnicodeDecodeError:
            raise Malformed("a string is not UTF-8") from None
        if "\0" in value:
            raise Malformed("a string holds U+0000")
        return value

    def varint(self) -> int:
        """A variable byte integer, MQTT 5 §1.5.5."""
        value = 0
        for n in range(4):
            byte = self.u8()
            value |= (byte & 0x7F) << (7 * n)
            if byte < 0x80:
                return value
        raise Malformed("a variable byte integer of more than four bytes")

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self.left())

    def end(self) -> None:
        """Nothing may be left."""
        if self.left():
            raise Malformed("a packet is longer than its fields")
