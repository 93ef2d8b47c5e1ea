"""SPARQL over REST: named and free queries, what they may see, and what they may take."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from rdflib import Graph

from bal.errors import Rejected
from bal.registry import DEVICE_TYPES
from infra import sparql_process
from infra.http_sparql import named_queries
from infra.sparql_wire import Task
from tests.adapters.gateway.conftest import Api, Platform, pseudonym

OWN = "PREFIX g: <https://gridseal.invalid/ontology/v1#>\n"
ALL = OWN + "SELECT ?d ?group {?d g:zone ?z ; g:group ?group}"
JSON = "application/sparql-results+json"


def named(api: Api, client: str, name: str, **parameters: str) -> Any:
    query = urlencode({"name": name, **parameters})
    return api.get(f"/v1/sparql?{query}", token=api.token(client))


def free(api: Api, client: str, query: str, **headers: str) -> Any:
    sent = {"Content-Type": "application/sparql-query", **headers}
    return api.post("/v1/sparql", query, token=api.token(client), headers=sent)


def rows(response: Any) -> list[dict[str, str]]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == JSON
    found = response.json()["results"]["bindings"]
    return [{name: value["value"] for name, value in row.items()} for row in found]


@pytest.fixture
def reader(platform: Platform) -> str:
    """A client with every right over one group."""
    platform.enrol("reader", "devices.read metadata.query", "north")
    return "reader"


def test_a_query_sees_what_the_client_may_read(api: Api, reader: str) -> None:
    """SPARQL 1.1 Protocol §2.1, by POST SPARQL 1.1 Protocol §2.1.2, §2.1.3."""
    assert {row["group"] for row in rows(free(api, "all", ALL))} == {"north", "south"}
    found = rows(free(api, reader, ALL))
    assert {row["d"].rpartition("/")[2] for row in found} == {
        pseudonym("north-1"), pseudonym("north-2"),
    }  # fmt: skip
    by_get = api.get(f"/v1/sparql?query={quote(ALL)}", token=api.token(reader))
    by_form = api.post(
        "/v1/sparql",
        urlencode({"query": ALL}),
        token=api.token(reader),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    for other in (by_get, by_form):
        assert sorted(map(str, rows(other))) == sorted(map(str, found))


def test_within_cuts_the_graph_down(api: Api, reader: str) -> None:
    query = quote(ALL)
    for client, group, count in (("all", "south", 2), (reader, "north", 2), (reader, "south", 0)):
        path = f"/v1/sparql?query={query}&within={group}"
        assert len(rows(api.get(path, token=api.token(client)))) == count


def test_a_query_of_ones_own_needs_its_scope(api: Api) -> None:
    """RFC 6750 §3.1: insufficient_scope."""
    refused = free(api, "north", ALL)
    assert (refused.status_code, refused.json()["type"]) == (
        403,
        "urn:gridseal:problem:insufficient-scope",
    )
    assert "metadata.query" in refused.headers["www-authenticate"]
    assert rows(named(api, "north", "groups")) == [
        {"group": "north", "class": "meter", "devices": "2"}
    ]


def test_every_named_query_finds_something(api: Api, platform: Platform) -> None:
    for kind in DEVICE_TYPES:
        platform.add("north", f"a {kind}", 9, "1")
        info = platform.known.pop()
        platform.known.append(type(info)(*[
            kind if name == "kind" else getattr(info, name) for name in info.__slots__
        ]))  # fmt: skip
    given = {"group": "north", "device": pseudonym("a battery")}
    for name, query in named_queries().items():
        takes = {one.name: given[one.name] for one in query.parameters}
        found = named(api, "all", name, **takes)
        assert found.status_code == 200, (name, found.text)
        if found.headers["content-type"].startswith("text/turtle"):
            assert len(Graph().parse(data=found.content, format="turtle")) > 5
        else:
            assert rows(found), name
    flexible = rows(named(api, "all", "flexibility-resources", group="north"))
    assert {row["type"].rpartition("/")[2] for row in flexible} == {"Battery_storage", "PV", "WPP"}
    assert flexible == rows(named(api, "all", "flexibility-resources"))
    listed = api.get("/v1/queries", token=api.token("north")).json()["items"]
    assert [one["name"] for one in listed] == sorted(named_queries())


@pytest.mark.parametrize(
    "text",
    [
        'north" . ?x ?y ?z } #',
        "north' } UNION { ?device ?class ?zone",
        "> . <urn:x",
        "?group",
        "\\u0022 . }",
        "north\\",
    ],
)
def test_a_parameter_is_a_value_and_nothing_else(api: Api, text: str) -> None:
    assert rows(named(api, "all", "devices-of-group", group=text)) == []
    refused = named(api, "all", "about-device", device=text)
    assert refused.json()["type"].endswith("parameter-invalid")


def test_parameters_that_are_not_the_query_s(api: Api) -> None:
    token = api.token("all")
    for query, code in (
        ("", "parameter-missing"),
        ("name=devices-of-group", "parameter-missing"),
        ("name=groups&group=north", "parameter-unknown"),
        ("name=nothing", "query-unknown"),
        ("name=../groups", "query-unknown"),
        ("name=groups&query=ASK%20{}", "parameter-unknown"),
        ("default-graph-uri=http%3A%2F%2F127.0.0.1&query=ASK%20{}", "parameter-unknown"),
        (f"name=devices-of-group&group={'x' * 257}", "parameter-invalid"),
    ):
        refused = api.get(f"/v1/sparql?{query}", token=token)
        assert refused.json()["type"] == f"urn:gridseal:problem:{code}", query
    for media, status in (("application/sparql-update", 415), ("text/plain", 415)):
        sent = api.post("/v1/sparql", "x", token=token, headers={"Content-Type": media})
        assert sent.status_code == status
    assert free(api, "all", "ASK {}" + " " * 40_000).status_code == 413
    assert free(api, "all", ALL, Accept="image/png").status_code == 406
    octets = {"Content-Type": "application/sparql-query"}
    sent = api.post("/v1/sparql", b"ASK {} # \xff", token=token, headers=octets)
    assert (sent.status_code, sent.json()["clause"]) == (400, "RFC 3629 §3")
    twice = api.post("/v1/sparql?query=x", "ASK {}", token=token,
                     headers={"Content-Type": "application/sparql-query"})  # fmt: skip
    assert twice.json()["type"].endswith("parameter-unknown")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("SELECT", "sparql-malformed"),
        ("INSERT DATA { <urn:a> <urn:b> 1 }", "sparql-malformed"),
        ("DELETE WHERE { ?s ?p ?o }", "sparql-malformed"),
        ("LOAD <http://127.0.0.1/>", "sparql-malformed"),
        ("CLEAR ALL", "sparql-malformed"),
        ("DESCRIBE <urn:a>", "sparql-forbidden"),
        ("SELECT * FROM <http://127.0.0.1/> { ?s ?p ?o }", "sparql-forbidden"),
        ("SELECT * FROM NAMED <file:///etc/passwd> { GRAPH ?g { ?s ?p ?o } }", "sparql-forbidden"),
        ("SELECT * { SERVICE <http://127.0.0.1/> { ?s ?p ?o } }", "sparql-forbidden"),
        ("SELECT * { { SELECT * { SERVICE SILENT <urn:x> { ?s ?p ?o } } } }", "sparql-forbidden"),
        ("ASK { FILTER NOT EXISTS { SERVICE <urn:x> { ?s ?p ?o } } }", "sparql-forbidden"),
        ("SELECT * { GRAPH <file:///etc/passwd> { ?s ?p ?o } }", "sparql-forbidden"),
        ("ASK { FILTER NOT EXISTS { GRAPH ?g { ?s ?p ?o } } }", "sparql-forbidden"),
        ("SELECT * {" + "{" * 2_000 + "}" * 2_000 + "}", "sparql-malformed"),
    ],
)
def test_what_is_no_question_about_this_graph(api: Api, query: str, code: str) -> None:
    refused = free(api, "all", query)
    assert (refused.status_code, refused.json()["type"]) == (400, f"urn:gridseal:problem:{code}")


# --- what a query may take -----------------------------------------------------------------------

GRAPH = b"".join(b"<urn:%d> <urn:b> <urn:%d> .\n" % (n, n + 1) for n in range(400))
FOR_EVER = "SELECT (COUNT(*) AS ?n) { ?a ?b ?c . ?d ?e ?f . ?g ?h ?i . ?j ?k ?l }"
BACKTRACKING = "ASK { FILTER REGEX('" + "a" * 60 + "', '^(a+)+$b') }"
HUGE = (
    "SELECT (STRLEN(?a16) AS ?n) { BIND('xxxxxxxxxxxxxxxx' AS ?a0) "
    + " ".join(f"BIND(CONCAT(?a{n}, ?a{n}, ?a{n}, ?a{n}) AS ?a{n + 1})" for n in range(16))
    + "}"
)


@pytest.mark.parametrize("query", [FOR_EVER, BACKTRACKING, HUGE])
def test_a_query_that_takes_too_much_is_ended(query: str) -> None:
    with pytest.raises(Rejected, match="query-over-limits"):
        sparql_process.run(Task(query, {}, 10), GRAPH, cpu_s=2)
    assert not children()


def test_one_that_waits_for_nothing_is_ended_by_the_clock() -> None:
    with pytest.raises(Rejected, match="query-over-limits"):
        sparql_process.run(Task(FOR_EVER, {}, 10), GRAPH, wall_s=0.5)
    assert not children()


def children() -> list[int]:
    """Processes of ours that answer queries."""
    found = []
    for listed in Path("/proc/self/task").glob("*/children"):
        for pid in listed.read_text().split():
            with suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
                found += [int(pid)] if b"sparql_child" in command else []
    return found


def test_an_answer_has_an_end() -> None:
    graph = GRAPH[: GRAPH.index(b"<urn:20>")].rpartition(b"\n")[0] + b"\n"
    for query in (
        "SELECT * { ?a ?b ?c . ?d ?e ?f }",
        "CONSTRUCT { ?a ?e ?f } { ?a ?b ?c . ?d ?e ?f }",
    ):
        with pytest.raises(Rejected, match="query-too-large"):
            sparql_process.run(Task(query, {}, 100), graph)


def test_a_graph_of_too_many_devices_is_to_be_cut_down(make_api: Any) -> None:
    api = make_api(query_devices_max=3)
    refused = named(api, "all", "groups")
    assert (refused.status_code, refused.json()["field"]) == (422, "within")
    assert rows(named(api, "all", "groups", within="south"))


def test_others_go_on_while_a_query_runs_for_ever(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a caller has one at a time."""
    import asyncio
    from functools import partial

    quick = partial(sparql_process.run, cpu_s=1, wall_s=3.0)
    monkeypatch.setattr(sparql_process, "run", quick)
    fields = [
        ("Authorization", f"Bearer {api.token('all')}"),
        ("Content-Type", "application/sparql-query"),
    ]
    heavy = "SELECT (COUNT(*) AS ?n) {" + " ".join(f"?a{n} ?b{n} ?c{n} ." for n in range(9)) + "}"

    async def both() -> tuple[Any, Any]:
        slow = asyncio.ensure_future(api.send("POST", "/v1/sparql", fields, heavy))
        while not (slow.done() or children()):
            await asyncio.sleep(0.01)
        other = await api.send("GET", "/v1/metadata", fields[:1])
        assert not slow.done()
        return await slow, other

    slow, other = api.runner.run(both())
    assert (slow.status_code, other.status_code) == (422, 200)
    assert slow.json()["type"] == "urn:gridseal:problem:query-over-limits"


SHUT = """
import ctypes, os, sys
sys.path[:] = {path!r}
from infra.sparql_child import shut
libc = ctypes.CDLL(None, use_errno=True)
functions = libc.socket, libc.open, libc.kill, libc.fork
os.close(functions[0](2, 1, 0))  # before it could
sealed = shut()
tried = {{}}
def attempt(name, call):
    try:
        tried[name] = call()
    except PermissionError as error:
        tried[name] = "refused"
def in_python():
    import socket
    return socket.socket()
attempt("open", lambda: open("/etc/hostname"))
attempt("socket", in_python)
attempt("exec", lambda: os.execv("/bin/true", ["true"]))
attempt("fork", os.fork)
if sealed:  # below the interpreter, too
    given = (2, 1, 0), (b"/etc/hostname", 0), (os.getpid(), 0), ()
    for function, arguments in zip(functions, given):
        tried[function.__name__] = "refused" if function(*arguments) == -1 else "done"
os.write(1, repr((sealed, sorted(set(tried.values())))).encode())
os._exit(0)
"""


def test_a_process_that_was_shut_reaches_nothing() -> None:
    code = SHUT.format(path=sys.path)
    command = [sys.executable, "-I", "-S", "-B", "-c", code]
    ended = subprocess.run(command, check=False, capture_output=True)
    sealed, tried = eval(ended.stdout)
    assert tried == ["refused"], ended
    if not sealed:
        pytest.skip("this kernel takes no filter of system calls: hooks of the interpreter only")


def test_what_the_library_can_not_answer_is_refused() -> None:
    """An IRI that none can be."""
    query = "CONSTRUCT { <urn:a> <urn:b> ?x } { BIND(IRI('a b') AS ?x) }"
    with pytest.raises(Rejected, match="sparql-failed"):
        sparql_process.run(Task(query, {}, 9), GRAPH)


def test_a_graph_is_written_with_the_querys_own_prefixes() -> None:
    query = (
        "PREFIX grid: <urn:grid#> PREFIX unused: <urn:unused#>"
        " CONSTRUCT { <urn:a> grid:has <urn:grid#x> } { }"
    )
    found = sparql_process.run(Task(query, {}, 9), GRAPH)
    text = found.body.decode()
    assert "@prefix grid: <urn:grid#> ." in text
    assert "<urn:a> grid:has grid:x ." in text
    assert "unused" not in text
    assert "ns1" not in text


def test_a_path_that_goes_far_is_no_mistake_of_the_query() -> None:
    graph = b"".join(b"<urn:%d> <urn:b> <urn:%d> .\n" % (n, n + 1) for n in range(2_000))
    with pytest.raises(Rejected, match="query-over-limits"):
        sparql_process.run(Task("ASK { <urn:0> <urn:b>+ <urn:x> }", {}, 9), graph)
