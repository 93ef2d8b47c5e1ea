"""The metadata graph: what it says, whom it names, and that three forms are one graph."""

from base64 import urlsafe_b64encode
from functools import cache
from hashlib import sha256
from pathlib import Path

import pyshacl
import pytest
import rdflib
from hypothesis import given, settings
from hypothesis import strategies as st
from rdflib import BNode, Dataset, Graph, URIRef

from bal.harmonise import quantity
from bal.model import DeviceInfo, Pseudonym
from bal.provide import metadata_graph
from bal.provide.rdf_context import BASE_IRI
from bal.registry import DEVICE_TYPES
from tests.unit.provide.test_rdf import CONTEXT

pytestmark = [  # rdflib's own readers use what rdflib deprecates
    pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated"),
    pytest.mark.filterwarnings("ignore:Dataset.default_context is deprecated"),
]
ONTOLOGY = Path(__file__).resolve().parents[3] / "ontology"
QUANTITIES = [one for one in vars(quantity).values() if isinstance(one, quantity.Quantity)]
SENDER = "Erika Mustermann's head-end"


def device(
    name: str, group: str = "north", kind: str = "meter", state: str = "active"
) -> DeviceInfo:
    digest = sha256(name.encode()).digest()
    pseudonym = Pseudonym(urlsafe_b64encode(digest).rstrip(b"=").decode())
    return DeviceInfo(pseudonym, group, f"{group}/0", "Europe/Berlin", kind, SENDER, state)


ALL_KINDS = [device(f"{kind} {n}", f"lv3.{n}", kind) for kind in DEVICE_TYPES for n in (1, 2)]
devices = st.lists(
    st.builds(
        device,
        st.text(max_size=4),
        st.sampled_from(["north", "lv3.101", "a/b c%", "\u00fc#?"]),
        st.sampled_from([*DEVICE_TYPES, "of another version"]),
        st.sampled_from(["active", "revoked"]),
    ),
    max_size=5,
    unique_by=lambda info: info.device,
)


@cache
def shapes() -> Graph:
    return Graph().parse(ONTOLOGY / "shapes.ttl")


def said(found: list[DeviceInfo]) -> list[metadata_graph.Statement]:
    return list(metadata_graph.statements(found, QUANTITIES))


def graph(found: list[DeviceInfo]) -> Graph:
    data = metadata_graph.turtle(said(found), CONTEXT)
    return Graph().parse(data=data, format="turtle")


@settings(max_examples=25, deadline=None)
@given(devices)
def test_all_forms_are_one_graph_that_fits_the_shapes(found: list[DeviceInfo]) -> None:
    mine = graph(found)
    triples = set(mine)
    json_ld = metadata_graph.json_ld(said(found), CONTEXT)
    assert set(Graph().parse(data=json_ld, format="json-ld")) == triples
    n_triples = metadata_graph.n_triples(said(found), CONTEXT)
    assert set(Graph().parse(data=n_triples, format="nt")) == triples
    quads = list(Dataset().parse(
        data=metadata_graph.n_quads(said(found), CONTEXT), format="nquads").quads())  # fmt: skip
    assert {(s, p, o) for s, p, o, _ in quads} == triples
    assert {g for *_, g in quads} == {URIRef(metadata_graph.GRAPH_IRI)}
    assert not any(isinstance(term, BNode) for triple in mine for term in triple)
    conforms, _, text = pyshacl.validate(mine, shacl_graph=shapes())
    assert conforms, text


def test_a_battery_is_a_device_of_saref_saref4ener_and_sargon() -> None:
    """SAREF4ENER s4ener:Device."""
    mine, battery = graph(ALL_KINDS), device("battery 1", "lv3.1", "battery")
    at = URIRef(BASE_IRI + battery.device)
    types = {context_term(str(one)) for one in mine.objects(at, rdflib.RDF.type)}
    assert types == {"saref:Device", "s4ener:Device", "sgnc:Battery_storage"}
    point = URIRef(f"{BASE_IRI}usage-point/{battery.device}")
    assert (at, URIRef("https://saref.etsi.org/core/observes"), point) in mine


def context_term(iri: str) -> str:
    return CONTEXT.compact(iri)


def test_nobody_is_named() -> None:
    """Neither who sends for a device, nor the shard that tells how many there are."""
    for form in (metadata_graph.turtle, metadata_graph.json_ld, metadata_graph.n_quads):
        data = form(said(ALL_KINDS), CONTEXT).decode()
        assert "Mustermann" not in data
        assert "lv3.1/0" not in data
        assert "lv3.1%2F0" not in data


def test_every_quantity_has_its_unit() -> None:
    mine = graph([])
    units = set(mine.objects(None, URIRef("https://gridseal.invalid/ontology/v1#baseUnit")))
    assert {str(unit) for unit in units} == {
        f"http://qudt.org/vocab/unit/{quantity.qudt}" for quantity in QUANTITIES
    }


@pytest.mark.parametrize(
    "damage",
    [
        ("gridseal:inGroup <group/", "gridseal:other <group/"),
        ('hasIdentifier "', 'hasIdentifier "x'),
        ("a saref:FeatureOfInterest, gridseal:Group", "a gridseal:Group"),
        ("a saref:UnitOfMeasure", "a saref:Property"),
        ('state "active"', 'state "asleep"'),
        ("a saref:Device, s4ener:Device", "a s4ener:Device"),
    ],
)
def test_the_shapes_tell_a_graph_that_is_none(damage: tuple[str, str]) -> None:
    text = metadata_graph.turtle(said(ALL_KINDS), CONTEXT).decode()
    assert damage[0] in text
    damaged = Graph().parse(data=text.replace(*damage), format="turtle")
    assert not pyshacl.validate(damaged, shacl_graph=shapes())[0]
