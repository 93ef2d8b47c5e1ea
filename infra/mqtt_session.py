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

from bal.errors import Rejected, Unavailable
from infra.mqtt_admission import (
    certificate_of,
    check_publish,
    choose_wire,
    form_of,
    last_word_to_connect,
    refuse_connect,
    terms,
)
from infra.mqtt_hub import Flow, Hub
from infra.mqtt_packets import (
    PINGRESP_PACKET,
    Acknowledge,
    Code,
    Connect,
    Leave,
    Malformed,
    Packet,
    Ping,
    Publish,
    Subscribe,
    Unsubscribe,
    Wire,
    packet_end,
)
from infra.mqtt_receipts import Receipts, refusal
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
        self._flow = Flow(hub.limits)
        self._unread_since_s: float | None = None  # the client does not read what we write
        self._receipts: Receipts | None = None  # from CONNACK on

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
        busy = self._flow.full or self in self._hub.held_back or self._hub.stopping
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
                self._handle(self._wire, self._wire.read(packet))
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

    def _handle(self, wire: Wire, packet: Packet) -> None:
        if isinstance(packet, Connect):
            if self._state is not State.CONNECTING:  # [MQTT-3.1.0-2]
                raise Malformed("a second CONNECT", Code.PROTOCOL_ERROR)
            self._connect(wire, packet)
        elif isinstance(packet, Publish):
            self._publish(wire, packet)
        elif isinstance(packet, Ping):
            self._write(PINGRESP_PACKET)
        elif isinstance(packet, Leave):
            self._close()
        elif self._receipts is not None:
            self._handle_receipts(packet, self._receipts)

    def _handle_receipts(self, packet: Packet, receipts: Receipts) -> None:
        if isinstance(packet, Acknowledge):
            receipts.acknowledge(packet.packet_id)
            self._send_receipts()
        elif isinstance(packet, Subscribe):
            self._write(receipts.subscribe(packet))
        elif isinstance(packet, Unsubscribe):
            self._write(receipts.unsubscribe(packet))

    # --- CONNECT -------------------------------------------------------------------------

    def _connect(self, wire: Wire, packet: Connect) -> None:
        refused = refuse_connect(packet, self._common_name, wire.version)
        if refused is not None:
            self._refuse(wire, *refused)
            return
        self.credential = packet.name or ""
        self.client_id = packet.client_id or f"gridseal-{secrets.token_hex(8)}"
        self._state = State.AUTHENTICATING
        self._hub.knocking.add(self)  # so that a revocation in the meantime finds it
        self._start(self._authenticate(wire, packet))

    async def _authenticate(self, wire: Wire, packet: Connect) -> None:
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
            self._refuse(wire, code, "")
            return
        self._open(wire, packet)

    def _open(self, wire: Wire, packet: Connect) -> None:
        offer, self._silence_s_max = terms(packet, self.client_id, wire.version, self._limits)
        self._receipts = Receipts(
            wire,
            f"receipts/{self.credential}",
            self._limits,
            window=min(packet.receive_max, self._limits.receipts_in_flight_max),
            packet_bytes_max=packet.packet_bytes_max,
        )
        self._state = State.OPEN
        self._seen_s = self._loop.time()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._silence_s_max, self._check_alive)
        self._write(wire.connack(Code.SUCCESS, offer=offer))
        self.resume()

    def _refuse(self, wire: Wire, code: Code, text: str) -> None:
        """CONNACK with a reason, and the close."""
        who = {"credential": self._common_name}
        log.info("CONNECT refused: %s %s", code.name, text, extra=who)
        self._write(wire.connack(code, text))
        self._close()

    # --- PUBLISH -------------------------------------------------------------------------

    def _publish(self, wire: Wire, packet: Publish) -> None:
        check_publish(packet, wire.version)
        form = form_of(packet.topic, self.credential)
        if form is None:
            text = f"publish to in/{self.credential}/<format> only"
            answer = _puback(wire, packet, Code.NOT_AUTHORIZED, text)
            if answer is None:  # 3.1.1 and QoS 0 have no refusal: close, never acknowledge
                raise Malformed(text, Code.NOT_AUTHORIZED)
            self._write(answer)
            return
        if packet.packet_id in self._flow.ids:
            if packet.duplicate and wire.version != V5.version:
                return  # sent again within the connection: the first one's PUBACK is due
            raise Malformed("a packet identifier that is in use", Code.PROTOCOL_ERROR)
        many = len(self._flow.ids) >= self._limits.in_flight_max
        if many and packet.qos and wire.version == V5.version:
            raise Malformed("more than the Receive Maximum", Code.RECEIVE_MAXIMUM)
        self._flow.add(packet.packet_id, len(packet.payload))
        if self._hub.charge(len(packet.payload)):
            self._hub.held_back.add(self)
        self._start(self._take(wire, form, packet))

    async def _take(self, wire: Wire, form: str, packet: Publish) -> None:
        """Hand one message to the service, then answer."""
        try:
            code, text, receipt = await self._accept(form, packet.payload)
            if self._state is State.OPEN:
                answer = _puback(wire, packet, code, text)
                if answer is not None:
                    self._write(answer)
                elif code not in (Code.SUCCESS, Code.PAYLOAD_FORMAT):
                    self.end(code, text)
        finally:
            room = self._flow.remove(packet.packet_id, len(packet.payload))
            self._hub.release(len(packet.payload))
        if receipt:
            self._hub.deliver(self.credential, receipt)
        if room:
            self.resume()

    async def _accept(self, form: str, payload: bytes) -> tuple[Code, str, bytes]:
        """(reason, sentence, receipt) of one message; the receipt is empty where there is none."""
        try:
            note = await self._hub.service.accept(self.credential, form, payload)
        except Rejected as error:
            receipt = refusal(sha256(payload).hexdigest(), error)
            return Code.PAYLOAD_FORMAT, f"{error.code}: {error.text}", receipt
        except Unavailable as error:
            return Code.QUOTA, str(error), b""
        except Exception:
            log.exception("accept failed", extra={"credential": self.credential})
            return Code.UNSPECIFIED, "", b""
        return Code.SUCCESS, "", note.encode()

    # --- receipts ------------------------------------------------------------------------

    def deliver(self, payload: bytes) -> bool:
        """Send one receipt, or queue it behind others; False where nobody here reads it."""
        receipts = self._receipts
        if self._state is not State.OPEN or receipts is None or not receipts.subscribed:
            return False
        if not receipts.put(payload):
            self.end(Code.QUOTA, "receipts are not read fast enough")
            return False
        self._send_receipts()
        return True

    def _send_receipts(self) -> None:
        if self._receipts is not None and self._unread_since_s is None:
            self._write(self._receipts.ready())

    # --- out -----------------------------------------------------------------------------

    def _write(self, data: bytes) -> None:
        """Write what one turn of the loop has to say in one TLS record where it fits."""
        if data and not self._out:
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
            self._write(last_word_to_connect(self._wire, code, text))
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
        self._hub.leave(self, 0 if self._receipts is None else self._receipts.undelivered())

    def _start(self, work: "asyncio._CoroutineLike[None]") -> None:
        task = self._loop.create_task(work)
        self._hub.tasks.add(task)
        task.add_done_callback(self._hub.tasks.discard)


def _puback(wire: Wire, packet: Publish, code: Code, text: str) -> bytes | None:
    return None if packet.packet_id is None else wire.puback(packet.packet_id, code, text)
