"""The query API of the DSO Data Server: values of meters, for clients with a token.

GET only, JSON (or CIM XML of values); problems as RFC 9457. docs/dso-server.md describes it.
"""

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import FastAPI, Header, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from bal.errors import Rejected, Stop, Unavailable
from bal.times import rfc3339
from field import dso_cim
from field.dso_store import PAGE_MAX, DsoStore, Query, Stored
from field.dso_value import SECOND_US, register_of, unit_of, us_of

PAGE_DEFAULT = 1_000
URL_BYTES_MAX = 8_192
PROBLEM = "application/problem+json"
CIM = "application/xml"
_VALUES = frozenset(
    {"meter", "register", "from", "to", "versions", "cursor", "limit", "format"}
)  # fmt: skip
_LIST = frozenset({"after", "limit"})
_STATUS = {
    "token-missing": 401, "invalid-token": 401, "not-found": 404, "method-not-allowed": 405,
    "uri-too-long": 414,
}  # fmt: skip
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


def app(store: DsoStore) -> FastAPI:
    """The application; every path but /healthz asks for `Authorization: Bearer <token>`."""
    api = FastAPI(title="DSO Data Server", version="1", docs_url=None, redoc_url=None)
    _handlers(api)

    def client(authorization: str | None) -> str:
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Rejected("token-missing", "No access token was sent.", field="Authorization")
        name = store.client(token.strip())
        if name is None:
            raise Rejected("invalid-token", "The token is nobody's.", field="Authorization")
        return name

    authorised = Annotated[str | None, Header()]

    @api.get("/healthz", include_in_schema=False)
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @api.get("/v1/values", summary="Values of meters, a page at a time")
    def values(request: Request, authorization: authorised = None) -> Response:
        client(authorization)
        given = _parameters(request, _VALUES)
        form = _one_of("format", given.get("format", "json"), ("json", "cim"))
        query = _query(given)
        page = store.values(query)
        after = _cursor(page[-1]) if len(page) == query.limit else None
        if form == "cim":
            headers = {} if after is None else {"Link": _next(given, after)}
            by_meter = sorted((one.value for one in page), key=lambda one: one.meter)
            return Response(dso_cim.document(by_meter), media_type=CIM, headers=headers)
        return JSONResponse({"values": [_as_json(one) for one in page], "next": after})

    @api.get("/v1/meters", summary="Meters, their registers, and how far their values reach")
    def meters(request: Request, authorization: authorised = None) -> Response:
        client(authorization)
        _parameters(request, frozenset())
        return JSONResponse(
            {
                "meters": [
                    {
                        "meter": one["meter"],
                        "register": one["register"],
                        "unit": unit_of(one["register"]),
                        "first": rfc3339(one["first_us"]),
                        "last": rfc3339(one["last_us"]),
                    }
                    for one in store.meters()
                ]
            }
        )

    @api.get("/v1/imports", summary="Exports that were read, and what of each was refused")
    def imports(request: Request, authorization: authorised = None) -> Response:
        client(authorization)
        return _listed(request, "imports", store.exports)

    @api.get("/v1/publications", summary="Messages to the platform, and their receipts")
    def publications(request: Request, authorization: authorised = None) -> Response:
        client(authorization)
        return _listed(request, "publications", store.publications)

    return api


def _listed(
    request: Request, name: str, ask: Callable[[int, int], list[dict[str, Any]]]
) -> Response:
    given = _parameters(request, _LIST)
    limit = _number("limit", given.get("limit", "100"), 1, 1_000)
    rows = ask(_number("after", given.get("after", "0"), 0, 1 << 62), limit)
    for row in rows:
        for key in [key for key in row if key.endswith("_us")]:
            row[key.removesuffix("_us")] = rfc3339(row.pop(key))
        if "receipt" in row:
            row["receipt"] = json.loads(row["receipt"] or "null")
    return JSONResponse({name: rows, "next": rows[-1]["id"] if len(rows) == limit else None})


# --- parameters ---------------------------------------------------------------------------------


def _parameters(request: Request, known: frozenset[str]) -> dict[str, str]:
    if len(request.url.path) + len(request.url.query) > URL_BYTES_MAX:
        raise Rejected("uri-too-long", f"At most {URL_BYTES_MAX} bytes.")
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in known:
            raise Rejected("parameter-unknown", "This parameter is not known here.", field="query")
        if name in given:
            raise Rejected("parameter-repeated", "A parameter stands once.", field=name)
        given[name] = value
    return given


def _query(given: Mapping[str, str]) -> Query:
    register = given.get("register")
    if register is not None:
        try:
            register = register_of(register).register
        except Rejected as error:
            raise Rejected("parameter-invalid", error.text, field="register") from None
    versions = _one_of("versions", given.get("versions", "latest"), ("latest", "all"))
    return Query(
        meter=given.get("meter"),
        register=register,
        from_us=_time("from", given),
        to_us=_time("to", given),
        every_version=versions == "all",
        after=_place(given["cursor"]) if "cursor" in given else None,
        limit=_number("limit", given.get("limit", str(PAGE_DEFAULT)), 1, PAGE_MAX),
    )


def _one_of(name: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise Rejected("parameter-invalid", f"One of {', '.join(known)}.", field=name)
    return value


def _number(name: str, value: str, least: int, most: int) -> int:
    if _NUMBER.fullmatch(value) is None or not least <= int(value) <= most:
        raise Rejected("parameter-invalid", f"A number from {least} to {most}.", field=name)
    return int(value)


def _time(name: str, given: Mapping[str, str]) -> int | None:
    if name not in given:
        return None
    try:
        instant = datetime.fromisoformat(given[name])
        if instant.tzinfo is None:
            raise ValueError
        return us_of(instant)
    except (ValueError, OverflowError, Rejected):
        text = "RFC 3339 with an offset; a + is written %2B."
        raise Rejected("time-malformed", text, field=name) from None


def _cursor(last: Stored) -> str:
    value = last.value
    place = [value.end_us, value.meter.name, value.register, last.version]
    return urlsafe_b64encode(json.dumps(place).encode()).rstrip(b"=").decode()


def _place(cursor: str) -> tuple[int, str, str, int]:
    refused = Rejected("cursor-invalid", "Hand `next` in as it was given.", field="cursor")
    try:
        place = json.loads(urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)))
    except (ValueError, RecursionError):
        raise refused from None
    match place:
        case [int(end_us), str(meter), str(register), int(version)] if (
            abs(end_us) < 1 << 62 and abs(version) < 1 << 62 and (meter + register).isprintable()
        ):
            return end_us, meter, register, version
    raise refused


# --- answers ------------------------------------------------------------------------------------


def _as_json(one: Stored) -> dict[str, object]:
    value = one.value
    interval_us = register_of(value.register).interval_s * SECOND_US
    times = {"end": rfc3339(value.end_us)}
    begin_us = value.begin_us
    if begin_us is None and interval_us:
        begin_us = value.end_us - interval_us
    if begin_us is not None:
        times = {"begin": rfc3339(begin_us), **times}
    return {
        "meter": value.meter.name,
        "register": value.register,
        **times,
        "value": value.value,
        "unit": unit_of(value.register),
        "quality": list(value.qualities),
        "version": one.version,
        "centre": one.centre,
    }


def _next(given: Mapping[str, str], after: str) -> str:
    """The Link header of the next page (RFC 8288 §3)."""
    return f'</v1/values?{urlencode({**given, "cursor": after})}>; rel="next"'


def _handlers(api: FastAPI) -> None:
    @api.exception_handler(Rejected)
    async def rejected(_: Request, error: Rejected) -> Response:
        return _problem(_STATUS.get(error.code, 400), error.code, error.text, error.field)

    @api.exception_handler(Unavailable)
    async def unavailable(_: Request, error: Unavailable) -> Response:
        headers = {"Retry-After": str(error.retry_after_s)}
        return _problem(503, "unavailable", "Not available at the moment.", headers=headers)

    @api.exception_handler(Stop)
    async def stopped(_: Request, __: Stop) -> Response:
        return _problem(503, "stopped", "The server's own data is damaged.")

    @api.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        code = "method-not-allowed" if error.status_code == 405 else "not-found"
        return _problem(error.status_code, code, "There is nothing here.")

    @api.middleware("http")
    async def bounded(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        answer = await call(request)
        answer.headers["Cache-Control"] = "no-store"
        answer.headers["X-Content-Type-Options"] = "nosniff"
        return answer


def _problem(
    status: int, code: str, detail: str, field: str = "", headers: Mapping[str, str] | None = None
) -> Response:
    body = {
        "type": f"urn:gridseal:problem:{code}", "title": "Refused", "status": status,
        "detail": detail, "field": field, "clause": "",
    }  # fmt: skip
    extra = dict(headers or {})
    if status == 401:
        extra["WWW-Authenticate"] = "Bearer"
    return Response(json.dumps(body), status, media_type=PROBLEM, headers=extra)
