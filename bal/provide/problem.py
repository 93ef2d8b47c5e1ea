"""Problem documents (RFC 9457): how every refusal of the REST gateway looks.

`type` is `urn:gridseal:problem:<code>`; the codes stand in docs/spec/limits-and-codes.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as member

import msgspec

from bal.errors import Rejected

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:gridseal:problem:"

# RFC 9457 §3.1.3: the title does not change from one occurrence to the next.
TITLES = {
    "as-of-ahead": "as_of lies beyond the published log",
    "body-timeout": "The body did not arrive in time",
    "close-unknown": "There is no such close of a day",
    "control-character": "A character that is not allowed",
    "cursor-invalid": "The cursor does not belong to this query",
    "format-unknown": "This message format is not known",
    "graph-too-large": "The graph has more devices than a query may have",
    "headers-too-large": "The header section is over the limit",
    "insufficient-scope": "The token lacks the scope that this operation needs",
    "internal": "The platform failed",
    "invalid-request": "The way the token is presented is not accepted",
    "invalid-token": "The access token is not accepted",
    "loopback-only": "Served to this machine only",
    "message-too-large": "The message is over the limit",
    "message-unknown": "No certified message of this client has this hash",
    "method-not-allowed": "This resource does not know the method",
    "no-checkpoint": "No checkpoint is published yet",
    "not-acceptable": "None of the forms that the caller accepts",
    "not-found": "There is nothing here for this caller",
    "not-utf8": "The request is not UTF-8",
    "parameter-invalid": "A parameter has a value that it cannot have",
    "parameter-missing": "A parameter is missing",
    "parameter-repeated": "A parameter is given twice",
    "parameter-unknown": "A parameter is not known",
    "query-over-limits": "The query takes more than a query may",
    "query-too-large": "The query finds more than an answer may hold",
    "query-unknown": "There is no query of this name",
    "query-malformed": "The query string is malformed",
    "register-needed": "A register must be named",
    "sparql-failed": "The query could not be carried out",
    "sparql-forbidden": "A form of query that is not answered",
    "sparql-malformed": "Not a query of SPARQL 1.1",
    "stopped": "The platform stopped to keep one truth",
    "time-malformed": "A time is not RFC 3339 with an offset",
    "token-missing": "An access token is needed",
    "too-many-requests": "Too many requests of this client are under way",
    "unavailable": "Not available at the moment",
    "unsupported-coding": "The body must not be encoded",
    "unsupported-media-type": "The body has another media type than this operation takes",
    "uri-too-long": "The request target is over the limit",
}

_PLACE = ("batch", "first_index", "count")  # where the log says that nothing was kept


@dataclass(frozen=True, slots=True)
class Problem:
    """One refusal: what a problem document says, and with which status."""

    status: int
    code: str  # kebab-case
    detail: str  # one sentence on this occurrence; quotes no identity and no secret
    field: str = ""  # parameter, header or element at fault
    clause: str = ""  # standard and clause that the request breaks
    extra: Mapping[str, object] = member(default_factory=dict)  # further members

    def as_json(self) -> bytes:
        """The document's bytes; `field` and `clause` are always there, as strings."""
        return msgspec.json.encode(
            {
                "type": TYPE_PREFIX + self.code,
                "title": TITLES.get(self.code, "Refused"),
                "status": self.status,
                "detail": self.detail,
                "field": self.field,
                "clause": self.clause,
                **self.extra,
            }
        )


def of_rejected(error: Rejected, status: int) -> Problem:
    """The problem document of a refusal that the core pronounced."""
    extra = {} if error.line is None else {"line": str(error.line)}
    return Problem(status, error.code, error.text, error.field, error.clause, extra)


def of_refused_message(message: str, summary: Mapping[str, object]) -> Problem:
    """422 for a message of which nothing was kept; `refused` lists why, each as an F.

    summary: the certified summary, or a `refused` one that has the members of a single F.
    """
    found = summary.get("refused")
    refused = [f for f in found if isinstance(f, Mapping)] if isinstance(found, list) else []
    if not refused and "code" in summary:
        names = ("code", "severity", "field", "line", "clause", "text")
        refused = [{name: str(summary.get(name, "")) for name in names}]
    first = refused[0] if refused else {"code": "refused", "text": "No reading was good."}
    return Problem(
        422,
        str(first["code"]),
        str(first["text"]),
        str(first.get("field", "")),
        str(first.get("clause", "")),
        {
            "message": message,
            "refused": refused,
            "findings": summary.get("findings", []),
            **{
                name: summary[name] for name in ("batch", "first_index", "count") if name in summary
            },
        },
    )
