"""The tree of an XML message: names, byte ranges, and what is passed over."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.errors import Rejected
from bal.harmonise import xml_tree
from bal.harmonise.xml_tree import Document, Node


def read(text: str) -> tuple[bytes, Document]:
    """All but the namespace `x`."""
    raw = text.encode()
    return raw, xml_tree.read(raw, lambda namespace, root, line: namespace != "x")


def nodes(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from nodes(child)


texts = st.sampled_from(
    ["", " ", "a", "é\n", "<!-- <b> -->", "<![CDATA[</b>]]>", "<?p <b>?>", "&lt;"]
)
names = st.sampled_from(["a", "b", 'c d="1>2"', "e f='/>'"])


def _element(inside: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    def whole(name: str, children: list[str]) -> str:
        if not children:
            return f"<{name}/>"
        return f"<{name}>{''.join(children)}</{name.split(' ', maxsplit=1)[0]}>"

    return st.builds(whole, names, st.lists(inside | texts, max_size=4))


elements = _element(st.recursive(texts, _element, max_leaves=12))


@given(elements, st.sampled_from(["", "\ufeff", "<?xml version='1.0' encoding='UTF-8'?>\n"]))
def test_each_node_is_the_bytes_of_its_element(element: str, before: str) -> None:
    raw, document = read(before + element)
    for node in nodes(document.root):
        own = raw[node.start : node.end]
        assert own.startswith(f"<{node.name}".encode())
        assert own.endswith((b"/>", f"</{node.name}>".encode()))
        assert raw.count(b"\n", 0, node.start) + 1 == node.line
        _, again = read(own.decode())  # it stands by itself
        assert [one.name for one in nodes(again.root)] == [one.name for one in nodes(node)]


def test_names_texts_and_attributes() -> None:
    _, document = read('<a xmlns="u">1<b k="v">2</b><c/><b>3</b></a>')
    root = document.root
    assert (root.name, root.namespace, document.namespace, root.text) == ("a", "u", "u", "1")
    assert [one.text for one in root.all("b")] == root.texts("b") == ["2", "3"]
    assert dict(root.children[0].attributes) == {"k": "v"}
    assert dict(root.children[1].attributes) == {}


def test_what_is_passed_over_is_told_once_for_each_element_that_holds_it() -> None:
    _, document = read('<a><y:b xmlns:y="x"><c>1</c></y:b><d/><y:b xmlns:y="x"/></a>')
    assert [one.name for one in document.root.children] == ["d"]
    assert document.foreign == [document.root]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("<!DOCTYPE a><a/>", "dtd-forbidden"), ("<a>", "xml-malformed"), ("", "xml-malformed"),
        ("<a/>" * 2, "xml-malformed"), ("<a>" * 65 + "</a>" * 65, "depth-exceeded"),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, code: str) -> None:
    with pytest.raises(Rejected) as error:
        read(text)
    assert error.value.code == code
