"""The operations on the metadata graph (docs/semantics.md); the rest: infra/http_operations.py."""

from functools import partial

from infra.http_answers import (
    WITH_TOKEN,
    answer,
    json_answer,
    media_content,
    problems,
    query_parameter,
)
from infra.http_operations import operation as any_operation
from infra.http_schema import TEXT, Json

_SECURITY: Json = {"security": [{"oauth2": ["devices.read"]}]}
_WITHIN = query_parameter("within", "The graph is of the devices of this group alone", TEXT)
_FOUND = {
    "200": answer(
        "What was found: SELECT and ASK, or CONSTRUCT",
        {
            **media_content("application/sparql-results+json", {"type": "object"}),
            **media_content("text/turtle", TEXT),
        },
        Vary="Accept",
    ),
    **problems(*WITH_TOKEN, 404, 406, 408, 413, 415),
    "422": answer(
        "More devices, rows, time or memory than a query may have",
        problems(400)["400"]["content"],
    ),
}
_OPERATIONS: dict[str, tuple[str, str, Json]] = {
    "get_metadata_graph": (
        "metadata",
        "Devices, usage points, groups, quantities and units as RDF",
        {
            **_SECURITY,
            "parameters": [
                query_parameter("group", "Devices of this group alone", TEXT),
                query_parameter("cursor", "Of the header Link of the page before", TEXT),
                query_parameter("limit", "Devices on a page", {"type": "integer", "minimum": 1}),
            ],
            "responses": {
                "200": answer(
                    "One page of devices",
                    {
                        **media_content("text/turtle", TEXT),
                        **media_content("application/ld+json", {"type": "object"}),
                        **media_content("application/n-quads", TEXT),
                    },
                    Link="the next page, rel=next (RFC 8288)",
                    Vary="Accept: it chooses the form",
                ),
                **problems(*WITH_TOKEN, 406),
            },
        },
    ),
    "get_sparql": (
        "metadata",
        "Ask the metadata graph (SPARQL 1.1): a named query, or one's own by metadata.query",
        {
            **_SECURITY,
            "parameters": [
                query_parameter("query", "A query of one's own: SELECT, ASK, CONSTRUCT", TEXT),
                query_parameter("name", "One of /v1/queries, its parameters beside it", TEXT),
                query_parameter("group", "Parameter of some named queries", TEXT),
                query_parameter("device", "Parameter of some named queries: a pseudonym", TEXT),
                _WITHIN,
            ],
            "responses": _FOUND,
        },
    ),
    "post_sparql": (
        "metadata",
        "The same by POST (SPARQL 1.1 Protocol §2.1.2, §2.1.3)",
        {
            **_SECURITY,
            "parameters": [_WITHIN],
            "requestBody": {
                "required": True,
                "content": {
                    **media_content("application/sparql-query", TEXT),
                    **media_content("application/x-www-form-urlencoded", {"type": "object"}),
                },
            },
            "responses": _FOUND,
        },
    ),
    "get_queries": (
        "metadata",
        "The named queries, with their text and parameters",
        {
            **_SECURITY,
            "responses": {
                "200": json_answer("All of them", "Queries"),
                **problems(*WITH_TOKEN),
            },
        },
    ),
    "get_void": (
        "metadata",
        "What there is, for catalogues (VoID, DCAT)",
        {
            "responses": {
                "200": answer("The description", media_content("text/turtle", TEXT)),
                **problems(400),
            }
        },
    ),
}

operation = partial(any_operation, of=_OPERATIONS)
