"""A network that is bad: stands before a server, passes on what it gets, and harms it when told to.

    link = Link("127.0.0.1", port); link.toxic = "slicing"; …; link.toxic = ""; link.close()

latency     each piece comes 50 to 400 ms later
slicing     in pieces of 1 to 40 bytes, each a segment of its own
bandwidth   20 kB a second
reset       every connection is reset after some bytes, new ones too
hole        connections stay, and nothing passes

Bad for all who connect, or for some processes only: `whose` names them, `link.only = {"worker"}`.
"""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
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

    def __init__(
        self, host: str, port: int, seed: int = 1, whose: Callable[[int, int], str] = lambda *_: ""
    ) -> None:
        """whose: the name of the process that connected from a port to the link's."""
        self.target = (host, port)
        self.only: frozenset[str] = frozenset()  # whose connections are bad; all, where empty
        self._passed: Counter[str] = Counter()  # by whose they are
        self._toxic, self._chance, self._whose = "", Random(seed), whose
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

    @property
    def passed(self) -> int:
        """Bytes, both ways."""
        return self._passed.total()

    @property
    def by(self) -> Mapping[str, int]:
        """Bytes, both ways, by whose connections they passed."""
        return dict(self._passed)

    def _bad(self, name: str) -> str:
        """What is wrong with the connections of one."""
        return self._toxic if not self.only or name in self.only else ""

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
        """Those that are just being taken are waited for: they would be left open else."""
        for listening in self._server.sockets:
            self._loop.remove_reader(listening.fileno())
        while rest := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(rest, timeout=_SETTLE_S)
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.CancelledError):
                there = await asyncio.open_connection(*self.target)
                name = self._whose(writer.get_extra_info("peername")[1], self.port)
                try:
                    await self._both(name, (reader, writer), there)
                finally:
                    there[1].transport.abort()
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _both(
        self,
        name: str,
        here: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        there: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        ways = [
            asyncio.ensure_future(self._pass(name, here[0], there[1])),
            asyncio.ensure_future(self._pass(name, there[0], here[1])),
        ]
        try:
            await asyncio.wait([*ways], return_when=asyncio.FIRST_COMPLETED)
            if self._bad(name) == "reset":
                for one in (here[1], there[1]):
                    one.get_extra_info("socket").setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, _RESET
                    )
            elif not any(way.done() and way.exception() for way in ways):
                await asyncio.wait(ways, timeout=1)  # the other half, where one said its last
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pass(
        self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        bad = partial(self._bad, name)
        while True:
            reading = asyncio.ensure_future(reader.read(1 << 16))
            reading.add_done_callback(_seen)
            try:
                while not reading.done():
                    await asyncio.wait([reading], timeout=0.2)
                    if bad() == "reset":
                        return
            finally:
                reading.cancel()
            data = await reading
            if not data:
                if writer.can_write_eof():
                    writer.write_eof()
                return
            await self._harm(data, writer, bad)
            self._passed[name] += len(data)

    async def _harm(
        self, data: bytes, writer: asyncio.StreamWriter, bad: Callable[[], str]
    ) -> None:
        """Pass it on, as whatever is wrong now has it."""
        while bad() == "hole":
            await asyncio.sleep(_SETTLE_S)
        toxic = bad()
        if toxic == "latency":
            await asyncio.sleep(self._chance.uniform(0.05, 0.4))
        if toxic == "reset":
            data = data[: self._chance.randrange(len(data) + 1)]
        at = 0
        while at < len(data):
            size = len(data)
            if bad() == "slicing":
                size = self._chance.randint(1, 40)
            elif bad() == "bandwidth":
                size = _PIECE
                await asyncio.sleep(_PIECE / _RATE)
            writer.write(data[at : at + size])
            await writer.drain()
            if bad() == "slicing":
                await asyncio.sleep(0)
            at += size
        if toxic == "reset":
            raise ConnectionResetError


def _seen(ended: asyncio.Future[bytes]) -> None:
    """What it failed with is no news where nobody waits for it any more."""
    if not ended.cancelled():
        ended.exception()


def holder(pids: Mapping[str, int], port: int, peer: int) -> str:
    """Which of these processes connected from `port` to `peer`, both of loopback; "" for none."""
    here, there = f"0100007F:{port:04X}", f"0100007F:{peer:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    sockets = {f"socket:[{line[9]}]" for line in lines if line[1:3] == [here, there]}
    for name, pid in pids.items():
        with suppress(OSError):  # it ended meanwhile
            for file in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):  # closed meanwhile
                    if str(file.readlink()) in sockets:
                        return name
    return ""
