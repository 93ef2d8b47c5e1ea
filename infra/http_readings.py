"""The read side: readings, their receipts, devices. Every answer passes the policy."""

from collections import defaultdict
from collections.abc import Sequence
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from bal.certify.tiles import TILE_WIDTH, split_bundle, tile_width
from bal.errors import Stop
from bal.model import PHASORS, ReadingsPage, ReadingsQuery, StoredRecord
from bal.provide import accept, cim_out, rdf
from bal.provide import cursor as cursors
from bal.provide.nquads import Writer
from bal.provide.parameters import check_known, decimal, parameters
from bal.provide.policy import ClientInfo, group_of, may_read, readable_groups
from bal.provide.problem import Problem
from bal.provide.rdf_context import read_context
from bal.provide.readings import (
    devices_json,
    devices_page,
    next_cursor,
    page_json,
    page_limit,
    parse_request,
    query_of,
    viewed,
)
from infra.http_gateway import (
    Gateway,
    Refusal,
    json_response,
    no_parameters,
    not_found,
    strict_index,
)
from infra.http_operations import operation
from infra.http_services import Services
from infra.oauth_token import cursor_keys

FRAME_MAX = 2**53  # a number of a frame above it is malformed, not just absent


def routes(gateway: Gateway, context: bytes) -> APIRouter:
    """GET /v1/readings, /v1/receipts/{index}, /v1/phasors/{index}/frames, /v1/devices.

    context: the value of `@context` in the pinned JSON-LD context, as JSON.
    """
    router = APIRouter()
    services, limits = gateway.services, gateway.limits
    writer = Writer(read_context(context))

    @router.get("/v1/readings", **operation("get_readings"))
    async def get_readings(request: Request) -> Response:
        async with gateway.caller(request, "readings.read") as caller:
            form = _form(request)
            return await gateway.read(
                caller,
                _readings,
                gateway,
                request.scope["query_string"],
                caller.client,
                form,
                writer,
            )

    @router.get("/v1/receipts/{index}", **operation("get_receipt"))
    async def get_receipt(request: Request) -> Response:
        async with gateway.caller(request, "readings.read") as caller:
            given = parameters(request.scope["query_string"])
            check_known(given, ("frame",))
            frame = decimal("frame", given["frame"], 0, FRAME_MAX) if "frame" in given else None
            index = strict_index(request.path_params["index"])
            text = await gateway.read(caller, _receipt, services, caller.client, index, frame)
            headers = {"Cache-Control": "no-store"}  # a better one may follow: anchored, final
            return Response(text, 200, headers, "text/plain")

    @router.get("/v1/phasors/{index}/frames", **operation("get_frames"))
    async def get_frames(request: Request) -> Response:
        async with gateway.caller(request, "readings.read") as caller:
            no_parameters(request)
            index = strict_index(request.path_params["index"])
            frames = await gateway.read(caller, _frames, services, caller.client, index)
            return json_response(frames)

    @router.get("/v1/devices", **operation("get_devices"))
    async def get_devices(request: Request) -> Response:
        async with gateway.caller(request, "devices.read") as caller:
            given = parameters(request.scope["query_string"])
            check_known(given, ("cursor", "limit"))
            limit = page_limit(given, limits.devices_page_max)
            after = given.get("cursor")
            body = await gateway.read(caller, _devices, services, caller.client, after, limit)
            return json_response(body)

    return router


def _readings(
    gateway: Gateway, raw_query: bytes, client: ClientInfo, form: str, writer: Writer
) -> Response:
    services = gateway.services
    asked = parse_request(raw_query, gateway.limits.readings_page_max)
    keys = cursor_keys(services.token_keys())
    query = query_of(
        asked,
        client,
        published=services.published_size(),
        stored=services.stored_size(),
        size_at=services.size_at,
        cursor_keys=keys,
    )
    page = _page(services, query, client)
    headers = {"Vary": "Accept", "Cache-Control": "no-store"}
    headers["Gridseal-As-Of-Size"] = str(query.as_of_size)
    following = None
    if page.after is not None:
        following = next_cursor(asked, client, keys[0], query.as_of_size, page.after)
        link = urlencode({**parameters(raw_query), "cursor": following})
        headers["Link"] = f'</v1/readings?{link}>; rel="next"'  # RFC 8288 §3
    if form == accept.JSON:
        states = services.states_of([row.index for row in page.rows])
        body = page_json(page.rows, states, following, query.as_of_size)
        return Response(body, 200, headers, form)
    # The other forms have no place for paging, which stands in the headers.
    found = viewed(page.rows, _commitments(services, [row.index for row in page.rows]))
    if form == accept.JSON_LD:
        body = rdf.json_ld(found, writer.context)
    elif form == accept.TURTLE:
        body = rdf.turtle(found, writer.context)
    elif form == accept.N_QUADS:
        body = writer.page(found)
    else:
        body = cim_out.meter_readings(found)
    return Response(body, 200, {**headers, "Content-Type": form})


def _form(request: Request) -> str:
    """The media type to answer with. Raises Refusal 406 where the caller takes none of ours."""
    form = accept.choose(",".join(request.headers.getlist("accept")))
    if form is None:
        known = ", ".join(accept.BY_RANGE)
        detail = f"A page is one of {known}."
        problem = Problem(406, "not-acceptable", detail, "Accept", "RFC 9110 §15.5.7")
        raise Refusal(problem, {"Vary": "Accept"})
    return form


def _page(services: Services, query: ReadingsQuery, client: ClientInfo) -> ReadingsPage:
    if query.groups is not None and not query.groups:
        return ReadingsPage([], None)
    page = services.readings(query)
    for row in page.rows:  # the store was asked for these groups only; better dead than wrong
        if not may_read(client, group_of(row.shard)) or row.index >= query.as_of_size:
            raise Stop("row-not-asked-for", f"the store gave row {row.index} against the query")
    return page


def _row(services: Services, client: ClientInfo, index: int) -> StoredRecord:
    """A row that this caller may read; Refusal 404 where there is none."""
    row: StoredRecord | None = None
    if index < services.published_size():
        row = services.record(index)
    if row is None or not may_read(client, group_of(row.shard)):
        raise not_found()
    return row


def _receipt(services: Services, client: ClientInfo, index: int, frame: int | None) -> str:
    _row(services, client, index)
    try:
        return services.receipt(index, frame)
    except KeyError:
        raise not_found() from None


def _frames(services: Services, client: ClientInfo, index: int) -> bytes:
    """The frames of a window as a JSON array, their certified bytes unchanged."""
    row = _row(services, client, index)
    if row.kind != PHASORS:
        raise not_found()
    return b"[" + b",".join(row.frames) + b"]"


def _devices(services: Services, client: ClientInfo, cursor: str | None, limit: int) -> bytes:
    keys = cursor_keys(services.token_keys())
    query = ["devices", client.client_id]
    after: tuple[str, str] | None = None
    if cursor is not None:
        group, device = cursors.unseal(keys, query, cursor)
        after = str(group), str(device)
    groups = readable_groups(client)
    found = [d for d in services.devices(groups) if may_read(client, d.group)]
    page, last = devices_page(found, after, limit)
    return devices_json(page, None if last is None else cursors.seal(keys[0], query, last))


def _commitments(services: Services, indexes: Sequence[int]) -> list[bytes]:
    """The 32-byte log entries at `indexes`, which are the records' commitments."""
    size = services.published_size()
    wanted: defaultdict[int, list[int]] = defaultdict(list)
    for index in indexes:
        wanted[index // TILE_WIDTH].append(index)
    found: dict[int, bytes] = {}
    for n, members in wanted.items():  # one device's rows stand in as many bundles: keep none
        entries = split_bundle(services.bundle(n, tile_width(size, 0, n)))
        found.update((index, entries[index % TILE_WIDTH]) for index in members)
    return [found[index] for index in indexes]
