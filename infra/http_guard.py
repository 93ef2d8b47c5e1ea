"""The gateway's outermost layer: bounds before any route is looked at, and no bare error."""

import logging

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bal.provide.problem import Problem
from infra.http_gateway import Limits, problem_response
from infra.oauth import TOKEN_PATH

APART = {TOKEN_PATH, "/healthz", "/metrics"}  # have limits of their own, behind nothing else

log = logging.getLogger("gridseal.http")


class Guard:
    """ASGI middleware: size of URL and headers, requests under way, HEAD, and what went wrong."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; other kinds of connection pass through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        problem = self._refused(scope)
        if problem is not None:
            headers = {"Retry-After": "1"} if problem.status == 503 else None
            await problem_response(problem, headers)(scope, receive, send)
            return
        counted = scope["path"] not in APART
        self._under_way += counted
        try:
            await self._answer(scope, receive, send)
        finally:
            self._under_way -= counted

    def _refused(self, scope: Scope) -> Problem | None:
        limits = self._limits
        path = scope.get("raw_path") or scope["path"].encode("utf-8", "replace")
        if len(path) + len(scope["query_string"]) > limits.url_bytes_max:
            return Problem(414, "uri-too-long", f"At most {limits.url_bytes_max} bytes.")
        headers = scope["headers"]
        bytes_all = sum(len(name) + len(value) + 4 for name, value in headers)
        if len(headers) > limits.headers_max or bytes_all > limits.header_bytes_max:
            most = f"At most {limits.headers_max} fields and {limits.header_bytes_max} bytes."
            return Problem(431, "headers-too-large", most, clause="RFC 6585 §5")
        if self._under_way >= limits.requests_max and scope["path"] not in APART:
            return Problem(503, "unavailable", "Too many requests are under way.")
        return None

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False
        head = scope["method"] == "HEAD"

        async def send_on(message: Message) -> None:
            nonlocal started
            started = True
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-content-type-options", b"nosniff"),
                ]
            elif head:  # RFC 9110 §9.3.2: as GET, without the content
                message = {**message, "body": b""}
            await send(message)

        try:
            await self._app({**scope, "method": "GET"} if head else scope, receive, send_on)
        except ClientDisconnect:
            log.info("the caller went away before the body was complete")
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            if started:
                raise
            problem = Problem(500, "internal", "The platform failed; its log says why.")
            await problem_response(problem)(scope, receive, send_on)
