"""The collector behind a Mosquitto broker: what devices publish there goes on our bus.

    in/<name>/<format> ▶ service.accept ▶ receipts/<name> queued ▶ PUBACK to the broker

A message is acknowledged to the broker only when the bus has it or the guard refused it for good;
until then the broker keeps it, in a session that has no end. The broker's ACL vouches for <name>.
What a broker is trusted for, and what not: docs/decisions/0015-mosquitto.md; docs/mosquitto.md.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from bal.errors import GridsealError, Rejected, Stop
from infra.mosquitto_connection import Broker, Connection, Heard
from infra.mosquitto_line import Line
from infra.mosquitto_receipts import MosquittoLimits, Receipts
from infra.mqtt_receipts import refusal

__all__ = ["Broker", "MosquittoIntake", "MosquittoLimits"]

log = logging.getLogger("gridseal.mosquitto")

FILTER = "in/+/+"
STOP_ACCEPTS_S = 2.0  # how long messages already here may take to reach the bus at a stop
STOP_RECEIPTS_S = 1.0  # and receipts to reach the broker
RETRY_S = 0.1  # after an error of ours
FAILURES_MAX = 3  # of one message, by an error of ours, before it is left to its sender's spool


class Service(Protocol):
    """What the collector asks of the platform, on its event loop."""

    async def accept(self, credential: str, form: str, raw: bytes) -> str:
        """Put one message on the bus; it is durable there when this returns.

        Returns the accepted receipt, JSON text. Raises Rejected when it will never be taken,
        Unavailable when it may be later; then the bus has nothing of it.
        """
        ...


@dataclass(slots=True)
class Counts:
    """Since the start; for metrics."""

    accepted: int = 0
    refused: int = 0
    left: int = 0  # acknowledged without a receipt after an error of ours: sent again by the device
    undelivered: int = 0  # receipts that the broker is not known to have
    sessions_lost: int = 0  # the broker came back without our session


class MosquittoIntake:
    """Collects from one broker and tells its devices; used on one event loop only.

    Over two connections: the broker's answers to our receipts must not wait behind the messages
    that it has for us, or, when we read no further, neither would ever come.
    """

    def __init__(
        self,
        service: Service,
        broker: Broker,
        receipts: Broker,
        *,
        limits: MosquittoLimits | None = None,
        senders: Iterable[str] = (),
    ) -> None:
        """broker, receipts: the same broker, entered as two users: one hears, one tells.

        senders: who gets certified receipts before it was heard since this start.
        """
        self._service, self._broker, self._receipts_broker = service, broker, receipts
        self._limits = limits or MosquittoLimits()
        self._receipts = Receipts(self._limits)
        self._senders: OrderedDict[str, None] = OrderedDict.fromkeys(senders)
        self._collecting = Line(
            self._new_collecting,
            FILTER,
            opened=self._collecting_opened,
            closed=self._collecting_closed,
            told=lambda: self._telling.alarm,
        )
        self._telling = Line(
            self._new_telling,
            "",
            opened=self._telling_opened,
            closed=self._receipts.connection_lost,
            told=lambda: self._collecting.alarm,
        )
        self._in_flight = self._in_flight_bytes = 0  # messages on their way to the bus
        self._paused = False
        self._open = asyncio.Event()  # the platform takes messages, as far as we know
        self._open.set()
        self._stopping = False
        self._known_session = False
        self._refused = ""  # why the broker took no receipt, the last time
        self.counts = Counts()

    # -- running ----------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect and collect, for ever again, until `stop`.

        Returns after the first attempt. A broker that is not there now is no error, only an
        alarm. Raises Stop("broker-refused") when it will not let us in or hear what we must.
        """
        await self._telling.start()
        try:
            await self._collecting.start()
        except Stop:
            await self._telling.stop()
            raise

    async def stop(self) -> None:
        """Take no more, let what is here reach the bus, answer it, leave.

        Ends within STOP_ACCEPTS_S + STOP_RECEIPTS_S + 2 seconds. What did not reach the bus by then
        is not acknowledged: the broker hands it over again. The broker keeps our session.
        """
        self._stopping = True
        self._pause()
        self._open.set()  # who waits for the platform need not any more
        await _until(lambda: self._in_flight == 0, STOP_ACCEPTS_S)
        await self._collecting.stop()
        await _until(
            lambda: self._telling.connection is None or self._receipts.is_empty, STOP_RECEIPTS_S
        )
        await self._telling.stop()
        self.counts.undelivered += len(self._receipts)

    def deliver(self, credential: str, payload: bytes) -> None:
        """Queue one receipt for `receipts/<credential>`; counted as undelivered where none fits.

        The broker keeps it for a device with a session that is away now.
        """
        if self._receipts.put(f"receipts/{credential}", payload):
            self._send_receipts()
        else:
            self.counts.undelivered += 1

    @property
    def url(self) -> str:
        """Where devices find the broker."""
        return f"mqtts://{self._broker.host}:{self._broker.port}"

    def sessions(self) -> list[str]:
        """Whose certified receipts are wanted here: who was heard through this broker."""
        return list(self._senders)

    def disconnect(self, credential: str) -> int:
        """Send a revoked credential no more receipts; 0, as its sessions are the broker's.

        Those are ended by `mosquitto_accounts.MosquittoAccounts.remove`.
        """
        self._senders.pop(credential, None)
        self.counts.undelivered += self._receipts.drop(f"receipts/{credential}")
        return 0

    @property
    def undelivered(self) -> int:
        """Receipts since the start that the broker is not known to have."""
        return self.counts.undelivered

    @property
    def waiting_bytes(self) -> int:
        """Of messages that came and are not yet on the bus."""
        return self._in_flight_bytes

    def health(self) -> str:
        """For the health document: "ok", or the alarm with its code."""
        if self._refused:
            return f"broker-refused: {self._refused}"
        return (self._telling if self._telling.alarm else self._collecting).health()

    @property
    def alarm(self) -> str:
        """The code of what stands: broker-down, broker-refused or nothing."""
        refused = "broker-refused" if self._refused else ""
        return refused or self._telling.alarm or self._collecting.alarm

    # -- the lines --------------------------------------------------------------------------

    def _new_collecting(self) -> Connection:
        connection: Connection = Connection(
            self._broker,
            receive_max=self._limits.in_flight_max,
            hear=lambda heard: self._hear(connection, heard),
        )
        return connection

    def _collecting_opened(self, connection: Connection) -> None:
        if self._known_session and not connection.session_present:
            self.counts.sessions_lost += 1
            log.warning("the broker lost our session: devices send again what has no receipt")
        self._known_session = True
        self._paused = False
        self._pause_or_resume()

    def _collecting_closed(self) -> None:
        """What waits of that connection is handed over again on the next."""
        self._open.set()

    def _new_telling(self) -> Connection:
        return Connection(self._receipts_broker, on_acknowledged=self._acknowledged)

    def _telling_opened(self, connection: Connection) -> None:
        self._receipts.window = min(connection.window, self._limits.receipts_in_flight_max)
        self._receipts.payload_bytes_max = connection.payload_bytes_max
        self._send_receipts()

    # -- in ---------------------------------------------------------------------------------

    async def _hear(self, connection: Connection, heard: Heard) -> bool:
        """Take one message; True when it may be acknowledged."""
        self._in_flight += 1
        self._in_flight_bytes += len(heard.payload)
        self._pause_or_resume()
        try:
            return await self._taken(connection, heard)
        except Exception:
            log.exception("a message from the broker could not be handled")
            return True
        finally:
            self._in_flight -= 1
            self._in_flight_bytes -= len(heard.payload)
            self._pause_or_resume()

    async def _taken(self, connection: Connection, heard: Heard) -> bool:
        levels = heard.topic.split("/")
        if heard.retained or len(levels) != 3:
            # Neither can come from a broker with our settings: we subscribe to live messages only
            log.warning("passed over: retained, or of a topic that was not subscribed to")
            self.counts.refused += 1
            return True
        _, name, form = levels
        for _ in range(FAILURES_MAX):
            try:
                receipt = await self._accept(connection, name, form, heard.payload)
            except Exception:
                log.exception("accept failed", extra={"credential": name})
                self._hold(RETRY_S)
                continue
            if receipt is None:
                return False
            self.deliver(name, receipt)
            return True
        self.counts.left += 1
        return True

    async def _accept(
        self, connection: Connection, name: str, form: str, raw: bytes
    ) -> bytes | None:
        """The receipt to send, as long as that takes; None when the connection is lost before."""
        while True:
            await self._open.wait()
            await self._receipts.room.wait()
            if connection.is_lost or self._stopping:
                return None
            try:
                note = await self._service.accept(name, form, raw)
            except Rejected as error:
                self.counts.refused += 1
                return refusal(sha256(raw).hexdigest(), error)
            except GridsealError as error:  # Unavailable; or Stop, and then the process ends
                self._hold(getattr(error, "retry_after_s", self._limits.retry_s_max))
                continue
            self.counts.accepted += 1
            self._remember(name)
            return note.encode()

    def _remember(self, name: str) -> None:
        self._senders[name] = None
        self._senders.move_to_end(name)
        if len(self._senders) > self._limits.senders_max:
            self._senders.popitem(last=False)

    def _hold(self, retry_after_s: float) -> None:
        """The platform takes nothing now: let all messages wait, then try again in their order."""
        if self._open.is_set():
            self._open.clear()
            wait_s = min(retry_after_s, self._limits.retry_s_max)
            asyncio.get_running_loop().call_later(wait_s, self._open.set)

    def _pause(self) -> None:
        self._paused = True
        if self._collecting.connection is not None:
            self._collecting.connection.pause()

    def _pause_or_resume(self) -> None:
        """Messages of QoS 0 are not in the Receive Maximum, so their number is limited here."""
        limits, count = self._limits, self._in_flight
        if count > 2 * limits.in_flight_max or self._in_flight_bytes > limits.in_flight_bytes_max:
            self._pause()
        elif self._paused and not self._stopping:
            few = count <= limits.in_flight_max
            if few and 2 * self._in_flight_bytes <= limits.in_flight_bytes_max:
                self._paused = False
                if self._collecting.connection is not None:
                    self._collecting.connection.resume()

    # -- out --------------------------------------------------------------------------------

    def _send_receipts(self) -> None:
        connection = self._telling.connection
        if connection is not None and not connection.is_lost:
            self.counts.undelivered += self._receipts.send(connection.publish)

    def _acknowledged(self, packet_id: int, reason: int) -> None:
        self._receipts.acknowledge(packet_id)
        if reason < 0x80:
            self._refused = ""
        else:  # 0x87: its ACL does not let us write receipts; 2.0 ends the connection behind it
            self.counts.undelivered += 1
            if not self._refused:
                self._refused = f"it takes no receipts of us: reason 0x{reason:02x}"
                log.error("broker-refused: %s", self._refused)
        self._send_receipts()


async def _until(holds: Callable[[], bool], timeout_s: float) -> None:
    """Return when it holds, at the latest after `timeout_s`."""
    end_s = asyncio.get_running_loop().time() + timeout_s
    while not holds() and asyncio.get_running_loop().time() < end_s:
        await asyncio.sleep(0.01)
