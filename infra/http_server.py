"""The gateway's HTTPS server: uvicorn on a socket of ours, ended together with the platform."""

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from bal.errors import Stop
from infra.addresses import busy

END_S = 3


def _of_us(record: logging.LogRecord) -> bool:
    """Not that a caller's idle connection outlasted a stop: it is closed, and nothing was begun."""
    return not (record.args == (0,) and str(record.msg).startswith("Cancel %s running task"))


logging.getLogger("uvicorn.error").addFilter(_of_us)


def listen(address: tuple[str, int]) -> socket.socket:
    """A socket bound to the address. Raises Stop("port") where another process has it."""
    listener = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise busy(address, error) from error
    return listener


class HttpServer:
    """Serves one application over TLS."""

    def __init__(self, app: FastAPI, certificate: Path, key: Path) -> None:
        settings = uvicorn.Config(
            app,
            ssl_certfile=certificate,
            ssl_keyfile=key,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            proxy_headers=False,
            server_header=False,
            limit_concurrency=2_000,
            timeout_graceful_shutdown=2,
        )
        self._server = _Server(settings)

    async def start(self, listener: socket.socket) -> None:
        """Serve on a bound socket; returns once it does. Raises Stop where it can't."""
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started:
            if self._task.done():
                raise Stop("http", f"the gateway ended: {self._task.exception()}")
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Answer what was begun, then end."""
        self._server.should_exit = True
        with suppress(Exception):
            await asyncio.wait_for(self._task, timeout=END_S)


class _Server(uvicorn.Server):
    """Without its own signal handling: the platform ends all of its parts together."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
