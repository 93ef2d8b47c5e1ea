"""A network that is bad: stands before a server, passes on what it gets, and harms it when told to.

    link = Link("127.0.0.1", port); link.toxic = "slicing"; …; link.toxic = ""; link.close()

latency     each piece comes 50 to 400 ms later
slicing     in pieces of 1 to 40 bytes, each a segment of its own
bandwidth   20 kB a second
reset       every connection is reset after some bytes, new ones too
hole        connections stay, and nothing passes
"""

import asyncio
import socket
import struct
from collections.abc import Coroutine
from contextlib import suppress
from random import Random
from threading import Thread
from typing import Any

TOXICS = ("latency", "slicing", "bandwidth", "reset", "hole")
_PIECE, _RATE = 1024, 20_000
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: a close is a reset
_SETTLE_S = 0.02
_PATIENCE_S = 30


class Link:
    """Listens on `port` and leads to `target`, which may be set anew."""

    def __init__(self, host: str, port: int, seed: int = 1) -> None:
        self.target = (host, port)
        self.passed = 0  # bytes, both ways
        self._toxic, self._chance = "", Random(seed)
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="link", daemon=True)
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    @property
    def toxic(self) -> str:
        """What is wrong; "" for nothing."""
        return self._toxic

    @toxic.setter
    def toxic(self, toxic: str) -> None:
        assert toxic in {"", *TOXICS}
        self._toxic = toxic

    def close(self) -> None:
        """End, with all connections."""
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE_S)
        assert not self._thread.is_alive(), "the link's thread does not end"
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_PATIENCE_S)

    async def _end(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.CancelledError):
                there = await asyncio.open_connection(*self.target)
                try:
                    await self._both(reader, writer, *there)
                finally:
                    there[1].transport.abort()
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _both(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        from_there: asyncio.StreamReader,
        to_there: asyncio.StreamWriter,
    ) -> None:
        ways = [
            asyncio.ensure_future(self._pass(reader, to_there)),
            asyncio.ensure_future(self._pass(from_there, writer)),
        ]
        try:
            await asyncio.wait([*ways], return_when=asyncio.FIRST_COMPLETED)
            if self._toxic == "reset":
                for one in (writer, to_there):
                    one.get_extra_info("socket").setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, _RESET
                    )
            elif not any(way.done() and way.exception() for way in ways):
                await asyncio.wait(ways, timeout=1)  # the other half, where one said its last
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            reading = asyncio.ensure_future(reader.read(1 << 16))
            while not reading.done():
                await asyncio.wait([reading], timeout=0.2)
                if self._toxic == "reset":
                    reading.cancel()
                    return
            data = await reading
            if not data:
                if writer.can_write_eof():
                    writer.write_eof()
                return
            await self._harm(data, writer)
            self.passed += len(data)

    async def _harm(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        """Pass it on, as whatever is wrong now has it."""
        while self._toxic == "hole":
            await asyncio.sleep(_SETTLE_S)
        toxic = self._toxic
        if toxic == "latency":
            await asyncio.sleep(self._chance.uniform(0.05, 0.4))
        if toxic == "reset":
            data = data[: self._chance.randrange(len(data) + 1)]
        at = 0
        while at < len(data):
            size = len(data)
            if self._toxic == "slicing":
                size = self._chance.randint(1, 40)
            elif self._toxic == "bandwidth":
                size = _PIECE
                await asyncio.sleep(_PIECE / _RATE)
            writer.write(data[at : at + size])
            await writer.drain()
            if self._toxic == "slicing":
                await asyncio.sleep(0)
            at += size
        if toxic == "reset":
            raise ConnectionResetError
