"""The control socket: how the command line reaches a running platform (a Unix socket, 0600).

One JSON object a line, one answer a line: {"ok": …} or {"error": sentence}. It never leaves the
host, and whoever may open the socket owns the data folder anyway.
"""

import asyncio
import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from bal.errors import GridsealError, Rejected, Stop, Unavailable
from infra.data_folder import ROLES

log = logging.getLogger("gridseal.control")

SOCKET = "control.sock"
COLLECTOR = "collector"  # the role that does what the operator commands
LINE_MAX = 16 * 1024 * 1024
# Commands that may come into force later than who gave them waits: what says whether they did.
ASK = {
    "enrol": "device list", "revoke": "device list", "restore": "device list",
    "client-add": "client list", "client-revoke": "client list",
    "day-close": "status", "anchor": "status", "trust-set": "trust",
    "subject-move": "subject show", "subject-exchange": "subject show",
}  # fmt: skip
UNDER_WAY = "command-under-way"
Handler = Callable[[dict[str, Any]], Awaitable[Any]]


def _short(folder: Path) -> tuple[int, str]:
    """An open folder and a path to the socket in it that fits a socket address (108 bytes)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    return descriptor, f"/proc/self/fd/{descriptor}/{SOCKET}"


class ControlServer:
    """Serves commands by name."""

    def __init__(self, folder: Path, handlers: Mapping[str, Handler]) -> None:
        self._folder = folder
        self._handlers = handlers
        self._server: asyncio.Server | None = None
        self._inode = 0

    async def start(self) -> None:
        """Listen; the folder's lock makes sure that nobody else does."""
        with suppress(FileNotFoundError):
            (self._folder / SOCKET).unlink()
        descriptor, path = _short(self._folder)
        mask = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, path, limit=LINE_MAX)
            self._inode = (self._folder / SOCKET).stat().st_ino
        finally:
            os.umask(mask)
            os.close(descriptor)

    async def stop(self) -> None:
        """Stop listening; who listens there by now goes on."""
        if self._server is not None:
            self._server.close()
        path = self._folder / SOCKET
        with suppress(FileNotFoundError):
            if path.stat().st_ino == self._inode:
                path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                answer = await self._answer(line)
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # the caller went away, or wrote a line beyond the limit
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            handler = self._handlers[request["command"]]
            return {"ok": await handler(request)}
        except Rejected as error:
            place = f"line {error.line}: " if error.line is not None else ""
            return {"error": f"{place}{error.text}", "code": error.code}
        except GridsealError as error:
            return {"error": str(error)}
        except (KeyError, TypeError, ValueError) as error:
            return {"error": f"the command is not understood: {error}"}
        except TimeoutError:
            return {"error": _under_way(request["command"]), "code": UNDER_WAY}
        except Exception:
            log.exception("a command failed")
            return {"error": "the platform failed; its log says why"}


def _under_way(command: str) -> str:
    """What to say of a command of which nobody knows whether it will come into force."""
    ask = ASK.get(command)
    if ask is None:
        return "the platform does not answer in time; its log says why"
    return (
        f"it is not in force yet, and may be later: ask `gridseal {ask}`, or give it again, which"
        " does nothing twice; the platform's log says what it waits for"
    )


def settle(folder: Path) -> None:
    """Have a platform that runs on `folder` note all that it has stored, before a look at it."""
    with suppress(GridsealError, OSError, ValueError):
        call(folder, "settle")


def call(folder: Path, command: str, timeout_s: float = 60, **arguments: Any) -> Any:
    """Ask the platform that runs on `folder`.

    Raises Unavailable when none does, Stop with its sentence when it refuses, and
    Stop("command-under-way") where it has no answer in `timeout_s`.
    """
    try:
        descriptor, path = _short(folder)
    except OSError as error:
        raise Unavailable(f"{folder} is no data folder of Gridseal") from error
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(path)
        except OSError as error:
            command, what = "up", "platform"
            if (folder / ROLES).exists():
                command, what = f"run {COLLECTOR}", COLLECTOR
            text = f"no {what} runs on {folder}; start one: gridseal {command} --data {folder}"
            raise Unavailable(text) from error
        finally:
            os.close(descriptor)
        try:
            connection.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
            with connection.makefile("rb") as lines:
                line = lines.readline()
        except TimeoutError as error:
            raise Stop(UNDER_WAY, _under_way(command)) from error
    if not line.endswith(b"\n"):  # none, or what a kill left of one
        text = "the platform ended before it answered"
        raise Unavailable(f"{text}; {_under_way(command)}" if command in ASK else text)
    answer = json.loads(line)
    if "error" in answer:
        raise Stop(answer.get("code", "refused"), answer["error"])
    return answer["ok"]
