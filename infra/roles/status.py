"""Probes and metrics of one role, on an address of their own: plain HTTP, no secrets, GET only.

    /health/live    200 while the process goes on
    /health/ready   200 where it can do its work, else 503; each of its parts as JSON
    /metrics        Prometheus text exposition format 0.0.4

For supervisors and Prometheus; on loopback, or where only they come.
"""

import json
import logging
import socket
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from infra.addresses import busy

TIMEOUT_S = 10
METRICS = "text/plain; version=0.0.4; charset=utf-8"

logger = logging.getLogger("gridseal.status")


class StatusServer:
    """Serves from threads of its own."""

    def __init__(
        self,
        address: tuple[str, int],
        *,
        role: str,
        ready: Callable[[], Mapping[str, str]],
        metrics: Callable[[], str],
    ) -> None:
        """Listen; ready: of each part `ok` or what is wrong. Raises Stop("port")."""
        self._role, self._ready, self._metrics = role, ready, metrics

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET

        class Handler(_Handler):
            answer = self._answer

        try:
            self._server = Server(address, Handler)
        except OSError as error:
            raise busy(address, error) from error
        self._thread = Thread(target=self._server.serve_forever, name="status", daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._server.server_address[:2]
        shown = f"[{host!s}]" if ":" in str(host) else str(host)
        return f"http://{shown}:{port}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()

    def _answer(self, path: str) -> tuple[int, str, str]:
        """Status, media type and body."""
        if path == "/health/live":
            return 200, "application/json", json.dumps({"role": self._role})
        if path == "/health/ready":
            parts = self._ready()
            well = all(state == "ok" for state in parts.values())
            body = json.dumps({"role": self._role, **parts})
            return 200 if well else 503, "application/json", body
        if path == "/metrics":
            return 200, METRICS, self._metrics()
        return 404, "application/json", json.dumps({"error": "no such resource"})


class _Handler(BaseHTTPRequestHandler):
    timeout = TIMEOUT_S
    server_version, sys_version = "Gridseal", ""
    answer: Callable[[str], tuple[int, str, str]]

    def do_GET(self) -> None:
        """As the base class documents."""
        try:
            status, media, body = type(self).answer(self.path.partition("?")[0])
        except Exception:  # whoever asks is told that something is wrong
            logger.exception("the status can't be told")
            status, media, body = 500, "application/json", json.dumps({"error": "see the log"})
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing: a probe comes every few seconds."""
