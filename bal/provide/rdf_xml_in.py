"""RDF/XML back to the certified bytes, and the guard before its parser.

503 bytes of nested entities keep rdflib's parser busy for ever. RDF/XML needs no document type, so
one that has any is refused as soon as its name is read, before a declaration inside is looked at.
"""

from io import BytesIO
from xml.parsers import expat

from rdflib import Graph
from rdflib.parser import InputSource
from rdflib.plugins.parsers.rdfxml import RDFXMLParser

from bal.errors import Rejected
from bal.provide.rdf import Viewed
from bal.provide.rdf_context import BASE_IRI, Context
from bal.provide.turtle_in import records_of_graph

BYTES_MAX = 64 * 1024 * 1024  # ten thousand records are about 50 MB
DEPTH_MAX = 64
_CLAUSE = "W3C RDF 1.1 XML Syntax §7"


def records_of_rdf_xml(data: bytes, context: Context) -> list[Viewed]:
    """The records in an RDF/XML document, in order of their commitments, as of Turtle.

    Raises Rejected: dtd-forbidden, rdf-xml-malformed, view-malformed, view-contradicts.
    """
    check_rdf_xml(data)
    graph = Graph(bind_namespaces="none")
    source = InputSource(BASE_IRI)
    source.setByteStream(BytesIO(data))
    try:
        RDFXMLParser().parse(source, graph)  # type: ignore[no-untyped-call]
    except Exception:  # noqa: BLE001 - a parser of others, whose errors are of any kind
        raise _malformed("not RDF/XML") from None
    return records_of_graph(graph, context)


def check_rdf_xml(data: bytes) -> None:
    """Raises Rejected for what no RDF parser must see: a DTD, what is not XML, what nests too deep.

    The XML parser itself decides, whatever the encoding; a look for the letters would miss UTF-16.
    """
    if len(data) > BYTES_MAX:
        raise _malformed(f"more than {BYTES_MAX} bytes")
    parser = expat.ParserCreate()
    depth = 0

    def begin(_: str, __: object) -> None:
        nonlocal depth
        depth += 1
        if depth > DEPTH_MAX:
            raise _malformed(f"more than {DEPTH_MAX} elements, one inside another")

    def end(_: str) -> None:
        nonlocal depth
        depth -= 1

    parser.StartDoctypeDeclHandler = _doctype
    parser.StartElementHandler, parser.EndElementHandler = begin, end
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError):
        raise _malformed("not well-formed XML") from None


def _doctype(*_: object) -> None:
    sentence = "a document type declaration has no place in RDF/XML"
    raise Rejected("dtd-forbidden", sentence, clause=_CLAUSE)


def _malformed(why: str) -> Rejected:
    return Rejected("rdf-xml-malformed", f"not RDF/XML: {why}", clause=_CLAUSE)
