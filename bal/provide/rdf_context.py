"""The pinned JSON-LD context, as far as records use it: which member is which term of RDF.

Nothing here knows a kind of record: what stands in the context is written, what does not goes
into the merge patch beside it (docs/spec/rdf.md).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec

BASE_IRI = "https://gridseal.invalid/id/"  # a record's base is this and its commitment in hex
RDF_TYPE = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"
NODE, JSON = "@id", "@json"  # what a term's values may be beside literals

_LOCAL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")  # of those of RDF 1.1 Turtle §6.5
IRI = re.compile(r'[^\x00-\x20<>"{}|^`\\]*')  # RDF 1.1 Turtle §6.5, IRIREF


@dataclass(frozen=True, slots=True)
class Term:
    """One member of records that has a meaning in RDF."""

    name: str
    iri: str  # compact
    sort: str  # NODE, JSON, a datatype as a compact IRI, or "" for a plain string
    several: bool  # always a set, also with one element


@dataclass(frozen=True)
class Context:
    """The value of `@context`, read.

    json: the bytes as they stand in a page; prefixes: prefix → namespace; terms: member → Term,
    among which are the classes that stand in `type`.
    """

    json: bytes
    prefixes: Mapping[str, str]
    terms: Mapping[str, Term]
    _refs: dict[str, str] = field(default_factory=dict, compare=False)

    @cached_property
    def by_iri(self) -> dict[str, Term]:
        """Full IRI → term."""
        return {self.expand(term.iri): term for term in self.terms.values()}

    def expand(self, compact: str) -> str:
        """The full IRI of a compact one; anything else unchanged."""
        prefix, colon, local = compact.partition(":")
        return f"{self.prefixes[prefix]}{local}" if colon and prefix in self.prefixes else compact

    def compact(self, iri: str) -> str:
        """The form that records use: `prefix:local` where there is a prefix."""
        for prefix, namespace in self.prefixes.items():
            if iri.startswith(namespace):
                return f"{prefix}:{iri[len(namespace) :]}"
        return iri

    def reference(self, name: str) -> str:
        """An id or compact IRI of a record as Turtle writes it; ValueError where it can't be."""
        written = self._refs.get(name)
        if written is None:
            prefix, colon, local = name.partition(":")
            if colon and prefix in self.prefixes and _LOCAL_NAME.fullmatch(local):
                self._refs[name] = written = name  # vocabulary only: few, and the same for ever
            elif IRI.fullmatch(name):
                written = f"<{self.expand(name)}>"
            else:
                raise ValueError("an id is no IRI")
        return written


def read_context(data: bytes) -> Context:
    """The pinned context from the JSON of its `@context` member.

    Understood is what it uses: prefixes, terms, `@type`, and `@container` `@set`.
    """
    document: dict[str, Any] = msgspec.json.decode(data)
    prefixes: dict[str, str] = {}
    terms: dict[str, Term] = {}
    for name, meaning in document.items():
        if isinstance(meaning, dict):
            several = meaning.get("@container") == "@set"
            terms[name] = Term(name, meaning["@id"], meaning.get("@type", ""), several)
        elif isinstance(meaning, str) and meaning.endswith(("/", "#")):
            prefixes[name] = meaning
        elif isinstance(meaning, str) and not meaning.startswith("@"):
            terms[name] = Term(name, meaning, "", several=False)
    return Context(data, prefixes, terms)
