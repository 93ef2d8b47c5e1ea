"""The platform's MQTT intake: devices publish messages and get receipts, and nothing else.

It is no broker: `in/<name>/<format>` goes to the platform, `receipts/<name>` comes from it, no
client ever hears another. A PUBACK means that the bus has the message. See docs/spec/intake.md and
docs/decisions/0002-own-mqtt-intake-server.md.
"""

import asyncio
import ssl

from infra.mqtt_hub import Hub, IntakeService, MqttLimits
from infra.mqtt_packets import Code
from infra.mqtt_session import Session

__all__ = ["IntakeService", "MqttLimits", "MqttServer"]

STOP_ACCEPTS_S = 2.0  # how long messages already here may take to reach the bus at a stop


class MqttServer:
    """Listens on one address; all its methods are called on the event loop it was started on."""

    def __init__(self, service: IntakeService, *, limits: MqttLimits | None = None) -> None:
        self._hub = Hub(service, limits or MqttLimits())
        self._listener: asyncio.Server | None = None

    async def start(self, host: str, port: int, ssl_context: ssl.SSLContext) -> int:
        """Listen; returns the port, which is `port` unless that is 0. Raises OSError.

        ssl_context: `certificates.server_context` with the devices' CA. One that does not demand
        client certificates is refused with ValueError.
        """
        if ssl_context.verify_mode is not ssl.CERT_REQUIRED:
            raise ValueError("the intake takes clients with a certificate only")
        self._listener = await asyncio.get_running_loop().create_server(
            self._session,
            host,
            port,
            ssl=ssl_context,
            ssl_handshake_timeout=self._hub.limits.connect_timeout_s,
            ssl_shutdown_timeout=self._hub.limits.linger_s,
            backlog=512,
        )
        bound: int = self._listener.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Take no more, let what is here reach the bus and be answered, say goodbye, close.

        Ends within STOP_ACCEPTS_S + 2 × linger_s seconds, with every connection closed.
        """
        if self._listener is not None:
            self._listener.close()
        self._hub.stopping = True
        if self._hub.tasks:
            await asyncio.wait(self._hub.tasks, timeout=STOP_ACCEPTS_S)
        for member in list(self._hub.connections):
            member.end(Code.SHUTTING_DOWN, "the platform is being stopped")
        await self._connections_closed(2 * self._hub.limits.linger_s)
        late = list(self._hub.tasks)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def deliver(self, credential: str, payload: bytes) -> None:
        """Publish `payload` on receipts/<credential> to each of its subscribed sessions.

        Where there is none it is counted as undelivered: who sends the message again gets the
        receipt again. A subscriber that reads too slowly is disconnected.
        """
        self._hub.deliver(credential, payload)

    def disconnect(self, credential: str) -> int:
        """Close the credential's sessions, those being authenticated too; returns how many."""
        members = [*self._hub.open.get(credential, [])]
        members += [each for each in self._hub.knocking if each.credential == credential]
        for member in members:
            member.end(Code.ADMINISTRATIVE, "the credential was revoked")
        return len(members)

    def sessions(self) -> list[str]:
        """The credential of each open session, sorted; one with two sessions stands twice."""
        # Asked from other threads: a copy, as sessions come and go meanwhile.
        opened = list(self._hub.open.items())
        return sorted(name for name, members in opened for _ in range(len(members)))

    @property
    def undelivered(self) -> int:
        """Receipts since the start that no subscriber is known to have."""
        return self._hub.undelivered

    def _session(self) -> Session:
        return Session(self._hub)

    async def _connections_closed(self, timeout_s: float) -> None:
        loop = asyncio.get_running_loop()
        end_s = loop.time() + timeout_s
        while self._hub.connections and loop.time() < end_s:
            await asyncio.sleep(0.01)
