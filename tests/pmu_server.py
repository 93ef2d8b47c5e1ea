"""A PMU for tests: answers commands by TCP or UDP and sends a stream, with faults where asked."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

from bal.c37118.config import Config
from bal.c37118.data import Layout
from bal.c37118.frame import (
    CFG_2,
    CFG_3,
    COMMAND,
    SEND_CFG_2,
    SEND_CFG_3,
    TURN_OFF,
    TURN_ON,
    command_of,
    head,
)
from bal.c37118.splitter import Splitter, split
from bal.c37118.writer import config_frames
from tests.c37118_streams import frame


class PmuServer:
    """Of one stream. `configs` by kind: what it answers; a kind that is missing is not answered."""

    def __init__(
        self, *configs: Config, frames: Iterable[bytes] = (), pause_s: float = 0.001
    ) -> None:
        self.configs = {one.kind: one for one in configs}
        self.commands: Counter[int] = Counter()
        self.pause_s = pause_s
        self.end_after = -1  # frames, after which it ends a TCP connection
        self._frames = iter(frames)
        self.port = 0

    def answer(self, raw: bytes, send: Callable[[bytes], object]) -> int:
        """Answer one command; which it was."""
        found = head(raw)
        assert found.kind == COMMAND
        command = command_of(raw)
        self.commands[command] += 1
        kind = {SEND_CFG_2: CFG_2, SEND_CFG_3: CFG_3}.get(command)
        if kind in self.configs:
            for one in config_frames(self.configs[kind], size_max=200):
                send(one)
        return command

    async def stream(self, send: Callable[[bytes], object]) -> None:
        for sent, raw in enumerate(self._frames, 1):
            send(raw)
            if sent == self.end_after:
                self.end_after = -1
                return
            await asyncio.sleep(self.pause_s)
        await asyncio.Event().wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        splitter, streaming = Splitter(), None
        try:
            while True:
                reading = asyncio.ensure_future(reader.read(4096))
                await asyncio.wait(
                    {reading, streaming} if streaming else {reading},
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if streaming is not None and streaming.done():
                    reading.cancel()
                    return
                data = await reading
                if not data:
                    return
                for piece in splitter.feed(data):
                    command = self.answer(piece.frame, writer.write)
                    if command == TURN_ON and streaming is None:
                        streaming = asyncio.create_task(self.stream(writer.write))
                    if command == TURN_OFF and streaming is not None:
                        streaming.cancel()
                        streaming = None
        except ConnectionError:
            pass
        finally:
            if streaming is not None:
                streaming.cancel()
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    @asynccontextmanager
    async def by_tcp(self) -> Any:
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield f"tcp://127.0.0.1:{self.port}"
        finally:
            server.close()

    @asynccontextmanager
    async def by_udp(self) -> Any:
        pmu, tasks = self, []

        class Protocol(asyncio.DatagramProtocol):
            def connection_made(self, transport: Any) -> None:
                self.transport = transport

            def datagram_received(self, data: bytes, addr: Any) -> None:
                def send(raw: bytes) -> None:
                    self.transport.sendto(raw, addr)

                commands = [pmu.answer(piece.frame, send) for piece in split(data)]
                if TURN_ON in commands:
                    tasks.append(asyncio.create_task(pmu.stream(send)))

        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(Protocol, local_addr=("127.0.0.1", 0))
        self.port = transport.get_extra_info("sockname")[1]
        try:
            yield f"udp://127.0.0.1:{self.port}"
        finally:
            for task in tasks:
                task.cancel()
            transport.close()


def frames_of(config: Config, first: int, last: int, **how: Any) -> list[bytes]:
    layout = Layout(config)
    return [frame(layout, number, **how) for number in range(first, last)]
