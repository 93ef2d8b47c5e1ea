"""Every term that is used anywhere stands in the file that its authors published."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import rdflib.namespace as published
from rdflib import OWL, RDF, RDFS, Dataset, Graph, URIRef

from bal.provide import metadata_graph
from bal.provide.nquads import Writer
from bal.provide.rdf import Viewed
from bal.registry import DEVICE_TYPES, device_record
from tests.unit.harmonise.conftest import subject_of
from tests.unit.harmonise.test_rdf import all_records
from tests.unit.provide.test_metadata_graph import ALL_KINDS, EPOCHS, device, said
from tests.unit.provide.test_rdf import CONTEXT, DOCUMENT, EVERY_KIND, OWN

ONTOLOGY = Path(__file__).resolve().parents[3] / "ontology"
SARGON = "https://sargon-n5geh.netlify.app/ontology/1.0/"
FILES = {
    "https://saref.etsi.org/core/": "saref-core-v4.1.1.rdf",
    "https://saref.etsi.org/saref4grid/": "saref4grid-v2.1.1.rdf",
    "https://saref.etsi.org/saref4ener/": "saref4ener-v1.1.2.rdf",
    SARGON: "sargon-1.0.ttl",
    "https://w3id.org/saref#": "sargon-1.0.ttl",  # SAREF 2.1.2, which SARGON repeats
    "http://qudt.org/vocab/unit/": "qudt-units-all.ttl",
    "http://www.w3.org/2006/time#": "harvest-time.ttl",
    OWN: str(ONTOLOGY / "gridseal-v1.ttl"),
}
# Those of W3C and DCMI come with rdflib, term by term.
CLOSED = {
    str(one): one
    for one in (published.SH, published.SKOS, published.RDF, published.RDFS, published.OWL,
                published.XSD, published.VOID, published.DCAT, published.DCTERMS)
}  # fmt: skip
NOT_TERMS = ("https://gridseal.invalid/", "urn:")  # what we name ourselves


@cache
def defined(ontologies: Path, file: str) -> frozenset[str]:
    form = "xml" if file.endswith(".rdf") else "turtle"
    found = Graph().parse(ontologies / file, format=form)
    return frozenset(str(one) for one in found.subjects() if isinstance(one, URIRef))


def undefined(iris: set[str], ontologies: Path) -> set[str]:
    """Those that nobody has published."""
    return {iri for iri in iris if not is_defined(iri, ontologies)}


def is_defined(iri: str, ontologies: Path) -> bool:
    for namespace, file in FILES.items():
        if iri.startswith(namespace):
            return iri in defined(ontologies, file)
    for namespace, terms in CLOSED.items():
        if iri.startswith(namespace):
            return iri[len(namespace) :] in terms
    return iri.startswith(NOT_TERMS)


def iris(graph: Graph) -> set[str]:
    literals = {str(one.datatype) for _, _, one in graph if getattr(one, "datatype", None)}
    return literals | {str(one) for t in graph for one in t if isinstance(one, URIRef)}


def of_context() -> Iterator[str]:
    for term in CONTEXT.terms.values():
        yield CONTEXT.expand(term.iri)
        if ":" in term.sort:
            yield CONTEXT.expand(term.sort)


@pytest.mark.filterwarnings("ignore:Dataset.default_context is deprecated")
def test_every_term_is_published(shared_data: Path) -> None:
    ontologies = shared_data / "ontologies"
    described = said([*ALL_KINDS, *EPOCHS])
    used = {
        "context": set(of_context()),
        "records": iris_of_records(),
        "metadata graph": iris(
            Graph().parse(data=metadata_graph.turtle(described, CONTEXT), format="turtle")
        ),
        **{
            name: iris(Graph().parse(ONTOLOGY / name))
            for name in ("shapes.ttl", "alignment.ttl", "gridseal-v1.ttl")
        },
    }
    assert {name: undefined(terms, ontologies) for name, terms in used.items()} == {
        name: set() for name in used
    }
    assert all(used.values())


def iris_of_records() -> set[str]:
    """Of one record of every kind, of every quantity, and of devices of every class."""
    written = [
        *all_records(subject_of),
        *(one.record for one in EVERY_KIND),
        *(device_record(device(kind, "g", kind)) for kind in DEVICE_TYPES),
    ]
    views = [Viewed(f"{n:064x}", n, record) for n, record in enumerate(written)]
    found = Dataset().parse(data=Writer(CONTEXT).page(views), format="nquads")
    terms = {one for quad in found.quads() for one in quad}
    literals = {str(one.datatype) for one in terms if getattr(one, "datatype", None)}
    return literals | {str(one) for one in terms if isinstance(one, URIRef)}


def test_a_term_of_saref_3_is_noticed(shared_data: Path) -> None:
    ontologies = shared_data / "ontologies"
    wrong = {
        "https://saref.etsi.org/core/Measurement",
        f"{SARGON}classes/Magnitude",
        "https://example.org/x",
        "http://www.w3.org/ns/shacl#minimum",
    }
    assert undefined(wrong, ontologies) == wrong
    assert undefined({f"{SARGON}classes/Maqnitute"}, ontologies) == set()


def test_our_own_terms_are_all_used_and_all_defined() -> None:
    own = Graph().parse(ONTOLOGY / "gridseal-v1.ttl")
    named = {str(one) for one in own.subjects() if str(one).startswith(OWN)}
    assert {iri for iri in of_context() if iri.startswith(OWN)} == named
    for one in named:
        assert own.value(URIRef(one), RDFS.comment) is not None, one
        assert own.value(URIRef(one), RDF.type) is not None, one


def test_the_context_maps_to_iris_only() -> None:
    """No term of it can lead to a document elsewhere."""
    text = json.dumps(DOCUMENT)
    for word in ("@import", "@vocab", "@context", "@propagate", ".jsonld"):
        assert word not in text


def test_by_the_alignment_each_class_of_sargon_is_one_of_saref_too() -> None:
    graph = Graph().parse(ONTOLOGY / "alignment.ttl")
    classes = {CONTEXT.expand(term.iri) for term in CONTEXT.terms.values()}
    for iri in classes:
        if iri.startswith(f"{SARGON}classes/"):
            above = {str(one) for one in graph.objects(URIRef(iri), RDFS.subClassOf)}
            assert any(one.startswith("https://saref.etsi.org/") for one in above), iri
    assert (None, OWL.imports, None) not in graph  # nothing is to be fetched
