"""POST /v1/messages and GET /v1/messages/{hex}."""

import asyncio
from hashlib import sha256

import pytest

from bal.errors import Rejected, Unavailable
from bal.model import Finding

PROBLEM = "urn:gridseal:problem:"
FINDING = Finding("value-invalid", "refused", "NaN is no number.", "value", 7, "IEC 61968-9")


def code(answer):
    return answer.json()["type"].removeprefix(PROBLEM)


def send(api, body=b"<MeterReadings/>", path="/v1/messages?format=cim", **more):
    return api.post(path, body, token=api.token("sender"), **more)


def test_a_certified_message_is_200_with_its_summary(api, platform):
    answer = send(api)
    assert answer.status_code == 200
    body = answer.json()
    assert body["type"] == "certified"
    assert body["message"] == sha256(b"<MeterReadings/>").hexdigest()
    assert platform.taken == {("sender", body["message"]): b"<MeterReadings/>"}


def test_a_message_that_is_not_certified_in_time_is_202_with_its_note(api, platform):
    platform.verdicts["<slow/>"] = None
    answer = send(api, b"<slow/>")
    message = sha256(b"<slow/>").hexdigest()
    assert answer.status_code == 202
    assert answer.json() == {"type": "accepted", "message": message, "note": "n\n"}
    assert answer.headers["retry-after"] == "1"
    location = answer.headers["location"]
    assert location == f"/v1/messages/{message}"
    assert api.get(location, token=api.token("sender")).status_code == 202
    del platform.verdicts["<slow/>"]
    later = api.get(location, token=api.token("sender"))
    assert (later.status_code, later.json()["type"]) == (200, "certified")


def test_a_durable_message_is_202_even_if_the_answer_is_not_to_be_had(api, platform, monkeypatch):
    async def fail(*args):
        raise Unavailable("Restarting.")

    monkeypatch.setattr(platform, "certified", fail)
    assert send(api).status_code == 202


def test_a_message_of_somebody_else_is_unknown(api, platform):
    message = send(api).json()["message"]
    platform.enrol("other", "messages.write", "")
    answer = api.get(f"/v1/messages/{message}", token=api.token("other"))
    assert (answer.status_code, code(answer)) == (404, "message-unknown")


def test_a_pending_note_is_for_its_sender_only(api, platform):
    platform.verdicts["<slow/>"] = None
    location = send(api, b"<slow/>").headers["location"]
    platform.enrol("other", "messages.write", "")
    assert api.get(location, token=api.token("other")).status_code == 404


def test_only_so_many_notes_are_remembered(make_api, platform):
    api = make_api(pending_max=2)
    for n in range(3):
        platform.verdicts[f"<slow{n}/>"] = None
    places = [send(api, f"<slow{n}/>".encode()).headers["location"] for n in range(3)]
    found = [api.get(place, token=api.token("sender")).status_code for place in places]
    assert found == [404, 202, 202]


@pytest.mark.parametrize("name", ["0" * 63, "0" * 65, "A" * 64, "g" * 64, "%00", "..", "%F0%9F"])
def test_what_is_no_hash_is_404(api, name):
    assert api.get(f"/v1/messages/{name}", token=api.token("sender")).status_code == 404


def test_a_message_without_a_good_reading_is_422_and_lists_why(api, platform):
    message = sha256(b"<bad/>").hexdigest()
    platform.verdicts["<bad/>"] = {
        "type": "refused",
        "message": message,
        "batch": "0123456789abcdef/0/3",
        "first_index": 5,
        "count": 1,
        "checkpoint": "c\n",
        "findings": [],
        "refused": [FINDING.as_json()],
    }
    answer = send(api, b"<bad/>")
    assert (answer.status_code, code(answer)) == (422, "value-invalid")
    body = answer.json()
    assert body["refused"] == [FINDING.as_json()]
    assert (body["message"], body["field"], body["clause"]) == (message, "value", "IEC 61968-9")
    later = api.get(f"/v1/messages/{message}", token=api.token("sender"))
    assert (later.status_code, later.json()["type"]) == (200, "refused")


def test_good_readings_beside_refused_ones_are_200(api, platform):
    from copy import deepcopy

    mixed = deepcopy(send(api).json()) | {"refused": [FINDING.as_json()], "count": 2}
    platform.verdicts["<mixed/>"] = mixed
    answer = send(api, b"<mixed/>")
    assert (answer.status_code, answer.json()["refused"]) == (200, [FINDING.as_json()])


@pytest.mark.parametrize(
    ("named", "status"),
    [
        ("dtd-forbidden", 422),
        ("message-empty", 422),
        ("message-too-large", 413),
        ("sender-revoked", 403),
    ],
)
def test_what_the_guard_refuses_is_told_with_all_its_members(api, platform, named, status):
    platform.verdicts["<x/>"] = Rejected(named, "No.", field="x", line=3, clause="XML 1.0 §2.8")
    answer = send(api, b"<x/>")
    assert (answer.status_code, code(answer)) == (status, named)
    body = answer.json()
    assert (body["field"], body["line"], body["clause"]) == ("x", "3", "XML 1.0 §2.8")
    assert body["refused"][0]["line"] == "3"
    assert not platform.taken


def test_a_bus_that_refuses_is_503(api, platform):
    platform.verdicts["<x/>"] = Unavailable("The disk is full.", retry_after_s=5)
    answer = send(api, b"<x/>")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


@pytest.mark.parametrize(
    ("query", "named", "field"),
    [
        ("", "parameter-missing", "format"),
        ("?format=", "format-unknown", "format"),
        ("?format=xml", "format-unknown", "format"),
        ("?format=command", "format-unknown", "format"),
        ("?format=cim&format=der", "parameter-repeated", "format"),
        ("?format=cim&x=1", "parameter-unknown", "x"),
        ("?format=cim%00", "control-character", "format"),
        ("?format=%ED%A0%80", "not-utf8", ""),
        ("?format=%zz", "query-malformed", ""),
    ],
)
def test_a_wrong_format_is_400(api, platform, query, named, field):
    answer = send(api, path=f"/v1/messages{query}")
    assert (answer.status_code, code(answer)) == (400, named)
    assert answer.json()["field"] == field
    assert not platform.taken


def test_the_limit_is_met_to_the_byte(make_api):
    api = make_api(message_bytes_max=1000)
    assert send(api, b"x" * 1000).status_code == 200
    answer = send(api, b"x" * 1001)
    assert (answer.status_code, code(answer)) == (413, "message-too-large")


def test_a_stream_is_cut_at_the_limit_and_not_read_to_its_end(make_api, platform):
    api = make_api(message_bytes_max=1000)
    given = []

    async def stream():
        for n in range(1000):
            given.append(n)
            yield b"x" * 400

    assert send(api, stream()).status_code == 413
    assert len(given) < 10
    assert not platform.taken


@pytest.mark.parametrize("length", ["-1", "1e3", "²", "99999999999999999999"])
def test_a_length_that_lies_is_413(api, length):
    headers = [("Content-Length", length.encode("latin-1"))]
    assert send(api, headers=headers).status_code == 413


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "identity, gzip", "x"])
def test_an_encoded_body_is_415(api, platform, coding):
    answer = send(api, headers={"Content-Encoding": coding})
    assert (answer.status_code, code(answer)) == (415, "unsupported-coding")
    assert answer.headers["accept-encoding"] == "identity"
    assert not platform.taken


def test_a_body_that_does_not_come_is_408(make_api):
    api = make_api(body_read_s=0.05)

    async def stream():
        yield b"<"
        await asyncio.sleep(5)

    answer = send(api, stream())
    assert (answer.status_code, code(answer)) == (408, "body-timeout")


def test_only_so_many_bodies_are_taken_in_at_once(make_api, platform, monkeypatch):
    api = make_api(bodies_max=1)
    header = [("Authorization", f"Bearer {api.token('sender')}")]
    came, go = asyncio.Event(), asyncio.Event()

    async def stream():
        yield b"<"
        came.set()
        await go.wait()
        yield b"/>"

    async def play():
        path = "/v1/messages?format=cim"
        first = asyncio.create_task(api.send("POST", path, header, stream()))
        await came.wait()
        second = await api.send("POST", path, header, b"<x/>")
        go.set()
        return await first, second

    first, second = api.runner.run(play())
    assert (first.status_code, second.status_code) == (200, 503)
    assert second.headers["retry-after"] == "1"
