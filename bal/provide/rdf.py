"""Records as Turtle and JSON-LD, and back to the certified bytes (docs/spec/rdf.md).

Writing needs no RDF library: a record is JSON-LD of one regular form, and Turtle is written from
it by the pinned context. Reading Turtle is for whoever was handed some, and takes rdflib.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec

from bal import jcs
from bal.errors import Rejected, Stop
from bal.provide.merge_patch import Json, merge, patch
from bal.provide.rdf_context import BASE_IRI, JSON, NODE, Context

INDEX, REST = "gridseal:index", "gridseal:rest"  # of the place where a record was read, not of it
DEPTH_MAX = jcs.DEPTH_MAX

_DERIVED = {  # plain member → where a node says the same
    "device": ("madeBy", "id"),
    "value": ("hasResult", "hasValue"),
    "begin": ("hasPhenomenonTime", "hasBeginning", "inXSDDateTimeStamp"),
    "end": ("hasPhenomenonTime", "hasEnd", "inXSDDateTimeStamp"),
    "time": ("hasTimestamp",),
}
_HEX = re.compile(r"[0-9a-f]{64}")
_RDF_JSON = "rdf:JSON"
_NEXT = " ;\n  "
CLAUSE = "gridseal/rdf/v1"


@dataclass(frozen=True, slots=True)
class Viewed:
    """One record on a page, or as it came back from one."""

    commitment: str  # 64 hex digits: the log entry, and the record's IRI below BASE_IRI
    index: int | None  # place in the log; None where a page that came back does not say
    record: bytes  # the certified bytes


class Statement(NamedTuple):
    """One triple in the words of a record: ids relative to it, members for properties."""

    subject: str
    member: str
    sort: str  # `Term.sort`, or "type" for a class
    text: str  # an id, a class's term, a literal's lexical form


def turtle(page: Iterable[Viewed], context: Context) -> bytes:
    """One page as Turtle: each record below its own base, so that its ids stand as certified.

    Raises Stop("record-unreadable") where a record is none.
    """
    lines = [f"@prefix {name}: <{iri}> ." for name, iri in context.prefixes.items()]
    told: set[str] = set()  # nodes that several records speak of are written once
    for one in page:
        lines.append(f"\n@base <{BASE_IRI}{one.commitment}> .")
        try:
            for block in blocks(said_of(one, context), context):
                if block.startswith(("<>", "<#")) or block not in told:
                    lines.append(block)
                    told.add(block)
        except (KeyError, TypeError, ValueError) as error:
            raise unreadable(one) from error
    return ("\n".join(lines) + "\n").encode()


def json_ld(page: Iterable[Viewed], context: Context) -> bytes:
    """One page as a JSON-LD graph; the certified bytes of each record stand in it.

    Raises Stop("record-unreadable") where a record is none.
    """
    nodes = []
    for one in page:
        try:
            rest = _encode(_rest(_decode(one.record), context))
        except (KeyError, TypeError, ValueError) as error:
            raise unreadable(one) from error
        base = (
            f'{{"@context":{{"@base":"{BASE_IRI}{one.commitment}"}},'
            f'"{INDEX}":"{one.index}","{REST}":{rest},'
        )
        nodes.append(base.encode() + one.record[1:])
    return b'{"@context":' + context.json + b',"@graph":[' + b",".join(nodes) + b"]}"


def records_of_json_ld(data: bytes, context: Context) -> list[Viewed]:
    """The records of a page that `json_ld` wrote, also with other spacing or order of members.

    Raises Rejected: json-malformed, view-malformed, view-contradicts. A document of another form
    has to be made Turtle first, by any JSON-LD processor.
    """
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Rejected("json-malformed", "not JSON", clause="RFC 8259 §2") from None
    nodes = document.get("@graph") if isinstance(document, dict) else None
    if not isinstance(nodes, list) or document.get("@context") != msgspec.json.decode(context.json):
        raise _malformed("not the pinned context and a graph")
    return [_of_node(node, context) for node in nodes]


def records_of(
    commitment: str, index: int | None, said: Sequence[Statement], shared: set[Statement],
    context: Context,
) -> Viewed:  # fmt: skip
    """The record of which a graph says `said`.

    said: the statements about the record and the nodes of its own; shared: those about all other
    nodes of the graph, where other records speak, too.
    Raises Rejected: view-malformed, view-contradicts.
    """
    own = {one for one in said if one.member not in {INDEX, REST}}
    rests = [one.text for one in said if one.member == REST and not one.subject]
    if len(rests) != 1:
        raise _malformed(f"not one {REST}")
    try:
        view = _view(own, context)
        record = merge(view, msgspec.json.decode(rests[0], type=Json))
        encoded = jcs.encode(record)
        again = set(_statements(record, context))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise _malformed(str(error)) from error
    theirs = {one for one in again if not _is_own(one.subject)}
    # what the patch says must not stand against what the statements say
    plain = {name: view[name] for name in (*_DERIVED, "register") if name in view}
    if any(record.get(name, text) != text for name, text in plain.items()):
        raise _contradicts()
    if again - theirs != own or not theirs <= shared:
        raise _contradicts()
    return Viewed(commitment, index, encoded)


def _of_node(node: object, context: Context) -> Viewed:
    if not isinstance(node, dict):
        raise _malformed("a node is no object")
    place, index = node.get("@context"), node.get(INDEX)
    base = place.get("@base") if isinstance(place, dict) and len(place) == 1 else None
    commitment = base.removeprefix(BASE_IRI) if isinstance(base, str) else ""
    if _HEX.fullmatch(commitment) is None or base == commitment:
        raise _malformed("a node has no base of its own")
    record = {name: node[name] for name in node if name not in {"@context", INDEX, REST}}
    try:
        encoded = jcs.encode(record)
        rest = _rest(record, context)
    except (KeyError, TypeError, ValueError) as error:
        raise _malformed(str(error)) from error
    if rest != node.get(REST):
        raise _contradicts()
    return Viewed(commitment, strict_index(index), encoded)


def strict_index(text: object) -> int | None:
    """A place in the log as we would print it; None where none is told.

    Raises Rejected("view-malformed").
    """
    if text is None:
        return None
    if not isinstance(text, str) or not re.fullmatch(r"0|[1-9][0-9]{0,17}", text):
        raise _malformed("an index is no whole number")
    return int(text)


def said_of(one: Viewed, context: Context) -> Iterator[Statement]:
    """All that a page says with one record."""
    record = _decode(one.record)
    found = list(_statements(record, context))
    yield from found
    yield Statement("", INDEX, context.terms[INDEX].sort, str(one.index))
    rest = patch(_view(found, context), record)
    yield Statement("", REST, JSON, _encode(rest))


def _rest(record: Json, context: Context) -> Json:
    return patch(_view(_statements(record, context), context), record)


def _statements(node: Mapping[str, Any], context: Context) -> Iterator[Statement]:
    """What a record, or a node in it, says by the context."""
    subject = node["id"]
    terms = context.terms
    for name, value in node.items():
        several = value if isinstance(value, list) else [value]
        if name == "type":
            for one in several:
                if one in terms:
                    yield Statement(subject, name, name, one)
            continue
        term = terms.get(name)
        if term is None:
            continue
        sort = term.sort
        if sort == JSON:
            yield Statement(subject, name, sort, _encode(value))
            continue
        for one in several:
            if isinstance(one, dict):
                yield Statement(subject, name, NODE, one["id"])
                yield from _statements(one, context)
            elif isinstance(one, str):
                yield Statement(subject, name, sort, one)


def _view(statements: Iterable[Statement], context: Context) -> Json:
    """What statements about a record's own nodes come to, and what follows from them.

    Nodes that are not the record's own are their ids and no more: of them other records, too,
    speak in the same graph.
    """
    nodes: dict[str, dict[str, list[Statement]]] = {}
    for one in statements:
        if _is_own(one.subject):
            nodes.setdefault(one.subject, {}).setdefault(one.member, []).append(one)
    view = _node("", nodes, context, 1)
    for name, path in _DERIVED.items():
        found = _at(view, path)
        if found is not None:
            view[name] = found
    observed = _at(view, ("observes", "id"))
    if observed is not None and "#" in observed:
        view["register"] = unquote(observed.partition("#")[2])
    return view


def _node(
    subject: str, nodes: Mapping[str, Mapping[str, list[Statement]]], context: Context, depth: int
) -> Json:
    found: Json = {"id": subject}
    for member, several in nodes.get(subject, {}).items():
        term = context.terms.get(member)
        first = several[0]
        values: list[Any]
        if first.sort == NODE:
            ids = sorted({one.text for one in several}, key=_length_and_text)
            deeper = depth < DEPTH_MAX
            values = [
                _node(one, nodes, context, depth + 1) if deeper and _is_own(one) else {"id": one}
                for one in ids
            ]
        else:
            texts = sorted({one.text for one in several})
            values = [msgspec.json.decode(one) for one in texts] if first.sort == JSON else texts
        alone = len(values) == 1 and not (term is not None and term.several)
        found[member] = values[0] if alone else values
    return found


def _is_own(subject: str) -> bool:
    return not subject or subject[0] == "#"


def _length_and_text(text: str) -> tuple[int, str]:
    return len(text), text  # #finding-2 before #finding-10


def _at(node: object, path: Sequence[str]) -> str | None:
    for name in path:
        node = node.get(name) if isinstance(node, dict) else None
    return node if isinstance(node, str) else None


def blocks(statements: Iterable[Statement], context: Context) -> Iterator[str]:
    """Turtle: one text a subject, in the order in which they are first spoken of."""
    blocks: dict[str, dict[str, list[str]]] = {}
    for subject, member, sort, text in statements:
        said = blocks.setdefault(subject, {"a": []})  # what a node is stands first
        if sort == "type":
            said["a"].append(context.reference(context.terms[text].iri))
        elif sort == NODE:
            said.setdefault(context.terms[member].iri, []).append(context.reference(text))
        else:
            of = f"^^{_RDF_JSON if sort == JSON else sort}" if sort else ""
            said.setdefault(context.terms[member].iri, []).append(_string(text) + of)
    for subject, said in blocks.items():
        lines = [f"{verb} {', '.join(objects)}" for verb, objects in said.items() if objects]
        if lines:
            yield f"{context.reference(subject)} {_NEXT.join(lines)} ."


def _string(text: str) -> str:
    # RDF 1.1 Turtle §2.5.1, §6.4 know the escapes that JSON's strings use
    return msgspec.json.encode(text).decode()


def _encode(value: object) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


def _decode(record: bytes) -> Json:
    return msgspec.json.decode(record, type=Json)


def unreadable(one: Viewed) -> Stop:
    """What to raise for a row that holds no record."""
    return Stop("record-unreadable", f"row {one.index} holds no record")


def _malformed(why: str) -> Rejected:
    return Rejected("view-malformed", f"not a view of records: {why}", clause=CLAUSE)


def _contradicts() -> Rejected:
    return Rejected("view-contradicts", "the view says two things of one record", clause=CLAUSE)
