"""The shapes of what goes over the REST gateway: the components of the OpenAPI 3.1 document."""

from typing import Any

from bal.provide.policy import SCOPES

Json = dict[str, Any]

DESCRIPTION = (
    "Certified measurements of the electric grid. Every refusal is a problem document (RFC 9457);"
    " only /oauth/token answers in the form of RFC 6749."
)

TEXT: Json = {"type": "string"}
DIGEST: Json = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
COUNT: Json = {"type": "integer", "minimum": 0}
PSEUDONYM: Json = {"type": "string", "pattern": "^[A-Za-z0-9_-]{43}$"}
TIME: Json = {"type": "string", "format": "date-time"}
_CURSOR: Json = {"type": ["string", "null"], "description": "null on the last page"}


def _object(required: str, properties: Json, *, more: bool = False) -> Json:
    return {
        "type": "object",
        "required": required.split(),
        "properties": properties,
        "additionalProperties": more,
    }


def ref(name: str) -> Json:
    """A reference to one of SCHEMAS."""
    return {"$ref": f"#/components/schemas/{name}"}


def _list(of: Json) -> Json:
    return {"type": "array", "items": of}


# as bal.model.Finding.as_json gives it: all strings
_FINDING = dict.fromkeys(("code", "severity", "field", "line", "clause", "text"), TEXT)

_INDEX_OR_NONE: Json = {"type": ["integer", "null"], "minimum": 0}
_TIME_OR_EMPTY: Json = {"anyOf": [TIME, {"const": ""}]}
_KNOWN: Json = {"type": "string", "pattern": "^([A-Za-z0-9_-]{43})?$"}  # "": not known
_NUMBER: Json = {"type": "string", "pattern": "^(0|[1-9][0-9]*)$"}
_PLACE: Json = {
    "index": _NUMBER,
    "path": _list({"type": "string", "pattern": "^[A-Za-z0-9+/]{43}=$"}),
}

SCHEMAS: Json = {
    "Problem": _object(
        "type title status detail field clause",
        {
            "type": {"type": "string", "pattern": "^urn:gridseal:problem:[a-z0-9-]+$"},
            "title": TEXT,
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": TEXT,
            "field": TEXT,
            "clause": TEXT,
            "refused": _list(ref("Finding")),
            "findings": _list(ref("Finding")),
        },
        more=True,
    ),
    "Finding": _object("code severity field line clause text", _FINDING),
    "OAuthError": _object("error", {"error": TEXT, "error_description": TEXT}),
    "Token": _object(
        "access_token token_type expires_in scope",
        {
            "access_token": TEXT,
            "token_type": {"const": "Bearer"},
            "expires_in": COUNT,
            "scope": TEXT,
        },
    ),
    "Metadata": _object(
        "issuer token_endpoint jwks_uri response_types_supported",
        {
            "issuer": TEXT,
            "token_endpoint": TEXT,
            "jwks_uri": TEXT,
            "scopes_supported": _list(TEXT),
            "response_types_supported": _list(TEXT),
            "grant_types_supported": _list(TEXT),
            "token_endpoint_auth_methods_supported": _list(TEXT),
        },
    ),
    "Jwks": _object(
        "keys",
        {
            "keys": _list(
                _object(
                    "kty crv x y kid",
                    dict.fromkeys(("kty", "crv", "x", "y", "kid", "alg", "use"), TEXT),
                )
            )
        },
    ),
    "Certified": _object(
        "type message findings refused",
        {
            "type": {"enum": ["certified", "refused"]},
            "message": DIGEST,
            "batch": {"type": "string", "description": "epoch/partition/offset"},
            "first_index": COUNT,
            "count": COUNT,
            "checkpoint": {"type": "string", "description": "signed note, C2SP tlog-checkpoint"},
            "receipt": {"type": "string", "description": "C2SP tlog-proof, only if count is 1"},
            "findings": _list(ref("Finding")),
            "refused": _list(ref("Finding")),
        },
        more=True,
    ),
    "Accepted": _object(
        "type message note",
        {"type": {"const": "accepted"}, "message": DIGEST, "note": TEXT},
        more=True,
    ),
    "Record": {
        "type": "object",
        "description": "The certified bytes, RFC 8785; docs/spec/record.md says what stands in it.",
        "required": ["kind"],
        "properties": {
            "kind": TEXT,
            "device": PSEUDONYM,
            "register": TEXT,
            "value": TEXT,
            "unit": TEXT,
            "begin": TIME,
            "end": TIME,
            "time": TIME,
            "quality": _list(TEXT),
        },
    },
    "Item": _object(
        "record index state findings receipt",
        {
            "record": ref("Record"),
            "index": COUNT,
            "state": {"enum": ["included", "anchored", "final"]},
            "findings": _list(ref("Finding")),
            "receipt": {"type": "string", "pattern": "^/v1/receipts/[0-9]+$"},
        },
    ),
    "Readings": _object(
        "items next as_of_size",
        {"items": _list(ref("Item")), "next": _CURSOR, "as_of_size": COUNT},
    ),
    "Graph": _object("@context @graph", {"@context": {}, "@graph": _list({"type": "object"})}),
    "Queries": _object(
        "items",
        {
            "items": _list(
                _object(
                    "name title parameters query",
                    {
                        **dict.fromkeys(("name", "title", "query"), TEXT),
                        "parameters": _list(
                            _object(
                                "name sort optional",
                                {
                                    "name": TEXT,
                                    "sort": {"enum": ["text", "device"]},
                                    "optional": {"type": "boolean"},
                                },
                            )
                        ),
                    },
                )
            )
        },
    ),
    "Frames": {
        "type": "array",
        "items": _object(
            "readings time",
            {
                "readings": {
                    "type": "array",
                    "items": _object(
                        "component data measurand phase",
                        {
                            "component": TEXT,
                            "data": {"type": "string", "description": "decimal"},
                            "measurand": TEXT,
                            "phase": {"enum": ["A", "B", "C"]},
                        },
                    ),
                },
                "time": TIME,
            },
        ),
    },
    "DeviceDay": _object(
        "v device date register zone checkpoint close day_proof previous slots",
        {
            "v": {"const": "gridseal.day/1"},
            "device": PSEUDONYM,
            "date": {"type": "string", "format": "date"},
            "register": TEXT,
            "zone": TEXT,
            "checkpoint": {"type": "string", "description": "signed note, C2SP tlog-checkpoint"},
            "close": _object("record index path", {"record": TEXT, **_PLACE}),
            "day_proof": ref("BookProof"),
            "key_proof": ref("BookProof"),
            "device_day": ref("DeviceDayVersion"),
            "previous": _list(ref("DeviceDayVersion")),
            "slots": _list(
                _object(
                    "slot record salt index path",
                    {"slot": _NUMBER, "record": TEXT, "salt": DIGEST, **_PLACE},
                )
            ),
            "anchor": {"type": "object", "additionalProperties": TEXT},
        },
    ),
    "DeviceDayVersion": _object(
        "data salt index path",
        {"data": {"type": "string", "contentEncoding": "base64"}, "salt": DIGEST, **_PLACE},
    ),
    "BookProof": _object(
        "siblings",
        {
            "siblings": {**_list(DIGEST), "maxItems": 256},
            "terminal": _object("key value", {"key": DIGEST, "value": DIGEST}),
        },
    ),
    "Found": _object(
        "source message batch first_index count received format sender device"
        " code severity field line clause text index register begin end replaced_by",
        {
            "source": {"enum": ["message", "guard", "vee"]},
            "message": {"type": "string", "pattern": "^([0-9a-f]{64})?$"},
            "batch": {"type": "string", "description": "epoch/partition/offset"},
            "first_index": COUNT,
            "count": COUNT,
            "received": TIME,
            "format": TEXT,
            "sender": _KNOWN,
            "device": _KNOWN,
            **_FINDING,
            "severity": {"enum": ["refused", "warning", "info"]},
            "index": _INDEX_OR_NONE,
            "register": TEXT,
            "begin": _TIME_OR_EMPTY,
            "end": _TIME_OR_EMPTY,
            "replaced_by": _INDEX_OR_NONE,
        },
    ),
    "Findings": _object("items next", {"items": _list(ref("Found")), "next": _CURSOR}),
    "Device": _object(
        "device group zone kind state",
        {
            "device": PSEUDONYM,
            "group": TEXT,
            "zone": {"type": "string", "description": "IANA time zone"},
            "kind": TEXT,
            "state": {"enum": ["active", "revoked"]},
        },
    ),
    "Devices": _object("items next", {"items": _list(ref("Device")), "next": _CURSOR}),
    "Health": {"type": "object", "additionalProperties": TEXT},
    "JsonRpc": {"type": ["object", "array"]},
}

COMPONENTS: Json = {
    "schemas": SCHEMAS,
    "securitySchemes": {
        "oauth2": {
            "type": "oauth2",
            "flows": {"clientCredentials": {"tokenUrl": "/oauth/token", "scopes": SCOPES}},
        },
        "basic": {"type": "http", "scheme": "basic", "description": "client_id and secret"},
    },
}
