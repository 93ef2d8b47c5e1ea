"""The metadata graph over REST: only what a caller may read, in three forms, and its catalogue."""

import re
from pathlib import Path
from typing import Any

import pytest
import rdflib
from rdflib import DCAT, DCTERMS, RDF, VOID, Graph, URIRef

from bal.errors import Stop
from bal.provide.dataset import DatasetFacts
from infra.http_api import create_app
from tests.adapters.gateway.conftest import ISSUER, Api, Platform, pseudonym

pytestmark = [
    pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated"),
    pytest.mark.filterwarnings("ignore:Dataset.default_context is deprecated"),
]
BASE = "https://gridseal.invalid/id/"
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
