"""A page as Turtle and JSON-LD leads back to the certified bytes (docs/spec/rdf.md)."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pyshacl
import pytest
import rdflib
from hypothesis import given, settings
from hypothesis import strategies as st
from rdflib import BNode, Graph, URIRef

from bal import jcs
from bal.errors import Rejected, Stop
from bal.provide.merge_patch import merge, patch
from bal.provide.rdf import Viewed, json_ld, records_of_json_ld, turtle
from bal.provide.rdf_context import read_context
from bal.provide.turtle_in import records_of_turtle
from tests.unit.harmonise.test_rdf import CIM, DEFINED_IN
from tests.unit.provide.messages import page_of, pages

pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated")
ONTOLOGY = Path(__file__).resolve().parents[3] / "ontology"
DOCUMENT = json.loads((ONTOLOGY / "context-v1.jsonld").read_text())["@context"]
CONTEXT = read_context(json.dumps(DOCUMENT).encode())
EVERY_KIND = page_of([(CIM, "cim")])
OWN = "https://gridseal.invalid/ontology/v1#"


def by_commitment(page: list[Viewed]) -> list[Viewed]:
    return sorted(page, key=lambda one: one.commitment)


@cache
def shapes() -> Graph:
    return Graph().parse(ONTOLOGY / "shapes.ttl")


def lexical(page: list[Viewed]) -> tuple[Graph, Graph]:
    before, rdflib.NORMALIZE_LITERALS = rdflib.NORMALIZE_LITERALS, False
    try:
        return (
            Graph().parse(data=turtle(page, CONTEXT), format="turtle"),
            Graph().parse(data=json_ld(page, CONTEXT), format="json-ld"),
        )
    finally:
        rdflib.NORMALIZE_LITERALS = before


@settings(max_examples=150, deadline=None)
@given(pages)
def test_turtle_leads_back_to_the_same_bytes(page: list[Viewed]) -> None:
    """RDF 1.1 Turtle §2.5.1, §6.4: whatever the texts are."""
    assert records_of_turtle(turtle(page, CONTEXT), CONTEXT) == by_commitment(page)


@settings(max_examples=100, deadline=None)
@given(pages)
def test_json_ld_leads_back_to_the_same_bytes(page: list[Viewed]) -> None:
    body = json_ld(page, CONTEXT)
    assert all(one.record[1:] in body for one in page)
    assert records_of_json_ld(body, CONTEXT) == page
    spaced = json.dumps(json.loads(body), indent=1, ensure_ascii=True).encode()
    assert records_of_json_ld(spaced, CONTEXT) == page


@settings(max_examples=30, deadline=None)
@given(pages)
def test_both_are_one_graph_that_fits_the_shapes(page: list[Viewed]) -> None:
    mine, theirs = lexical(page)
    assert {map_json(one) for one in mine} == {map_json(one) for one in theirs}
    assert not any(isinstance(term, BNode) for triple in mine for term in triple)
    conforms, _, text = pyshacl.validate(mine, shacl_graph=shapes())
    assert conforms, text


def map_json(triple: Any) -> Any:
    """JSON literals by their value: another library may order members otherwise."""
    subject, verb, value = triple
    if getattr(value, "datatype", None) == rdflib.RDF.JSON:
        return subject, verb, json.dumps(json.loads(str(value)), sort_keys=True)
    return triple


@settings(max_examples=40, deadline=None)
@given(pages, st.sampled_from(["turtle", "longturtle", "nt"]))
def test_so_does_what_another_tool_made_of_it(page: list[Viewed], form: str) -> None:
    """rdflib's own writer: 210 becomes 210.0, Z becomes +00:00, no base, another order."""
    for data, read in ((turtle(page, CONTEXT), "turtle"), (json_ld(page, CONTEXT), "json-ld")):
        again = Graph().parse(data=data, format=read).serialize(format=form)
        assert records_of_turtle(again.encode(), CONTEXT) == by_commitment(page)


def test_pages_may_be_merged() -> None:
    """A device of several records is one node; what each says of it is not lost."""
    two = [turtle([one], CONTEXT) for one in EVERY_KIND]
    together = Graph()
    for data in two:
        together.parse(data=data, format="turtle")
    together.add((URIRef("urn:x"), URIRef("urn:y"), BNode()))
    back = records_of_turtle(together.serialize(format="turtle").encode(), CONTEXT)
    assert back == by_commitment(EVERY_KIND)


@pytest.mark.parametrize("number", range(len(EVERY_KIND)))
def test_no_statement_can_be_taken_away_or_altered(number: int) -> None:
    one = EVERY_KIND[number]
    whole = Graph().parse(data=turtle([one], CONTEXT), format="turtle")
    index = URIRef(f"{OWN}index")
    for triple in whole:
        if triple[1] == index:
            continue
        less = Graph()
        for other in whole:
            if other != triple:
                less.add(other)
        try:
            back = records_of_turtle(less.serialize(format="nt").encode(), CONTEXT)
        except Rejected:
            continue
        assert [two.record for two in back] != [one.record], triple


def test_the_patch_can_not_say_other_than_the_statements() -> None:
    text = turtle(EVERY_KIND[:1], CONTEXT).decode()
    for damage in (
        ('rest "{', 'rest "{\\"value\\":\\"1\\",\\"hasResult\\":{\\"hasValue\\":\\"1\\"},'),
        ("s4grid:ActiveEnergy\\", "s4grid:ReactiveEnergy\\"),
        ('rest "{', 'rest "{\\"kind\\":null,'),
        ('rest "{', 'rest "[]{'),
        ('rest "{', 'rest "{\\"x\\":1,'),
        ('gridseal:index "0"', 'gridseal:index "01"'),
        ("gridseal:rest", "gridseal:other"),
    ):
        assert damage[0] in text
        with pytest.raises(Rejected, match=r"view-(contradicts|malformed)"):
            records_of_turtle(text.replace(*damage).encode(), CONTEXT)
    altered = text.replace('"210.5"', '"210.6"').encode()
    [other] = records_of_turtle(altered, CONTEXT)
    assert json.loads(other.record)["value"] == "210.6"  # another record: another leaf


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"[]", b'{"@graph":[]}', b"\xff", b"[" * 100_000,
        b'{"@context":{},"@graph":[]}',
    ],
)  # fmt: skip
def test_json_that_is_no_page(data: bytes) -> None:
    with pytest.raises(Rejected, match=r"json-malformed|view-malformed"):
        records_of_json_ld(data, CONTEXT)


@pytest.mark.parametrize(
    "change",
    [
        {"value": "7"}, {"kind": 1}, {"@context": {}}, {"@context": {"@base": "ab" * 32}},
        {"gridseal:rest": {}}, {"gridseal:index": "01"}, {"gridseal:index": 1}, {"id": None},
        {"x": None}, {"madeBy": []}, {"observes": "urn:x"},
    ],
)  # fmt: skip
def test_json_ld_that_is_altered(change: dict[str, Any]) -> None:
    page = json.loads(json_ld(EVERY_KIND[:1], CONTEXT))
    page["@graph"][0] |= change
    with pytest.raises(Rejected, match="view-"):
        records_of_json_ld(json.dumps(page).encode(), CONTEXT)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode), st.data())
def test_any_bytes_are_refused_or_hold_no_record(raw: bytes, data: st.DataObject) -> None:
    """RDF 1.1 Turtle §6.5: what its grammar does not have is refused."""
    good = turtle(EVERY_KIND[:1], CONTEXT)
    at = data.draw(st.integers(0, len(good)))
    for text in (raw, good[:at] + raw + good[at:]):
        try:
            records_of_turtle(text, CONTEXT)
        except Rejected:
            continue


def test_a_row_that_holds_no_record_stops_the_read() -> None:
    for record in (b'{"kind":', b"[]", b'{"kind":"reading"}', b'{"id":"","madeBy":{"id":"a b"}}'):
        broken = Viewed("ab" * 32, 1, record)
        with pytest.raises(Stop, match="record-unreadable"):
            turtle([broken], CONTEXT)
    with pytest.raises(Stop, match="record-unreadable"):
        json_ld([Viewed("ab" * 32, 1, b'{"kind":')], CONTEXT)


def test_a_kind_that_nobody_has_written_for_needs_nothing_but_the_context() -> None:
    """What the context does not know goes into the patch, whatever its form."""
    device = "A" * 43
    record = jcs.encode({
        "id": "", "kind": "later", "device": device, "quality": ["b", "a", "a"],
        "type": ["Device"], "madeBy": {"id": device, "type": ["Device", "Odd"], "x": {"id": ""}},
        "hasResult": [{"id": "#b", "type": "Property", "of": "1"}, {"id": "#a", "hasValue": "1"}],
        "frames": ["1", "1"],
        "observes": "#a", "broader": "s4grid:Voltage", "notation": [], "findings": [{"id": "#f"}],
    })  # fmt: skip
    page = [Viewed("ab" * 32, 3, record)]
    assert records_of_turtle(turtle(page, CONTEXT), CONTEXT) == page
    assert records_of_json_ld(json_ld(page, CONTEXT), CONTEXT) == page


def test_an_empty_page() -> None:
    assert records_of_turtle(turtle([], CONTEXT), CONTEXT) == []
    assert records_of_json_ld(json_ld([], CONTEXT), CONTEXT) == []


json_objects = st.recursive(
    st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=8,
).filter(lambda value: isinstance(value, dict))


@given(json_objects, json_objects)
def test_a_patch_takes_any_object_to_any_other(part: Any, whole: Any) -> None:
    assert merge(part, patch(part, whole)) == whole
    assert patch(whole, whole) == {}


def test_merge_as_rfc_7396_has_it() -> None:
    """RFC 7396 §2; the rows of its appendix A that are between objects."""
    for before, changes, after in (
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": "foo"}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ):
        assert merge(before, changes) == after


def test_every_own_term_is_defined_and_every_defined_one_used() -> None:
    defined = {str(term) for term in Graph().parse(ONTOLOGY / "gridseal-v1.ttl").subjects()}
    defined.remove(OWN.removesuffix("#"))
    assert {
        CONTEXT.expand(t.iri) for t in CONTEXT.terms.values() if t.iri.startswith("gridseal:")
    } == (defined)
    assert len(CONTEXT.by_iri) == len(CONTEXT.terms), "a term's IRI leads back to one member"


@settings(max_examples=25, deadline=None)
@given(pages)
def test_every_term_is_the_published_ontologies(page: list[Viewed]) -> None:
    graph = Graph().parse(data=turtle(page, CONTEXT), format="turtle")
    for term in {term for triple in graph for term in triple if isinstance(term, URIRef)}:
        for namespace, terms in published().items():
            if term.startswith(namespace):
                assert str(term) in terms


@cache
def published() -> dict[str, frozenset[str]]:
    data = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "ontologies"
    if not data.is_dir():
        pytest.skip("../shared/data is absent: this test reads published ontologies from there")
    return {
        namespace: frozenset(str(term) for term in Graph().parse(data / file).subjects())
        for namespace, file in DEFINED_IN.items()
    }


def test_lines_of_a_page_are_as_few_as_they_can_be() -> None:
    """Nodes that several records speak of are written once."""
    text = turtle([EVERY_KIND[0], EVERY_KIND[0]], CONTEXT).decode()
    assert len(re.findall(r"^qunit:W-HR a ", text, re.MULTILINE)) == 1
