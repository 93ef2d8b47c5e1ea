"""One client of the intake, from the TLS handshake to the close.

    CONNECTING ──CONNECT──▶ AUTHENTICATING ──▶ OPEN ──▶ CLOSING
                                                │
         PUBLISH ▶ service.accept ▶ PUBACK, then the receipt on receipts/<name>

Nothing is acknowledged before the service has it. Nothing is kept here that the loss of the
process would lose: the device's spool is the session. docs/spec/intake.md is the contract.
"""

import asyncio
import logging
import secrets
from enum import Enum
from hashlib import sha256
from typing import cast

from bal import jcs
from bal.errors import Rejected, Unavailable
from bal.model import Finding
from infra.mqtt_admission import certificate_of, choose_wire, refuse_connect
from infra.mqtt_hub import Hub, Outbox
from infra.mqtt_packets import (
    PINGRESP_PACKET,
    Acknowledge,
    Code,
    Connect,
    Leave,
    Malformed,
    Offer,
    Packet,
    Ping,
    Publish,
    Subscribe,
    Unsubscribe,
    Wire,
    packet_end,
)
from infra.mqtt_v3 import V3
from infra.mqtt_v5 import V5

log = logging.getLogger("gridseal.mqtt")


class State(Enum):
    """Where a session stands; it only ever moves downwards."""

    CONNECTING = 1
    AUTHENTICATING = 2
    OPEN = 3
    CLOSING = 4


class Session(asyncio.Protocol):
    """A connection; asyncio calls it, and so does the hub."""

    def __init__(self, hub: Hub) -> None:
        self.credential = ""
        self.client_id = ""
        self._hub = hub
        self._limits = hub.limits
        self._loop = asyncio.get_running_loop()
        self._state = State.CONNECTING
        self._wire: Wire | None = None
        self._buffer = bytearray()
        self._out = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._seen_s = self._loop.time()
        self._silence_s_max = hub.limits.connect_timeout_s
        self._common_name = ""
        self._certificate_sha256 = ""
        self._in_flight: set[int] = set()  # packet ids whose PUBACK is due
        self._pending = 0  # messages on their way to the bus, QoS 0 too
        self._pending_bytes = 0
        self._full = False  # no more reading until messages have reached the bus
        self._unread_since_s: float | None = None  # the client does not read what we write
        self._subscribed_qos: int | None = None
        self._client_packet_bytes_max: int | None = None
        self._outbox = Outbox(1, 0, 0)

    # --- the transport -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is over: TLS vouches for the certificate's name."""
        self._transport = cast("asyncio.Transport", transport)
        self._hub.connections.add(self)
        self._common_name, self._certificate_sha256 = certificate_of(self._transport)
        if self._hub.stopping or len(self._hub.connections) > 2 * self._limits.sessions_max:
            self._transport.abort()
            return
        self._timer = self._loop.call_later(self._silence_s_max, self._check_alive)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; what is on its way to the bus goes on."""
        self._leave()
        self._hub.connections.discard(self)
        self._out.clear()
        self._buffer.clear()

    def data_received(self, data: bytes) -> None:
        """Bytes of the client; while closing they are read and thrown away."""
        if self._state is State.CLOSING:
            return
        if self._state is State.OPEN:  # before, the time for a whole CONNECT is limited
            self._seen_s = self._loop.time()
        self._buffer += data
        self._parse()

    def pause_writing(self) -> None:
        """The client does not read: take no more from it, and not for ever."""
        self._unread_since_s = self._loop.time()
        self._transport.pause_reading()
        self._loop.call_later(self._limits.write_stall_s, self._check_stalled)

    def resume_writing(self) -> None:
        """The client has read on."""
        self._unread_since_s = None
        self._send_receipts()
        self.resume()

    def _check_stalled(self) -> None:
        since_s = self._unread_since_s
        if since_s is not None and self._loop.time() - since_s >= self._limits.write_stall_s:
            self._transport.abort()

    def _check_alive(self) -> None:
        """Runs when the client has been silent long enough, if it has been."""
        if self._waits():  # it may have spoken, we do not listen
            self._seen_s = self._loop.time()
        left_s = self._seen_s + self._silence_s_max - self._loop.time()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._check_alive)
        elif self._state is State.OPEN:
            self.end(Code.KEEP_ALIVE, "nothing was heard within 1.5 times the keep alive")
        else:
            self._transport.abort()

    # --- in ------------------------------------------------------------------------------

    def _waits(self) -> bool:
        stalled = self._unread_since_s is not None
        busy = self._full or self in self._hub.held_back or self._hub.stopping
        return busy or stalled or self._state is State.AUTHENTICATING

    def resume(self) -> None:
        """Go on reading, packets already here first, if nothing stands against it."""
        if self._state is State.CLOSING or self._waits():
            return
        self._parse()
        if not self._waits():
            self._transport.resume_reading()

    def _parse(self) -> None:
        """Take whole packets off the buffer, as long as the session need not wait."""
        start = 0
        try:
            while self._state is not State.CLOSING and not self._waits():
                ends = packet_end(self._buffer, start)
                if ends is None:
                    break
                self._check_size(ends[1] - start)
                if ends[1] > len(self._buffer):
                    break
                packet = bytes(memoryview(self._buffer)[start : ends[1]])
                start = ends[1]
                if self._wire is None:
                    self._wire = choose_wire(packet)
                self._handle(self._wire.read(packet))
        except Malformed as error:
            self.end(error.code, error.text)
        if self._state is State.CLOSING:
            self._buffer.clear()
            return
        del self._buffer[:start]
        if self._waits():
            self._transport.pause_reading()

    def _check_size(self, size: int) -> None:
        if self._state is State.OPEN:
            if size > self._limits.packet_bytes_max:
                # 3.1.1 has no word for it; without this one the device would send it for ever
                text = f"{size} bytes; a message has at most {self._limits.message_bytes_max}"
                self._hub.deliver(self.credential, refusal("", Rejected("message-too-large", text)))
                raise Malformed(text, Code.TOO_LARGE)
        elif size > self._limits.connect_bytes_max:
            raise Malformed("too large for a CONNECT", Code.TOO_LARGE)

    def _handle(self, packet: Packet) -> None:
        if isinstance(packet, Connect):
            if self._state is not State.CONNECTING:  # [MQTT-3.1.0-2]
                raise Malformed("a second CONNECT", Code.PROTOCOL_ERROR)
            self._connect(packet)
        elif isinstance(packet, Publish):
            self._publish(packet)
        elif isinstance(packet, Acknowledge):
            self._outbox.acknowledge(packet.packet_id)
            self._send_receipts()
        elif isinstance(packet, Ping):
            self._write(PINGRESP_PACKET)
        elif isinstance(packet, Subscribe):
            self._subscribe(packet)
        elif isinstance(packet, Unsubscribe):
            self._unsubscribe(packet)
        elif isinstance(packet, Leave):
            self._close()

    # --- CONNECT -------------------------------------------------------------------------

    def _connect(self, packet: Connect) -> None:
        refused = refuse_connect(packet, self._common_name, self._speaks())
        if refused is not None:
            self._refuse(*refused)
            return
        self.credential = packet.name or ""
        self.client_id = packet.client_id or f"gridseal-{secrets.token_hex(8)}"
        self._client_packet_bytes_max = packet.packet_bytes_max
        self._state = State.AUTHENTICATING
        self._hub.knocking.add(self)  # so that a revocation in the meantime finds it
        self._start(self._authenticate(packet))

    async def _authenticate(self, packet: Connect) -> None:
        try:
            known = await self._hub.service.authenticate(
                self.credential, self._certificate_sha256, packet.password or b""
            )
            code = Code.SUCCESS if known else Code.BAD_CREDENTIALS
        except Unavailable:
            code = Code.UNAVAILABLE
        except Exception:
            log.exception("authenticate failed", extra={"credential": self.credential})
            code = Code.UNSPECIFIED
        self._hub.knocking.discard(self)
        if self._state is State.CLOSING:
            return
        if code is Code.SUCCESS:
            code = self._hub.admit(self)
        if code is not Code.SUCCESS:
            self._refuse(code, "")
            return
        self._open(packet)

    def _open(self, packet: Connect) -> None:
        limits, told = self._limits, None
        if not 0 < packet.keep_alive_s <= limits.keep_alive_s_max:
            told = limits.keep_alive_s_max
        offer = Offer(
            receive_max=limits.in_flight_max,
            packet_bytes_max=limits.packet_bytes_max,
            keep_alive_s=told,
            client_id=None if packet.client_id else self.client_id,
            session_expiry=packet.session_expiry,
        )
        if self._speaks() == V3.version:  # it cannot be told; a keep alive of its own holds
            told = None if packet.keep_alive_s else told
        # [MQTT-3.1.2-24] of 3.1.1, [MQTT-3.1.2-22] of 5: one and a half times
        self._silence_s_max = 1.5 * (told or packet.keep_alive_s)
        window = min(packet.receive_max, limits.receipts_in_flight_max)
        self._outbox = Outbox(
            window, limits.receipts_waiting_max, limits.receipts_waiting_bytes_max
        )
        self._state = State.OPEN
        if self._timer is not None:
            self._timer.cancel()
        self._seen_s = self._loop.time()
        self._timer = self._loop.call_later(self._silence_s_max, self._check_alive)
        if self._wire is not None:
            self._write(self._wire.connack(Code.SUCCESS, offer=offer))
        self.resume()

    def _refuse(self, code: Code, text: str) -> None:
        """CONNACK with a reason, and the close."""
        log.info("CONNECT refused: %s %s", code.name, text, extra={"credential": self._common_name})
        if self._wire is not None:
            self._write(self._wire.connack(code, text))
        self._close()

    def _speaks(self) -> int:
        return 0 if self._wire is None else self._wire.version

    # --- PUBLISH -------------------------------------------------------------------------

    def _publish(self, packet: Publish) -> None:
        speaks_v5 = self._speaks() == V5.version
        if packet.qos > 1:
            raise Malformed("QoS 2 is not offered", Code.QOS)
        if packet.alias:
            raise Malformed("topic aliases are not offered", Code.TOPIC_ALIAS)
        if packet.retain and speaks_v5:  # CONNACK said so (§3.2.2.3.5); in 3.1.1 it is passed over
            raise Malformed("retained messages are not offered", Code.RETAIN)
        form = self._form(packet.topic)
        if form is None:
            text = f"publish to in/{self.credential}/<format> only"
            answer = self._puback(packet, Code.NOT_AUTHORIZED, text)
            if answer is None:  # 3.1.1 and QoS 0 have no refusal: close, never acknowledge
                raise Malformed(text, Code.NOT_AUTHORIZED)
            self._write(answer)
            return
        if packet.packet_id is not None:
            if packet.packet_id in self._in_flight:
                if packet.duplicate and not speaks_v5:
                    return  # sent again within the connection: the first one's PUBACK is due
                raise Malformed("a packet identifier that is in use", Code.PROTOCOL_ERROR)
            if speaks_v5 and len(self._in_flight) >= self._limits.in_flight_max:
                raise Malformed("more than the Receive Maximum", Code.RECEIVE_MAXIMUM)
            self._in_flight.add(packet.packet_id)
        self._charge(len(packet.payload))
        self._start(self._accept(form, packet))

    def _form(self, topic: str) -> str | None:
        levels = topic.split("/")
        if len(levels) != 3 or levels[:2] != ["in", self.credential] or not levels[2]:
            return None
        return levels[2]

    async def _accept(self, form: str, packet: Publish) -> None:
        code, text, receipt = Code.SUCCESS, "", b""
        try:
            note = await self._hub.service.accept(self.credential, form, packet.payload)
            receipt = note.encode()
        except Rejected as error:
            code, text = Code.PAYLOAD_FORMAT, f"{error.code}: {error.text}"
            receipt = refusal(sha256(packet.payload).hexdigest(), error)
        except Unavailable as error:
            code, text = Code.QUOTA, str(error)
        except Exception:
            log.exception("accept failed", extra={"credential": self.credential})
            code = Code.UNSPECIFIED
        finally:
            if packet.packet_id is not None:
                self._in_flight.discard(packet.packet_id)
            self._release(len(packet.payload))
        if self._state is not State.CLOSING:
            answer = self._puback(packet, code, text)
            if answer is not None:
                self._write(answer)
            elif code not in (Code.SUCCESS, Code.PAYLOAD_FORMAT):
                self.end(code, text)
        if receipt:
            self._hub.deliver(self.credential, receipt)

    def _puback(self, packet: Publish, code: Code, text: str) -> bytes | None:
        if packet.packet_id is None or self._wire is None:
            return None
        return self._wire.puback(packet.packet_id, code, text)

    def _charge(self, size: int) -> None:
        self._pending += 1
        self._pending_bytes += size
        limits = self._limits
        if self._hub.charge(size):
            self._hub.held_back.add(self)
        # One more than the Receive Maximum is read, to tell the client that it broke it
        if self._pending > limits.in_flight_max or self._pending_bytes > limits.in_flight_bytes_max:
            self._full = True

    def _release(self, size: int) -> None:
        self._pending -= 1
        self._pending_bytes -= size
        self._hub.release(size)
        limits = self._limits
        few = self._pending * 2 <= limits.in_flight_max
        if self._full and few and self._pending_bytes * 2 <= limits.in_flight_bytes_max:
            self._full = False
            self.resume()

    # --- receipts ------------------------------------------------------------------------

    def _subscribe(self, packet: Subscribe) -> None:
        self._check_filters(len(packet.filters))
        granted: list[int | None] = []
        for name, qos in packet.filters:
            own = name == f"receipts/{self.credential}"
            granted.append(min(qos, 1) if own else None)
            if own:
                self._subscribed_qos = min(qos, 1)
        if self._wire is not None:
            self._write(self._wire.suback(packet.packet_id, granted))

    def _unsubscribe(self, packet: Unsubscribe) -> None:
        self._check_filters(len(packet.filters))
        own = f"receipts/{self.credential}"
        existed = [name == own and self._subscribed_qos is not None for name in packet.filters]
        if any(existed):
            self._subscribed_qos = None
        if self._wire is not None:
            self._write(self._wire.unsuback(packet.packet_id, existed))

    def _check_filters(self, count: int) -> None:
        if count > self._limits.filters_max:
            raise Malformed("too many topic filters", Code.QUOTA)

    def deliver(self, payload: bytes) -> bool:
        """Send one receipt, or queue it behind others; False where nobody here reads it."""
        if self._state is not State.OPEN or self._subscribed_qos is None:
            return False
        if not self._outbox.put(payload):
            self.end(Code.QUOTA, "receipts are not read fast enough")
            return False
        self._send_receipts()
        return True

    def _send_receipts(self) -> None:
        if self._wire is None:
            return
        while self._state is State.OPEN and self._unread_since_s is None:
            item = self._outbox.take()
            if item is None:
                return
            packet_id, payload = item
            sure = self._subscribed_qos == 1
            topic = f"receipts/{self.credential}"
            packet = self._wire.publish(topic, payload, packet_id if sure else None)
            if not sure:
                self._outbox.acknowledge(packet_id)
            if self._client_packet_bytes_max and len(packet) > self._client_packet_bytes_max:
                self._outbox.acknowledge(packet_id)  # [MQTT-3.1.2-25]: as if it had been sent
                self._hub.undelivered += 1
                continue
            self._write(packet)

    # --- out -----------------------------------------------------------------------------

    def _write(self, data: bytes) -> None:
        """Write what one turn of the loop has to say in one TLS record where it fits."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out += data

    def _flush(self) -> None:
        if self._out and not self._transport.is_closing():
            self._transport.write(bytes(self._out))
        self._out.clear()

    def end(self, code: Code, text: str) -> None:
        """Say why (MQTT 5), and close. Bytes that still come in are read and dropped."""
        if self._state is State.CLOSING:
            return
        log.info("closing: %s %s", code.name, text, extra={"credential": self.credential})
        if self._wire is not None and self._state is State.OPEN:
            self._write(self._wire.disconnect(code, text))
        elif self._state is State.CONNECTING:
            self._write(_refusal_of_connect(self._wire, code, text))
        self._close()

    def _close(self) -> None:
        """Flush, and close once the client does, or after a moment.

        Closing at once with unread bytes in the socket would send a TCP reset, and that would
        take the last packet with it before the client has read it.
        """
        last_word = bool(self._out)
        self._flush()
        self._leave()
        if self._transport.is_closing():
            return
        if last_word:
            self._transport.resume_reading()
        else:
            self._transport.close()
        self._loop.call_later(self._limits.linger_s, self._transport.abort)

    def _leave(self) -> None:
        if self._state is State.CLOSING:
            return
        self._state = State.CLOSING
        if self._timer is not None:
            self._timer.cancel()
        self._hub.leave(self, self._outbox.undelivered())

    def _start(self, work: "asyncio._CoroutineLike[None]") -> None:
        task = self._loop.create_task(work)
        self._hub.tasks.add(task)
        task.add_done_callback(self._hub.tasks.discard)


def refusal(message_hex: str, error: Rejected) -> bytes:
    """The JSON on `receipts/<name>` for a message that never reached the bus."""
    finding = Finding(
        error.code, "refused", error.text, field=error.field, line=error.line, clause=error.clause
    )
    return jcs.encode({"type": "refused", "message": message_hex, **finding.as_json()})


def _refusal_of_connect(wire: Wire | None, code: Code, text: str) -> bytes:
    """The last word to a first packet that was none; 3.1.1 closes without one [MQTT-3.1.4-1]."""
    if code is Code.UNSUPPORTED_VERSION:
        return V3().connack(code)  # [MQTT-3.1.2-2]; who knows another version knows this form
    if wire is None or wire.version == V3.version:
        return b""
    return wire.connack(code, text)
