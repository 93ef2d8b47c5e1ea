"""The XML of IEEE 2030.5 sep.xsd: elements of one of two namespaces; extensions are left out."""

from bal.errors import Rejected
from bal.harmonise import xml_tree
from bal.harmonise.xml_tree import Document, Node, unmapped

__all__ = [
    "CLAUSE_NAMESPACE",
    "NAMESPACE",
    "NAMESPACE_2013",
    "Document",
    "Node",
    "read",
    "unmapped",
]

NAMESPACE = "urn:ieee:std:2030.5:ns"
NAMESPACE_2013 = "http://ieee.org/2030.5"
CLAUSE_NAMESPACE = "IEEE 2030.5-2018 XML schema, targetNamespace"

_NAMESPACES = frozenset({NAMESPACE, NAMESPACE_2013})


def read(raw: bytes) -> Document:
    """The tree of one message; its root's namespace is one of the two.

    Raises Rejected: not-utf8, dtd-forbidden, xml-malformed, too-many-items, depth-exceeded,
    namespace-unknown.
    """
    return xml_tree.read(raw, _judge)


def namespace_unknown(line: int) -> Rejected:
    """What a message in none of the two namespaces is refused with."""
    return Rejected(
        "namespace-unknown",
        f"an element is in neither {NAMESPACE} nor {NAMESPACE_2013}, or in another than the root",
        field="xmlns",
        line=line,
        clause=CLAUSE_NAMESPACE,
    )


def _judge(namespace: str, root: str | None, line: int) -> bool:
    if root is None:
        if namespace not in _NAMESPACES:
            raise namespace_unknown(line)
        return True
    if namespace != root and (not namespace or namespace in _NAMESPACES):
        raise namespace_unknown(line)
    return namespace == root
