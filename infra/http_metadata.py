"""The metadata graph and the description of the data set over REST (docs/semantics.md)."""

from collections.abc import Callable, Iterator, Sequence
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from bal.harmonise import quantity
from bal.harmonise.register import measured
from bal.model import DeviceInfo
from bal.provide import cursor as cursors
from bal.provide import metadata_graph
from bal.provide.accept import BY_NAME, JSON_LD, N_QUADS, TURTLE, choose
from bal.provide.dataset import DatasetFacts, describe
from bal.provide.parameters import check_known, parameters
from bal.provide.policy import ClientInfo, may_read, readable_groups
from bal.provide.problem import Problem
from bal.provide.rdf import Statement
from bal.provide.rdf_context import Context
from bal.provide.readings import devices_page, page_limit
from infra.http_gateway import Gateway, Refusal, no_parameters
from infra.http_operations_metadata import operation
from infra.http_services import Services
from infra.oauth_token import cursor_keys

FORMS = (TURTLE, JSON_LD, N_QUADS)
QUANTITIES = tuple(one for one in vars(quantity).values() if isinstance(one, quantity.Quantity))
_WRITERS: dict[str, Callable[..., bytes]] = {
    TURTLE: metadata_graph.turtle,
    JSON_LD: metadata_graph.json_ld,
    N_QUADS: metadata_graph.n_quads,
}
_DISTRIBUTED = {"/v1/readings": BY_NAME, "/v1/metadata": FORMS}


def routes(gateway: Gateway, pinned: Context, facts: DatasetFacts) -> APIRouter:
    """GET /v1/metadata, /.well-known/void. Raises ValueError where a fact is malformed."""
    router = APIRouter()
    services = gateway.services
    describe(facts, "https://localhost", 0, _DISTRIBUTED, pinned)  # better now than when asked

    @router.get("/v1/metadata", **operation("get_metadata_graph"))
    async def get_metadata_graph(request: Request) -> Response:
        async with gateway.caller(request, "devices.read") as caller:
            form = choose(",".join(request.headers.getlist("accept")), FORMS, FORMS)
            if form is None:
                known = ", ".join(FORMS)
                raise Refusal(Problem(406, "not-acceptable", f"Known here: {known}.", "Accept"))
            query = request.scope["query_string"]
            return await gateway.read(caller, _page, gateway, query, caller.client, form, pinned)

    @router.get("/.well-known/void", **operation("get_void"))
    async def get_void(request: Request) -> Response:
        no_parameters(request)
        size = await gateway.read_log(request, services.published_size)
        data = describe(facts, services.issuer, size, _DISTRIBUTED, pinned)
        return Response(data, 200, {"Cache-Control": "no-cache"}, TURTLE)

    return router


def readable(services: Services, client: ClientInfo, group: str | None) -> list[DeviceInfo]:
    """The devices that a client may read, all or of one group; by group and pseudonym."""
    groups = readable_groups(client)
    if group is not None:
        groups = frozenset({group} if may_read(client, group) else ())
    return [one for one in services.devices(groups) if may_read(client, one.group)]


def said_of(
    gateway: Gateway, devices: Sequence[DeviceInfo], among: Sequence[DeviceInfo]
) -> Iterator[Statement]:
    """The graph of some devices. among: those that the client may read, these among them."""
    named = gateway.services.registers()
    registers = {
        one.device: [
            metadata_graph.Register(register, *measured(register))
            for register in named.get(one.device, ())
        ]
        for one in devices
    }
    return metadata_graph.statements(
        devices,
        QUANTITIES,
        placing=metadata_graph.Placing(among),
        registers=registers,
        now_us=gateway.now_s() * 1_000_000,
    )


def _page(
    gateway: Gateway, raw_query: bytes, client: ClientInfo, form: str, pinned: Context
) -> Response:
    given = parameters(raw_query)
    check_known(given, ("group", "cursor", "limit"))
    limit = page_limit(given, gateway.limits.devices_page_max)
    keys = cursor_keys(gateway.services.token_keys())
    query = ["metadata", client.client_id, given.get("group", "")]
    after: tuple[str, str] | None = None
    if "cursor" in given:
        group, device = cursors.unseal(keys, query, given["cursor"])
        after = str(group), str(device)
    found = readable(gateway.services, client, given.get("group"))
    page, last = devices_page(found, after, limit)
    headers = {"Vary": "Accept", "Cache-Control": "no-store"}
    if last is not None:
        following = urlencode({**given, "cursor": cursors.seal(keys[0], query, last)})
        headers["Link"] = f'</v1/metadata?{following}>; rel="next"'
    said = said_of(gateway, page, found)
    return Response(_WRITERS[form](said, pinned), 200, headers, form)
