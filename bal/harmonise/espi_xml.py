"""The XML of ESPI: Atom entries and ESPI resources; other namespaces are passed over."""

from bal.errors import Rejected
from bal.harmonise import xml_tree
from bal.harmonise.xml_tree import Document

NAMESPACE = "http://naesb.org/espi"
ATOM = "http://www.w3.org/2005/Atom"
CLAUSE_NAMESPACE = "NAESB REQ.21 ESPI XML schema, targetNamespace"

_READ = frozenset({NAMESPACE, ATOM})


def read(raw: bytes) -> Document:
    """The tree of one message; its root is of Atom or of ESPI.

    Raises Rejected: not-utf8, dtd-forbidden, xml-malformed, too-many-items, depth-exceeded,
    namespace-unknown.
    """
    return xml_tree.read(raw, _judge)


def _judge(namespace: str, root: str | None, line: int) -> bool:
    if root is None and namespace not in _READ:
        raise Rejected(
            "namespace-unknown",
            f"the root is neither in {ATOM} nor in {NAMESPACE}",
            field="xmlns",
            line=line,
            clause=CLAUSE_NAMESPACE,
        )
    return namespace in _READ
