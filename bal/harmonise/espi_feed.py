"""The resources of a Green Button feed, and which belongs to which by their Atom links.

A resource names its parent's collection by rel=up; the parent names its collections, its
ReadingType and its LocalTimeParameters by rel=related; each names itself by rel=self (RFC 4287
§4.2.7). A link that leads nowhere or to several is told; nothing is guessed from the order.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from bal.harmonise.espi_xml import ATOM, NAMESPACE
from bal.harmonise.xml_tree import Node

SUMMARIES = frozenset({"ElectricPowerQualitySummary", "ElectricPowerUsageSummary", "UsageSummary"})

_SPACE = " \t\r\n"
_UUID = re.compile(r"(?:urn:uuid:)?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.IGNORECASE)


@dataclass(slots=True, eq=False)
class Entry:
    """One Atom entry with what it holds; or one ESPI resource that came without Atom."""

    node: Node
    resources: list[Node]  # all of one name
    kind: str  # their name; "" where there is none, or several
    linked: bool  # False for a resource that came without Atom
    ids: list[str] = field(default_factory=list)
    own: frozenset[str] = frozenset()  # hrefs of rel=self
    up: frozenset[str] = frozenset()
    related: frozenset[str] = frozenset()

    @property
    def start(self) -> int:
        """Of its first byte in the message."""
        return self.node.start

    @property
    def end(self) -> int:
        """Of the byte behind its last one."""
        return self.node.end


def entries(root: Node) -> list[Entry]:
    """The entries of a feed, or the one that the message is, in order."""
    if root.namespace == NAMESPACE:
        return [Entry(root, [root], root.name, linked=False)]
    nodes = root.all("entry") if root.name == "feed" else [root] if root.name == "entry" else []
    return [_entry(node) for node in nodes if node.namespace == ATOM]


def _entry(node: Node) -> Entry:
    resources = [
        one for content in node.all("content") for one in content.children
        if one.namespace == NAMESPACE
    ]  # fmt: skip
    names = {one.name for one in resources}
    links: dict[str, set[str]] = defaultdict(set)
    for link in node.all("link"):
        links[link.attributes.get("rel", "")].add(_href(link.attributes.get("href", "")))
    return Entry(
        node,
        resources,
        names.pop() if len(names) == 1 else "",
        linked=True,
        ids=[_identifier(text) for text in node.texts("id")],
        own=frozenset(links["self"] - {""}),
        up=frozenset(links["up"] - {""}),
        related=frozenset(links["related"] - {""}),
    )


def _href(text: str) -> str:
    return text.strip(_SPACE).rstrip("/")


def _identifier(text: str) -> str:
    """An Atom id; a UUID in the one form that RFC 4122 §3 prints."""
    match = _UUID.fullmatch(text.strip(_SPACE))
    return text.strip(_SPACE) if match is None else match[1].lower()


class Links:
    """Which entries of one feed belong together.

    Each answer has the entries that it may be, at most two: with more than one it is open.
    """

    def __init__(self, all_entries: Iterable[Entry]) -> None:
        of_kind: dict[str, list[Entry]] = defaultdict(list)
        for one in all_entries:
            of_kind[one.kind].append(one)
        self._points = _Children(of_kind["UsagePoint"])
        self._readings = _Children(of_kind["MeterReading"])
        self._types = _by_self(of_kind["ReadingType"])
        self._times = _by_self(of_kind["LocalTimeParameters"])

    def usage_points(self, of: Entry) -> list[Entry]:
        """Of a MeterReading or a summary."""
        return self._points.parents(of)

    def meter_readings(self, of: Entry) -> list[Entry]:
        """Of an IntervalBlock."""
        return self._readings.parents(of)

    def reading_types(self, of: Entry) -> list[Entry]:
        """Of a MeterReading."""
        return _reached(self._types, of.related)

    def local_times(self, of: Entry) -> list[Entry]:
        """Of a UsagePoint."""
        return _reached(self._times, of.related)


class _Children:
    """Finds the parents of an entry among those of one kind."""

    def __init__(self, parents: list[Entry]) -> None:
        self._related: dict[str, list[Entry]] = defaultdict(list)
        self._own = _by_self(parents)
        for parent in parents:
            for href in parent.related:
                self._related[href].append(parent)

    def parents(self, child: Entry) -> list[Entry]:
        """By the parent's links to the child or its collection; else by the child's to the parent.

        ESPI has a resource's collection at `<parent>/<name of the resource>`.
        """
        found = _reached(self._related, child.up | child.own)
        if found:
            return found
        behind = f"/{child.kind}"
        return _reached(self._own, child.up | {href.removesuffix(behind) for href in child.up})


def _by_self(several: list[Entry]) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = defaultdict(list)
    for one in several:
        for href in one.own:
            found[href].append(one)
    return found


def _reached(among: dict[str, list[Entry]], hrefs: Iterable[str]) -> list[Entry]:
    """The first two, each once."""
    found: dict[int, Entry] = {}
    for href in hrefs:
        for one in among.get(href, ()):
            found[id(one)] = one
            if len(found) > 1:
                return list(found.values())
    return list(found.values())
