"""What every route of the REST gateway stands on: limits, threads, callers, refusals."""

import ipaddress
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final, ParamSpec, TypeVar

import anyio
from starlette.requests import Request
from starlette.responses import Response

from bal.errors import Unavailable
from bal.provide.parameters import check_known, parameters
from bal.provide.policy import ClientInfo, usable_scopes
from bal.provide.problem import MEDIA_TYPE, Problem
from infra.http_lanes import Lane, LaneLimits
from infra.http_services import Services
from infra.oauth_token import TokenRefused, check

P = ParamSpec("P")
T = TypeVar("T")
REALM: Final = "gridseal"
READS: Final = LaneLimits(threads_max=8, waiting_max=128, per_caller_max=4, wait_s=5.0)
FILES: Final = LaneLimits(threads_max=4, waiting_max=128, per_caller_max=3)  # of the log
TOKENS: Final = LaneLimits(threads_max=2, waiting_max=256)  # given out, looked at
PROBES: Final = LaneLimits(threads_max=2, waiting_max=16)  # health and metrics
QUERIES: Final = LaneLimits(threads_max=2, waiting_max=16, per_caller_max=1, wait_s=15.0)
RPC: Final = LaneLimits(threads_max=2, waiting_max=16, wait_s=30.0)


def _now_s() -> int:
    return int(time.time())


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the gateway; docs/spec/limits-and-codes.md has them in a table."""

    url_bytes_max: int = 8_192
    header_bytes_max: int = 16_384
    headers_max: int = 64
    message_bytes_max: int = 4 * 1024 * 1024
    token_body_bytes_max: int = 16_384
    rpc_body_bytes_max: int = 262_144
    readings_page_max: int = 10_000
    devices_page_max: int = 10_000
    findings_page_max: int = 1_000
    requests_max: int = 512  # under way, all callers; without the next two
    token_requests_max: int = 64
    probes_max: int = 16  # of health and metrics
    requests_per_client_max: int = 32
    bodies_max: int = 32  # messages being read or handed to the bus
    rpc_requests_max: int = 16
    reads: LaneLimits = READS
    files: LaneLimits = FILES
    tokens: LaneLimits = TOKENS
    probes: LaneLimits = PROBES
    rpc: LaneLimits = RPC
    queries: LaneLimits = QUERIES
    query_bytes_max: int = 32_768  # of SPARQL, in a body
    query_devices_max: int = 5_000  # in the graph that a query is asked of
    query_rows_max: int = 10_000  # rows or triples
    body_read_s: float = 30.0
    certified_wait_s: float = 5.0
    pending_max: int = 10_000  # accepted notes remembered for GET /v1/messages/{hex}


class Refusal(Exception):
    """Ends a request with a problem document and, where needed, further headers."""

    def __init__(self, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{problem.status} {problem.code}")
        self.problem = problem
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as of this request."""

    client: ClientInfo
    scopes: frozenset[str]


class Slots:
    """So many may do this at once; whoever comes then is asked to come again."""

    def __init__(self, slots_max: int, what: str) -> None:
        self._slots_max = slots_max
        self._what = what
        self._taken = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold a slot for the length of the block; Unavailable when there is none."""
        if self._taken >= self._slots_max:
            raise Unavailable(f"Too many {self._what} are under way.", retry_after_s=1)
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


@dataclass
class Gateway:
    """The platform, the limits, and what is counted against them."""

    services: Services
    limits: Limits = field(default_factory=Limits)
    now_s: Callable[[], int] = _now_s  # seconds since 1970
    _reads: Lane = field(init=False)
    _files: Lane = field(init=False)
    _tokens: Lane = field(init=False)
    _probes: Lane = field(init=False)
    _rpc: Lane = field(init=False)
    messages: Slots = field(init=False)
    token_requests: Slots = field(init=False)
    rpc_requests: Slots = field(init=False)
    probes: Slots = field(init=False)
    _under_way: dict[str, set[anyio.CancelScope]] = field(default_factory=dict, init=False)
    _ended: set[str] = field(default_factory=set, init=False)  # revoked since the start

    def __post_init__(self) -> None:
        self._reads = Lane("reads", self.limits.reads)
        self._files = Lane("reads of the log", self.limits.files)
        self._tokens = Lane("looks at tokens", self.limits.tokens)
        self._probes = Lane("looks at health and metrics", self.limits.probes)
        self._rpc = Lane("chain requests", self.limits.rpc)
        self.messages = Slots(self.limits.bodies_max, "messages")
        # Both are open to anybody: they must not take all the places there are.
        self.token_requests = Slots(self.limits.token_requests_max, "token requests")
        self.rpc_requests = Slots(self.limits.rpc_requests_max, "chain requests")
        self.probes = Slots(self.limits.probes_max, "looks at health and metrics")

    # Each runs a call that may block in a thread of that kind, not on the event loop; all raise
    # Unavailable where too much waits already, or it would have to wait for long.

    async def read(
        self, caller: Caller, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Read of the customer database for a client; it has half of these threads at most."""
        return await self._reads.run(caller.client.client_id, partial(call, *args, **kwargs))

    async def read_log(
        self, request: Request, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Read a file of the log, for anybody; addresses take turns."""
        peer = request.client.host if request.client else ""
        return await self._files.run(peer, partial(call, *args, **kwargs))

    async def run_token(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Give out a token or look at one: memory and arithmetic only."""
        return await self._tokens.run("", partial(call, *args, **kwargs))

    async def probe(self, call: Callable[[], T]) -> T:
        """Look at health or metrics."""
        with self.probes.one():
            return await self._probes.run("", call)

    async def run_rpc(self, body: bytes) -> bytes:
        """Ask the chain: a contract call may take long."""
        return await self._rpc.run("", partial(self.services.rpc, body))

    @asynccontextmanager
    async def caller(self, request: Request, scope: str) -> AsyncIterator[Caller]:
        """Whoever presents a good token with `scope`; counted until the block ends.

        Raises Refusal as RFC 6750 §3.1 says, also where the client is revoked meanwhile, and 429
        when the client has too much under way.
        """
        found = await self.run_token(self._authenticate, bearer(request), scope)
        name = found.client.client_id
        if name in self._ended:  # looked up before it was revoked, and continued after
            raise _revoked()
        under_way = self._under_way.setdefault(name, set())
        if len(under_way) >= self.limits.requests_per_client_max:
            most = self.limits.requests_per_client_max
            problem = Problem(429, "too-many-requests", f"At most {most} at a time.")
            raise Refusal(problem, {"Retry-After": "1"})
        work = anyio.CancelScope()
        under_way.add(work)
        try:
            with work:
                yield found
        finally:
            under_way.discard(work)
            if not under_way:
                self._under_way.pop(name, None)
        if work.cancel_called:
            raise _revoked()

    def end(self, client_id: str) -> int:
        """End what a client that was just revoked has under way, with 401; how many requests."""
        self._ended.add(client_id)
        under_way = self._under_way.get(client_id, set())
        for work in under_way:
            work.cancel()
        return len(under_way)

    async def body(self, request: Request, bytes_max: int) -> bytes:
        """The whole body, read as it comes; nothing over the limit is kept.

        Raises Refusal: 413, 415 for a Content-Encoding, 408 when it takes too long.
        """
        coding = request.headers.get("content-encoding", "identity").strip().lower()
        if coding != "identity":  # 100 kB of gzip may be 100 MB
            problem = Problem(
                415, "unsupported-coding", "Send the body as it is.", "Content-Encoding"
            )
            raise Refusal(problem, {"Accept-Encoding": "identity"})
        length = request.headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()) or int(length) > bytes_max:
            raise _too_large(bytes_max)
        found = bytearray()
        try:
            with anyio.fail_after(self.limits.body_read_s):
                async for chunk in request.stream():
                    found += chunk
                    if len(found) > bytes_max:
                        raise _too_large(bytes_max)
        except TimeoutError:
            problem = Problem(408, "body-timeout", f"Not within {self.limits.body_read_s:g} s.")
            raise Refusal(problem, {"Connection": "close"}) from None
        return bytes(found)

    def _authenticate(self, token: str, scope: str) -> Caller:
        services = self.services
        try:
            found = check(token, services.token_keys(), services.issuer, self.now_s())
        except TokenRefused as error:
            raise _invalid_token(str(error)) from error
        client = services.client(found.client_id)
        if client is None or client.state != "active":
            raise _revoked()
        scopes = usable_scopes(client, found.scopes)
        if scope not in scopes:
            problem = Problem(
                403, "insufficient-scope", f"Needs the scope {scope}.", clause="RFC 6750 §3.1"
            )
            raise Refusal(problem, challenge("insufficient_scope", scope=scope))
        return Caller(client, scopes)


def bearer(request: Request) -> str:
    """The token of the one Authorization header (RFC 6750 §2.1), and of nowhere else."""
    clause = "RFC 6750 §2"
    if b"access_token" in request.scope["query_string"]:  # RFC 9700 §4.3.2: never in a URL
        problem = Problem(
            400, "invalid-request", "A token has no place in a URL.", "access_token", clause
        )
        raise Refusal(problem, challenge("invalid_request"))
    given = request.headers.getlist("authorization")
    if len(given) > 1:
        problem = Problem(
            400, "invalid-request", "More than one Authorization header.", "Authorization", clause
        )
        raise Refusal(problem, challenge("invalid_request"))
    scheme, _, token = given[0].partition(" ") if given else ("", "", "")
    if scheme.lower() != "bearer" or not token:
        problem = Problem(
            401, "token-missing", "Send Authorization: Bearer <token>.", "Authorization", clause
        )
        raise Refusal(problem, challenge())
    return token


def challenge(error: str = "", **members: str) -> dict[str, str]:
    """The WWW-Authenticate header of RFC 6750 §3; no error code where no token was shown."""
    members = {"realm": REALM, **({"error": error} if error else {}), **members}
    text = ", ".join(f'{name}="{value}"' for name, value in members.items())
    return {"WWW-Authenticate": f"Bearer {text}"}


def no_parameters(request: Request) -> None:
    """Raises Rejected for any query parameter, where the operation has none."""
    check_known(parameters(request.scope["query_string"]), ())


def is_loopback(request: Request) -> bool:
    """Whether the connection comes from this machine, by the peer's address alone."""
    peer = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def json_response(
    body: bytes, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A private JSON answer: not to be kept by any cache."""
    return Response(
        body, status, {"Cache-Control": "no-store", **(headers or {})}, "application/json"
    )


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """A problem document as an answer."""
    return Response(
        problem.as_json(),
        problem.status,
        {"Cache-Control": "no-store", **(headers or {})},
        MEDIA_TYPE,
    )


def not_found() -> Refusal:
    """404 that says the same whether the thing is not there or not for this caller."""
    return Refusal(Problem(404, "not-found", "No such resource, or not for this caller."))


def strict_index(text: str) -> int:
    """A log index in a path; Refusal 404 for anything that we would not print."""
    if text.isascii() and text.isdigit() and len(text) <= 18 and str(int(text)) == text:
        return int(text)
    raise not_found()


def _too_large(bytes_max: int) -> Refusal:
    # Without Connection: close. uvicorn reads and drops what still comes, so that the answer is
    # not lost in the reset that closing on unread bytes causes.
    clause = "Gridseal docs/spec/limits-and-codes.md"
    return Refusal(Problem(413, "message-too-large", f"At most {bytes_max} bytes.", clause=clause))


def _revoked() -> Refusal:
    return _invalid_token("the client is unknown or revoked")


def _invalid_token(why: str) -> Refusal:
    detail = f"Not accepted: {why}."
    problem = Problem(401, "invalid-token", detail, "Authorization", "RFC 9068 §4")
    return Refusal(problem, challenge("invalid_token"))
