"""One MQTT 5 connection by gmqtt, from CONNECT until it is lost.

gmqtt 0.8 is held to one connection: its own reconnecting leaks packet ids, it waits for ever when a
connection is lost before CONNACK, and it does not keep the server's Receive Maximum.
"""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import gmqtt
from gmqtt.mqtt.handler import MQTTConnectError
from gmqtt.storage import PersistentStorage

from bal.errors import Rejected, Unavailable

logging.getLogger("gmqtt").addHandler(logging.NullHandler())  # it tells every lost connection

KEEP_ALIVE_S = 30
NEVER_RECONNECT = {"reconnect_retries": -2}  # gmqtt: -1 is for ever, 0 is once
# What a server refuses for good (MQTT 5 §3.2.2.2): trying on is of no use before somebody acts.
REFUSED_FOR_GOOD = frozenset({0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C})
T = TypeVar("T")


class Connection:
    """Publishes with QoS 1 and hears one topic; for one connection, then it is thrown away."""

    def __init__(self, name: str, password: str, on_message: Callable[[bytes], None]) -> None:
        self._hear = on_message
        self._unacknowledged = PersistentStorage()
        self._lost = asyncio.Event()
        self._why = "the connection was lost"
        self._granted: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._offer: dict[str, Any] = {}
        self._client = gmqtt.Client(name, persistent_storage=self._unacknowledged)
        self._client.set_config(NEVER_RECONNECT)
        self._client.set_auth_credentials(name, password)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.on_disconnect = self._on_disconnect

    async def open(
        self, host: str, port: int, tls: ssl.SSLContext, topic: str, timeout_s: float
    ) -> None:
        """Connect and subscribe to `topic`.

        Raises Rejected("connection-refused") when the server will never let this name, password
        or certificate in; Unavailable or OSError when it may later.
        """
        connect = self._client.connect(host, port, ssl=tls, keepalive=KEEP_ALIVE_S)
        try:
            await self.unless_lost(connect, timeout_s)
        except MQTTConnectError as error:
            if error._code in REFUSED_FOR_GOOD:
                raise Rejected("connection-refused", str(error)) from None
            raise Unavailable(str(error)) from None
        self._client.subscribe(topic, qos=1)
        if await self.unless_lost(self._granted, timeout_s) >= 0x80:
            raise Rejected("connection-refused", f"{topic} may not be subscribed to")

    @property
    def window(self) -> int:
        """How many messages may be under way; gmqtt keeps one id back, SUBSCRIBE takes one."""
        return max(1, int(self._offer.get("receive_maximum", [65535])[0]) - 2)

    @property
    def payload_bytes_max(self) -> int:
        """How large a message the server takes, less what PUBLISH puts around it."""
        return int(self._offer.get("maximum_packet_size", [1 << 28])[0]) - 256

    @property
    def unacknowledged(self) -> bool:
        """Whether a PUBACK is due."""
        return not self._unacknowledged.is_empty

    def publish(self, topic: str, payload: bytes) -> None:
        """Send one message with QoS 1."""
        self._client.publish(topic, payload, qos=1)

    async def unless_lost(self, work: Awaitable[T], timeout_s: float | None = None) -> T:
        """What `work` results in; Unavailable when the connection is lost first, or in time."""
        task = asyncio.ensure_future(work)
        lost = asyncio.ensure_future(self._lost.wait())
        try:
            await asyncio.wait({task, lost}, timeout=timeout_s, return_when="FIRST_COMPLETED")
            if task.done():
                return task.result()
            raise Unavailable(self._why if self._lost.is_set() else "no answer in time")
        finally:
            lost.cancel()
            task.cancel()

    async def close(self) -> None:
        """Leave, without waiting long for a server that may be gone."""
        connection = self._client._connection
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(1):
                await self._client.disconnect()
        if connection is not None:
            connection._transport.abort()  # there is no public way; TLS would wait 30 s

    def _on_connect(self, _: Any, __: int, ___: int, properties: dict[str, Any]) -> None:
        self._offer = properties

    def _on_subscribe(self, _: Any, __: int, granted: tuple[int, ...], ___: Any) -> None:
        if not self._granted.done():
            self._granted.set_result(granted[0])

    def _on_message(self, _: Any, __: str, payload: bytes, ___: int, ____: Any) -> None:
        self._hear(payload)

    def _on_disconnect(self, _: Any, packet: Any, __: Any = None) -> None:
        if isinstance(packet, bytes) and packet:  # DISCONNECT of MQTT 5, with its reason
            self._why = f"the server closed the connection: reason 0x{packet[0]:02x}"
        self._lost.set()
