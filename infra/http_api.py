"""The REST gateway: `create_app` joins routes, guard, refusals and the OpenAPI document.

To be served by uvicorn with `proxy_headers=False` (the peer's address is the peer's) and
`ws="none"`; TLS is the server's.
"""

import json
import logging
from collections.abc import Callable
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from bal.errors import Rejected, Stop, Unavailable
from bal.provide.dataset import DatasetFacts
from bal.provide.problem import Problem, of_rejected
from bal.provide.rdf_context import read_context
from infra import (
    http_device_days,
    http_findings,
    http_log,
    http_messages,
    http_metadata,
    http_oauth,
    http_readings,
    http_sparql,
)
from infra.http_gateway import Gateway, Limits, Refusal, problem_response
from infra.http_guard import Guard
from infra.http_schema import COMPONENTS, DESCRIPTION
from infra.http_services import Services, Submitted

__all__ = ["Limits", "Services", "Submitted", "create_app"]

log = logging.getLogger("gridseal.http")


def create_app(
    services: Services,
    *,
    limits: Limits | None = None,
    now_s: Callable[[], int] | None = None,
    context: Path | None = None,
    dataset: DatasetFacts | None = None,
) -> FastAPI:
    """The gateway in front of `services`, as an ASGI application without a lifespan.

    now_s: seconds since 1970, the system's by default; context: the JSON-LD context file, by
    default the one in the package `ontology`; dataset: what the operator says of the data. Raises
    Stop("context-missing") without a context, Stop("config-invalid") where a fact is no IRI.
    """
    pinned = _context(context)
    gateway = Gateway(services, limits or Limits())
    if now_s is not None:
        gateway.now_s = now_s
    app = FastAPI(
        title="Gridseal",
        version="1",
        description=DESCRIPTION,
        openapi_url="/openapi.json",
        docs_url=None,  # FastAPI's pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # a redirect would be built from the Host header
    )
    for router in (
        http_oauth.routes(gateway),
        http_messages.routes(gateway),
        http_readings.routes(gateway, pinned),
        _metadata(gateway, pinned, dataset or DatasetFacts()),
        http_sparql.routes(gateway, read_context(pinned)),
        http_findings.routes(gateway),
        http_device_days.routes(gateway),
        http_log.routes(gateway),
    ):
        app.include_router(router)
    for kind, answer in _ANSWERS.items():
        app.add_exception_handler(kind, answer)
    app.add_middleware(Guard, limits=gateway.limits)
    app.state.gateway = gateway  # for whoever revokes a client: `Gateway.end`
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # as FastAPI documents it
    return app


async def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return problem_response(error.problem, error.headers)


async def _rejected(request: Request, error: Exception) -> Response:
    assert isinstance(error, Rejected)
    return problem_response(of_rejected(error, 400))


async def _unavailable(request: Request, error: Exception) -> Response:
    assert isinstance(error, Unavailable)
    problem = Problem(503, "unavailable", str(error))
    return problem_response(problem, {"Retry-After": str(error.retry_after_s)})


async def _stop(request: Request, error: Exception) -> Response:
    assert isinstance(error, Stop)
    log.critical("stop: %s", error)
    problem = Problem(503, "stopped", "The operator must act; nothing is taken in or given out.")
    return problem_response(problem, {"Retry-After": "60"})


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        methods = (error.headers or {}).get("Allow", "")
        problem = Problem(405, "method-not-allowed", f"Known here: {methods}.")
    else:
        problem = Problem(error.status_code, "not-found", "No such resource.")
    return problem_response(problem, error.headers)


_ANSWERS = {
    Refusal: _refusal,
    Rejected: _rejected,
    Unavailable: _unavailable,
    Stop: _stop,
    HTTPException: _http_exception,
}


def _metadata(gateway: Gateway, pinned: bytes, dataset: DatasetFacts) -> APIRouter:
    try:
        return http_metadata.routes(gateway, read_context(pinned), dataset)
    except ValueError as error:
        raise Stop("config-invalid", "dataset: licence and publisher are IRIs") from error


def _context(path: Path | None) -> bytes:
    source: Traversable = path or files("ontology").joinpath("context-v1.jsonld")
    try:
        document = json.loads(source.read_text("utf-8"))
    except FileNotFoundError as error:
        raise Stop("context-missing", f"{source.name} is not installed") from error
    return json.dumps(document["@context"], ensure_ascii=False, separators=(",", ":")).encode()


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            openapi_version="3.1.0",
            routes=app.routes,
        )
        document["components"] = COMPONENTS
        app.openapi_schema = document
    return app.openapi_schema
