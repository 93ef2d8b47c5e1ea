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
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from bal.errors import GridsealError, Rejected, Stop, Unavailable
from infra.mosquitto_connection import TAKEN_OVER, Broker, Connection, Heard
from infra.mosquitto_receipts import MosquittoLimits, Receipts
from infra.mqtt_receipts import refusal

__all__ = ["Broker", "MosquittoIntake", "MosquittoLimits"]

log = logging.getLogger("gridseal.mosquitto")

FILTER = "in/+/+"
STOP_ACCEPTS_S = 2.0  # how long messages already here may take to reach the bus at a stop
STOP_RECEIPTS_S = 1.0  # and receipts to reach the broker
PAUSE_S_MIN = 0.1  # between two attempts to connect; doubles
PAUSE_S_MAX = 5.0
TAKEN_OVER_PAUSE_S = 30.0  # two collectors of one client id: do not throw each other out for ever
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
    """Collects from one broker, over one connection at a time; used on one event loop only."""

    def __init__(
        self,
        service: Service,
        broker: Broker,
        *,
        limits: MosquittoLimits | None = None,
        senders: Iterable[str] = (),
    ) -> None:
        """senders: who gets certified receipts before it was heard since this start."""
        self._service, self._broker = service, broker
        self._limits = limits or MosquittoLimits()
        self._receipts = Receipts(self._limits)
        self._senders: OrderedDict[str, None] = OrderedDict.fromkeys(senders)
        self._connection: Connection | None = None
        self._line: asyncio.Task[None] | None = None
        self._in_flight = self._in_flight_bytes = 0  # messages on their way to the bus
        self._paused = False
        self._open = asyncio.Event()  # the platform takes messages, as far as we know
        self._open.set()
        self._stopping = False
        self._known_session = False
        self.counts = Counts()
        self.alarm = ""  # broker-down, broker-refused or nothing
        self._failure = ""

    # -- running ----------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect and collect, for ever again, until `stop`.

        Returns after the first attempt. A broker that is not there now is no error, only an
        alarm. Raises Stop("broker-refused") when it will not let us in or hear what we must.
        """
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line = asyncio.create_task(self._keep_connected(first))
        try:
            await asyncio.shield(first)
        except Stop:
            await self._hang_up()
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
        await _until(lambda: self._connection is None or self._receipts.is_empty, STOP_RECEIPTS_S)
        await self._hang_up()
        self.counts.undelivered += len(self._receipts)

    def deliver(self, credential: str, payload: bytes) -> None:
        """Queue one receipt for `receipts/<credential>`; counted as undelivered where none fits.

        The broker keeps it for a device with a session that is away now.
        """
        if self._receipts.put(f"receipts/{credential}", payload):
            self._send_receipts()
        else:
            self.counts.undelivered += 1

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
        return f"{self.alarm}: {self._failure}" if self.alarm else "ok"

    # -- the line ---------------------------------------------------------------------------

    async def _hang_up(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.cancel()
            with suppress(asyncio.CancelledError):
                await line

    async def _keep_connected(self, first: asyncio.Future[None]) -> None:
        pause_s = PAUSE_S_MIN
        while True:
            connection = self._new_connection()
            try:
                await connection.open(FILTER)
                self._opened(connection)
                pause_s = PAUSE_S_MIN
                if not first.done():
                    first.set_result(None)
                await connection.until_lost()
                raise Unavailable(connection.why)
            except Stop as error:
                self._raise_alarm("broker-refused", error.text)
                pause_s = PAUSE_S_MAX
                if not first.done():
                    first.set_exception(error)
            except (Unavailable, OSError) as error:
                self._raise_alarm("broker-down", str(error) or type(error).__name__)
            finally:
                self._connection = None
                await connection.close()
                self._receipts.connection_lost()
                self._open.set()  # what waits of this connection comes again on the next
            if not first.done():
                first.set_result(None)
            await asyncio.sleep(TAKEN_OVER_PAUSE_S if connection.reason == TAKEN_OVER else pause_s)
            pause_s = min(2 * pause_s, PAUSE_S_MAX)

    def _new_connection(self) -> Connection:
        connection: Connection = Connection(
            self._broker,
            receive_max=self._limits.in_flight_max,
            hear=lambda heard: self._hear(connection, heard),
            on_acknowledged=self._acknowledged,
        )
        return connection

    def _opened(self, connection: Connection) -> None:
        if self._known_session and not connection.session_present:
            self.counts.sessions_lost += 1
            log.warning("the broker lost our session: devices send again what has no receipt")
        self._known_session = True
        if self.alarm:
            log.info("collecting from the broker again")
        self.alarm = self._failure = ""
        self._connection, self._paused = connection, False
        self._receipts.window = min(connection.window, self._limits.receipts_in_flight_max)
        self._receipts.payload_bytes_max = connection.payload_bytes_max
        self._pause_or_resume()
        self._send_receipts()

    def _raise_alarm(self, code: str, text: str) -> None:
        """One line each time it becomes something else, not one an attempt."""
        if self.alarm != code:
            log.error("%s: %s", code, text)
        self.alarm, self._failure = code, text

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
                self._hold(PAUSE_S_MIN)
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
        if self._connection is not None:
            self._connection.pause()

    def _pause_or_resume(self) -> None:
        """Messages of QoS 0 are not in the Receive Maximum, so their number is limited here."""
        limits, count = self._limits, self._in_flight
        if count > 2 * limits.in_flight_max or self._in_flight_bytes > limits.in_flight_bytes_max:
            self._pause()
        elif self._paused and not self._stopping:
            few = count <= limits.in_flight_max
            if few and 2 * self._in_flight_bytes <= limits.in_flight_bytes_max:
                self._paused = False
                if self._connection is not None:
                    self._connection.resume()

    # -- out --------------------------------------------------------------------------------

    def _send_receipts(self) -> None:
        connection = self._connection
        if connection is not None and not connection.is_lost:
            self.counts.undelivered += self._receipts.send(connection.publish)

    def _acknowledged(self, packet_id: int, reason: int) -> None:
        self._receipts.acknowledge(packet_id)
        if reason >= 0x80:  # 0x87: its ACL does not let us write receipts
            self.counts.undelivered += 1
            self._raise_refusal(reason)
        self._send_receipts()

    def _raise_refusal(self, reason: int) -> None:
        self._raise_alarm("broker-refused", f"it takes no receipts of us: reason 0x{reason:02x}")


async def _until(holds: Callable[[], bool], timeout_s: float) -> None:
    """Return when it holds, at the latest after `timeout_s`."""
    end_s = asyncio.get_running_loop().time() + timeout_s
    while not holds() and asyncio.get_running_loop().time() < end_s:
        await asyncio.sleep(0.01)
