"""Queries that are kept ready, with parameters: ontology/queries/*.rq (docs/semantics.md).

A parameter becomes one RDF term that a variable is bound to; it is never text of the query, so
nothing in it can be more than a value.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from bal.errors import Rejected, Stop
from bal.provide.parameters import check_known, matching, required
from bal.provide.rdf_context import BASE_IRI

TEXT_LENGTH_MAX = 256  # characters of a parameter
Sort = Literal["text", "device"]
Bound = dict[str, tuple[str, str]]
"""Variable → ("iri" or "literal", text)."""

_HEAD = re.compile(
    r"# (?:title: (?P<title>.+)"
    r"|parameter: (?P<name>[a-z]+) (?P<sort>text|device)(?P<may> optional)?)"
)
_DEVICE = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a query: the variable of this name."""

    name: str
    sort: Sort
    optional: bool

    def term(self, text: str) -> tuple[str, str]:
        """The RDF term. Raises Rejected("parameter-invalid")."""
        if self.sort == "device":
            matching(self.name, text, _DEVICE, "a pseudonym, 43 characters")
            return "iri", BASE_IRI + text
        if len(text) > TEXT_LENGTH_MAX:
            most = f"At most {TEXT_LENGTH_MAX} characters."
            raise Rejected("parameter-invalid", most, field=self.name)
        return "literal", text


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """A query that whoever may read the graph may ask."""

    name: str
    title: str
    parameters: Sequence[Parameter]
    text: str

    def bind(self, given: Mapping[str, str]) -> Bound:
        """The variables' values. Raises Rejected: parameter-unknown, -missing, -invalid."""
        check_known(given, [one.name for one in self.parameters])
        return {
            one.name: one.term(given[one.name] if one.optional else required(given, one.name))
            for one in self.parameters
            if not one.optional or one.name in given
        }


def read_query(name: str, text: str) -> NamedQuery:
    """A query file: comment lines `# title: …` and `# parameter: NAME text|device [optional]`.

    Raises Stop("query-file") where a comment at its beginning is neither.
    """
    title, parameters = "", []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        found = _HEAD.fullmatch(line)
        if found is None:
            raise Stop("query-file", f"{name}: a line of its head is neither title nor parameter")
        if found["title"]:
            title = found["title"]
        else:
            sort: Sort = "device" if found["sort"] == "device" else "text"
            parameters.append(Parameter(found["name"], sort, found["may"] is not None))
    return NamedQuery(name, title, tuple(parameters), text)


def listed(queries: Mapping[str, NamedQuery]) -> bytes:
    """All of them as JSON, with their text, to be read and to be copied from."""
    items = [
        {
            "name": one.name,
            "title": one.title,
            "parameters": [
                {"name": p.name, "sort": p.sort, "optional": p.optional} for p in one.parameters
            ],
            "query": one.text,
        }
        for one in queries.values()
    ]
    return msgspec.json.encode({"items": items})
