"""The gateway as a whole: its document, its matrix of rights, its guard, its refusals."""

import asyncio
from dataclasses import replace
from threading import Event

import pytest
from fastapi.openapi.models import OpenAPI
from jsonschema import Draft202012Validator

from bal.errors import Rejected, Stop, Unavailable
from infra.http_api import create_app

PROBLEM = "urn:gridseal:problem:"
PROTECTED = {
    ("POST", "/v1/messages?format=cim"): "messages.write",
    ("GET", "/v1/messages/" + "0" * 64): "messages.write",
    ("GET", "/v1/readings"): "readings.read",
    ("GET", "/v1/receipts/0"): "readings.read",
    ("GET", "/v1/devices"): "devices.read",
}
SCOPES = ("messages.write", "readings.read", "devices.read")


def code(answer):
    return answer.json()["type"].removeprefix(PROBLEM)


# --- the document


def test_the_document_is_openapi_3_1(api):
    document = api.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    OpenAPI(**document)
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    operations = [op for path in document["paths"].values() for op in path.values()]
    assert len({op["operationId"] for op in operations}) == len(operations) == 21
    assert {(o["operationId"]) for o in operations if "oauth2" in str(o.get("security"))} == {
        "post_message", "get_message", "get_readings", "get_receipt", "get_devices",
        "get_device_day", "get_frames", "get_findings",
        "get_metadata_graph", "get_queries", "get_sparql", "post_sparql",
    }  # fmt: skip


def test_every_route_is_in_the_document_and_every_reference_leads_somewhere(api):
    document = api.document

    def references(node):
        if isinstance(node, dict):
            if "$ref" in node:
                yield node["$ref"]
            for value in node.values():
                yield from references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)

    names = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) <= names


def test_no_page_that_loads_from_elsewhere_is_served(api):
    for path in ("/docs", "/redoc", "/docs/oauth2-redirect"):
        assert api.get(path).status_code == 404


def test_without_the_context_the_gateway_does_not_start(platform, tmp_path):
    with pytest.raises(Stop, match="context-missing"):
        create_app(platform, context=tmp_path / "absent.jsonld")


# --- who may do what


@pytest.mark.parametrize("scope", [*SCOPES, "", " ".join(SCOPES)])
@pytest.mark.parametrize("operation", PROTECTED)
def test_each_operation_needs_its_scope(api, operation, scope):
    method, path = operation
    answer = api(method, path, token=api.token("all", scope), content=b"<x/>")
    if PROTECTED[operation] in scope:
        assert answer.status_code in (200, 404)
    else:
        assert answer.status_code == 403
        assert code(answer) == "insufficient-scope"
        assert f'scope="{PROTECTED[operation]}"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("operation", PROTECTED)
def test_each_operation_needs_a_token(api, operation):
    answer = api(*operation, content=b"x" * 10)
    assert (answer.status_code, code(answer)) == (401, "token-missing")


@pytest.mark.parametrize(
    "path",
    [
        "/oauth/token",
        "/.well-known/oauth-authorization-server",
        "/.well-known/jwks.json",
        "/log/checkpoint",
        "/log/tile/0/000.p/1",
        "/log/tile/entries/000.p/1",
        "/healthz",
        "/openapi.json",
    ],
)
def test_what_is_public_needs_no_token(api, path):
    assert api.get(path, peer="192.0.2.7").status_code in (200, 405)


def test_groups_decide_on_rows_devices_and_receipts_alike(api, platform):
    expected = {"all": {"north", "south"}, "north": {"north"}, "nothing": set()}
    for client, groups in expected.items():
        token = api.token(client)
        rows = api.get("/v1/readings?limit=1000", token=token).json()["items"]
        own = {row.index for row in platform.rows if row.shard.split("/")[0] in groups}
        assert {item["index"] for item in rows} == own
        devices = api.get("/v1/devices", token=token).json()["items"]
        assert {d["group"] for d in devices} == groups
        for row in platform.rows:
            answer = api.get(f"/v1/receipts/{row.index}", token=token)
            assert answer.status_code == (200 if row.index in own else 404)


# --- the guard in front


def test_metrics_are_for_this_machine_by_the_peers_address_alone(api):
    for peer in ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"):
        assert api.get("/metrics", peer=peer).status_code == 200
    for peer in ("192.0.2.7", "::ffff:192.0.2.7", "2001:db8::1", "localhost", ""):
        headers = {"X-Forwarded-For": "127.0.0.1", "Forwarded": "for=127.0.0.1", "Host": "[::1]"}
        answer = api.get("/metrics", peer=peer, headers=headers)
        assert (answer.status_code, code(answer)) == (403, "loopback-only")


def test_a_long_target_is_414(api):
    assert code(api.get("/v1/readings?x=" + "a" * 8192)) == "uri-too-long"
    assert code(api.get("/" + "a" * 8192)) == "uri-too-long"


def test_many_or_large_headers_are_431(api):
    """RFC 6585 §5."""
    assert code(api.get("/healthz", headers={"X": "a" * 16_384})) == "headers-too-large"
    assert code(api.get("/healthz", headers=[("X", "1")] * 70)) == "headers-too-large"


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/", "/v1/devices/", "/v1//devices", "/%00", "/\ufffd"]
)
def test_an_unknown_path_is_a_problem(api, path):
    answer = api.get(path)
    assert (answer.status_code, code(answer)) == (404, "not-found")
    assert "location" not in answer.headers


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_an_unknown_method_is_a_problem(api, method):
    answer = api(method, "/v1/devices", token=api.token("all"))
    assert (answer.status_code, code(answer)) == (405, "method-not-allowed")
    assert answer.headers["allow"] == "GET"


def test_head_is_get_without_the_content(api):
    """RFC 9110 §9.3.2."""
    for path in ("/log/checkpoint", "/log/tile/0/000.p/4", "/healthz", "/nothing"):
        whole, head = api.get(path), api("HEAD", path)
        assert (head.status_code, head.content) == (whole.status_code, b"")
        assert head.headers["content-length"] == whole.headers["content-length"]


def test_head_sends_no_content_whatever_the_server_does_with_it(api):
    sent = []

    async def receive():
        return {"type": "http.request"}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "HEAD", "path": "/healthz", "query_string": b""}
    api.runner.run(api.app({**scope, "headers": []}, receive, send))
    assert [message.get("body", b"") for message in sent] == [b""] * len(sent)
    assert sent[0]["status"] == 200


def test_nothing_is_sniffed_or_cached_that_is_private(api):
    answer = api.get("/v1/readings", token=api.token("north"))
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


# --- refusals


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Unavailable("The disk is full.", retry_after_s=7), (503, "unavailable", "7")),
        (Stop("lost-swap", "secret detail"), (503, "stopped", "60")),
        (Rejected("cursor-invalid", "No."), (400, "cursor-invalid", None)),
        (RuntimeError("secret detail"), (500, "internal", None)),
    ],
)
def test_what_fails_behind_the_gateway_is_a_problem(api, platform, monkeypatch, error, told):
    def fail(query):
        raise error

    monkeypatch.setattr(platform, "readings", fail)
    answer = api.get("/v1/readings", token=api.token("north"))
    assert (answer.status_code, code(answer), answer.headers.get("retry-after")) == told
    assert "secret" not in answer.text


def test_a_store_that_gives_a_row_of_another_group_is_not_believed(api, platform, monkeypatch):
    from bal.model import ReadingsPage

    monkeypatch.setattr(platform, "readings", lambda query: ReadingsPage(platform.rows[:3], None))
    answer = api.get("/v1/readings", token=api.token("north"))
    assert (answer.status_code, code(answer)) == (503, "stopped")
    assert "items" not in answer.text


# --- too much at once


def held(platform, monkeypatch, name, value):
    """The service waits until it is let go; (who waits, the event that lets go)."""
    waiting, go = [], Event()

    def wait(*args):
        waiting.append(args)
        assert go.wait(10)
        return value

    monkeypatch.setattr(platform, name, wait)
    return waiting, go


def test_a_client_with_too_much_under_way_is_told_so_and_others_are_not(
    make_api, platform, monkeypatch
):
    api = make_api(requests_per_client_max=2)
    held_calls, go = held(platform, monkeypatch, "devices", [])
    tokens = {name: [("Authorization", f"Bearer {api.token(name)}")] for name in ("all", "north")}

    async def play():
        waiting = [
            asyncio.create_task(api.send("GET", "/v1/devices", tokens["north"])) for _ in range(2)
        ]
        while len(held_calls) < 2:
            await asyncio.sleep(0.005)
        third = await api.send("GET", "/v1/devices", tokens["north"])
        other = asyncio.create_task(api.send("GET", "/v1/devices", tokens["all"]))
        go.set()
        return third, await other, [await one for one in waiting]

    third, other, waiting = api.runner.run(play())
    assert (third.status_code, code(third)) == (429, "too-many-requests")
    assert third.headers["retry-after"] == "1"
    assert [one.status_code for one in (other, *waiting)] == [200] * 3
    assert api.get("/v1/devices", token=api.token("north")).status_code == 200


def test_the_open_work_of_a_revoked_client_ends(make_api, platform, monkeypatch):
    """Waiting for a certification, reading: the answer is that of a revoked client, at once."""
    api = make_api()
    reading, go = held(platform, monkeypatch, "devices", [])
    waiting = asyncio.Event()

    async def certified(*_):
        waiting.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(platform, "certified", certified)
    token = {name: [("Authorization", f"Bearer {api.token(name)}")] for name in ("all", "sender")}
    gateway = api.app.state.gateway

    async def play():
        sent = asyncio.create_task(
            api.send("POST", "/v1/messages?format=cim", token["sender"], b"<a/>")
        )
        read = asyncio.create_task(api.send("GET", "/v1/devices", token["all"]))
        await waiting.wait()
        while not reading:
            await asyncio.sleep(0.005)
        for client_id in ("sender", "all"):
            platform.clients[client_id] = replace(platform.clients[client_id], state="revoked")
        ended = gateway.end("sender"), gateway.end("all"), gateway.end("nobody")
        go.set()
        return ended, await sent, await read

    ended, *answers = api.runner.run(play())
    assert ended == (1, 1, 0)
    for answer in answers:
        assert (answer.status_code, code(answer)) == (401, "invalid-token")
    assert api.get("/v1/devices", token=token["all"][0][1].split()[1]).status_code == 401


def test_a_gateway_with_too_much_under_way_says_503(make_api, platform, monkeypatch):
    api = make_api(requests_max=1)
    _, go = held(platform, monkeypatch, "checkpoint", b"note")

    async def play():
        first = asyncio.create_task(api.send("GET", "/log/checkpoint"))
        await asyncio.sleep(0)
        second = await api.send("GET", "/.well-known/jwks.json")
        go.set()
        return await first, second

    first, second = api.runner.run(play())
    assert (first.status_code, second.status_code) == (200, 503)
    assert second.headers["retry-after"] == "1"
    assert api.get("/.well-known/jwks.json").status_code == 200


def test_a_slow_service_does_not_hold_the_event_loop(api, platform, monkeypatch):
    _, go = held(platform, monkeypatch, "health", {"bus": "ok"})

    async def play():
        slow = asyncio.create_task(api.send("GET", "/healthz"))
        quick = await api.send("GET", "/log/checkpoint")
        done = slow.done()
        go.set()
        return quick, done, await slow

    quick, done, slow = api.runner.run(play())
    assert (quick.status_code, done, slow.status_code) == (200, False, 200)


def test_callers_without_a_token_cannot_take_all_the_places(make_api):
    api = make_api(token_requests_max=1, rpc_requests_max=1)
    came, go = [], asyncio.Event()

    async def stream():
        yield b"{"
        came.append(1)
        await go.wait()

    def slow(path, media):
        return asyncio.create_task(api.send("POST", path, [("Content-Type", media)], stream()))

    async def play():
        rpc = slow("/rpc", "application/json")
        token = slow("/oauth/token", "application/x-www-form-urlencoded")
        while len(came) < 2:
            await asyncio.sleep(0.005)
        more = [
            await api.send("POST", "/rpc", [("Content-Type", "application/json")], b"{}"),
            await api.send("POST", "/oauth/token", (), b""),
        ]
        well = await api.send("GET", "/healthz")
        go.set()
        return [one.status_code for one in (*more, well, await rpc, await token)]

    assert api.runner.run(play()) == [503, 503, 200, 204, 400]
