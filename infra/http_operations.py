"""The operations of the REST gateway as its OpenAPI 3.1 document describes them.

Written by hand because parameters are parsed by hand (bal/provide): FastAPI would accept `+7` for
7 and ignore what it does not know. A test checks every answer of every test against it.
"""

from collections.abc import Mapping

from starlette.responses import Response

from bal.harmonise import FORMATS
from bal.provide import findings
from bal.provide.findings import ORDERS, SEVERITIES
from bal.provide.problem import MEDIA_TYPE
from bal.provide.readings import KINDS_ASKED, PAGE_DEFAULT, PAGE_MAX
from infra.http_answers import (
    WITH_TOKEN,
    answer,
    json_answer,
    media_content,
    path_parameter,
    problems,
    query_parameter,
    request_body,
)
from infra.http_schema import COUNT, DIGEST, PSEUDONYM, TEXT, TIME, Json, ref


def _limit(most: int = PAGE_MAX, default: int = PAGE_DEFAULT) -> Json:
    schema = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
    return query_parameter("limit", "Items on a page", schema)


_NEXT = query_parameter("cursor", "`next` of the page before, with the same query", TEXT)
_MESSAGE_OUTCOME: Json = {
    "200": json_answer("The certified summary", "Certified"),
    "202": json_answer(
        "Durable, not yet certified: the accepted note",
        "Accepted",
        Location="where to ask",
        Retry_After="seconds",
    ),
}
_OCTETS = media_content("application/octet-stream", {"type": "string", "format": "binary"})

_OPERATIONS: dict[str, tuple[str, str, Json]] = {
    "post_token": (
        "oauth",
        "Get an access token by client credentials (RFC 6749 §4.4)",
        {
            "security": [{"basic": []}, {}],
            "requestBody": request_body(
                "application/x-www-form-urlencoded",
                {
                    "type": "object",
                    "required": ["grant_type"],
                    "properties": {
                        "grant_type": {"const": "client_credentials"},
                        "scope": TEXT,
                        "client_id": TEXT,
                        "client_secret": TEXT,
                    },
                },
                "Secret here or by HTTP Basic, not both; no parameter twice",
            ),
            "responses": {
                "200": json_answer("A token for 600 s", "Token"),
                **{
                    str(status): json_answer(text, "OAuthError")
                    for status, text in (
                        (400, "Malformed, or grant or scope not given to this client"),
                        (401, "Unknown client or wrong secret"),
                        (408, "The body did not come in time"),
                        (413, "Over 16 KiB"),
                        (415, "Encoded body"),
                    )
                },
                **problems(),
            },
        },
    ),
    "get_metadata": (
        "oauth",
        "Authorization server metadata (RFC 8414)",
        {"responses": {"200": json_answer("The metadata", "Metadata"), **problems()}},
    ),
    "get_jwks": (
        "oauth",
        "Public keys of the access tokens (RFC 7517)",
        {"responses": {"200": json_answer("The keys, newest first", "Jwks"), **problems()}},
    ),
    "post_message": (
        "messages",
        "Hand in a message; waits at most 5 s for its certification",
        {
            "security": [{"oauth2": ["messages.write"]}],
            "parameters": [
                query_parameter(
                    "format",
                    "; ".join(f"{name}: {meaning}" for name, meaning in FORMATS.items()),
                    {"enum": list(FORMATS)},
                    required=True,
                )
            ],
            "requestBody": {
                "required": True,
                "content": {
                    **media_content("application/xml", TEXT),
                    **media_content("application/json", {}),
                    **media_content("*/*", TEXT),
                },
            },
            "responses": {**_MESSAGE_OUTCOME, **problems(*WITH_TOKEN, 408, 413, 415, 422)},
        },
    ),
    "get_message": (
        "messages",
        "What became of a message of this client",
        {
            "security": [{"oauth2": ["messages.write"]}],
            "parameters": [path_parameter("message", "SHA-256 of the bytes, hex", DIGEST)],
            "responses": {**_MESSAGE_OUTCOME, **problems(*WITH_TOKEN, 404)},
        },
    ),
    "get_readings": (
        "readings",
        "Certified records that the caller may read",
        {
            "security": [{"oauth2": ["readings.read"]}],
            "parameters": [
                query_parameter("device", "Pseudonym", PSEUDONYM),
                query_parameter(
                    "kind",
                    "Kind of record; without it all of these but `finding`",
                    {"enum": list(KINDS_ASKED)},
                ),
                query_parameter("register", "18-field ReadingType or name", TEXT),
                query_parameter("from", "First instant for the interval's end", TIME),
                query_parameter("to", "First instant that is too late", TIME),
                query_parameter("as_of", "`size:n` or an instant; else the newest", TEXT),
                query_parameter(
                    "versions",
                    "Of each slot the one that counts, or all",
                    {"enum": ["latest", "all"], "default": "latest"},
                ),
                _NEXT,
                _limit(),
            ],
            "responses": {
                "200": answer(
                    "One page, as of one size of the log",
                    {
                        **media_content("application/json", ref("Readings")),
                        **media_content("application/ld+json", ref("Graph")),
                        **media_content("text/turtle", TEXT),
                        **media_content("application/n-quads", TEXT),
                        **media_content("application/cim+xml", TEXT),
                        **media_content("application/xml", TEXT),
                    },
                    Gridseal_As_Of_Size="as_of_size",
                    Link="the next page, rel=next (RFC 8288)",
                    Vary="Accept: it chooses the form",
                ),
                **problems(*WITH_TOKEN, 406),
            },
        },
    ),
    "get_receipt": (
        "readings",
        "The best receipt of one record (C2SP tlog-proof)",
        {
            "security": [{"oauth2": ["readings.read"]}],
            "parameters": [
                path_parameter("index", "Place in the log", COUNT),
                query_parameter(
                    "frame", "Of a window of phasor frames: that of this one, from 0", COUNT
                ),
            ],
            "responses": {
                "200": answer("The receipt", media_content("text/plain", TEXT)),
                **problems(*WITH_TOKEN, 404),
            },
        },
    ),
    "get_frames": (
        "readings",
        "The phasor frames of a window, in order of time",
        {
            "security": [{"oauth2": ["readings.read"]}],
            "parameters": [
                path_parameter("index", "Place of the window's record in the log", COUNT)
            ],
            "responses": {
                "200": json_answer("All of them", "Frames"),
                **problems(*WITH_TOKEN, 404),
            },
        },
    ),
    "get_device_day": (
        "readings",
        "The proof of a device's day: all its slots, as of a close",
        {
            "security": [{"oauth2": ["readings.read"]}],
            "parameters": [
                path_parameter("device", "Pseudonym", PSEUDONYM),
                path_parameter(
                    "date", "Local date of the device", {"type": "string", "format": "date"}
                ),
                query_parameter("register", "Needed where the device has several", TEXT),
                query_parameter("close", "As of this close; else the newest", COUNT),
            ],
            "responses": {
                "200": json_answer("The document; it may prove absence", "DeviceDay"),
                **problems(*WITH_TOKEN, 404),
            },
        },
    ),
    "get_findings": (
        "readings",
        "What was refused or doubtful in messages and closed days, as far as the caller may know",
        {
            "security": [{"oauth2": ["findings.read"]}],
            "parameters": [
                query_parameter("device", "Pseudonym of a device", PSEUDONYM),
                query_parameter("sender", "Pseudonym of a sender's own subject", PSEUDONYM),
                query_parameter("code", "As in docs/spec/limits-and-codes.md", TEXT),
                query_parameter("severity", "How bad; else any", {"enum": list(SEVERITIES)}),
                query_parameter("from", "First receipt of a message, or time of a close", TIME),
                query_parameter("to", "First instant that is too late", TIME),
                query_parameter(
                    "order",
                    "Newest first, or in the order of the log",
                    {"enum": list(ORDERS), "default": ORDERS[0]},
                ),
                _NEXT,
                _limit(findings.PAGE_MAX, findings.PAGE_DEFAULT),
            ],
            "responses": {
                "200": json_answer(
                    "One page", "Findings", Link="the next page, rel=next (RFC 8288)"
                ),
                **problems(*WITH_TOKEN),
            },
        },
    ),
    "get_devices": (
        "readings",
        "Devices of the groups that the caller may read, by pseudonym",
        {
            "security": [{"oauth2": ["devices.read"]}],
            "parameters": [_NEXT, _limit()],
            "responses": {"200": json_answer("One page", "Devices"), **problems(*WITH_TOKEN)},
        },
    ),
    "get_checkpoint": (
        "log",
        "The newest checkpoint (C2SP tlog-checkpoint)",
        {
            "responses": {
                "200": answer("A signed note", media_content("text/plain", TEXT)),
                **problems(404),
            }
        },
    ),
    "get_tile": (
        "log",
        "A tile or an entry bundle (C2SP tlog-tiles)",
        {
            "parameters": [
                path_parameter("path", "`<L>/<N>[.p/<W>]` or `entries/<N>[.p/<W>]`", TEXT)
            ],
            "responses": {"200": answer("Never changes", _OCTETS), **problems(404)},
        },
    ),
    "post_rpc": (
        "chain",
        "Ethereum JSON-RPC, reading only",
        {
            "requestBody": request_body("application/json", ref("JsonRpc"), "JSON-RPC 2.0"),
            "responses": {
                "200": json_answer("The answer; errors too", "JsonRpc"),
                "204": {"description": "Notifications only: no answer"},
                **problems(408, 413, 415),
            },
        },
    ),
    "get_health": (
        "operation",
        "Each part and `ok`, or what is wrong with it",
        {
            "responses": {
                **problems(),
                "200": json_answer("All well", "Health"),
                "503": answer(
                    "A part is not well",
                    {
                        **media_content("application/json", ref("Health")),
                        **media_content(MEDIA_TYPE, ref("Problem")),
                    },
                ),
            }
        },
    ),
    "get_metrics": (
        "operation",
        "Metrics for Prometheus, to this machine only",
        {
            "responses": {
                "200": answer("Text format 0.0.4", media_content("text/plain", TEXT)),
                **problems(403),
            }
        },
    ),
}


def operation(name: str, of: Mapping[str, tuple[str, str, Json]] = _OPERATIONS) -> Json:
    """The arguments of FastAPI's route decorator for one operation."""
    tag, summary, extra = of[name]
    return {
        "operation_id": name,
        "summary": summary,
        "tags": [tag],
        "response_class": Response,
        "openapi_extra": extra,
    }
