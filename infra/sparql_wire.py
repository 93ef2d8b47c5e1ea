"""What goes between the gateway and the process that answers a query (infra/sparql_child.py)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

MEMORY_BYTES_MAX = 512 * 1024 * 1024  # of address space, the interpreter's own 50 MB included
OUTPUT_BYTES_MAX = 8 * 1024 * 1024
FORMS = ("SelectQuery", "AskQuery", "ConstructQuery")


@dataclass(frozen=True, slots=True)
class Task:
    """One query, what its variables are bound to, and how much it may find."""

    query: str
    bound: Mapping[str, tuple[str, str]]  # variable → ("iri" or "literal", text)
    rows_max: int  # rows, or triples

    def encode(self, triples: bytes) -> bytes:
        """With the graph, N-Triples, as the child reads it."""
        head = {"query": self.query, "bound": self.bound, "rows_max": self.rows_max}
        return json.dumps(head).encode() + b"\n" + triples


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of it."""

    form: str  # results (SPARQL 1.1 Query Results JSON), graph (Turtle), "" where it is refused
    code: str  # of the refusal
    text: str
    body: bytes

    def encode(self) -> bytes:
        """A line that says what follows, and the body."""
        return json.dumps([self.form, self.code, self.text]).encode() + b"\n" + self.body

    @classmethod
    def decode(cls, data: bytes) -> "Answer":
        """Raises ValueError where it is cut off or none."""
        head, end, body = data.partition(b"\n")
        form, code, text = json.loads(head)
        if not end:
            raise ValueError("no whole answer")
        return cls(form, code, text, body)
