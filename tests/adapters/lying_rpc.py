"""A JSON-RPC endpoint of our own that stands before a node, and lies when it is told to.

It is a real HTTP server, so what is broken below JSON is broken as it is on the wire.
"""

import http.client
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

Answer = dict[str, Any]
Lie = Callable[[str, list[Any], Answer], Answer | bytes | None]  # None: the truth


class LyingRpc:
    """`url` gives what the node at `truth` gives, but for what `lie` makes of it.

    lie(method, params, answer) → another answer, bytes in its place, or None. It may raise
    `Broken`, which says how the connection fails.
    """

    def __init__(self, truth: str) -> None:
        self.lie: Lie | None = None
        self.told: Counter[str] = Counter()  # lies by method
        self.asked: Counter[str] = Counter()
        self._truth = urlsplit(truth).netloc
        rpc = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                rpc._serve(self, self.rfile.read(int(self.headers["content-length"])))

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # clients that gave up

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        question = json.loads(body)
        method, params = question["method"], question.get("params", [])
        self.asked[method] += 1
        try:
            answer = self._true_answer(body)
            told = self.lie(method, params, json.loads(answer)) if self.lie else None
        except Broken as how:
            self.told[method] += 1
            how.happen(handler)
            return
        if told is not None:
            self.told[method] += 1
            answer = told if isinstance(told, bytes) else json.dumps(told).encode()
        reply(handler, answer)

    def _true_answer(self, body: bytes) -> bytes:
        way = http.client.HTTPConnection(self._truth, timeout=20)
        try:
            way.request("POST", "/", body, {"content-type": "application/json"})
            return way.getresponse().read()
        finally:
            way.close()


class Broken(Exception):
    """The connection fails: before or instead of an answer."""

    def __init__(self, happen: Callable[[BaseHTTPRequestHandler], None]) -> None:
        super().__init__()
        self.happen = happen


def reply(
    handler: BaseHTTPRequestHandler,
    body: bytes,
    *,
    status: int = 200,
    kind: str = "application/json",
    more: int = 0,
    headers: dict[str, str] | None = None,
) -> None:
    """more: bytes that are promised and don't come."""
    handler.send_response(status)
    handler.send_header("content-type", kind)
    handler.send_header("content-length", str(len(body) + more))
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)
    handler.wfile.flush()
    if more:
        handler.close_connection = True


def hang(handler: BaseHTTPRequestHandler) -> None:
    """No answer for longer than anybody waits."""
    time.sleep(2.0)
    handler.close_connection = True


def reset(handler: BaseHTTPRequestHandler) -> None:
    """RST in the middle."""
    handler.connection.setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, (1).to_bytes(4, "little") + bytes(4)
    )
    handler.connection.close()
    handler.close_connection = True


def drip(handler: BaseHTTPRequestHandler) -> None:
    """A byte now and then, without end."""
    handler.send_response(200)
    handler.send_header("content-length", "1000000")
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.1)
    handler.close_connection = True


@contextmanager
def lying(truth: str) -> Iterator[LyingRpc]:
    found = LyingRpc(truth)
    try:
        yield found
    finally:
        found.close()
