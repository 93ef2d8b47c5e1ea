"""Turtle back to the certified bytes: whatever tool wrote it, if the statements are all there."""

import re
from io import BytesIO

from rdflib import BNode, Graph, Literal, URIRef
from rdflib.plugins.parsers.notation3 import BadSyntax, RDFSink, SinkParser
from rdflib.term import Node

from bal.errors import Rejected
from bal.provide.rdf import INDEX, Statement, Viewed, records_of, strict_index
from bal.provide.rdf_context import BASE_IRI, JSON, NODE, RDF_TYPE, Context

_RECORD = re.compile(re.escape(BASE_IRI) + r"([0-9a-f]{64})(#.*)?", re.DOTALL)
_PLAIN = (None, URIRef("http://www.w3.org/2001/XMLSchema#string"))
_JSON = URIRef("http://www.w3.org/1999/02/22-rdf-syntax-ns#JSON")
_DECIMAL = re.compile(r"(?=.*[0-9])([+-]?)0*([0-9]*?)(?:\.([0-9]*?)0*)?")
_TIME = re.compile(r"(.*T[0-9:]{8})(?:\.([0-9]*?)0*)?(?:Z|[+-]00:00)")
# What rdflib's parser raises beside BadSyntax, on a text that ends early or nests too deep.
_ON_BAD_INPUT = (
    ValueError, LookupError, RecursionError, ArithmeticError, AssertionError, AttributeError,
    TypeError,
)  # fmt: skip


class _Sink(RDFSink):
    """Keeps literals as they stand; by default rdflib writes decimals and times anew."""

    def newLiteral(  # noqa: N802 - rdflib's name
        self, s: str, dt: URIRef | None, lang: str | None
    ) -> Literal:
        return Literal(s, datatype=dt, lang=lang, normalize=False)


def records_of_turtle(data: bytes, context: Context) -> list[Viewed]:
    """The records in a Turtle document, in order of their commitments.

    Blank nodes, further statements in other vocabularies and another way to write the same
    decimal or time make no difference. Raises Rejected: turtle-malformed, view-malformed,
    view-contradicts.
    """
    graph = Graph(bind_namespaces="none")
    try:
        parser = SinkParser(_Sink(graph), baseURI=BASE_IRI, turtle=True)
        parser.loadStream(BytesIO(data))
    except (BadSyntax, *_ON_BAD_INPUT):
        raise Rejected("turtle-malformed", "not Turtle", clause="W3C RDF 1.1 Turtle §6.5") from None
    return records_of_graph(graph, context)


def records_of_graph(graph: Graph, context: Context) -> list[Viewed]:
    """The records of which a graph speaks. Raises Rejected: view-malformed, view-contradicts."""
    said: dict[str, list[Statement]] = {}
    shared: set[Statement] = set()
    for subject, predicate, value in graph:
        if isinstance(subject, BNode):
            continue
        record = _RECORD.fullmatch(str(subject))
        commitment = record[1] if record is not None else ""
        statement = _statement(subject, predicate, value, context, commitment)
        if statement is None:
            continue
        if record is not None:
            said.setdefault(commitment, []).append(statement)
        else:
            shared.add(statement)
    return [
        records_of(commitment, _index(said[commitment]), said[commitment], shared, context)
        for commitment in sorted(said)
    ]


def _index(said: list[Statement]) -> int | None:
    places = [one.text for one in said if one.member == INDEX and not one.subject]
    return strict_index(places[0]) if len(places) == 1 else None


def _statement(
    subject: Node, predicate: Node, value: Node, context: Context, commitment: str
) -> Statement | None:
    """The triple in a record's words; None for what the context has no word for."""
    name = _relative(subject, commitment, context)
    if str(predicate) == RDF_TYPE:
        named = context.by_iri.get(str(value))
        return None if named is None else Statement(name, "type", "type", named.name)
    term = context.by_iri.get(str(predicate))
    if term is None:
        return None
    if isinstance(value, URIRef):
        return Statement(name, term.name, NODE, _relative(value, commitment, context))
    if not isinstance(value, Literal) or value.language is not None:
        return None
    if term.sort == JSON:
        fits = value.datatype == _JSON
    elif term.sort:
        fits = str(value.datatype) == context.expand(term.sort)
    else:
        fits = value.datatype in _PLAIN
    text = _normalised(str(value), term.sort)
    return Statement(name, term.name, term.sort, text) if fits else None


def _relative(iri: Node, commitment: str, context: Context) -> str:
    text = str(iri)
    own = BASE_IRI + commitment
    if commitment and (text == own or text.startswith(f"{own}#")):
        return text[len(own) :]
    return text[len(BASE_IRI) :] if text.startswith(BASE_IRI) else context.compact(text)


def _normalised(text: str, sort: str) -> str:
    """A literal in the one form that records have: other tools write 210.0 and +00:00."""
    if sort == "xsd:decimal":
        match = _DECIMAL.fullmatch(text)
        if match is not None:
            number = (match[2] or "0") + (f".{match[3]}" if match[3] else "")
            return f"-{number}" if match[1] == "-" and number != "0" else number
    elif sort in {"xsd:dateTime", "xsd:dateTimeStamp"}:
        match = _TIME.fullmatch(text)
        if match is not None:
            return f"{match[1]}{f'.{match[2]}' if match[2] else ''}Z"
    return text
