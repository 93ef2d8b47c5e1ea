"""DER (ITU-T X.690 §10, §11): elements of tag, length and content, where they stand in the bytes.

Strict: one byte of tag, definite lengths in their shortest form, no bytes left over. Small on
purpose: `cryptography` calls its own ASN.1 interface unstable, and records must not change with it.
"""

from collections.abc import Iterator
from typing import NamedTuple

SEQUENCE, SET, INTEGER, OCTET_STRING, OID, NULL = 0x30, 0x31, 0x02, 0x04, 0x06, 0x05
UTC_TIME, GENERALIZED_TIME = 0x17, 0x18
CONTEXT_0, CONTEXT_1 = 0xA0, 0xA1  # constructed; 0x80 and 0x81 where primitive
CHILDREN_MAX = 1_024
ARCS_MAX = 32

CLAUSE = "ITU-T X.690"


class Malformed(ValueError):
    """The bytes are not DER of the form that is asked for."""


class Element(NamedTuple):
    """One element: data[start:end], its content data[inside:end]."""

    data: bytes
    tag: int
    start: int
    inside: int
    end: int

    @property
    def raw(self) -> bytes:
        """Tag, length and content."""
        return self.data[self.start : self.end]

    @property
    def content(self) -> bytes:
        """The content alone."""
        return self.data[self.inside : self.end]


def whole(data: bytes, tag: int) -> Element:
    """The one element that all of `data` is. Raises Malformed."""
    found = _element(data, 0, len(data))
    if found.tag != tag or found.end != len(data):
        raise Malformed("another element than expected, or bytes behind it")
    return found


def children(element: Element) -> list[Element]:
    """The elements that a constructed one consists of. Raises Malformed."""
    return list(_children(element))


def _children(element: Element) -> Iterator[Element]:
    if not element.tag & 0x20:
        raise Malformed("a primitive element has no elements")
    at = element.inside
    for _ in range(CHILDREN_MAX):
        if at == element.end:
            return
        child = _element(element.data, at, element.end)
        yield child
        at = child.end
    raise Malformed(f"more than {CHILDREN_MAX} elements in one")


def _element(data: bytes, at: int, end: int) -> Element:
    if end - at < 2:
        raise Malformed("cut off")
    tag, first = data[at], data[at + 1]
    if tag & 0x1F == 0x1F:
        raise Malformed("a tag of more than one byte")
    inside = at + 2
    length = first
    if first & 0x80:
        size = first & 0x7F
        # X.690 §10.1: the definite form, in the fewest bytes
        if not 1 <= size <= 4 or end - inside < size:
            raise Malformed("an indefinite, too long or cut off length")
        length = int.from_bytes(data[inside : inside + size], "big")
        inside += size
        if length < 0x80 or length >> (8 * (size - 1)) == 0:
            raise Malformed("a length in more bytes than it needs")
    if end - inside < length:
        raise Malformed("cut off")
    return Element(data, tag, at, inside, inside + length)


def oid(element: Element) -> str:
    """An object identifier in dots. Raises Malformed."""
    content = element.content
    if element.tag != OID or not content or content[-1] & 0x80:
        raise Malformed("no object identifier")
    arcs: list[int] = []
    arc = 0
    fresh = True
    for byte in content:
        if fresh and byte == 0x80:
            raise Malformed("an arc in more bytes than it needs")
        arc, fresh = arc << 7 | byte & 0x7F, not byte & 0x80
        if arc >> 63 or len(arcs) > ARCS_MAX:
            raise Malformed("an object identifier of too many digits")
        if fresh:
            arcs.append(arc)
            arc = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))


def integer(element: Element) -> int:
    """An integer of at most 32 bytes. Raises Malformed."""
    content = element.content
    if element.tag != INTEGER or not 1 <= len(content) <= 32:
        raise Malformed("no integer, or one too long")
    if len(content) > 1 and content[0] in {0x00, 0xFF} and not (content[0] ^ content[1]) & 0x80:
        raise Malformed("an integer in more bytes than it needs")
    return int.from_bytes(content, "big", signed=True)
