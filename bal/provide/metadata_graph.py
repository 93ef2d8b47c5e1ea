"""The metadata graph: what is behind the records, as far as a caller may know (docs/semantics.md).

Devices by pseudonym, the usage points that they were at, what their registers measure, groups,
and the quantities and units that values are certified in. No identity, no sender, nothing of a
customer: those stay in the vault.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

import msgspec

from bal.model import DeviceInfo, Pseudonym
from bal.provide.nquads import Writer
from bal.provide.rdf import Statement, blocks
from bal.provide.rdf_context import BASE_IRI, NODE, Context
from bal.registry import DEVICE_TYPES
from bal.times import rfc3339

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


class Register(NamedTuple):
    """A register of a device: what it measures, as far as its name tells it."""

    name: str
    quantity: Measurable | None
    direction: str  # IEC 61968-9's name of flowDirection; "" where the name does not tell it


class Placing:
    """Which devices were at one usage point, one after the other (docs/spec/registry.md).

    A usage point is one customer relation at one metering point: an exchange gives it another
    meter, and a move ends it. So no two holders meet in one, as none do in a pseudonym.
    """

    def __init__(self, known: Iterable[DeviceInfo]) -> None:
        """known: all that the caller may read, whatever he is shown of them."""
        self._before = {one.device: one.replaces for one in known if one.replaces}
        self._replaced = frozenset(self._before.values())

    def usage_point(self, info: DeviceInfo) -> str:
        """Its id: after the first device that was there."""
        first: str = info.device
        while first in self._before:
            first = self._before[Pseudonym(first)]
        return f"usage-point/{first}"

    def span(self, info: DeviceInfo) -> tuple[int, int]:
        """When it came in place of another and when another came in its place; 0: none did.

        When people came and left is not in the graph: two pseudonyms would be seen to meet there.
        """
        return (
            info.since_us if info.replaces else 0,
            info.until_us if info.device in self._replaced else 0,
        )


def statements(
    devices: Iterable[DeviceInfo],
    quantities: Iterable[Measurable],
    *,
    placing: Placing,
    registers: Mapping[Pseudonym, Sequence[Register]],
    now_us: int,
) -> Iterator[Statement]:
    """The graph of `devices`, which must be those that the caller may read, and of quantities.

    registers: by device, in any order; now_us: subject epochs that ended by then are over.
    """
    units: set[tuple[str, str]] = set()  # several quantities have one
    for quantity in quantities:
        yield from _of_quantity(quantity)
        if (quantity.qudt, quantity.unit) not in units:
            units.add((quantity.qudt, quantity.unit))
            yield from _of_unit(quantity)
    said: set[str] = set()  # groups and usage points: several devices have one
    for info in devices:
        if info.group not in said:
            said.add(info.group)
            yield from _of_group(info.group)
        point = placing.usage_point(info)
        if point not in said:
            said.add(point)
            yield from _of_usage_point(point, info.group)
        yield from _of_device(info, point, now_us)
        yield from _of_span(info.device, *placing.span(info))
        for register in registers.get(info.device, ()):
            yield from _of_register(info.device, register, point)


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


def _of_device(info: DeviceInfo, point: str, now_us: int) -> Iterator[Statement]:
    device, group = info.device, _group(info.group)
    types: Sequence[str] = DEVICE_TYPES.get(info.kind, DEVICE_TYPES["der"])
    for one in (*types, "s4ener:Device") if info.kind in _FLEXIBLE else types:
        yield Statement(device, "type", "type", one)
    yield Statement(device, "hasIdentifier", "", device)
    yield Statement(device, "class", "", info.kind)
    yield Statement(device, "group", "", info.group)
    yield Statement(device, "zone", "", info.zone)
    is_over = info.state == "active" and 0 < info.until_us <= now_us
    yield Statement(device, "state", "", "over" if is_over else info.state)
    yield Statement(device, "gridseal:inGroup", NODE, group)
    yield Statement(device, "observes", NODE, point)


def _of_usage_point(point: str, group: str) -> Iterator[Statement]:
    yield Statement(point, "type", "type", "FeatureOfInterest")
    yield Statement(point, "type", "type", "gridseal:UsagePoint")
    yield Statement(point, "gridseal:inGroup", NODE, _group(group))


def _of_span(device: str, begin_us: int, end_us: int) -> Iterator[Statement]:
    """The time that a device was at its usage point, where an exchange bounds it."""
    if not begin_us and not end_us:
        return
    span = f"at-usage-point/{device}"
    yield Statement(device, "hasApplicableTime", NODE, span)
    yield Statement(span, "type", "type", "ProperInterval")
    for member, at_us in (("hasBeginning", begin_us), ("hasEnd", end_us)):
        if at_us:
            instant = f"{span}#{member}"
            yield Statement(span, member, NODE, instant)
            yield Statement(instant, "type", "type", "Instant")
            text = rfc3339(at_us)
            yield Statement(instant, "inXSDDateTimeStamp", "xsd:dateTimeStamp", text)


def _of_register(device: str, register: Register, point: str) -> Iterator[Statement]:
    """The property that records of it observe, with the same id (docs/spec/record.md)."""
    node, of = f"{device}#{quote(register.name, safe='')}", register.quantity
    yield Statement(device, "observes", NODE, node)
    for one in ("Property",) if of is None else of.types:
        yield Statement(node, "type", "type", one)
    yield Statement(node, "notation", "", register.name)
    yield Statement(node, "isPropertyOf", NODE, point)
    if of is not None:
        if of.broader:
            yield Statement(node, "broader", NODE, f"s4grid:{of.broader}")
        yield Statement(node, "isMeasuredIn", NODE, f"qunit:{of.qudt}")
    if register.direction:
        yield Statement(node, "gridseal:flowDirection", "", register.direction)


def _of_group(name: str) -> Iterator[Statement]:
    group = _group(name)
    yield Statement(group, "type", "type", "FeatureOfInterest")
    yield Statement(group, "type", "type", "gridseal:Group")
    yield Statement(group, "group", "", name)


def _group(name: str) -> str:
    return f"group/{quote(name, safe='')}"


def _of_quantity(of: Measurable) -> Iterator[Statement]:
    node = f"quantity/{quote(of.name.replace(' ', '-'), safe='')}/{of.qudt}"
    for one in of.types:
        yield Statement(node, "type", "type", one)
    yield Statement(node, "prefLabel", "", of.name)
    if of.broader:
        yield Statement(node, "broader", NODE, f"s4grid:{of.broader}")
    yield Statement(node, "gridseal:baseUnit", NODE, f"qunit:{of.qudt}")


def _of_unit(of: Measurable) -> Iterator[Statement]:
    unit = f"qunit:{of.qudt}"
    yield Statement(unit, "type", "type", "UnitOfMeasure")
    yield Statement(unit, "notation", "", of.unit)
