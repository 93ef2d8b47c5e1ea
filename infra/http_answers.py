"""What the description of an operation is made of (infra/http_operations.py): OpenAPI 3.1."""

from bal.provide.problem import MEDIA_TYPE
from infra.http_schema import TEXT, Json, ref


def media_content(media: str, schema: Json) -> Json:
    """One media type and its schema."""
    return {media: {"schema": schema}}


def answer(text: str, content: Json, **headers: str) -> Json:
    """A response; underscores of header names are hyphens."""
    found: Json = {"description": text, "content": content}
    if headers:
        found["headers"] = {
            name.replace("_", "-"): {"description": meaning, "schema": TEXT}
            for name, meaning in headers.items()
        }
    return found


def json_answer(text: str, name: str, **headers: str) -> Json:
    """A response of application/json by one of SCHEMAS."""
    return answer(text, media_content("application/json", ref(name)), **headers)


def query_parameter(name: str, meaning: str, schema: Json, *, required: bool = False) -> Json:
    """A parameter of the query string."""
    return {
        "name": name,
        "in": "query",
        "description": meaning,
        "required": required,
        "schema": schema,
    }


def path_parameter(name: str, meaning: str, schema: Json) -> Json:
    """A parameter of the path."""
    return {
        "name": name,
        "in": "path",
        "description": meaning,
        "required": True,
        "schema": schema,
    }


def request_body(media: str, schema: Json, meaning: str) -> Json:
    """A request body of one media type."""
    return {"required": True, "description": meaning, "content": media_content(media, schema)}


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
WITH_TOKEN = (400, 401, 403, 429)


def problems(*statuses: int) -> Json:
    """The refusals of an operation, with those that any may have."""
    content = media_content(MEDIA_TYPE, ref("Problem"))
    return {str(s): answer(_PROBLEMS[s], content) for s in sorted({*statuses, *_ANYWHERE})}
