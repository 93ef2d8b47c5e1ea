"""The metadata graph: what it says, whom it names, and that three forms are one graph."""

import re
from base64 import urlsafe_b64encode
from dataclasses import replace
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
from bal.harmonise.register import measured
from bal.model import DeviceInfo, Pseudonym
from bal.provide import metadata_graph
from bal.provide.rdf_context import BASE_IRI
from bal.registry import DEVICE_TYPES
from bal.times import instant_us
from tests.unit.provide.test_rdf import CONTEXT

pytestmark = [  # rdflib's own readers use what rdflib deprecates
    pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated"),
    pytest.mark.filterwarnings("ignore:Dataset.default_context is deprecated"),
]
ONTOLOGY = Path(__file__).resolve().parents[3] / "ontology"
QUANTITIES = [one for one in vars(quantity).values() if isinstance(one, quantity.Quantity)]
SENDER = "Erika Mustermann's head-end"
FORWARD = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0"
REVERSE = "0.0.2.4.19.1.12.0.0.0.0.0.0.0.0.0.73.0"
EXCHANGED, MOVED = instant_us("2026-01-10T00:00:00Z"), instant_us("2026-02-01T00:00:00Z")
SAREF, GRIDSEAL = "https://saref.etsi.org/core/", "https://gridseal.invalid/ontology/v1#"


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


def registers_of(found: list[DeviceInfo]) -> dict[Pseudonym, list[metadata_graph.Register]]:
    """Of each device some, by turns: codes, measurands, and what nobody knows."""
    names = [FORWARD, REVERSE, "activeEnergyExport.A", "odd %#/\u00fc"]
    return {
        info.device: [
            metadata_graph.Register(name, *measured(name)) for name in names[: number % 5]
        ]
        for number, info in enumerate(found)
    }


def said(found: list[DeviceInfo], now_us: int = 0) -> list[metadata_graph.Statement]:
    placing, registers = metadata_graph.Placing(found), registers_of(found)
    return list(
        metadata_graph.statements(
            found, QUANTITIES, placing=placing, registers=registers, now_us=now_us
        )
    )


def graph(found: list[DeviceInfo], now_us: int = 0) -> Graph:
    data = metadata_graph.turtle(said(found, now_us), CONTEXT)
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
    mine, battery = graph(ALL_KINDS), device("battery 1")
    types = {context_term(str(one)) for one in mine.objects(at("battery 1"), rdflib.RDF.type)}
    assert types == {"saref:Device", "s4ener:Device", "sgnc:Battery_storage"}
    point = URIRef(f"{BASE_IRI}usage-point/{battery.device}")
    assert (at("battery 1"), URIRef(f"{SAREF}observes"), point) in mine


def at(name: str) -> URIRef:
    return URIRef(BASE_IRI + device(name).device)


def one(mine: Graph, subject: object, *path: str) -> str:
    """What stands at the end of a path; "" where it ends before."""
    for step in path:
        subject = mine.value(subject, URIRef(step))  # type: ignore[arg-type]
    return "" if subject is None else str(subject)


# m-1 is exchanged for m-2, which somebody else had had as m-2': whose holder moves in February.
EPOCHS = [
    replace(device("m-1"), until_us=EXCHANGED),
    replace(device("m-2'"), until_us=EXCHANGED),
    replace(
        device("m-2"),
        since_us=EXCHANGED,
        until_us=MOVED,
        follows=device("m-2'").device,
        replaces=device("m-1").device,
    ),
    replace(device("m-2 of the next"), since_us=MOVED, follows=device("m-2").device),
]


def test_an_exchange_leaves_the_usage_point_and_a_move_ends_it() -> None:
    mine = graph(EPOCHS)
    points = {
        name: [point for point in mine.objects(at(name), URIRef(f"{SAREF}observes"))
               if (point, rdflib.RDF.type, URIRef(f"{GRIDSEAL}UsagePoint")) in mine]
        for name in ("m-1", "m-2'", "m-2", "m-2 of the next")
    }  # fmt: skip
    assert all(len(found) == 1 for found in points.values())
    assert points["m-1"] == points["m-2"]
    assert len({str(found[0]) for found in points.values()}) == 3
    time = "http://www.w3.org/2006/time#"
    bounds = {
        name: [
            one(mine, at(name), f"{SAREF}hasApplicableTime", f"{time}{end}",
                f"{time}inXSDDateTimeStamp")
            for end in ("hasBeginning", "hasEnd")
        ]
        for name in points
    }  # fmt: skip
    assert bounds["m-1"] == ["", "2026-01-10T00:00:00Z"]
    assert bounds["m-2"] == ["2026-01-10T00:00:00Z", ""]
    conforms, _, text = pyshacl.validate(mine, shacl_graph=shapes())
    assert conforms, text


def test_who_reads_the_graph_cannot_tell_by_it_whose_meter_was_whose_before() -> None:
    """No two pseudonyms of one meter meet in a node, and no day on which people move is in it."""
    assert b"2026-02-01" not in metadata_graph.turtle(said(EPOCHS, MOVED), CONTEXT)
    mine = graph(EPOCHS)
    for earlier, later in (("m-2'", "m-2"), ("m-2", "m-2 of the next")):
        mentions = {
            name: {str(term) for triple in mine if at(name) in triple for term in triple
                   if str(term).startswith(BASE_IRI) and "/group/" not in str(term)}
            for name in (earlier, later)
        }  # fmt: skip
        assert not mentions[earlier] & mentions[later]
    # alone on a page the second one is at the same usage point
    page = [one for one in said(EPOCHS) if one.member == "observes" and "/" in one.text]
    placing = metadata_graph.Placing(EPOCHS)
    alone = metadata_graph.statements(
        [EPOCHS[2]], QUANTITIES, placing=placing, registers={}, now_us=0
    )
    assert {s.text for s in alone if s.member == "observes"} <= {s.text for s in page}


def test_an_epoch_that_ended_is_over() -> None:
    for now_us, states in (
        (EXCHANGED - 1, ["active"] * 4),
        (EXCHANGED, ["over", "over", "active", "active"]),
        (MOVED, ["over", "over", "over", "active"]),
    ):
        mine = graph(EPOCHS, now_us)
        names = ("m-1", "m-2'", "m-2", "m-2 of the next")
        assert [one(mine, at(name), f"{GRIDSEAL}state") for name in names] == states
    revoked = replace(EPOCHS[0], state="revoked")
    assert one(graph([revoked], MOVED), at("m-1"), f"{GRIDSEAL}state") == "revoked"


def test_what_a_device_measures() -> None:
    """As records say it: the same node, SAREF4GRID's individual, QUDT's unit; and the direction."""
    fifth = device("m-5")
    mine = graph([*EPOCHS, fifth])
    node = URIRef(f"{BASE_IRI}{fifth.device}#{REVERSE}")
    point = URIRef(f"{BASE_IRI}usage-point/{fifth.device}")
    assert (at("m-5"), URIRef(f"{SAREF}observes"), node) in mine
    assert (node, URIRef(f"{SAREF}isPropertyOf"), point) in mine
    said_of_it = {
        context_term(str(member)): context_term(str(value))
        for member, value in mine.predicate_objects(node)
        if member != rdflib.RDF.type
    }
    assert said_of_it == {
        "skos:notation": REVERSE,
        "saref:isPropertyOf": f"{point}",
        "skos:broader": "s4grid:ReactiveEnergy",
        "saref:isMeasuredIn": "qunit:V-A_Reactive-HR",
        "gridseal:flowDirection": "reverse",
    }
    types = {context_term(str(one)) for one in mine.objects(node, rdflib.RDF.type)}
    assert types == {"s4grid:EnergyAndPowerProperty", "saref:Property"}
    export = URIRef(f"{BASE_IRI}{fifth.device}#activeEnergyExport.A")
    assert one(mine, export, f"{SAREF}isMeasuredIn").endswith("unit/W-HR")
    assert one(mine, export, f"{GRIDSEAL}flowDirection") == ""
    odd = URIRef(f"{BASE_IRI}{fifth.device}#odd%20%25%23%2F%C3%BC")
    assert one(mine, odd, "http://www.w3.org/2004/02/skos/core#notation") == "odd %#/\u00fc"
    assert one(mine, odd, f"{SAREF}isMeasuredIn") == ""


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
    told = said([])
    assert sorted(set(told)) == sorted(told), "nothing is said twice"


@pytest.mark.parametrize(
    "damage",
    [
        ("gridseal:inGroup <group/", "gridseal:other <group/"),
        ('hasIdentifier "', 'hasIdentifier "x'),
        ("a saref:FeatureOfInterest, gridseal:Group", "a gridseal:Group"),
        ("a saref:UnitOfMeasure", "a saref:Property"),
        ('state "active"', 'state "asleep"'),
        ("a saref:Device, s4ener:Device", "a s4ener:Device"),
        ("saref:isPropertyOf <usage-point/", "saref:isPropertyOf <group/"),
        (
            "qunit:W-HR ;\n  gridseal:flowDirection",
            "qunit:W-HR, qunit:W ;\n  gridseal:flowDirection",
        ),
        ('flowDirection "forward"', 'flowDirection "forward", "reverse"'),
        ("owltime:hasEnd <", "gridseal:hasEnd <"),
        ("saref:observes <usage-point/", "saref:observes <usage-point/other>, <usage-point/"),
    ],
)
def test_the_shapes_tell_a_graph_that_is_none(damage: tuple[str, str]) -> None:
    text = metadata_graph.turtle(said([*ALL_KINDS, *EPOCHS]), CONTEXT).decode()
    assert damage[0] in text
    assert pyshacl.validate(Graph().parse(data=text, format="turtle"), shacl_graph=shapes())[0]
    damaged = Graph().parse(data=text.replace(*damage), format="turtle")
    assert not pyshacl.validate(damaged, shacl_graph=shapes())[0]


def test_the_page_shows_what_is_written() -> None:
    former, own = (Pseudonym(name) for name in (
        "VZuKki5jGwapcmCQI_gFo0LH_CGoFV5p6gBMiambk2g",
        "evLcgUiSGkIYzwwXurkBv_7VC-Rn12boJ_kGyLrhyVE",
    ))  # fmt: skip
    at_us = instant_us("2026-01-31T23:00:00Z")
    old = replace(device("m", "lv3.101"), device=former, until_us=at_us)
    new = replace(device("m", "lv3.101"), device=own, since_us=at_us, replaces=former)
    written = metadata_graph.turtle(
        metadata_graph.statements(
            [new],
            [quantity.ACTIVE_ENERGY],
            placing=metadata_graph.Placing([old, new]),
            registers={own: [metadata_graph.Register(FORWARD, *measured(FORWARD))]},
            now_us=at_us,
        ),
        CONTEXT,
    )
    page = (ONTOLOGY.parent / "docs" / "semantics.md").read_text()
    shown = re.search(r"```turtle\n(.*?)```", page, re.DOTALL)
    assert shown is not None
    head = re.match(r".*?@base [^\n]*\n", written.decode(), re.DOTALL)
    assert head is not None
    assert set(Graph().parse(data=head[0] + shown[1])) == set(Graph().parse(data=written))
