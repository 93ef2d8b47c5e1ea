"""POST /v1/messages: a message is durable, then answered; GET /v1/messages/{hex}: what became."""

import re
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from bal.errors import Rejected, Unavailable
from bal.harmonise import FORMATS
from bal.model import Finding
from bal.provide.parameters import check_known, parameters, required
from bal.provide.problem import Problem, of_refused_message
from infra.http_gateway import Gateway, Refusal, json_response, no_parameters, not_found
from infra.http_operations import operation
from infra.http_services import Submitted

_MESSAGE = re.compile(r"[0-9a-f]{64}")
# What `submit` may refuse a message for without having looked into it; all else is 422.
_STATUS = {"message-too-large": 413, "sender-revoked": 403}


class Pending:
    """Accepted notes of messages that were not certified in time; the oldest go first."""

    def __init__(self, entries_max: int) -> None:
        self._entries_max = entries_max
        self._notes: OrderedDict[tuple[str, str], str] = OrderedDict()

    def put(self, credential: str, submitted: Submitted) -> None:
        """Remember one note."""
        self._notes[credential, submitted.message] = submitted.accepted
        if len(self._notes) > self._entries_max:
            self._notes.popitem(last=False)

    def get(self, credential: str, message: str) -> str | None:
        """The note of this credential's message."""
        return self._notes.get((credential, message))

    def drop(self, credential: str, message: str) -> None:
        """It is certified: the note has done its work."""
        self._notes.pop((credential, message), None)


def routes(gateway: Gateway) -> APIRouter:
    """The two operations on messages."""
    router = APIRouter()
    services, limits = gateway.services, gateway.limits
    pending = Pending(limits.pending_max)

    @router.post("/v1/messages", **operation("post_message"))
    async def post_message(request: Request) -> Response:
        async with gateway.caller(request, "messages.write") as caller:
            credential = caller.client.client_id
            form = _format(request)
            with gateway.messages.one():
                submitted = await _submit(gateway, request, credential, form)
            try:
                summary = await services.certified(
                    credential, submitted.message, limits.certified_wait_s
                )
            except Unavailable:
                summary = None  # the message is on the bus all the same
            if summary is not None:
                return _verdict(submitted.message, summary)
            pending.put(credential, submitted)
            return _accepted(submitted.message, submitted.accepted)

    @router.get("/v1/messages/{message}", **operation("get_message"))
    async def get_message(request: Request) -> Response:
        async with gateway.caller(request, "messages.write") as caller:
            no_parameters(request)
            message, credential = request.path_params["message"], caller.client.client_id
            if not _MESSAGE.fullmatch(message):
                raise not_found()
            summary = await services.certified(credential, message, 0)
            if summary is not None:
                pending.drop(credential, message)
                return json_response(msgspec.json.encode(summary))
            note = pending.get(credential, message)
            if note is not None:
                return _accepted(message, note)
            problem = Problem(404, "message-unknown", "Not certified; if accepted, ask again.")
            raise Refusal(problem, {"Retry-After": "1"})

    return router


async def _submit(gateway: Gateway, request: Request, credential: str, form: str) -> Submitted:
    raw = await gateway.body(request, gateway.limits.message_bytes_max)
    try:
        return await gateway.services.submit(credential, form, raw)
    except Rejected as error:
        finding = Finding(
            error.code, "refused", error.text, error.field, error.line, error.clause
        ).as_json()
        problem = of_refused_message(sha256(raw).hexdigest(), {"refused": [finding]})
        raise Refusal(
            Problem(
                _STATUS.get(error.code, 422),
                problem.code,
                problem.detail,
                problem.field,
                problem.clause,
                {**problem.extra, "line": finding["line"]},
            )
        ) from error


def _format(request: Request) -> str:
    given = parameters(request.scope["query_string"])
    check_known(given, ("format",))
    form = required(given, "format")
    if form not in FORMATS:
        raise Rejected("format-unknown", f"Known are {', '.join(FORMATS)}.", field="format")
    return form


def _verdict(message: str, summary: Mapping[str, object]) -> Response:
    if summary.get("type") == "refused":
        raise Refusal(of_refused_message(message, summary))
    return json_response(msgspec.json.encode(summary))


def _accepted(message: str, note: str) -> Response:
    headers = {"Location": f"/v1/messages/{message}", "Retry-After": "1"}
    return json_response(note.encode("utf-8"), 202, headers)
