"""The operations of the REST gateway as its OpenAPI 3.1 document describes them.

Written by hand because parameters are parsed by hand (bal/provide): FastAPI would accept `+7` for
7 and ignore what it does not know. A test checks every answer of every test against it.
"""

from starlette.responses import Response

from bal.harmonise import FORMATS
from bal.provide import findings
from bal.provide.findings import ORDERS, SEVERITIES
from bal.provide.problem import MEDIA_TYPE
from bal.provide.readings import KINDS_ASKED, PAGE_DEFAULT, PAGE_MAX
from infra.http_schema import COUNT, DIGEST, PSEUDONYM, TEXT, TIME, Json, ref


def _content(media: str, schema: Json) -> Json:
    return {media: {"schema": schema}}


def _answer(text: str, content: Json, **headers: str) -> Json:
    found: Json = {"description": text, "content": content}
    if headers:
        found["headers"] = {
            name.replace("_", "-"): {"description": meaning, "schema": TEXT}
            for name, meaning in headers.items()
        }
    return found


def _json(text: str, name: str, **headers: str) -> Json:
    return _answer(text, _content("application/json", ref(name)), **headers)


def _query(name: str, meaning: str, schema: Json, *, required: bool = False) -> Json:
    return {
        "name": name,
        "in": "query",
        "description": meaning,
        "required": required,
        "schema": schema,
    }


def _path(name: str, meaning: str, schema: Json) -> Json:
    return {
        "name": name,
        "in": "path",
        "description": meaning,
        "required": True,
        "schema": schema,
    }


def _body(media: str, schema: Json, meaning: str) -> Json:
    return {"required": True, "description": meaning, "content": _content(media, schema)}


_PROBLEMS = {
    400: "Malformed: which parameter, which rule",
    401: "No token, or not a good one",
    403: "The token lacks the scope",
    404: "Not there, or not for this caller",
    405: "Not with this method",
    406: "None of the forms that the caller accepts",
    408: "The body did not come in time",
    413: "The body is over the limit",
    414: "The target is over the limit",
    415: "Encoded, or of another media type",
    422: "No reading of the message was good; `refused` says why",
    429: "Too much under way for this client",
    431: "The headers are over the limit",
    500: "The platform failed",
    503: "Not now; Retry-After says when",
}
_ANYWHERE = (405, 414, 431, 500, 503)  # what the outer layers may say to any request
_WITH_TOKEN = (400, 401, 403, 429)


def _problems(*statuses: int) -> Json:
    content = _content(MEDIA_TYPE, ref("Problem"))
    return {str(s): _answer(_PROBLEMS[s], content) for s in sorted({*statuses, *_ANYWHERE})}


def _limit(most: int = PAGE_MAX, default: int = PAGE_DEFAULT) -> Json:
    schema = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
    return _query("limit", "Items on a page", schema)


_NEXT = _query("cursor", "`next` of the page before, with the same query", TEXT)
_MESSAGE_OUTCOME: Json = {
    "200": _json("The certified summary", "Certified"),
    "202": _json(
        "Durable, not yet certified: the accepted note",
        "Accepted",
        Location="where to ask",
        Retry_After="seconds",
    ),
}
_OCTETS = _content("application/octet-stream", {"type": "string", "format": "binary"})

_OPERATIONS: dict[str, tuple[str, str, Json]] = {
    "post_token": (
        "oauth",
        "Get an access token by client credentials (RFC 6749 §4.4)",
        {
            "security": [{"basic": []}, {}],
            "requestBody": _body(
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
                "200": _json("A token for 600 s", "Token"),
                **{
                    str(status): _json(text, "OAuthError")
                    for status, text in (
                        (400, "Malformed, or grant or scope not given to this client"),
                        (401, "Unknown client or wrong secret"),
                        (408, "The body did not come in time"),
                        (413, "Over 16 KiB"),
                        (415, "Encoded body"),
                    )
                },
                **_problems(),
            },
        },
    ),
    "get_metadata": (
        "oauth",
        "Authorization server metadata (RFC 8414)",
        {"responses": {"200": _json("The metadata", "Metadata"), **_problems()}},
    ),
    "get_jwks": (
        "oauth",
        "Public keys of the access tokens (RFC 7517)",
        {"responses": {"200": _json("The keys, newest first", "Jwks"), **_problems()}},
    ),
    "post_message": (
        "messages",
        "Hand in a message; waits at most 5 s for its certification",
        {
            "security": [{"oauth2": ["messages.write"]}],
            "parameters": [
                _query(
                    "format",
                    "; ".join(f"{name}: {meaning}" for name, meaning in FORMATS.items()),
                    {"enum": list(FORMATS)},
                    required=True,
                )
            ],
            "requestBody": {
                "required": True,
                "content": {
                    **_content("application/xml", TEXT),
                    **_content("application/json", {}),
                    **_content("*/*", TEXT),
                },
            },
            "responses": {**_MESSAGE_OUTCOME, **_problems(*_WITH_TOKEN, 408, 413, 415, 422)},
        },
    ),
    "get_message": (
        "messages",
        "What became of a message of this client",
        {
            "security": [{"oauth2": ["messages.write"]}],
            "parameters": [_path("message", "SHA-256 of the bytes, hex", DIGEST)],
            "responses": {**_MESSAGE_OUTCOME, **_problems(*_WITH_TOKEN, 404)},
        },
    ),
    "get_readings": (
        "readings",
        "Certified records that the caller may read",
        {
            "security": [{"oauth2": ["readings.read"]}],
            "parameters": [
                _query("device", "Pseudonym", PSEUDONYM),
                _query(
                    "kind",
                    "Kind of record; without it all of these but `finding`",
                    {"enum": list(KINDS_ASKED)},
                ),
                _query("register", "18-field ReadingType or name", TEXT),
                _query("from", "First instant for the interval's end", TIME),
                _query("to", "First instant that is too late", TIME),
                _query("as_of", "`size:n` or an instant; else the newest", TEXT),
                _query(
                    "versions",
                    "Of each slot the one that counts, or all",
                    {"enum": ["latest", "all"], "default": "latest"},
                ),
                _NEXT,
                _limit(),
            ],
            "responses": {
                "200": _answer(
                    "One page, as of one size of the log",
                    {
                        **_content("application/json", ref("Readings")),
                        **_content("application/ld+json", ref("Graph")),
                        **_content("text/turtle", TEXT),
                        **_content("application/cim+xml", TEXT),
                        **_content("application/xml", TEXT),
                    },
                    Gridseal_As_Of_Size="as_of_size",
                    Link="the next page, rel=next (RFC 8288)",
                    Vary="Accept: it chooses the form",
                ),
                **_problems(*_WITH_TOKEN, 406),
            },
        },
    ),
    "get_receipt": (
        "readings",
        "The best receipt of one record (C2SP tlog-proof)",
        {
            "security": [{"oauth2": ["readings.read"]}],
            "parameters": [
                _path("index", "Place in the log", COUNT),
                _query("frame", "Of a window of phasor frames: that of this one, from 0", COUNT),
            ],
            "responses": {
                "200": _answer("The receipt", _content("text/plain", TEXT)),
                **_problems(*_WITH_TOKEN, 404),
            },
        },
    ),
    "get_frames": (
        "readings",
        "The phasor frames of a window, in order of time",
        {
            "security": [{"oauth2": ["readings.read"]}],
            "parameters": [_path("index", "Place of the window's record in the log", COUNT)],
            "responses": {"200": _json("All of them", "Frames"), **_problems(*_WITH_TOKEN, 404)},
        },
    ),
    "get_device_day": (
        "readings",
        "The proof of a device's day: all its slots, as of a close",
        {
            "security": [{"oauth2": ["readings.read"]}],
            "parameters": [
                _path("device", "Pseudonym", PSEUDONYM),
                _path("date", "Local date of the device", {"type": "string", "format": "date"}),
                _query("register", "Needed where the device has several", TEXT),
                _query("close", "As of this close; else the newest", COUNT),
            ],
            "responses": {
                "200": _json("The document; it may prove absence", "DeviceDay"),
                **_problems(*_WITH_TOKEN, 404),
            },
        },
    ),
    "get_findings": (
        "readings",
        "What was refused or doubtful in messages, as far as the caller may know",
        {
            "security": [{"oauth2": ["findings.read"]}],
            "parameters": [
                _query("device", "Pseudonym of a device", PSEUDONYM),
                _query("sender", "Pseudonym of a sender's own subject", PSEUDONYM),
                _query("code", "As in docs/spec/limits-and-codes.md", TEXT),
                _query("severity", "How bad; else any", {"enum": list(SEVERITIES)}),
                _query("from", "First instant of the receipt of the message", TIME),
                _query("to", "First instant that is too late", TIME),
                _query(
                    "order",
                    "Newest first, or in the order of the log",
                    {"enum": list(ORDERS), "default": ORDERS[0]},
                ),
                _NEXT,
                _limit(findings.PAGE_MAX, findings.PAGE_DEFAULT),
            ],
            "responses": {
                "200": _json("One page", "Findings", Link="the next page, rel=next (RFC 8288)"),
                **_problems(*_WITH_TOKEN),
            },
        },
    ),
    "get_devices": (
        "readings",
        "Devices of the groups that the caller may read, by pseudonym",
        {
            "security": [{"oauth2": ["devices.read"]}],
            "parameters": [_NEXT, _limit()],
            "responses": {"200": _json("One page", "Devices"), **_problems(*_WITH_TOKEN)},
        },
    ),
    "get_checkpoint": (
        "log",
        "The newest checkpoint (C2SP tlog-checkpoint)",
        {
            "responses": {
                "200": _answer("A signed note", _content("text/plain", TEXT)),
                **_problems(404),
            }
        },
    ),
    "get_tile": (
        "log",
        "A tile or an entry bundle (C2SP tlog-tiles)",
        {
            "parameters": [_path("path", "`<L>/<N>[.p/<W>]` or `entries/<N>[.p/<W>]`", TEXT)],
            "responses": {"200": _answer("Never changes", _OCTETS), **_problems(404)},
        },
    ),
    "post_rpc": (
        "chain",
        "Ethereum JSON-RPC, reading only",
        {
            "requestBody": _body("application/json", ref("JsonRpc"), "JSON-RPC 2.0"),
            "responses": {
                "200": _json("The answer; errors too", "JsonRpc"),
                "204": {"description": "Notifications only: no answer"},
                **_problems(408, 413, 415),
            },
        },
    ),
    "get_health": (
        "operation",
        "Each part and `ok`, or what is wrong with it",
        {
            "responses": {
                **_problems(),
                "200": _json("All well", "Health"),
                "503": _answer(
                    "A part is not well",
                    {
                        **_content("application/json", ref("Health")),
                        **_content(MEDIA_TYPE, ref("Problem")),
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
                "200": _answer("Text format 0.0.4", _content("text/plain", TEXT)),
                **_problems(403),
            }
        },
    ),
}


def operation(name: str) -> Json:
    """The arguments of FastAPI's route decorator for one operation."""
    tag, summary, extra = _OPERATIONS[name]
    return {
        "operation_id": name,
        "summary": summary,
        "tags": [tag],
        "response_class": Response,
        "openapi_extra": extra,
    }
