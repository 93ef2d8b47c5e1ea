"""The metadata graph over REST: only what a caller may read, in three forms, and its catalogue."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import rdflib
from rdflib import DCAT, DCTERMS, RDF, VOID, Graph, URIRef

from bal.errors import Stop
from bal.provide.dataset import DatasetFacts
from infra.http_api import create_app
from tests.adapters.gateway.conftest import ISSUER, NOW_S, Api, Platform, pseudonym

pytestmark = [
    pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated"),
    pytest.mark.filterwarnings("ignore:Dataset.default_context is deprecated"),
]
BASE, SAREF = "https://gridseal.invalid/id/", "https://saref.etsi.org/core/"
IDENTIFIER = URIRef("https://saref.etsi.org/core/hasIdentifier")


def graph(response: Any) -> Graph:
    assert response.status_code == 200, response.text
    form = {"text/turtle": "turtle", "application/ld+json": "json-ld"}
    media = response.headers["content-type"].partition(";")[0]
    return Graph().parse(data=response.content, format=form.get(media, "nquads"))


def devices(response: Any) -> set[str]:
    return {str(one) for one in graph(response).objects(None, IDENTIFIER)}


@pytest.mark.parametrize("form", ["text/turtle", "application/ld+json", "application/n-quads"])
def test_a_client_sees_its_groups_only(api: Api, form: str) -> None:
    of_all = {pseudonym(f"{group}-{n}") for group in ("north", "south") for n in (1, 2)}
    for client, seen in (
        ("all", of_all),
        ("north", {pseudonym("north-1"), pseudonym("north-2")}),
        ("nothing", set()),
    ):
        found = api.get("/v1/metadata", token=api.token(client), headers={"Accept": form})
        if form != "application/n-quads":
            assert devices(found) == seen
        assert {one for one in of_all if one in found.text} == seen
        assert ("south" in found.text) == (client == "all")


def test_a_group_that_may_not_be_read_is_as_one_that_is_not_there(api: Api) -> None:
    token = api.token("north")
    south = api.get("/v1/metadata?group=south", token=token)
    nowhere = api.get("/v1/metadata?group=nowhere", token=token)
    assert south.content == nowhere.content
    assert devices(api.get("/v1/metadata?group=north", token=token)) == {
        pseudonym("north-1"), pseudonym("north-2"),
    }  # fmt: skip


def test_pages_come_to_the_whole(api: Api) -> None:
    token, path, found = api.token("all"), "/v1/metadata?limit=3", Graph()
    for _ in range(2):
        response = api.get(path, token=token)
        found += graph(response)
        link = response.headers.get("link", "")
        path = link[1 : link.index(">")] if link else ""
    assert path == ""
    assert set(found) == set(graph(api.get("/v1/metadata", token=token)))


def exchanged(platform: Platform) -> None:
    """north-1 came in place of north-2 on the day before, and somebody else had it until then."""
    at_us = (NOW_S - 86_400) * 1_000_000
    one, two = (
        next(info for info in platform.known if info.device == pseudonym(f"north-{n}"))
        for n in (1, 2)
    )
    platform.known[platform.known.index(two)] = replace(two, until_us=at_us)
    begun = replace(one, since_us=at_us, replaces=two.device, follows=pseudonym("of another"))
    platform.known[platform.known.index(one)] = begun


def test_an_exchanged_meter_is_at_the_usage_point_of_the_former_one(
    api: Api, platform: Platform
) -> None:
    """On whichever page it stands, and whoever asks; whose it was before nobody is told."""
    exchanged(platform)
    token, point = api.token("north"), URIRef(f"{BASE}usage-point/{pseudonym('north-2')}")
    for first in ("/v1/metadata", "/v1/metadata?limit=1"):
        found, path = Graph(), first
        while path:
            response = api.get(path, token=token)
            assert pseudonym("of another") not in response.text
            found += graph(response)
            link = response.headers.get("link", "")
            path = link[1 : link.index(">")] if link else ""
        at_point = set(found.subjects(URIRef(f"{SAREF}observes"), point))
        assert at_point == {URIRef(BASE + pseudonym(f"north-{n}")) for n in (1, 2)}
    listed = api.get("/v1/sparql?name=usage-points&group=north", token=token).json()
    rows = [
        {name: value["value"].removeprefix(BASE) for name, value in row.items()}
        for row in listed["results"]["bindings"]
    ]
    shared, at = f"usage-point/{pseudonym('north-2')}", "2026-01-14T10:00:00Z"
    assert rows == [
        {"point": shared, "device": pseudonym("north-2"), "state": "over", "until": at},
        {"point": shared, "device": pseudonym("north-1"), "state": "active", "from": at},
    ]
    counted = api.get("/v1/sparql?name=groups", token=token).json()["results"]["bindings"]
    assert [row["devices"]["value"] for row in counted] == ["1"]


def test_registers_stand_with_what_they_measure(
    api: Api, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    register, device = "0.0.2.4.19.1.12.0.0.0.0.0.0.0.0.0.72.0", pseudonym("north-1")
    monkeypatch.setattr(platform, "registers", lambda: {device: [register]})
    path = f"/v1/sparql?name=registers-of-device&device={device}"
    rows = api.get(path, token=api.token("north")).json()["results"]["bindings"]
    assert [{name: value["value"] for name, value in row.items()} for row in rows] == [
        {
            "register": register,
            "quantity": "https://saref.etsi.org/saref4grid/ActiveEnergy",
            "symbol": "Wh",
            "direction": "reverse",
        }
    ]
    path = f"/v1/sparql?name=about-device&device={device}"
    about = graph(api.get(path, token=api.token("north")))
    assert (URIRef(f"{BASE}{device}#{register}"), None, None) in about
    platform.enrol("southern", "devices.read", "south")
    found = api.get("/v1/metadata", token=api.token("southern"))
    assert register not in found.text


def test_a_graph_of_too_many_registers_is_to_be_cut_down(
    make_api: Any, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = make_api(query_devices_max=4)
    many = [f"voltage.{n}" for n in range(9)]
    monkeypatch.setattr(platform, "registers", lambda: {pseudonym("north-1"): many})
    refused = api.get("/v1/sparql?name=groups", token=api.token("all"))
    assert (refused.status_code, refused.json()["field"]) == (422, "within")
    cut = api.get("/v1/sparql?name=groups&within=south", token=api.token("all"))
    assert cut.status_code == 200


def test_nobody_without_the_scope(api: Api) -> None:
    assert api.get("/v1/metadata").status_code == 401
    assert api.get("/v1/metadata", token=api.token("sender")).status_code == 403
    wrong = api.get("/v1/metadata", token=api.token("all"), headers={"Accept": "image/png"})
    assert wrong.status_code == 406
    assert api.get("/v1/metadata?x=1", token=api.token("all")).status_code == 400


def test_readings_as_n_quads_are_the_graph_of_their_turtle(api: Api) -> None:
    forms = [
        api.get("/v1/readings", token=api.token("all"), headers={"Accept": form})
        for form in ("application/n-quads", "text/turtle")
    ]
    quads = rdflib.Dataset().parse(data=forms[0].content, format="nquads")
    turtle = Graph().parse(data=forms[1].content, format="turtle")
    assert {(s, p, o) for s, p, o, _ in quads.quads()} == set(turtle)


def test_the_description_for_catalogues(api: Api) -> None:
    found = graph(api.get("/.well-known/void"))
    at = URIRef(f"{ISSUER}/.well-known/void#dataset")
    assert {VOID.Dataset, DCAT.Dataset} == set(found.objects(at, RDF.type))
    assert int(str(found.value(at, VOID.entities))) == api.platform.published
    assert found.value(at, VOID.sparqlEndpoint) == URIRef(f"{ISSUER}/v1/sparql")
    assert found.value(at, DCTERMS.license) is None
    assert len(set(found.objects(at, DCAT.distribution))) == 9
    for share in found.objects(at, DCAT.distribution):
        url = str(found.value(share, DCAT.accessURL)).removeprefix(ISSUER)
        media = str(found.value(share, DCAT.mediaType)).partition("media-types/")[2]
        response = api.get(url, token=api.token("all"), headers={"Accept": media})
        assert (response.status_code, response.headers["content-type"].partition(";")[0]) == (
            200,
            media,
        )
    closed = (VOID, DCAT, DCTERMS)
    for term in {str(term) for triple in found for term in triple if isinstance(term, URIRef)}:
        for namespace in closed:
            if term.startswith(str(namespace)):
                assert term[len(str(namespace)) :] in namespace, term


def test_what_the_operator_says_of_the_data(platform: Platform) -> None:
    licence = "https://creativecommons.org/licenses/by/4.0/"
    facts = DatasetFacts('Netz "Nord" \\ ü\n', licence, "https://dso.example/#me")
    app = create_app(platform, dataset=facts)
    api = Api(platform)
    api.app = app
    found = graph(api.get("/.well-known/void"))
    api.runner.close()
    at = URIRef(f"{ISSUER}/.well-known/void#dataset")
    assert str(found.value(at, DCTERMS.title)) == facts.title
    assert found.value(at, DCTERMS.license) == URIRef(licence)
    for wrong in ("https://x/> . <a> <b> <c", "by sa", '"'):
        with pytest.raises(Stop, match="config-invalid"):
            create_app(platform, dataset=DatasetFacts(licence=wrong))


def test_the_page_has_the_queries_that_there_are() -> None:
    root = Path(__file__).resolve().parents[3]
    page = (root / "docs" / "semantics.md").read_text()
    for file in (root / "ontology" / "queries").glob("*.rq"):
        assert re.search(rf"`{file.stem}`", page), file.stem
