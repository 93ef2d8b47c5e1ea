"""The process that answers one SPARQL query over the metadata graph, and ends.

It gets a graph that holds only what the caller may read, and before it looks at the query it gives
up all that a query could harm others by: time, memory, files, network, other programs. Where the
kernel takes it (Linux, x86-64 and arm64) a filter leaves it reading, writing, memory and its own
end; everywhere hooks of the interpreter refuse files, sockets and programs, which is a fence
against mistakes of the SPARQL library, not against foreign machine code.
"""

import ctypes
import json
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from rdflib import BNode, Graph, Literal, URIRef
from rdflib.plugins.sparql.algebra import translateQuery
from rdflib.plugins.sparql.evaluate import evalQuery
from rdflib.plugins.sparql.parser import parseQuery

from infra.sparql_wire import FORMS, MEMORY_BYTES_MAX, OUTPUT_BYTES_MAX, Answer, Task

_XSD_STRING = "http://www.w3.org/2001/XMLSchema#string"
# Not on the way to an answer: files, sockets, programs, foreign code.
_CLOSED = ("open", "socket.", "subprocess.", "os.", "ctypes.", "shutil.", "urllib.", "pty.")
# Linux system calls that are left: read, write, close, memory, signals, clocks, locks, the end.
_ARCHITECTURES = {
    "x86_64": (0xC000003E, (0, 1, 3, 5, 8, 9, 10, 11, 12, 13, 14, 15, 20, 24, 25, 28, 39, 60, 96,
                            98, 131, 186, 202, 219, 228, 230, 231, 234, 318, 334)),
    "aarch64": (0xC00000B7, (57, 62, 63, 64, 66, 80, 93, 94, 98, 113, 115, 124, 128, 131, 132, 134,
                             135, 139, 165, 169, 172, 178, 214, 215, 216, 222, 226, 233, 278, 293)),
}  # fmt: skip
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _FILTER = 22, 38, 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050001  # SECCOMP_RET_ALLOW; SECCOMP_RET_ERRNO with EPERM


class _Refused(Exception):
    """The query is none that is taken, or needs more than it may have."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(code)
        self.code, self.text = code, text


class _Program(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def limit(cpu_s: int) -> None:
    """Let the kernel end this process when it takes too much; nothing it does outlives it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    signal.alarm(2 * cpu_s)  # also where the platform is gone
    os.nice(5)


def shut() -> bool:
    """Give up files, network and programs; whether the kernel sees to it, too."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    sealed = _filter_calls()
    sys.addaudithook(_hook)
    return sealed


def _hook(event: str, _: object) -> None:
    if event.startswith(_CLOSED):
        raise PermissionError(f"{event}: not from within a query")


def _filter_calls() -> bool:
    architecture = _ARCHITECTURES.get(platform.machine()) if sys.platform == "linux" else None
    if architecture is None:
        return False
    audit, calls = architecture
    # struct seccomp_data: number of the call at 0, architecture at 4
    lines = [(_LOAD, 0, 0, 4), (_JUMP_IF_EQUAL, 1, 0, audit), (_RETURN, 0, 0, _REFUSE)]
    lines.append((_LOAD, 0, 0, 0))
    left = range(len(calls), 0, -1)
    lines += [(_JUMP_IF_EQUAL, n, 0, call) for n, call in zip(left, calls, strict=True)]
    lines += [(_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    code = b"".join(struct.pack("HBBI", *line) for line in lines)
    kept = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(lines), ctypes.addressof(kept))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return False
    return bool(prctl(_PR_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0) == 0)


def load(triples: Iterable[str]) -> Graph:
    """The graph from N-Triples of our own making: IRIs and literals without language, one form."""
    graph = Graph(bind_namespaces="none")
    terms: dict[str, URIRef | Literal] = {}
    add = graph.store.add

    def term(text: str) -> URIRef | Literal:
        found = terms.get(text)
        if found is None:
            found = terms[text] = URIRef(text[1:-1]) if text[0] == "<" else _literal(text)
        return found

    for line in triples:
        subject, verb, value = line[:-2].split(" ", 2)
        add((term(subject), term(verb), term(value)), context=graph)
    return graph


def _literal(text: str) -> Literal:
    if text[-1] == '"':
        return Literal(json.loads(text))
    value, _, datatype = text[:-1].rpartition("^^<")
    return Literal(json.loads(value), datatype=URIRef(datatype))


def answer(task: Task, graph: Graph) -> Answer:
    """Answer one query. Raises _Refused."""
    query = _understood(task.query)
    bound = {
        name: URIRef(text) if sort == "iri" else Literal(text)
        for name, (sort, text) in task.bound.items()
    }
    found = evalQuery(graph, query, bound)
    if found["type_"] == "CONSTRUCT":
        triples = found["graph"]
        if len(triples) > task.rows_max:
            raise _too_many(task.rows_max)
        for prefix, iri in query.prologue.namespace_manager.namespaces():  # as the query has them
            triples.bind(prefix, iri, override=True)
        data = triples.serialize(format="turtle", encoding="utf-8")
        return Answer("graph", "", "", _within(data))
    if found["type_"] == "ASK":
        body: dict[str, Any] = {"head": {}, "boolean": bool(found["askAnswer"])}
    else:
        names = [str(name) for name in found["vars_"]]
        rows = list(_rows(found["bindings"], names, task.rows_max))
        body = {"head": {"vars": names}, "results": {"bindings": rows}}
    return Answer("results", "", "", _within(json.dumps(body, separators=(",", ":")).encode()))


def _understood(text: str) -> Any:
    """The query's algebra. Raises _Refused: sparql-malformed, sparql-forbidden."""
    try:
        parsed = parseQuery(text)
    except MemoryError:
        raise
    except RecursionError:
        raise _Refused("sparql-malformed", "It nests too deep.") from None
    except Exception as error:  # noqa: BLE001 - whatever a parser of others raises
        line = getattr(error, "lineno", None)
        where = f" (line {line})" if line else ""
        sentence = f"Not a query of SPARQL 1.1{where}. Updates are none."
        raise _Refused("sparql-malformed", sentence) from None
    form = parsed[1]
    if form.name not in FORMS:
        raise _Refused("sparql-forbidden", "Only SELECT, ASK and CONSTRUCT are answered.")
    if form.datasetClause:
        raise _Refused("sparql-forbidden", "FROM: there is one graph, and none is fetched.")
    try:
        query = translateQuery(parsed)
    except RecursionError:
        raise _Refused("sparql-malformed", "It nests too deep.") from None
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - as above
        raise _Refused("sparql-malformed", "Not a query that has a meaning.") from None
    asked = set(_names(query.algebra))
    if "ServiceGraphPattern" in asked:
        raise _Refused("sparql-forbidden", "SERVICE: nothing outside is asked.")
    if not asked.isdisjoint({"Graph", "GraphGraphPattern"}):
        raise _Refused("sparql-forbidden", "GRAPH: there is one graph, and it has no name.")
    return query


def _names(node: object) -> Iterator[str]:
    """Of every node of an algebra, whatever it stands in."""
    waiting, seen = [node], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, (str, bytes)):
            continue
        seen.add(id(one))
        if isinstance(one, dict):
            yield getattr(one, "name", "")
            waiting += one.values()
        elif isinstance(one, Iterable):
            waiting += one


def _rows(found: Iterable[Any], names: list[str], rows_max: int) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(found):
        if number == rows_max:
            raise _too_many(rows_max)
        values = ((name, row.get(name)) for name in names)
        yield {name: _json(value) for name, value in values if value is not None}


def _json(value: object) -> dict[str, str]:
    """A term as SPARQL 1.1 Query Results JSON Format §3.2.2 has it."""
    if isinstance(value, URIRef):
        return {"type": "uri", "value": str(value)}
    if isinstance(value, BNode):
        return {"type": "bnode", "value": str(value)}
    assert isinstance(value, Literal)
    more = {"xml:lang": value.language} if value.language else {}
    if value.datatype is not None and str(value.datatype) != _XSD_STRING:
        more["datatype"] = str(value.datatype)
    return {"type": "literal", "value": str(value), **more}


def _too_many(rows_max: int) -> _Refused:
    return _Refused("query-too-large", f"More than {rows_max} rows or triples: use LIMIT.")


def _within(data: bytes) -> bytes:
    if len(data) > OUTPUT_BYTES_MAX:
        raise _Refused("query-too-large", f"An answer of more than {OUTPUT_BYTES_MAX} bytes.")
    return data


_EVERYTHING = (
    """SELECT ?s (COUNT(*) AS ?n) (GROUP_CONCAT(?o) AS ?g) {
      ?s ?p ?o FILTER(REGEX(?o, '1', 'i')) BIND(MD5(STR(?o)) AS ?m) BIND(SHA256(STR(?o)) AS ?h)
      BIND(NOW() AS ?t) BIND(YEAR(?t) AS ?y) BIND(TZ(?t) AS ?z) BIND(RAND() AS ?r)
      BIND(STRUUID() AS ?u) BIND(ROUND(1.5) AS ?f) BIND(ENCODE_FOR_URI(?o) AS ?e)
    } GROUP BY ?s ORDER BY ?s""",
    """CONSTRUCT {
      ?s ?p 1.5, '2026-01-15T10:00:00Z'^^<http://www.w3.org/2001/XMLSchema#dateTime>, true, 'x'@en,
        []
    } WHERE {?s ?p ?o}""",
)


def _warm_up() -> None:
    """Have everything imported that a query may need: afterwards no file can be opened."""
    graph = load(['<urn:a> <urn:b> "1" .'])
    for text in _EVERYTHING:
        answer(Task(text, {}, 10), graph)


def _read() -> tuple[Task, list[str]]:
    head, *triples = sys.stdin.buffer.read().decode().split("\n")
    data = json.loads(head)
    return Task(data["query"], data["bound"], data["rows_max"]), triples[:-1]


def main(cpu_s: int) -> None:
    """Answer the task that stands on the input; whatever goes wrong, say so and end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the platform
    limit(cpu_s)
    try:
        _warm_up()
        shut()
        task, triples = _read()
        found = answer(task, load(triples))
    except _Refused as refused:
        found = Answer("", refused.code, refused.text, b"")
    except MemoryError:
        found = Answer("", "query-over-limits", "It needs more memory than a query may have.", b"")
    except RecursionError:
        found = Answer("", "query-over-limits", "It follows paths too far.", b"")
    except Exception:  # noqa: BLE001 - of the library's: a type it does not expect, a file it wants
        found = Answer("", "sparql-failed", "The query could not be carried out.", b"")
    sys.stdout.buffer.write(found.encode())
    sys.stdout.buffer.flush()
    os._exit(0)
