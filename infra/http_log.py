"""The log's static files (C2SP tlog-tiles), the chain's JSON-RPC, health and metrics."""

import re
from dataclasses import dataclass

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from bal.certify.tiles import TILE_WIDTH, tile_index_path, tile_width
from bal.provide.problem import Problem
from infra.http_gateway import Gateway, Refusal, is_loopback, json_response, not_found
from infra.http_operations import operation
from infra.http_services import Services

OCTETS = "application/octet-stream"
METRICS = "text/plain; version=0.0.4; charset=utf-8"
# C2SP tlog-tiles: level 0 … 63, index in groups of three digits, width of a partial tile
_TILE = re.compile(
    r"(?P<level>entries|[0-9]{1,2})/(?P<n>(?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/(?P<width>[0-9]{1,3}))?"
)


@dataclass(frozen=True, slots=True)
class TilePath:
    """One static file of the log."""

    level: int | None  # None: an entry bundle
    n: int
    width: int  # 256 for a full tile


def parse_tile_path(text: str) -> TilePath | None:
    """The tile that `<L>/<N>[.p/<W>]` or `entries/<N>[.p/<W>]` names; None if it names none.

    Only what we would print is taken, so each file has one address.
    """
    match = _TILE.fullmatch(text)
    if match is None:
        return None
    level = None if match["level"] == "entries" else int(match["level"])
    n = int(match["n"].replace("x", "").replace("/", ""))
    width = TILE_WIDTH if match["width"] is None else int(match["width"])
    printed = f"{'entries' if level is None else level}/{tile_index_path(n)}"
    if match["width"] is not None:
        printed += f".p/{width}"
        if not 1 <= width < TILE_WIDTH:
            return None
    if printed != text or (level or 0) > 63:
        return None
    return TilePath(level, n, width)


def routes(gateway: Gateway) -> APIRouter:
    """/log/*, /rpc and /healthz are public; /metrics is for this machine."""
    router = APIRouter()
    services, limits = gateway.services, gateway.limits

    @router.get("/log/checkpoint", **operation("get_checkpoint"))
    async def get_checkpoint(request: Request) -> Response:
        note = await gateway.read_log(request, services.checkpoint)
        if note is None:
            raise Refusal(Problem(404, "no-checkpoint", "Ask again in a moment."))
        headers = {"Cache-Control": "no-cache"}
        return Response(note, 200, headers, "text/plain; charset=utf-8")

    @router.get("/log/tile/{path:path}", **operation("get_tile"))
    async def get_tile(request: Request) -> Response:
        wanted = parse_tile_path(request.path_params["path"])
        if wanted is None:
            raise not_found()
        data = await gateway.read_log(request, _tile, services, wanted)
        # No gzip: hashes and commitments don't get smaller.
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(data, 200, headers, OCTETS)

    @router.post("/rpc", **operation("post_rpc"))
    async def post_rpc(request: Request) -> Response:
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media != "application/json":
            raise Refusal(
                Problem(415, "unsupported-media-type", "Send application/json.", "Content-Type")
            )
        with gateway.rpc_requests.one():
            answer = await gateway.run_rpc(await gateway.body(request, limits.rpc_body_bytes_max))
        if not answer:
            return Response(status_code=204, headers={"Cache-Control": "no-store"})
        return json_response(answer)

    @router.get("/healthz", **operation("get_health"))
    async def get_health(request: Request) -> Response:
        parts = await gateway.probe(services.health)
        well = all(state == "ok" for state in parts.values())
        return json_response(msgspec.json.encode(parts), 200 if well else 503)

    @router.get("/metrics", **operation("get_metrics"))
    async def get_metrics(request: Request) -> Response:
        if not is_loopback(request):
            raise Refusal(Problem(403, "loopback-only", "Ask from the machine itself."))
        text = await gateway.probe(services.metrics)
        return Response(text, 200, {"Cache-Control": "no-store"}, METRICS)

    return router


def _tile(services: Services, wanted: TilePath) -> bytes:
    level = wanted.level or 0  # a bundle has as many entries as its level-0 tile has hashes
    if wanted.width > tile_width(services.published_size(), level, wanted.n):
        raise not_found()
    try:
        if wanted.level is None:
            return services.bundle(wanted.n, wanted.width)
        return services.tile(wanted.level, wanted.n, wanted.width)
    except KeyError:
        raise not_found() from None
