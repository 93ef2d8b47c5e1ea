"""GET /v1/readings, /v1/receipts/{index}, /v1/devices."""

import json
import tracemalloc
import warnings
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
import rdflib
from hypothesis import given, settings
from hypothesis import strategies as st

from bal.model import Rank
from bal.provide.cim_out import records_of_cim
from bal.provide.rdf import records_of_json_ld
from bal.provide.rdf_context import read_context
from bal.provide.turtle_in import records_of_turtle
from infra.http_readings import _commitments

CONTEXT = Path(__file__).resolve().parents[3] / "ontology" / "context-v1.jsonld"

PROBLEM = "urn:gridseal:problem:"


def code(answer):
    return answer.json()["type"].removeprefix(PROBLEM)


def read(api, client="all", headers=(), **query):
    text = urlencode(query)
    return api.get(f"/v1/readings?{text}", token=api.token(client), headers=headers)


def indexes(answer):
    return [item["index"] for item in answer.json()["items"]]


def test_a_page_is_as_the_spec_says(api, platform):
    body = read(api, limit=2).json()
    assert set(body) == {"items", "next", "as_of_size"}
    assert body["as_of_size"] == 16
    item = body["items"][0]
    row = platform.rows[item["index"]]
    assert item["record"] == json.loads(row.record)
    assert item["receipt"] == f"/v1/receipts/{row.index}"
    assert item["state"] == ("included", "anchored", "final")[row.index % 3]
    assert item["findings"] == []


def test_the_certified_bytes_stand_in_the_answer(api, platform):
    answer = read(api)
    assert all(row.record in answer.content for row in platform.rows)


def test_filters(api, platform):
    first = platform.rows[0]
    assert indexes(read(api, device=first.device)) == [0, 4, 8, 12]
    assert indexes(read(api, kind="event")) == []
    assert len(indexes(read(api, register="0.0.2", kind="reading"))) == 16
    assert indexes(read(api, device="A" * 43)) == []


def test_the_interval_is_half_open_on_its_end(api):
    window = {"from": "2026-01-15T10:15:00Z", "to": "2026-01-15T11:30:00+01:00"}
    assert sorted(indexes(read(api, **window))) == [4, 5, 6, 7]
    assert indexes(read(api, **{**window, "to": window["from"]})) == []


def test_as_of_a_size_or_an_instant_gives_the_same_rows_for_ever(api, platform):
    early = read(api, as_of="size:8")
    assert sorted(indexes(early)) == list(range(8))
    assert early.json()["as_of_size"] == 8
    at = read(api, as_of="2026-01-15T10:00:01.5Z")
    assert (at.json()["as_of_size"], indexes(at)) == (8, indexes(early))
    platform.add("north", "north-1", 0, "999", rank=Rank.CORRECTED)
    platform.sizes.append(((api.now_s + 10) * 1_000_000, 17))
    assert read(api, as_of="size:8").json() == early.json()
    assert read(api, as_of="2026-01-15T10:00:01.5Z").json() == at.json()
    assert indexes(read(api, as_of="size:0")) == []
    assert indexes(read(api, as_of="2020-01-01T00:00:00Z")) == []


def test_latest_and_all_versions(api, platform):
    row = platform.add("north", "north-1", 0, "999", rank=Rank.CORRECTED)
    latest = read(api, device=row.device)
    assert sorted(indexes(latest)) == [4, 8, 12, 16]
    every = read(api, device=row.device, versions="all")
    assert sorted(indexes(every)) == [0, 4, 8, 12, 16]


def test_findings_of_the_record_are_told_beside_it(api, platform):
    finding = {
        "clause": "IEC 61968-9", "code": "fields-19", "field": "ReadingType", "id": "#finding-1",
        "line": "7", "severity": "warning", "text": "19 fields",
    }  # fmt: skip
    row = platform.add("north", "north-1", 9, "1", findings=[finding])
    items = read(api, device=row.device).json()["items"]
    del finding["id"]
    assert items[-1]["findings"] == [finding]


def test_rows_that_are_not_stored_yet_are_left_out_or_waited_for(api, platform):
    platform.stored = 10
    assert read(api).json()["as_of_size"] == 10
    answer = read(api, as_of="size:12")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


BAD_VALUES = ["%00", "%ED%A0%80", "a%00b", "%E2%80%AE", "%FF", "%", "\xff".encode().hex() + "%0a"]


@pytest.mark.parametrize(
    "name",
    [
        "device",
        "kind",
        "register",
        "from",
        "to",
        "as_of",
        "versions",
        "cursor",
        "limit",
        "%00",
        "é",
    ],
)
@pytest.mark.parametrize("value", BAD_VALUES)
def test_nul_surrogate_and_other_nonsense_is_400_in_every_parameter(api, name, value):
    token = api.token("all")
    answer = api.get(f"/v1/readings?{quote(name, safe='%')}={value}", token=token)
    assert answer.status_code == 400
    assert code(answer) != "internal"


@pytest.mark.parametrize(
    ("query", "named", "field"),
    [
        ("group=south", "parameter-unknown", "group"),
        ("device=x", "parameter-invalid", "device"),
        ("from=2026-01-15T10:00:00", "time-malformed", "from"),
        ("from=2026-01-15T10:00:00+01:00", "time-malformed", "from"),
        ("to=1768471200", "time-malformed", "to"),
        ("as_of=size:17", "as-of-ahead", "as_of"),
        ("as_of=size:99999999999999999999", "parameter-invalid", "as_of"),
        ("limit=10001", "parameter-invalid", "limit"),
        ("limit=2&limit=3", "parameter-repeated", "limit"),
        ("cursor=AAAA", "cursor-invalid", "cursor"),
    ],
)
def test_a_wrong_parameter_is_400_and_named(api, query, named, field):
    answer = api.get(f"/v1/readings?{query}", token=api.token("all"))
    assert (answer.status_code, code(answer), answer.json()["field"]) == (400, named, field)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40))
def test_any_query_is_200_or_400(any_api, raw):
    from urllib.parse import quote_from_bytes

    query = quote_from_bytes(raw, safe="=&%+:")
    answer = any_api.get(f"/v1/readings?{query}", token=any_api.token("all"))
    assert answer.status_code in (200, 400)


@settings(max_examples=25, deadline=None)
@given(
    limit=st.integers(1, 20),
    versions=st.sampled_from(["latest", "all"]),
    client=st.sampled_from(["all", "north"]),
)
def test_pages_give_each_row_once_in_order_while_the_log_grows(any_api, limit, versions, client):
    api, platform = any_api, any_api.platform
    whole = read(api, client, versions=versions).json()
    seen, cursor = [], {}
    while True:
        answer = read(api, client, versions=versions, limit=limit, **cursor)
        page = answer.json()
        seen += page["items"]
        assert page["as_of_size"] == whole["as_of_size"]
        platform.add("north", "north-1", len(platform.rows) % 4, str(len(platform.rows)))
        if page["next"] is None:
            assert "link" not in answer.headers
            break
        assert len(page["items"]) == limit
        cursor = {"cursor": page["next"]}
    assert seen == whole["items"]
    del platform.rows[16:]
    platform.published = 16


def test_the_link_header_leads_to_the_next_page(api):
    """RFC 8288 §3: rel="next"."""
    first = read(api, limit=10, kind="reading")
    link = first.headers["link"]
    assert link.startswith("</v1/readings?")
    assert link.endswith('>; rel="next"')
    second = api.get(link[1:].partition(">")[0], token=api.token("all"))
    assert sorted(indexes(first) + indexes(second)) == list(range(16))


def test_a_cursor_outlives_a_restart_and_a_new_key_but_not_its_client(make_api, platform):
    from joserfc.jwk import ECKey, KeySet

    cursor = read(make_api(), limit=3).json()["next"]
    newer = ECKey.generate_key("P-256", {"alg": "ES256", "use": "sig", "kid": "k2"})
    platform.keys = KeySet([newer, *platform.keys.keys])
    again = make_api()
    assert read(again, cursor=cursor).status_code == 200
    assert code(read(again, "north", cursor=cursor)) == "cursor-invalid"


def test_rights_taken_away_between_two_pages_are_gone(api, platform):
    cursor = read(api, limit=3).json()["next"]
    platform.clients["all"] = replace(platform.clients["all"], groups=frozenset({"south"}))
    rest = read(api, cursor=cursor)
    assert all(platform.rows[n].shard == "south/0" for n in indexes(rest))


def test_json_ld_is_a_graph_with_global_ids(api, platform):
    answer = read(api, headers={"Accept": "application/ld+json"})
    assert answer.headers["content-type"] == "application/ld+json"
    assert answer.headers["vary"] == "Accept"
    assert answer.headers["gridseal-as-of-size"] == "16"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # rdflib 7 warns about itself
        graph = rdflib.Graph().parse(data=answer.content, format="json-ld")
    for row, entry in zip(platform.rows, platform.entries(), strict=True):
        subject = rdflib.URIRef(f"https://gridseal.invalid/id/{entry.hex()}")
        result = graph.value(subject, rdflib.URIRef("https://saref.etsi.org/core/hasResult"))
        assert result == rdflib.URIRef(f"{subject}#value")
        value = graph.value(result, rdflib.URIRef("https://saref.etsi.org/core/hasValue"))
        assert str(value) == json.loads(row.record)["value"]


def test_json_ld_pages_by_the_link_header(api):
    headers = {"Accept": "application/ld+json"}
    first = read(api, limit=9, headers=headers)
    path = first.headers["link"][1:].partition(">")[0]
    second = api.get(path, token=api.token("all"), headers=headers)
    assert len(first.json()["@graph"]) + len(second.json()["@graph"]) == 16


def test_json_ld_over_more_than_one_bundle(api, platform):
    for n in range(300):
        platform.add("north", f"m{n}", 50, str(n))
    answer = read(api, headers={"Accept": "application/ld+json"})
    bases = [node["@context"]["@base"] for node in answer.json()["@graph"]]
    assert {base[-64:] for base in bases} == {entry.hex() for entry in platform.entries()}


FORMS = ["text/turtle", "application/cim+xml", "application/xml", "application/ld+json"]


def back(answer):
    context = read_context(json.dumps(json.loads(CONTEXT.read_text())["@context"]).encode())
    form = answer.headers["content-type"]
    if form == "text/turtle":
        return records_of_turtle(answer.content, context)
    if form == "application/ld+json":
        return records_of_json_ld(answer.content, context)
    return records_of_cim(answer.content)


def test_a_page_of_rows_far_apart_in_the_log_takes_little_memory(platform, monkeypatch):
    """One meter of thousands: each row of its page is in another bundle of 256 entries."""
    entry = bytes(range(32))
    size = 256 * 2_000
    monkeypatch.setattr(platform, "published_size", lambda: size)
    monkeypatch.setattr(platform, "bundle", lambda n, width: (b"\0\x20" + entry) * width)
    tracemalloc.start()
    try:
        assert _commitments(platform, range(0, size, 256)) == [entry] * 2_000
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", FORMS)
def test_every_form_leads_back_to_the_certified_records(api, platform, form):
    for n in range(300):
        platform.add("north", f"m{n}", 50, str(n))
    answer = read(api, headers={"Accept": form})
    assert answer.headers["content-type"] == form
    assert answer.headers["vary"] == "Accept"
    found = {one.index: (one.commitment, one.record) for one in back(answer)}
    entries = platform.entries()
    assert found == {row.index: (entries[row.index].hex(), row.record) for row in platform.rows}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_pages_by_headers(api, platform, form):
    first = read(api, limit=9, headers={"Accept": form})
    assert first.headers["gridseal-as-of-size"] == "16"
    path = first.headers["link"][1:].partition(">")[0]
    second = api.get(path, token=api.token("all"), headers={"Accept": form})
    assert "link" not in second.headers
    indexes = [one.index for one in back(first) + back(second)]
    assert sorted(indexes) == list(range(16))


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "image/*, text/plain"])
def test_a_form_that_there_is_not_is_406(api, accept):
    """RFC 9110 §15.5.7."""
    answer = read(api, headers={"Accept": accept})
    assert (answer.status_code, code(answer)) == (406, "not-acceptable")
    assert answer.json()["field"] == answer.headers["vary"] == "Accept"


def test_what_stands_behind_a_record_in_its_row_is_not_in_another_form(api, platform):
    row = platform.add("north", "pmu", 7, "1")
    platform.rows[-1] = row._replace(kind="phasors", record=row.record + b'\n{"frame":"1"}')
    platform.entries = lambda: [
        sha256(r.record.partition(b"\n")[0]).digest() for r in platform.rows
    ]
    for form in FORMS:
        answer = read(api, device=row.device, headers={"Accept": form})
        assert [one.record for one in back(answer)] == [row.record]


# --- receipts


def test_a_receipt_is_plain_text(api):
    answer = api.get("/v1/receipts/0", token=api.token("north"))
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text == "c2sp.org/tlog-proof@v1\nindex 0\n"


def test_a_receipt_without_the_right_looks_like_none(api, platform):
    token = api.token("north")
    platform.add("north", "hidden", 1, "1")
    platform.published = 16
    platform.rows[15] = platform.rows[15]._replace(kind="telemetry")
    paths = ["2", "16", "17", "999999999999999999", "15"]
    answers = [api.get(f"/v1/receipts/{path}", token=token) for path in paths]
    assert {a.status_code for a in answers} == {404}
    assert len({a.content for a in answers}) == 1


@pytest.mark.parametrize(
    "text", ["-1", "+1", "01", "1.0", "1_0", "%20 1", "1e0", "٣", "9" * 19, "9" * 5000, "%00", "x"]
)
def test_what_is_no_index_is_404(api, text):
    answer = api.get(f"/v1/receipts/{quote(text, safe='%')}", token=api.token("all"))
    assert answer.status_code == 404


def test_a_receipt_takes_no_parameter(api):
    answer = api.get("/v1/receipts/0?format=json", token=api.token("all"))
    assert code(answer) == "parameter-unknown"


# --- devices


def test_devices_are_pseudonyms_with_group_zone_kind_and_state(api, platform):
    items = api.get("/v1/devices", token=api.token("north")).json()["items"]
    known = platform.devices(frozenset({"north"}))
    assert [d["device"] for d in items] == sorted(d.device for d in known)
    assert set(items[0]) == {"device", "group", "zone", "kind", "state"}


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
def test_pages_of_devices(api, limit):
    token = api.token("all")
    whole = api.get("/v1/devices", token=token).json()["items"]
    seen, query = [], {"limit": limit}
    while True:
        page = api.get(f"/v1/devices?{urlencode(query)}", token=token).json()
        seen += page["items"]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert seen == whole
    assert len(whole) == 4


@pytest.mark.parametrize("query", ["limit=0", "cursor=x", "group=north", "limit=%00", "cursor=%00"])
def test_a_wrong_parameter_of_devices_is_400(api, query):
    assert api.get(f"/v1/devices?{query}", token=api.token("all")).status_code == 400


def test_a_cursor_of_readings_is_none_of_devices(api):
    cursor = read(api, limit=1).json()["next"]
    answer = api.get(f"/v1/devices?cursor={cursor}", token=api.token("all"))
    assert code(answer) == "cursor-invalid"
