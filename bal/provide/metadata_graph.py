"""The metadata graph: what is behind the records, as far as a caller may know (docs/semantics.md).

Devices by pseudonym, their usage points and groups, and the quantities and units that values are
certified in. No identity, no sender, nothing of a customer: those stay in the vault.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import quote

import msgspec

from bal.model import DeviceInfo
from bal.provide.nquads import Writer
from bal.provide.rdf import Statement, blocks
from bal.provide.rdf_context import BASE_IRI, NODE, Context
from bal.registry import DEVICE_TYPES

GRAPH_IRI = f"{BASE_IRI}metadata"
# SAREF4ENER s4ener:Device: what can be asked to consume or produce otherwise
_FLEXIBLE = frozenset({"der", "battery", "pv", "wind"})


class Measurable(Protocol):
    """A physical quantity, as bal.harmonise.quantity has them."""

    @property
    def name(self) -> str:
        """In words."""
        ...

    @property
    def unit(self) -> str:
        """Symbol of the base unit, as in records."""
        ...

    @property
    def qudt(self) -> str:
        """Local name of the unit in QUDT."""
        ...

    @property
    def broader(self) -> str:
        """Individual of SAREF4GRID, or ""."""
        ...

    @property
    def types(self) -> tuple[str, ...]:
        """Classes, as the context names them."""
        ...


def statements(
    devices: Iterable[DeviceInfo], quantities: Iterable[Measurable]
) -> Iterator[Statement]:
    """The graph of `devices`, which must be those that the caller may read, and of quantities."""
    for quantity in quantities:
        yield from _of_quantity(quantity)
    groups: set[str] = set()
    for info in devices:
        if info.group not in groups:
            groups.add(info.group)
            yield from _of_group(info.group)
        yield from _of_device(info)


def turtle(found: Iterable[Statement], context: Context) -> bytes:
    """The graph as Turtle."""
    lines = [f"@prefix {name}: <{iri}> ." for name, iri in context.prefixes.items()]
    lines.append(f"@base <{BASE_IRI}> .\n")
    return ("\n".join([*lines, *blocks(found, context)]) + "\n").encode()


def json_ld(found: Iterable[Statement], context: Context) -> bytes:
    """The graph as JSON-LD under the pinned context, whose base is that of all ids."""
    nodes: dict[str, dict[str, Any]] = {}
    for subject, member, sort, text in found:
        node = nodes.setdefault(subject, {"id": subject})
        value = {"id": text} if sort == NODE else text
        if member not in node:
            node[member] = value
        elif isinstance(node[member], list):
            node[member].append(value)
        else:
            node[member] = [node[member], value]
    base: Mapping[str, str] = {"@base": BASE_IRI}
    body = msgspec.json.encode(list(nodes.values()))
    pinned = context.json + b"," + msgspec.json.encode(base)
    return b'{"@context":[' + pinned + b'],"@graph":' + body + b"}"


def n_quads(found: Iterable[Statement], context: Context) -> bytes:
    """The graph as N-Quads (W3C RDF 1.1 N-Quads), all in GRAPH_IRI."""
    return Writer(context).quads(found, BASE_IRI, GRAPH_IRI).encode()


def n_triples(found: Iterable[Statement], context: Context) -> bytes:
    """The graph as N-Triples: what is quickest to read in."""
    return Writer(context).quads(found, BASE_IRI, "").encode()


def _of_device(info: DeviceInfo) -> Iterator[Statement]:
    device, point, group = info.device, f"usage-point/{info.device}", _group(info.group)
    types: Sequence[str] = DEVICE_TYPES.get(info.kind, DEVICE_TYPES["der"])
    for one in (*types, "s4ener:Device") if info.kind in _FLEXIBLE else types:
        yield Statement(device, "type", "type", one)
    yield Statement(device, "hasIdentifier", "", device)
    yield Statement(device, "class", "", info.kind)
    yield Statement(device, "group", "", info.group)
    yield Statement(device, "zone", "", info.zone)
    yield Statement(device, "state", "", info.state)
    yield Statement(device, "gridseal:inGroup", NODE, group)
    yield Statement(device, "observes", NODE, point)
    yield Statement(point, "type", "type", "FeatureOfInterest")
    yield Statement(point, "type", "type", "gridseal:UsagePoint")
    yield Statement(point, "gridseal:inGroup", NODE, group)


def _of_group(name: str) -> Iterator[Statement]:
    group = _group(name)
    yield Statement(group, "type", "type", "FeatureOfInterest")
    yield Statement(group, "type", "type", "gridseal:Group")
    yield Statement(group, "group", "", name)


def _group(name: str) -> str:
    return f"group/{quote(name, safe='')}"


def _of_quantity(of: Measurable) -> Iterator[Statement]:
    node, unit = (
        f"quantity/{quote(of.name.replace(' ', '-'), safe='')}/{of.qudt}",
        f"qunit:{of.qudt}",
    )
    for one in of.types:
        yield Statement(node, "type", "type", one)
    yield Statement(node, "prefLabel", "", of.name)
    if of.broader:
        yield Statement(node, "broader", NODE, f"s4grid:{of.broader}")
    yield Statement(node, "gridseal:baseUnit", NODE, unit)
    yield Statement(unit, "type", "type", "UnitOfMeasure")
    yield Statement(unit, "notation", "", of.unit)
