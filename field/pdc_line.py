"""Where a stream of IEEE C37.118.2 comes from, and the lines to there: by TCP, by UDP."""

import asyncio
import logging
from contextlib import suppress
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from bal.c37118.splitter import Piece, Splitter, split
from bal.errors import Stop

log = logging.getLogger("gridseal.field")

CONNECT_TIMEOUT_S = 10.0


class Source(NamedTuple):
    """Where a stream comes from."""

    scheme: str  # tcp or udp
    host: str  # "" of a UDP source that only listens
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"


def source_of(url: str) -> Source:
    """tcp://host:port, udp://host:port, or udp://:port to listen. Raises Stop("usage")."""
    text = f"a source is tcp://HOST:PORT, udp://HOST:PORT or, to listen, udp://:PORT; not {url}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise Stop("usage", text) from error
    rest = parts.path or parts.query or parts.fragment or parts.username
    if parts.scheme not in {"tcp", "udp"} or port is None or rest:
        raise Stop("usage", text)
    if not host and parts.scheme == "tcp":
        raise Stop("usage", text)
    return Source(parts.scheme, host, port)


class Line(Protocol):
    """A connection to a source."""

    splitter: Splitter  # what it counted

    def send(self, raw: bytes) -> None:
        """Send a command."""
        ...

    async def receive(self) -> list[Piece]:
        """What came next. Raises OSError, EOFError where nothing comes any more."""
        ...

    async def close(self) -> None:
        """Let go."""
        ...


class TcpLine:
    """Frames in a stream of bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.splitter = Splitter()
        self._reader, self._writer = reader, writer

    def send(self, raw: bytes) -> None:
        """Send a command."""
        self._writer.write(raw)

    async def receive(self) -> list[Piece]:
        """What came next."""
        data = await self._reader.read(65_536)
        if not data:
            raise EOFError("the source has ended the connection")
        return self.splitter.feed(data)

    async def close(self) -> None:
        """Let go."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


class UdpLine(asyncio.DatagramProtocol):
    """Whole frames in datagrams; those that come too fast are dropped, as UDP does."""

    def __init__(self) -> None:
        self.splitter = Splitter()  # only counts
        self._came: asyncio.Queue[bytes] = asyncio.Queue(10_000)
        self._transport: asyncio.DatagramTransport | None = None
        self._to: Any = None

    def connection_made(self, transport: Any) -> None:
        """By asyncio."""
        self._transport = transport
        self._to = transport.get_extra_info("peername")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """By asyncio."""
        with suppress(asyncio.QueueFull):
            self._came.put_nowait(data)

    def error_received(self, exc: Exception) -> None:
        """By asyncio: nobody listens there, perhaps not yet; silence ends the session."""
        log.debug("%s", exc)

    def send(self, raw: bytes) -> None:
        """Send a command; one that only listens has nobody to send it to."""
        if self._transport is not None and self._to is not None:
            self._transport.sendto(raw)

    async def receive(self) -> list[Piece]:
        """What came next: the pieces of one datagram."""
        pieces = split(await self._came.get())
        for piece in pieces:
            if piece.code:
                self.splitter.damage[piece.code] += 1
                self.splitter.lost_bytes += piece.end - piece.start
            else:
                self.splitter.frames += 1
        return pieces

    async def close(self) -> None:
        """Let go."""
        if self._transport is not None:
            self._transport.close()


async def open_line(source: Source) -> Line:
    """Connect. Raises OSError, TimeoutError."""
    if source.scheme == "tcp":
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            return TcpLine(*await asyncio.open_connection(source.host, source.port))
    loop = asyncio.get_running_loop()
    place = {"remote_addr": (source.host, source.port)} if source.host else {
        "local_addr": ("0.0.0.0", source.port)  # noqa: S104 - to listen is what it is for
    }  # fmt: skip
    _, line = await loop.create_datagram_endpoint(UdpLine, **place)  # type: ignore[arg-type]
    return line
