"""SPARQL over the metadata graph that a caller may read (docs/semantics.md).

W3C SPARQL 1.1 Protocol §2.1: queries by GET and by POST; there are no updates and no other graphs.
"""

from collections.abc import Mapping
from functools import partial
from importlib.resources import files

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from bal.errors import Rejected
from bal.provide import metadata_graph
from bal.provide.accept import JSON, TURTLE, choose
from bal.provide.named_queries import NamedQuery, listed, read_query
from bal.provide.parameters import check_known, parameters
from bal.provide.policy import ClientInfo
from bal.provide.problem import Problem, of_rejected
from bal.provide.rdf_context import Context
from infra import sparql_process
from infra.http_gateway import Caller, Gateway, Refusal, challenge, json_response, no_parameters
from infra.http_lanes import Lane
from infra.http_metadata import readable, said_of
from infra.http_operations_metadata import operation
from infra.sparql_wire import Answer, Task

FREE = "metadata.query"
RESULTS = "application/sparql-results+json"
_QUERY, _FORM = "application/sparql-query", "application/x-www-form-urlencoded"
_OVER = frozenset({"query-over-limits", "query-too-large", "graph-too-large"})


def named_queries() -> dict[str, NamedQuery]:
    """Those of this version: ontology/queries/*.rq, by name."""
    found = {}
    for file in sorted(files("ontology").joinpath("queries").iterdir(), key=lambda one: one.name):
        name, _, ending = file.name.rpartition(".")
        if ending == "rq":
            found[name] = read_query(name, file.read_text("utf-8"))
    return found


def routes(gateway: Gateway, pinned: Context) -> APIRouter:
    """GET and POST /v1/sparql, GET /v1/queries."""
    router = APIRouter()
    limits = gateway.limits
    named = named_queries()
    lane = Lane("queries", limits.queries)

    async def answer(request: Request, caller: Caller, given: Mapping[str, str]) -> Response:
        accepted = ",".join(request.headers.getlist("accept"))
        if choose(accepted, (RESULTS, JSON, TURTLE), (RESULTS, JSON, TURTLE)) is None:
            known = f"Known here: {RESULTS}, {TURTLE}."
            raise Refusal(Problem(406, "not-acceptable", known, "Accept"))
        task, within = _task(given, named, caller, limits.query_rows_max)
        work = partial(_run, gateway, caller.client, task, within, pinned)
        try:
            found = await lane.run(caller.client.client_id, work)
        except Rejected as error:
            status = 422 if error.code in _OVER else 400
            raise Refusal(of_rejected(error, status)) from None
        form = RESULTS if found.form == "results" else TURTLE
        return Response(found.body, 200, {"Vary": "Accept", "Cache-Control": "no-store"}, form)

    @router.get("/v1/sparql", **operation("get_sparql"))
    async def get_sparql(request: Request) -> Response:
        async with gateway.caller(request, "devices.read") as caller:
            given = parameters(request.scope["query_string"], ("query",))
            return await answer(request, caller, given)

    @router.post("/v1/sparql", **operation("post_sparql"))
    async def post_sparql(request: Request) -> Response:
        async with gateway.caller(request, "devices.read") as caller:
            media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if media not in {_QUERY, _FORM}:
                known = f"Send {_QUERY} or {_FORM}."
                raise Refusal(Problem(415, "unsupported-media-type", known, "Content-Type"))
            body = await gateway.body(request, limits.query_bytes_max)
            given = parameters(request.scope["query_string"], ("query",))
            if media == _FORM:
                check_known(given, ())
                given = parameters(body, ("query",))
            else:
                check_known(given, ("within",))
                given["query"] = _text(body)
            return await answer(request, caller, given)

    @router.get("/v1/queries", **operation("get_queries"))
    async def get_queries(request: Request) -> Response:
        async with gateway.caller(request, "devices.read"):
            no_parameters(request)
            return json_response(listed(named))

    return router


def _task(
    given: Mapping[str, str], named: Mapping[str, NamedQuery], caller: Caller, rows_max: int
) -> tuple[Task, str | None]:
    """What is asked, and the group that the graph is to be cut down to.

    Raises Rejected for parameters; Refusal 403 for a query of one's own without its scope, 404
    for a name that none has.
    """
    within = given.get("within")
    if "query" in given:
        check_known(given, ("query", "within"))
        if FREE not in caller.scopes:
            text = f"A query of one's own needs the scope {FREE}; /v1/queries lists those to name."
            problem = Problem(403, "insufficient-scope", text, clause="RFC 6750 §3.1")
            raise Refusal(problem, challenge("insufficient_scope", scope=FREE))
        return Task(given["query"], {}, rows_max), within
    if "name" not in given:
        raise Rejected("parameter-missing", "Give query, or the name of a query.", field="name")
    query = named.get(given["name"])
    if query is None:
        known = f"Known are: {', '.join(named)}."
        raise Refusal(Problem(404, "query-unknown", known, "name"))
    rest = {name: text for name, text in given.items() if name not in {"name", "within"}}
    return Task(query.text, query.bind(rest), rows_max), within


def _run(
    gateway: Gateway, client: ClientInfo, task: Task, within: str | None, pinned: Context
) -> Answer:
    """In a thread; the graph that the process gets holds what this client may read, and no more."""
    found = readable(gateway.services, client, within)
    most = gateway.limits.query_devices_max
    if len(found) > most:
        text = f"{len(found)} devices, and a query may have {most}: name a group by within."
        raise Rejected("graph-too-large", text, field="within")
    named = gateway.services.registers()
    count = sum(len(named.get(one.device, ())) for one in found)
    if count > 2 * most:
        text = f"{count} registers, and a query may have {2 * most}: name a group by within."
        raise Rejected("graph-too-large", text, field="within")
    triples = metadata_graph.n_triples(said_of(gateway, found, found), pinned)
    return sparql_process.run(task, triples)


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Rejected("not-utf8", "The query is not UTF-8.", clause="RFC 3629 §3") from None
