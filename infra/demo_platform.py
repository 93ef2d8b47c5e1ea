"""The demo's hands: the platform as a child process, its command line, and its HTTPS.

Everything goes through the outside that any user has; nothing of the platform is imported.
"""

import base64
import json
import os
import select
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 10
COMMAND_TIMEOUT_S = 120
_REQUEST_TIMEOUT_S = 30


class Failure(Exception):
    """The story can't go on; the message is one sentence for the person who watches."""


def gridseal(
    *arguments: str, allowed: Collection[int] = (0,), timeout_s: float = COMMAND_TIMEOUT_S
) -> tuple[int, str]:
    """Run one `gridseal` command; its exit code and what it printed.

    Raises Failure, with the last line of its errors, when the exit code is not an allowed one.
    """
    command = [sys.executable, "-m", "infra.cli", *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - the commands stand in infra/demo.py
            command, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        said = f"gave no answer in {timeout_s:g} s"
        raise Failure(f"gridseal {arguments[0]} {said}") from None
    if done.returncode not in allowed:
        raise Failure(f"gridseal {' '.join(arguments[:2])} failed: {_last(done.stderr)}")
    return done.returncode, done.stdout


def _last(errors: str) -> str:
    """The sentence in the last line of a log or of an error output."""
    lines = errors.strip().splitlines()
    if not lines:
        return "it gave no reason"
    try:
        entry = json.loads(lines[-1])
    except ValueError:
        return lines[-1]
    if not isinstance(entry, dict):
        return lines[-1]
    said = [str(entry[key]) for key in ("code", "text", "message", "error") if key in entry]
    return ": ".join(said) or lines[-1]


class Platform:
    """`gridseal up` on one data folder, from `start` to `stop`."""

    def __init__(self, data: Path, log: Path, config: Path | None) -> None:
        self.data = data
        self.log = log
        self._config = config
        self._child: subprocess.Popen[bytes] | None = None
        self.facts: dict[str, Any] = {}

    def start(self) -> None:
        """Start it and wait until it serves; `facts` is the line of JSON that it prints then."""
        command = [sys.executable, "-m", "infra.cli", "up", "--data", str(self.data)]
        command += ["--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"]
        command += ["--config", str(self._config)] if self._config else []
        with self.log.open("w", encoding="utf-8") as log:
            self._child = subprocess.Popen(  # noqa: S603 - the command stands here
                command,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches the demo alone, which then stops it
            )
        try:
            self.facts = self._serving(self._child)
        except BaseException:
            self.stop()
            raise

    def _serving(self, child: subprocess.Popen[bytes]) -> dict[str, Any]:
        """The line of JSON that the platform prints when it serves."""
        assert child.stdout is not None
        line, deadline = b"", time.monotonic() + START_TIMEOUT_S
        while not line.endswith(b"\n"):
            if child.poll() is not None:
                raise Failure(f"the platform did not start: {self.last_words()}")
            if time.monotonic() > deadline:
                raise Failure(f"the platform did not serve within {START_TIMEOUT_S} s")
            if select.select([child.stdout], [], [], 0.1)[0]:
                line += os.read(child.stdout.fileno(), 65_536)
        try:
            facts = json.loads(line)
        except ValueError:
            raise Failure("the platform's first line was not JSON") from None
        missing = {"http", "mqtt", "contract", "origin", "log_key", "ca"} - set(facts)
        if missing:
            raise Failure(f"the platform's first line lacks {', '.join(sorted(missing))}")
        return dict(facts)

    def stop(self) -> None:
        """Ask it to end; insist if it doesn't."""
        child = self._child
        if child is None:
            return
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if child.stdout is not None:
            child.stdout.close()

    def running(self) -> bool:
        """Whether it still runs."""
        return self._child is not None and self._child.poll() is None

    def last_words(self) -> str:
        """The last thing it logged."""
        return _last(self.log.read_text(encoding="utf-8", errors="replace"))


class Gateway:
    """A client application of the platform's REST interface."""

    def __init__(self, url: str, ca: str, client_id: str, client_secret: str) -> None:
        self._host = urlsplit(url).netloc
        self._trust = ssl.create_default_context(cafile=ca)
        self._basic = base64.b64encode(f"{client_id}:{client_secret}".encode()).decode()
        self.token = ""

    def authorize(self, scope: str) -> dict[str, Any]:
        """Take a token by client credentials (RFC 6749 §4.4); its answer without the token."""
        headers = {
            "Authorization": f"Basic {self._basic}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        form = urlencode({"grant_type": "client_credentials", "scope": scope})
        answer = json.loads(self._ask("POST", "/oauth/token", headers, form))
        self.token = str(answer.pop("access_token"))
        return dict(answer)

    def get(self, path: str) -> bytes:
        """One document, with the token. Raises Failure with the problem's own sentence."""
        return self._ask("GET", path, {"Authorization": f"Bearer {self.token}"}, None)

    def _ask(self, method: str, path: str, headers: Mapping[str, str], body: str | None) -> bytes:
        connection = HTTPSConnection(self._host, timeout=_REQUEST_TIMEOUT_S, context=self._trust)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            data = answer.read()
        except (OSError, HTTPException) as error:
            raise Failure(f"{method} {path} got no answer: {error}") from error
        finally:
            connection.close()
        if answer.status != 200:
            raise Failure(f"{method} {path} was refused with {answer.status}: {_problem(data)}")
        return data


def _problem(data: bytes) -> str:
    """The sentence of an RFC 9457 problem document, or the first bytes of anything else."""
    try:
        found = json.loads(data)
        return str(found.get("detail") or found.get("title") or found)
    except (ValueError, AttributeError):
        return data[:200].decode("utf-8", "replace")
