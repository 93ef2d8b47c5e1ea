"""Keeps a connection to the broker open, for ever again, and says what stands in the way."""

import asyncio
import logging
import ssl
from collections.abc import Callable
from contextlib import suppress

from bal.errors import GridsealError, Stop
from infra.mosquitto_connection import Connection

log = logging.getLogger("gridseal.mosquitto")

PAUSE_S_MIN = 0.1  # between two attempts to connect; doubles
PAUSE_S_MAX = 5.0
LASTING_S = 10.0  # a connection that was shorter does not count as a success
SHORT_MAX = 3  # in a row: two processes throw each other out, Mosquitto 2.0 does not say so


class Line:
    """One connection at a time; used on one event loop only."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        topic: str,
        *,
        opened: Callable[[Connection], None],
        closed: Callable[[], None],
        told: Callable[[], str] = lambda: "",
    ) -> None:
        """connect: makes a connection that is not open yet; topic: what it hears, "" for nothing.

        opened and closed: called when one serves, and when it, or an attempt, has ended. told: the
        alarm of another line to the same broker, which the operator is not told of twice.
        """
        self._connect, self._topic = connect, topic
        self._opened, self._closed, self._told = opened, closed, told
        self._task: asyncio.Task[None] | None = None
        self.connection: Connection | None = None
        self.alarm = ""  # broker-down, broker-refused or nothing
        self._failure = ""

    async def start(self) -> None:
        """Connect, and go on connecting until `stop`; returns after the first attempt.

        A broker that is not there now is no error, only an alarm. Raises Stop("broker-refused")
        when it will not let us in or hear what we must; then nothing goes on.
        """
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._keep_connected(first))
        try:
            await asyncio.shield(first)
        except Stop:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Leave; what was not acknowledged is not."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def health(self) -> str:
        """For the health document: "ok", or the alarm with its code."""
        return f"{self.alarm}: {self._failure}" if self.alarm else "ok"

    def _raise_alarm(self, code: str, text: str) -> None:
        """One line in the log when it becomes something else, not one each attempt."""
        if code not in {self.alarm, self._told()}:
            log.error("%s: %s", code, text)
        self.alarm, self._failure = code, text

    async def _keep_connected(self, first: asyncio.Future[None]) -> None:
        """Connect, serve, and again; the pause doubles until a connection has lasted."""
        loop, pause_s, short = asyncio.get_running_loop(), PAUSE_S_MIN, 0
        while True:
            since_s = loop.time()
            try:
                await self._serve(first)
            except Stop as error:
                self._raise_alarm("broker-refused", error.text)
                if not first.done():
                    first.set_exception(error)
            except (GridsealError, OSError) as error:
                hint = "; is there another of this user?" if short >= SHORT_MAX else ""
                self._raise_alarm("broker-down", f"{str(error) or type(error).__name__}{hint}")
            except Exception as error:
                log.exception("the connection to the broker failed")
                self._raise_alarm("broker-down", repr(error))
            if loop.time() - since_s > LASTING_S:
                pause_s, short = PAUSE_S_MIN, 0
            elif first.done():
                short += 1
            if not first.done():
                first.set_result(None)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S_MAX)

    async def _serve(self, first: asyncio.Future[None]) -> None:
        """One connection, from its beginning to its end; raises why it ended."""
        connection = self._connect()
        try:
            await connection.open(self._topic)
            if self.alarm and not self._told():
                log.info("connected to the broker again")
            self.alarm = self._failure = ""
            self.connection = connection
            self._opened(connection)
            if not first.done():
                first.set_result(None)
            raise await connection.until_lost()
        except ssl.SSLCertVerificationError as error:
            text = f"the broker's certificate does not hold: {error.verify_message}"
            raise Stop("broker-refused", text) from error
        finally:
            self.connection = None
            await connection.close()
            self._closed()
