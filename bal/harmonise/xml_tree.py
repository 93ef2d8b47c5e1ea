"""A small tree of an XML message's elements, with lines and byte ranges.

Which namespaces are read is the format's to say; elements of others are passed over and told.
Nothing is interpreted here: texts stay as sent.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from xml.parsers import expat

from bal.errors import Rejected
from bal.harmonise import cim_xml

DEPTH_MAX = 64
TEXT_AT_ONCE = 1 << 20  # characters that one event brings

_NO_ATTRIBUTES: Mapping[str, str] = MappingProxyType({})


def _none() -> Mapping[str, str]:
    return _NO_ATTRIBUTES


Judge = Callable[[str, str | None, int], bool]
"""Whether an element is read: its namespace, the root's (None for the root itself), its line.

False passes the element over, with all that is in it; Rejected refuses the message."""


@dataclass(slots=True)
class Node:
    """One element, raw[start:end]."""

    name: str  # without its namespace
    line: int  # of its start tag, from 1
    start: int
    end: int = 0
    text: str = ""  # its own, not that of its children
    children: "list[Node]" = field(default_factory=list)
    namespace: str = ""
    attributes: Mapping[str, str] = field(default_factory=_none)

    def all(self, name: str) -> "list[Node]":
        """The children of that name, in order."""
        return [child for child in self.children if child.name == name]

    def texts(self, name: str) -> list[str]:
        """The texts of the children of that name, in order."""
        return [child.text for child in self.children if child.name == name]


@dataclass(slots=True)
class Document:
    """One message."""

    root: Node
    foreign: list[Node]  # elements, one a name, that hold something of another namespace

    @property
    def namespace(self) -> str:
        """The root's."""
        return self.root.namespace


def read(raw: bytes, judge: Judge) -> Document:
    """The tree of one message.

    Raises Rejected: not-utf8, dtd-forbidden, xml-malformed, too-many-items, depth-exceeded, and
    what `judge` raises.
    """
    cim_xml.check_bytes(raw)
    reader = _Reader(raw, judge)
    root = reader.read()
    return Document(root, list(reader.foreign.values()))


class _Reader:
    """Handlers of one parse."""

    def __init__(self, raw: bytes, judge: Judge) -> None:
        self.foreign: dict[str, Node] = {}
        self._raw = raw
        self._judge = judge
        self._open: list[Node] = []
        self._root: Node | None = None
        self._passed_over = 0  # how many open elements are not read
        self._begun: Node | None = None  # what the last event began
        # The bytes are known to be UTF-8, whatever the declaration says.
        self._parser = expat.ParserCreate("utf-8", "}")
        self._parser.buffer_text = True
        self._parser.buffer_size = TEXT_AT_ONCE
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._data
        self._parser.StartDoctypeDeclHandler = self._doctype

    def read(self) -> Node:
        try:
            self._parser.Parse(self._raw, True)
        except expat.ExpatError as error:
            raise Rejected(
                "xml-malformed", "not well-formed XML", line=error.lineno, clause="XML 1.0 §2.1"
            ) from None
        assert self._root is not None  # a document without an element is not well-formed
        return self._root

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        line = self._parser.CurrentLineNumber
        self._begun = None
        if len(self._open) + self._passed_over >= DEPTH_MAX:
            raise Rejected("depth-exceeded", f"nested more than {DEPTH_MAX} deep", line=line)
        if self._passed_over:
            self._passed_over += 1
            return
        namespace, _, name = tag.rpartition("}")
        root = self._root
        if not self._judge(namespace, None if root is None else root.namespace, line):
            assert root is not None  # the judge raises where it is the root
            self.foreign.setdefault(self._open[-1].name, self._open[-1])
            self._passed_over = 1
            return
        node = Node(name, line, self._parser.CurrentByteIndex, namespace=namespace)
        if attributes:
            node.attributes = attributes
        if root is None:
            self._root = node
        else:
            self._open[-1].children.append(node)
        self._open.append(node)
        self._begun = node

    def _end(self, _: str) -> None:
        if self._passed_over:
            self._passed_over -= 1
            return
        node = self._open.pop()
        at = self._parser.CurrentByteIndex
        # of an end tag the index is its first byte; of <a/> it is the byte behind it
        empty = self._begun is node and self._raw.endswith(b"/>", 0, at)
        self._begun = None
        node.end = at if empty else self._raw.index(b">", at) + 1

    def _data(self, text: str) -> None:
        self._begun = None
        if self._open and not self._passed_over:
            self._open[-1].text += text

    def _doctype(self, *_: object) -> None:
        raise Rejected(
            "dtd-forbidden",
            "a document type declaration is not allowed",
            line=self._parser.CurrentLineNumber,
            clause="XML 1.0 §2.8",
        )


def unmapped(nodes: Iterable[Node], known: Mapping[str, frozenset[str]]) -> dict[str, Node]:
    """Elements, one a name, that hold a child that the standard does not know there."""
    found: dict[str, Node] = {}
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        names = known.get(node.name)
        if names is None:
            continue
        for child in node.children:
            if child.name in names:
                waiting.append(child)
            elif node.name not in found or node.line < found[node.name].line:
                found[node.name] = node
    return found
