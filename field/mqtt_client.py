"""A device's line to the platform: MQTT 5 by gmqtt, with a spool of its own until the receipt.

A PUBACK says that a server has the message; only the *accepted* receipt is the platform's word.
So every message is on the device's disk before it is sent, and leaves it with the accepted (or
refused) receipt. After a lost connection everything without a receipt is sent again, in order: the
platform knows a message by its SHA-256 and gives the first one's receipts.
"""

import asyncio
import json
import logging
import random
import ssl
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from bal.errors import Rejected, Stop, Unavailable
from bal.model import Finding
from field.mqtt_connection import Connection
from field.spool import Spool, Spooled

log = logging.getLogger("gridseal.field")

CONNECT_TIMEOUT_S = 10.0
PAUSE_S_MIN = 0.1
RECEIPTS_KEPT = 10_000  # final receipts that wait_certified can still give
Receipt = dict[str, Any]


class FieldClient:
    """Publishes at least once and hears the platform's receipts; for one event loop.

    on_receipt, where set, is called with each receipt's JSON as it comes, repeats included.
    """

    def __init__(
        self,
        *,
        url: str,
        tls: ssl.SSLContext,
        name: str,
        password: str,
        spool: Path,
        window: int = 100,
        resend_s: float = 10.0,
        retry_s_max: float = 5.0,
        topic_in: str | None = None,
        topic_receipts: str | None = None,
    ) -> None:
        """url: mqtts://host:port. window: messages under way without a receipt, at most.

        resend_s: how long a receipt may take before the message is sent again; retry_s_max: the
        longest pause between two attempts to connect.
        """
        parts = urlsplit(url)
        if parts.scheme != "mqtts" or not parts.hostname or parts.port is None:
            raise Stop("client-invalid", f"{url} is not of the form mqtts://host:port")
        self._address = (parts.hostname, parts.port)
        self._tls, self._name, self._password = tls, name, password
        self._window_max, self._resend_s, self._retry_s_max = window, resend_s, retry_s_max
        self._topic_in = topic_in or f"in/{name}/{{format}}"
        self._topic_receipts = topic_receipts or f"receipts/{name}"
        self._spool = Spool(spool)
        self.on_receipt: Callable[[Receipt], None] | None = None
        self._under_way: dict[str, float] = {}  # message → when its receipt is overdue
        self._final: OrderedDict[str, Receipt] = OrderedDict()
        self._changed = asyncio.Event()  # something to send, or room to send it
        self._heard: set[asyncio.Future[None]] = set()  # who waits for the next receipt
        self._line: asyncio.Task[None] | None = None
        self._first: asyncio.Future[None] | None = None  # how the first attempt to connect ended
        self._failure = ""

    @classmethod
    def from_folder(
        cls, folder: Path, *, spool: Path | None = None, window: int = 100, url: str | None = None
    ) -> Self:
        """The client that `gridseal device enrol` described in `folder`/client.json.

        Paths in it are relative to `folder`; the spool is `folder`/spool.db unless given, and the
        platform where it was at the time of enrolment, unless `url` says otherwise.
        Raises Stop("client-invalid").
        """
        try:
            described = json.loads((folder / "client.json").read_bytes())
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            tls.minimum_version = ssl.TLSVersion.TLSv1_2
            tls.load_verify_locations(folder / described["ca"])
            tls.load_cert_chain(folder / described["certificate"], folder / described["key"])
            return cls(
                url=url or described["mqtt"],
                tls=tls,
                name=described["name"],
                password=(folder / described["password_file"]).read_text().strip(),
                spool=spool or folder / "spool.db",
                window=window,
                topic_in=described["topic_in"],
                topic_receipts=described["topic_receipts"],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Stop("client-invalid", f"{folder / 'client.json'}: {error!r}") from error

    async def __aenter__(self) -> Self:
        """Connect."""
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        await self.close()

    @property
    def waiting(self) -> int:
        """Messages that have no accepted or refused receipt yet."""
        return len(self._spool)

    async def connect(self, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        """Connect, and from then on reconnect by itself until `close`.

        Raises Rejected("connection-refused") when the server refuses this name, certificate or
        password, Unavailable when there is no session within `timeout_s`; both give up.
        """
        if self._line is None:
            self._first = asyncio.get_running_loop().create_future()
            self._line = asyncio.create_task(self._keep_connected(self._first))
        assert self._first is not None
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(self._first)
        except TimeoutError:
            await self._hang_up()
            text = f"no session with {self._address[0]}:{self._address[1]}: {self._failure}"
            raise Unavailable(text) from None
        except Rejected:
            await self._hang_up()
            raise

    async def publish(self, form: str, raw: bytes) -> str:
        """Put a message on the spool, from where it is sent; returns its SHA-256 as hex.

        It is durable when this returns, connected or not. Raises sqlite3.Error when it is not.
        A receipt that an earlier sending of the same bytes got is forgotten: another one comes.
        """
        message = sha256(raw).hexdigest()
        self._final.pop(message, None)
        await self._spool.add(message, form, raw)
        self._changed.set()
        return message

    async def drain(self, timeout_s: float) -> None:
        """Wait until every message has its accepted or refused receipt. Raises TimeoutError."""
        try:
            async with asyncio.timeout(timeout_s):
                while len(self._spool):
                    await self._next_receipt()
        except TimeoutError:
            text = f"{len(self._spool)} messages have no receipt; {self._failure}"
            raise TimeoutError(text) from None

    async def wait_certified(self, message_hex: str, timeout_s: float) -> Receipt:
        """The message's last receipt: of type `certified`, or `refused`. Raises TimeoutError.

        A certified receipt that was lost with a connection comes again when the message is
        published again.
        """
        async with asyncio.timeout(timeout_s):
            while message_hex not in self._final:
                await self._next_receipt()
        return self._final[message_hex]

    async def close(self) -> None:
        """Disconnect. What is on the spool stays there for the next time."""
        await self._hang_up()
        await self._spool.close()

    # --- the line ------------------------------------------------------------------------

    async def _hang_up(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.cancel()
            with suppress(asyncio.CancelledError):
                await line

    async def _keep_connected(self, first: asyncio.Future[None]) -> None:
        """Connect, send, and again; the pause between attempts doubles until one succeeds."""
        pause_s = PAUSE_S_MIN
        while True:
            connection = Connection(self._name, self._password, self._hear)
            try:
                host, port = self._address
                topic = self._topic_receipts
                await connection.open(host, port, self._tls, topic, CONNECT_TIMEOUT_S)
                pause_s, self._failure = PAUSE_S_MIN, ""
                if not first.done():
                    first.set_result(None)
                await connection.unless_lost(self._send(connection))
            except Rejected as error:
                self._failure, pause_s = str(error), self._retry_s_max
                if not first.done():
                    first.set_exception(error)
            except (Unavailable, OSError) as error:
                self._failure = str(error)
            finally:
                await connection.close()
            log.info("not connected: %s", self._failure, extra={"device": self._name})
            await asyncio.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311 - parts a herd
            pause_s = min(2 * pause_s, self._retry_s_max)

    async def _send(self, connection: Connection) -> None:
        """Send what has no receipt, in order, never more than the window at a time."""
        window, place = min(self._window_max, connection.window), 0
        self._under_way.clear()
        while True:
            self._changed.clear()
            if self._overdue(connection):
                self._under_way.clear()
                place = 0
            room = window - len(self._under_way)
            rows = await self._spool.after(place, room) if room > 0 else []
            for row in rows:
                place = row.place
                self._send_one(connection, row)
            if len(rows) < room or room == 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._resend_s / 4):
                        await self._changed.wait()

    def _overdue(self, connection: Connection) -> bool:
        """Whether to send again: acknowledged, but no receipt came. Unavailable: not even that."""
        due_s = min(self._under_way.values(), default=None)
        if due_s is None or due_s > asyncio.get_running_loop().time():
            return False
        if connection.unacknowledged:
            raise Unavailable("a message was not acknowledged in time")
        return True

    def _send_one(self, connection: Connection, row: Spooled) -> None:
        if row.message not in self._spool:
            return  # its receipt came while it was read
        if len(row.raw) > connection.payload_bytes_max:  # sent, it would end every session
            text = f"the server takes messages of at most {connection.payload_bytes_max} bytes"
            finding = Finding("message-too-large", "refused", text).as_json()
            self._hear(json.dumps({"type": "refused", "message": row.message, **finding}).encode())
            return
        self._under_way[row.message] = asyncio.get_running_loop().time() + self._resend_s
        connection.publish(self._topic_in.replace("{format}", row.form), row.raw)

    # --- receipts ------------------------------------------------------------------------

    async def _next_receipt(self) -> None:
        heard = asyncio.get_running_loop().create_future()
        self._heard.add(heard)
        try:
            await heard
        finally:
            self._heard.discard(heard)

    def _hear(self, payload: bytes) -> None:
        """Take one receipt; what is none is told to the log and otherwise passed over."""
        try:
            receipt = json.loads(payload)
            message, kind = receipt["message"], receipt["type"]
        except (ValueError, KeyError, TypeError):
            log.warning("not a receipt", extra={"device": self._name})
            return
        if kind in ("certified", "refused"):
            self._final[message] = receipt
            self._final.move_to_end(message)
            if len(self._final) > RECEIPTS_KEPT:
                self._final.popitem(last=False)
        if kind in ("accepted", "certified", "refused"):
            self._spool.forget(message)
            self._under_way.pop(message, None)
            self._changed.set()
        if self.on_receipt is not None:
            self.on_receipt(receipt)
        for heard in self._heard:
            if not heard.done():
                heard.set_result(None)
