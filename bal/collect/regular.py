"""Large XML messages that say the same of a thousand devices: one of them stands for all.

A parser takes a third of a head-end's message's time in the guard's thread, and reads the same tags
again and again. Where all children of an element are alike but for the texts of their leaves, the
message is as well-formed, and as deep, as the one with the first child alone: the tags are equal
byte for byte, and a text is none that could be markup. So only that one is parsed.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

MESSAGE_MIN = 4_096  # bytes; below it a parser is as quick
CHILD_MAX = 16_384  # characters
GAP_MAX = 4_096  # characters of white space between two children
LOOKED_AT = 8  # children, to see which texts differ

_START_TAG = re.compile(r"<([A-Za-z_][\w.:-]*+)(?=[\s>])", re.ASCII)
_LEAF = re.compile(r"<[A-Za-z_][^<>]*(?<!/)>([^<>]*)(?=</)")
_SPACE = " \t\r\n"

Span = tuple[int, int]


def condensed(text: str) -> str | None:
    """The message with the first of its like children alone; None where they are not alike."""
    if not _plain(text):
        return None
    root = _START_TAG.search(text)
    child = root and _START_TAG.search(text, root.end())
    if not child:
        return None
    end_tag = f"</{child[1]}>"
    start, stop = child.start(), text.rfind(end_tag) + len(end_tag)
    first_end = text.find(end_tag, start) + len(end_tag)
    if not start < first_end < stop or first_end - start > CHILD_MAX:
        return None
    opened = re.finditer(rf"<{re.escape(child[1])}[\s/>]", text[:first_end], re.ASCII)
    if [match.start() for match in opened] != [start]:
        return None  # else that end tag might be another's
    gap = text[first_end : text.find("<", first_end, first_end + GAP_MAX)]
    if gap.strip(_SPACE):
        return None
    children = _Children(text, start, first_end, stop, gap)
    leaves = _leaves(text, start, first_end)
    changing = _changing(children, leaves)
    if not _alike(children, changing) and (changing == leaves or not _alike(children, leaves)):
        return None
    short = text[:first_end] + text[stop:]
    return None if "xml:" in short else short  # an xml:id may stand once only


class _Children(NamedTuple):
    """text[start:stop], of which text[start:end] is the first; `gap` stands between them."""

    text: str
    start: int
    end: int
    stop: int
    gap: str


def _leaves(text: str, start: int, end: int) -> list[Span]:
    """Where in text[start:end] the texts are that may differ from child to child."""
    return [match.span(1) for match in _LEAF.finditer(text, start, end) if match.end() < end]


def _changing(children: _Children, leaves: Sequence[Span]) -> list[Span]:
    """Those that differ in the next children: most often what all others differ in, too."""
    text, start, at, stop, gap = children
    found = set()
    for _ in range(LOOKED_AT):
        behind = start
        at += len(gap)
        for begin, end in leaves:
            at += begin - behind
            until = text.find("<", at)
            if text[at:until] != text[begin:end]:
                found.add((begin, end))
            behind, at = end, until
        at += children.end - behind
        if at >= stop:
            break
    return sorted(found)


def _alike(children: _Children, changing: Sequence[Span]) -> bool:
    """Whether all are like the first but for the texts at these places in it."""
    text, start, end, stop, gap = children
    if not changing:
        return False
    edges = [start, *(at for span in changing for at in span), end]
    tags = [text[behind:at] for behind, at in zip(edges[::2], edges[1::2], strict=True)]
    head, follow = tags[0], [(tag, len(tag)) for tag in tags[1:]]
    find, follows, between = text.find, text.startswith, gap + head
    at, length_between = start + len(head), len(between)
    while True:
        for tag, length in follow:
            end = find("<", at)
            if not follows(tag, end) or not text[at:end].isprintable():
                return False
            at = end + length
        if at >= stop:
            return at == stop
        if not follows(between, at):
            return False
        at += length_between


def _plain(text: str) -> bool:
    """No references, comments, sections or instructions."""
    declared = text.find("?>") + 2 if text.startswith("<?xml") else 0
    return (
        text.isascii()
        and "&" not in text
        and "!" not in text
        and "]" not in text
        and text.find("?", declared) < 0
    )
