"""The authorization server's endpoints: token, metadata (RFC 8414) and keys (RFC 7517)."""

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from infra.http_gateway import Gateway, Refusal
from infra.http_operations import operation
from infra.oauth import TOKEN_PATH, TokenEndpoint, TokenRequest, TokenResponse, metadata
from infra.oauth_token import public_jwks

_PUBLIC = {"Cache-Control": "public, max-age=300"}


def routes(gateway: Gateway) -> APIRouter:
    """POST /oauth/token and the two public documents."""
    router = APIRouter()
    services = gateway.services
    endpoint = TokenEndpoint(services, gateway.now_s)

    @router.post(TOKEN_PATH, **operation("post_token"))
    async def post_token(request: Request) -> Response:
        if request.scope["query_string"]:  # RFC 6749 §2.3.1: credentials never in the URI
            return _answer(_invalid(400, "The token endpoint takes no query."))
        with gateway.token_requests.one():
            try:
                body = await gateway.body(request, gateway.limits.token_body_bytes_max)
            except Refusal as refusal:
                return _answer(_invalid(refusal.problem.status, refusal.problem.detail))
            asked = TokenRequest(
                tuple(request.headers.getlist("authorization")),
                request.headers.get("content-type", ""),
                body,
            )
            return _answer(await gateway.run_token(endpoint.respond, asked))

    @router.get("/.well-known/oauth-authorization-server", **operation("get_metadata"))
    async def get_metadata(request: Request) -> Response:
        body = msgspec.json.encode(metadata(services.issuer))
        return Response(body, 200, _PUBLIC, "application/json")

    @router.get("/.well-known/jwks.json", **operation("get_jwks"))
    async def get_jwks(request: Request) -> Response:
        keys = await gateway.run_token(services.token_keys)
        body = msgspec.json.encode(public_jwks(keys))
        return Response(body, 200, _PUBLIC, "application/json")

    return router


def _answer(response: TokenResponse) -> Response:
    headers = {k: v for k, v in response.headers.items() if k.lower() != "content-type"}
    body = msgspec.json.encode(dict(response.body))
    return Response(body, response.status, headers, "application/json")


def _invalid(status: int, why: str) -> TokenResponse:
    body = {"error": "invalid_request", "error_description": why}
    return TokenResponse(status, body, {"Cache-Control": "no-store", "Pragma": "no-cache"})
