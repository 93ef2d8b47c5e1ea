"""What comes in as RDF: a guard before each parser, and nothing is fetched by any of them."""

import ast
import json
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rdflib import Graph

from bal.errors import Rejected
from bal.provide import metadata_graph
from bal.provide.dataset import DatasetFacts, describe
from bal.provide.nquads import Writer
from bal.provide.rdf import Viewed, json_ld, records_of_json_ld, turtle
from bal.provide.rdf_xml_in import check_rdf_xml, records_of_rdf_xml
from bal.provide.turtle_in import records_of_turtle
from tests.unit.provide.messages import pages
from tests.unit.provide.test_metadata_graph import ALL_KINDS, EPOCHS
from tests.unit.provide.test_metadata_graph import said as said_of_devices
from tests.unit.provide.test_rdf import CONTEXT, EVERY_KIND, by_commitment

pytestmark = [
    pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated"),
    pytest.mark.filterwarnings("ignore:Dataset.default_context is deprecated"),
]
ROOT = Path(__file__).resolve().parents[3]
LAUGHS = '<!ENTITY a0 "ha">' + "".join(
    f'<!ENTITY a{n} "{f"&a{n - 1};" * 8}">' for n in range(1, 12)
)
# A parser of XML makes other characters of these, or refuses them (XML 1.0 §2.2, §2.11).
_NOT_KEPT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
RDF = '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">%s</rdf:RDF>'
BOMBS = [
    f"<!DOCTYPE rdf:RDF [{LAUGHS}]>"
    + RDF % '<rdf:Description rdf:about="urn:x">&a11;</rdf:Description>',
    '<!DOCTYPE x SYSTEM "file:///etc/passwd">' + RDF % "",
    '<!DOCTYPE x [<!ENTITY e SYSTEM "http://127.0.0.1:9/">]>' + RDF % "&e;",
    "<!DOCTYPE x>" + RDF % "",
    '<?xml version="1.0"?><!-- <!DOCTYPE x> --><!DOCTYPE x []>' + RDF % "",
    '<!DOCTYPE x [<!ENTITY % p SYSTEM "file:///dev/zero"> %p;]>' + RDF % "",
]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("bomb", BOMBS)
def test_rdf_xml_with_a_dtd_is_refused_before_it_is_parsed(
    bomb: str, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parsed(*_: Any) -> None:
        raise AssertionError("the RDF parser saw it")

    monkeypatch.setattr("bal.provide.rdf_xml_in.RDFXMLParser", parsed)
    with pytest.raises(Rejected, match=r"dtd-forbidden|rdf-xml-malformed") as refused:
        records_of_rdf_xml(bomb.encode(encoding), CONTEXT)
    if encoding.startswith("utf-8") or encoding == "utf-16":
        assert refused.value.code == "dtd-forbidden"


@settings(max_examples=20, deadline=None)
@given(pages)
def test_rdf_xml_that_another_tool_made_leads_back(page: list[Viewed]) -> None:
    graph = Graph().parse(data=turtle(page, CONTEXT), format="turtle")
    written = graph.serialize(format="xml")
    assume(not _NOT_KEPT.search(written))
    assert records_of_rdf_xml(written.encode(), CONTEXT) == by_commitment(page)


def test_rdf_xml_of_every_kind_leads_back() -> None:
    """RDF 1.1 XML Syntax §7."""
    graph = Graph().parse(data=turtle(EVERY_KIND, CONTEXT), format="turtle")
    written = graph.serialize(format="xml").encode()
    assert records_of_rdf_xml(written, CONTEXT) == by_commitment(EVERY_KIND)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode)
       | st.integers(0, 300).map(lambda n: (RDF % ("<a>" * n + "</a>" * n)).encode()))  # fmt: skip
def test_any_bytes_are_refused_or_read(data: bytes) -> None:
    for read in (records_of_rdf_xml, records_of_turtle, records_of_json_ld):
        try:
            read(data, CONTEXT)
        except Rejected:
            continue


def test_what_nests_too_deep() -> None:
    with pytest.raises(Rejected, match="rdf-xml-malformed"):
        check_rdf_xml((RDF % ("<a>" * 100 + "</a>" * 100)).encode())


@pytest.mark.parametrize(
    "context", ["http://127.0.0.1:9/c.jsonld", "file:///etc/passwd", "c.jsonld"]
)
def test_json_ld_with_another_context_is_refused(context: str, no_way_out: None) -> None:
    page = json.loads(json_ld(EVERY_KIND[:1], CONTEXT))
    inside = {**page["@graph"][0], "@context": context}
    for wrong in (
        {**page, "@context": context},
        {**page, "@context": [page["@context"], context]},
        {**page, "@context": {**page["@context"], "@import": context}},
        {**page, "@graph": [inside]},
    ):
        with pytest.raises(Rejected, match="view-malformed"):
            records_of_json_ld(json.dumps(wrong).encode(), CONTEXT)


_CLOSED = {"now": False}


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _CLOSED["now"] and (event == "open" or event.startswith(("socket.connect", "socket.getaddr",
                                                               "urllib."))):  # fmt: skip
        name = str(arguments[0])
        if event == "open" and name.startswith((sys.prefix, sys.base_prefix)):
            return  # modules that are imported late
        raise AssertionError(f"{event} {arguments}")


sys.addaudithook(_hook)


@pytest.fixture
def no_way_out(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing can be fetched, and no file but the interpreter's own be opened."""
    monkeypatch.setattr(socket, "socket", None)
    _CLOSED["now"] = True
    yield
    _CLOSED["now"] = False


def test_nothing_is_fetched_to_write_or_to_read_any_form(no_way_out: None) -> None:
    """Not by us, and not by who reads what we write: every context stands in its document."""
    said = said_of_devices([*ALL_KINDS, *EPOCHS])
    media = {"/v1/readings": ("text/turtle",)}
    for data, form in (
        (turtle(EVERY_KIND, CONTEXT), "turtle"),
        (json_ld(EVERY_KIND, CONTEXT), "json-ld"),
        (metadata_graph.turtle(said, CONTEXT), "turtle"),
        (metadata_graph.json_ld(said, CONTEXT), "json-ld"),
        (metadata_graph.n_triples(said, CONTEXT), "nt"),
        (describe(DatasetFacts(), "https://x.invalid", 1, media, CONTEXT), "turtle"),
    ):
        assert len(Graph().parse(data=data, format=form))
    assert Writer(CONTEXT).page(EVERY_KIND)
    assert records_of_turtle(turtle(EVERY_KIND, CONTEXT), CONTEXT) == by_commitment(EVERY_KIND)
    assert records_of_json_ld(json_ld(EVERY_KIND, CONTEXT), CONTEXT) == EVERY_KIND


def libraries(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {one.name.partition(".")[0] for one in node.names}
    return {(node.module or "").partition(".")[0]} if isinstance(node, ast.ImportFrom) else set()


def test_rdf_is_parsed_in_no_other_place() -> None:
    """A parser of RDF that is new stands behind a guard, and is named here with it."""
    known = {
        "bal/provide/turtle_in.py",  # Turtle has no DTD and fetches nothing; any error is a refusal
        "bal/provide/rdf_xml_in.py",  # behind check_rdf_xml
        "infra/sparql_child.py",  # of SPARQL, in a process that was shut; its graph is ours
    }
    found = set()
    for package in ("bal", "contracts", "dsotp", "field", "infra", "market"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if libraries(node) & {"rdflib", "pyoxigraph", "pyld", "pyshacl"}:
                    found.add(path.relative_to(ROOT).as_posix())
    assert found == known
