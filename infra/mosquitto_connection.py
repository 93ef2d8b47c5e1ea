"""One connection of the platform to a Mosquitto broker: MQTT 5 by gmqtt, from CONNECT to its loss.

gmqtt 0.8 can be told not to acknowledge by itself: it sends PUBACK when the coroutine that hears
the message returns. It is held to one connection, as in `field/mqtt_connection.py`; here that is
a matter of safety, too: a PUBACK that is sent late, on the next connection, would acknowledge
another message of the same packet identifier.
"""

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import gmqtt
from gmqtt.mqtt.handler import MQTTConnectError
from gmqtt.storage import PersistentStorage

from bal.errors import GridsealError, Stop, Unavailable
from infra.certificates import client_context

# It warns of each lost connection and of each word that came too late for one: we say it once
logging.getLogger("gmqtt").setLevel(logging.CRITICAL)

KEEP_ALIVE_S = 20  # silence of twice as long ends the connection
CONNECT_TIMEOUT_S = 10.0
WATCH_S = 1.0
SESSION_WITHOUT_END = 0xFFFFFFFF  # MQTT 5 §3.1.2.11.2
PACKET_BYTES_MAX = 16 * 1024 * 1024  # of a message to us; the guard refuses far smaller ones
NEVER_RECONNECT = {"reconnect_retries": -2}  # gmqtt: -1 is for ever, 0 is once
REFUSED_FOR_GOOD = frozenset({0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C})  # MQTT 5 §3.2.2.2
NO_RETAINED_AT_SUBSCRIBE = 2  # MQTT 5 §3.8.3.1, Retain Handling
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Broker:
    """Where a broker is and what one connection enters with; every secret is a file."""

    host: str  # as its certificate names it
    port: int
    ca: Path  # who may vouch for it
    certificate: Path  # our own
    key: Path
    user: str
    password_file: Path  # the password, with or without a newline behind it
    client_id: str  # names the session that the broker keeps for us

    def context(self) -> ssl.SSLContext:
        """TLS 1.2 or newer. Raises Stop("broker-refused") for files that can't be used."""
        try:
            return client_context(self.ca, self.certificate, self.key)
        except OSError as error:
            text = f"certificate, key or CA for the broker can't be read: {error}"
            raise Stop("broker-refused", text) from error

    def password(self) -> str:
        """What stands in the file. Raises Stop("broker-refused")."""
        try:
            return self.password_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            text = f"the broker's password can't be read: {self.password_file}"
            raise Stop("broker-refused", text) from error


@dataclass(frozen=True, slots=True)
class Heard:
    """One PUBLISH of the broker's."""

    topic: str
    payload: bytes
    retained: bool


@dataclass(eq=False, slots=True)
class _Place:
    """Of one message among those that are not acknowledged."""

    turn: asyncio.Future[None]  # done when it may be, or never will be
    answered: bool = False


class _Turns:
    """Lets acknowledgements go in the order of the messages.

    MQTT 5 §4.6 [MQTT-4.6.0-2]: "It MUST send PUBACK packets in the order in which the corresponding
    PUBLISH packets were received (QoS 1 messages)".
    """

    def __init__(self) -> None:
        self._waiting: deque[_Place] = deque()

    def enter(self) -> _Place:
        """The place of the next message."""
        place = _Place(asyncio.get_running_loop().create_future())
        self._waiting.append(place)
        return place

    def answer(self, place: _Place) -> None:
        """Its turn has come once all before it are answered."""
        place.answered = True
        while self._waiting and self._waiting[0].answered:
            self._waiting.popleft().turn.set_result(None)

    def end(self) -> None:
        """Let go of all who wait: there is nobody left to acknowledge to."""
        while self._waiting:
            self._waiting.popleft().turn.set_result(None)


class _Sent(PersistentStorage):  # type: ignore[misc] # gmqtt has no types
    """What is under way from us, by packet identifier: gmqtt tells those to its storage only."""

    def __init__(self) -> None:
        super().__init__()
        self.last_id = 0

    def push_message(self, mid: int, raw_package: bytes) -> None:
        """A message set out; its bytes are kept by whoever sent it."""
        super().push_message(mid, b"")
        self.last_id = mid


class Connection:
    """Hears one filter with QoS 1, or publishes with QoS 1; thrown away when lost.

    hear: awaited for each message; once it returns True, the message is acknowledged, in order; if
    False, never on this connection. It must not raise. on_acknowledged: told of the packet
    identifier of each message of ours that the broker has answered, and of the reason code.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        receive_max: int = 1,
        hear: Callable[[Heard], Awaitable[bool]] | None = None,
        on_acknowledged: Callable[[int, int], None] = lambda _, __: None,
    ) -> None:
        """receive_max: messages that the broker may have under way to us, 1 to 65535."""
        self._broker, self._hear, self._on_acknowledged = broker, hear, on_acknowledged
        self._sent, self._turns = _Sent(), _Turns()
        self._offer: dict[str, Any] = {}
        self._lost, self._reading = asyncio.Event(), asyncio.Event()
        self._reading.set()
        self._granted = asyncio.Event()
        self._refusal: Stop | None = None
        self._out = bytearray()
        self._write_out: Callable[[bytes], None] | None = None  # from CONNACK on
        self.session_present = False
        self.why = "the connection was lost"
        self._client = gmqtt.Client(
            broker.client_id,
            clean_session=hear is None,
            optimistic_acknowledgement=False,
            persistent_storage=self._sent,
            session_expiry_interval=0 if hear is None else SESSION_WITHOUT_END,
            receive_maximum=receive_max,
            maximum_packet_size=PACKET_BYTES_MAX,
        )
        self._client.set_config(NEVER_RECONNECT)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.on_disconnect = self._on_disconnect
        # gmqtt 0.8 throws the reason code of a PUBACK away; this is the only place to see it
        self._client._package_handler._handle_puback_packet = self._on_puback

    async def open(self, topic: str = "") -> None:
        """Connect, with the session that the broker keeps where we hear, and hear `topic`.

        Raises Stop("broker-refused") when the broker will never let this user or certificate in or
        hear that topic; Unavailable or OSError when it may later.
        """
        broker = self._broker
        self._client.set_auth_credentials(broker.user, broker.password())
        connect = self._client.connect(
            broker.host, broker.port, ssl=broker.context(), keepalive=KEEP_ALIVE_S
        )
        try:
            await self.unless_lost(connect, CONNECT_TIMEOUT_S)
        except MQTTConnectError as error:
            if error._code in REFUSED_FOR_GOOD:
                text = f"the broker does not let the user {broker.user} in: {error}"
                raise Stop("broker-refused", text) from None
            raise Unavailable(str(error)) from None
        if not topic:
            return
        self._client.subscribe(topic, qos=1, retain_handling_options=NO_RETAINED_AT_SUBSCRIBE)
        if not self.session_present:
            await self.unless_lost(self._granted.wait(), CONNECT_TIMEOUT_S)
        # Else the answer may come behind a thousand messages, which are to be heard meanwhile
        if self._refusal is not None:
            raise self._refusal

    @property
    def window(self) -> int:
        """How many messages of ours may be under way; gmqtt keeps one packet id back."""
        return max(1, int(self._offer.get("receive_maximum", [65535])[0]) - 2)

    @property
    def payload_bytes_max(self) -> int:
        """How large a message the broker takes, less what PUBLISH puts around it."""
        return int(self._offer.get("maximum_packet_size", [1 << 28])[0]) - 256

    @property
    def is_lost(self) -> bool:
        """Nothing more comes of it, and nothing goes."""
        return self._lost.is_set()

    def publish(self, topic: str, payload: bytes) -> int:
        """Send with QoS 1; returns the packet identifier that its PUBACK will name."""
        self._client.publish(topic, payload, qos=1)
        return self._sent.last_id

    def pause(self) -> None:
        """Read nothing more for now; TCP lets the broker wait.

        Over twice KEEP_ALIVE_S of it ends the connection: no answer to a ping is read, either.
        """
        self._reading.clear()

    def resume(self) -> None:
        """Read on."""
        self._reading.set()

    async def until_lost(self) -> GridsealError:
        """Why it was lost, once it is, or gmqtt has given it up for its silence.

        A connection that is given up would otherwise wait for the other end to close TLS.
        """
        while not self.is_lost:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._lost.wait(), WATCH_S)
            if not self._client.is_connected:
                self._lost.set()
        return self._refusal or Unavailable(self.why)

    async def unless_lost(self, work: Awaitable[T], timeout_s: float) -> T:
        """What `work` results in; Unavailable when the connection is lost first, or in time."""
        task = asyncio.ensure_future(work)
        lost = asyncio.ensure_future(self._lost.wait())
        try:
            await asyncio.wait({task, lost}, timeout=timeout_s, return_when="FIRST_COMPLETED")
            if task.done():
                return task.result()
            if self.is_lost:
                raise self._refusal or Unavailable(self.why)
            raise Unavailable("the broker did not answer in time")
        finally:
            lost.cancel()
            task.cancel()

    async def close(self) -> None:
        """Leave; the session stays with the broker. Nothing is acknowledged from now on."""
        self._lost.set()
        connection = self._client._connection
        self._flush()
        if self._write_out is not None:
            connection._protocol.write_data = self._write_out  # DISCONNECT is closed behind at once
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(1):
                await self._client.disconnect()
        if connection is not None:
            connection._transport.abort()  # there is no public way; TLS would wait 30 s
        self._turns.end()  # gmqtt now tries to acknowledge, to a transport that is closed

    def _on_connect(self, _: Any, present: int, __: int, ___: Any) -> None:
        self.session_present = bool(present)
        # What gmqtt hands over has our own properties in the place of the broker's
        self._offer = self._client._package_handler._connack_properties
        # gmqtt reads as fast as it can. Pausing its transport does not last: its StreamReader
        # resumes that whenever it has emptied its own buffer.
        protocol = self._client._connection._protocol
        protocol.read = partial(self._read, protocol.read)
        # And it makes a TLS record and a system call of each PUBACK and each receipt
        self._write_out, protocol.write_data = protocol.write_data, self._write

    def _write(self, data: bytes) -> None:
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out += data

    def _flush(self) -> None:
        """Write what one turn of the loop has to say at once."""
        if self._out and self._write_out is not None:
            self._write_out(bytes(self._out))
            self._out.clear()

    async def _read(self, read: Callable[[int], Awaitable[bytes]], size: int) -> bytes:
        await self._reading.wait()
        return await read(size)

    def _on_subscribe(self, _: Any, __: int, granted: tuple[int, ...], ___: Any) -> None:
        if granted[0] != 1:
            text = f"the broker does not let the user {self._broker.user} hear with QoS 1"
            self._refusal = Stop("broker-refused", text)
            self._lost.set()
        self._granted.set()

    async def _on_message(
        self, _: Any, topic: str | bytes, payload: bytes, __: int, properties: dict[str, Any]
    ) -> int:
        """What gmqtt sends as the reason code of PUBACK, once it is returned."""
        name = topic if isinstance(topic, str) else topic.decode("utf-8", "replace")
        place = self._turns.enter()
        assert self._hear is not None
        if await self._hear(Heard(name, payload, bool(properties.get("retain")))):
            self._turns.answer(place)
        await place.turn
        return 0

    def _on_puback(self, _: int, packet: bytes) -> None:
        packet_id = int.from_bytes(packet[:2], "big")
        self._client._package_handler.id_generator.free_id(packet_id)
        self._sent.remove_message_by_mid(packet_id)
        # "If the Remaining Length is 2, then the Reason Code 0x00 is used", §3.4.2.1
        self._on_acknowledged(packet_id, packet[2] if len(packet) > 2 else 0)

    def _on_disconnect(self, _: Any, packet: Any, __: Any = None) -> None:
        if isinstance(packet, bytes) and packet:  # DISCONNECT of MQTT 5, with its reason
            self.why = f"the broker closed the connection: reason 0x{packet[0]:02x}"
        self._lost.set()
