"""GET /v1/findings: what was refused or doubtful in the messages that came in."""

from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from bal.provide import findings
from bal.provide.parameters import parameters
from bal.provide.policy import ClientInfo
from infra.http_gateway import Gateway, json_response
from infra.http_operations import operation
from infra.oauth_token import cursor_keys


def routes(gateway: Gateway) -> APIRouter:
    """The one route."""
    router = APIRouter()

    @router.get("/v1/findings", **operation("get_findings"))
    async def get_findings(request: Request) -> Response:
        async with gateway.caller(request, "findings.read") as caller:
            query = request.scope["query_string"]
            return await gateway.read(caller, _findings, gateway, query, caller.client)

    return router


def _findings(gateway: Gateway, raw_query: bytes, client: ClientInfo) -> Response:
    services = gateway.services
    asked = findings.parse_request(raw_query, gateway.limits.findings_page_max)
    keys = cursor_keys(services.token_keys())
    visible = min(services.published_size(), services.stored_size())
    query = findings.query_of(asked, client, visible=visible, cursor_keys=keys)
    found = services.findings(query)
    body, following = findings.page(asked, client, keys[0], found, services.message_of)
    if following is None:
        return json_response(body)
    link = urlencode({**parameters(raw_query), "cursor": following})
    # RFC 8288 §3
    return json_response(body, headers={"Link": f'</v1/findings?{link}>; rel="next"'})
