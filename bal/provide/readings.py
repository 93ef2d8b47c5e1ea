"""`GET /v1/readings` and `GET /v1/devices` without the HTTP: from parameters to rows to bytes."""

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import msgspec

from bal.errors import Rejected, Stop, Unavailable
from bal.model import DeviceInfo, ReadingsQuery, StoredRecord
from bal.provide import cursor as cursors
from bal.provide.parameters import check_known, decimal, instant_us, matching, one_of, parameters
from bal.provide.policy import ClientInfo, readable_groups
from bal.provide.rdf import Viewed

PAGE_MAX = 10_000
PAGE_DEFAULT = 1_000
PARAMETERS = (
    "device",
    "kind",
    "register",
    "from",
    "to",
    "as_of",
    "versions",
    "cursor",
    "limit",
)
KINDS = ("reading", "telemetry", "event", "phasors")  # of what a device measures or says
KINDS_ASKED = (*KINDS, "finding")  # the last one only by its name: docs/spec/vee.md
_DEVICE = re.compile(r"[A-Za-z0-9_-]{43}")
_REGISTER = re.compile(r"[^\s]{1,256}")


@dataclass(frozen=True, slots=True)
class ReadingsRequest:
    """What the caller wrote, checked as far as that goes without the log."""

    device: str | None
    kind: str | None
    register: str | None
    from_us: int | None
    to_us: int | None
    as_of_us: int | None  # at most one of as_of_us, as_of_size
    as_of_size: int | None
    versions: Literal["latest", "all"]
    cursor: str | None
    limit: int

    def identity(self, client: ClientInfo) -> list[str]:
        """What must be the same on the next page; the limit may change."""
        asked = (self.device, self.kind, self.register, self.from_us, self.to_us)
        as_of = (self.as_of_us, self.as_of_size, self.versions)
        return ["readings", client.client_id, *(str(part) for part in asked + as_of)]


def parse_request(query: bytes, page_max: int = PAGE_MAX) -> ReadingsRequest:
    """The request in a raw query string; Rejected names the parameter at fault."""
    given = parameters(query)
    check_known(given, PARAMETERS)
    get = given.get
    from_us = instant_us("from", given["from"]) if "from" in given else None
    to_us = instant_us("to", given["to"]) if "to" in given else None
    if from_us is not None and to_us is not None and to_us < from_us:
        raise Rejected("parameter-invalid", "Must not lie before `from`.", field="to")
    as_of_us, as_of_size = _as_of(get("as_of"))
    versions = one_of("versions", get("versions", "latest"), ("latest", "all"))
    return ReadingsRequest(
        device=_optional(given, "device", _DEVICE, "a pseudonym, 43 characters of base64url"),
        kind=one_of("kind", given["kind"], KINDS_ASKED) if "kind" in given else None,
        register=_optional(given, "register", _REGISTER, "1 to 256 characters without space"),
        from_us=from_us,
        to_us=to_us,
        as_of_us=as_of_us,
        as_of_size=as_of_size,
        versions=cast("Literal['latest', 'all']", versions),
        cursor=get("cursor"),
        limit=page_limit(given, page_max),
    )


def query_of(
    request: ReadingsRequest,
    client: ClientInfo,
    *,
    published: int,
    stored: int,
    size_at: Callable[[int], int],
    cursor_keys: Sequence[bytes],
) -> ReadingsQuery:
    """The query that answers `request` for `client`, pinned to one size of the log.

    published: size of the published log; stored: every row below it can be read;
    size_at: largest size published by an instant. What is asked for by name is given whole or
    not at all: an answer as of one size never changes.
    Raises Rejected: cursor-invalid, as-of-ahead; Unavailable while rows are still being stored.
    """
    after: list[object] | None = None
    if request.cursor is not None:
        place = cursors.unseal(cursor_keys, request.identity(client), request.cursor)
        size, after = cast("tuple[int, list[object]]", place)  # sealed by us: no need to check
    elif request.as_of_us is not None:
        size = min(size_at(request.as_of_us), published)
    else:
        newest = min(published, stored)
        size = newest if request.as_of_size is None else request.as_of_size
    if size > published:
        raise Rejected("as-of-ahead", f"The published size is {published}.", field="as_of")
    if size > stored:
        raise Unavailable("The newest rows are still being stored.", retry_after_s=1)
    return ReadingsQuery(
        groups=readable_groups(client),
        device=request.device,
        kind=request.kind,
        register=request.register,
        from_us=request.from_us,
        to_us=request.to_us,
        as_of_size=size,
        versions=request.versions,
        after=after,
        limit=request.limit,
    )


def next_cursor(
    request: ReadingsRequest, client: ClientInfo, key: bytes, size: int, after: Sequence[object]
) -> str:
    """The cursor of the page after the row whose sort key is `after`."""
    return cursors.seal(key, request.identity(client), [size, list(after)])


class _Item(msgspec.Struct):
    record: msgspec.Raw
    index: int
    state: str
    findings: list[dict[str, str]]
    receipt: str


class _Page(msgspec.Struct):
    items: list[_Item]
    next: str | None
    as_of_size: int


class _Noted(msgspec.Struct):
    findings: list[dict[str, str]] = []


_noted = msgspec.json.Decoder(_Noted)


def page_json(
    rows: Sequence[StoredRecord], states: Sequence[str], following: str | None, as_of_size: int
) -> bytes:
    """One page as plain JSON; the certified bytes of each record stand in it unchanged."""
    items = [
        _Item(
            record=msgspec.Raw(row.certified),
            index=row.index,
            state=state,
            findings=_findings(row),
            receipt=f"/v1/receipts/{row.index}",
        )
        for row, state in zip(rows, states, strict=True)
    ]
    return msgspec.json.encode(_Page(items, following, as_of_size))


def viewed(rows: Sequence[StoredRecord], commitments: Sequence[bytes]) -> list[Viewed]:
    """Rows as the other forms of a page take them; commitments: 32 bytes for each row."""
    return [
        Viewed(commitment.hex(), row.index, row.certified)
        for row, commitment in zip(rows, commitments, strict=True)
    ]


def devices_page(
    devices: Sequence[DeviceInfo], after: tuple[str, str] | None, limit: int
) -> tuple[list[DeviceInfo], tuple[str, str] | None]:
    """The devices behind `after` in order of (group, pseudonym), and where the next page starts."""
    ordered = sorted(devices, key=_device_key)
    start = 0 if after is None else bisect_right(ordered, after, key=_device_key)
    page = ordered[start : start + limit]
    more = start + limit < len(ordered)
    return page, _device_key(page[-1]) if more else None


def devices_json(devices: Sequence[DeviceInfo], following: str | None) -> bytes:
    """A page of devices. Neither identity nor sender: a sender's name may be the identity."""
    items = [
        {"device": d.device, "group": d.group, "zone": d.zone, "kind": d.kind, "state": d.state}
        for d in devices
    ]
    return msgspec.json.encode({"items": items, "next": following})


def page_limit(given: Mapping[str, str], page_max: int = PAGE_MAX) -> int:
    """The `limit` parameter, 1 … page_max."""
    if "limit" not in given:
        return min(PAGE_DEFAULT, page_max)
    return decimal("limit", given["limit"], 1, page_max)


def _findings(row: StoredRecord) -> list[dict[str, str]]:
    try:
        noted = _noted.decode(row.certified).findings
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Stop("record-unreadable", f"row {row.index} holds no record: {error}") from error
    return [{name: text for name, text in f.items() if name != "id"} for f in noted]


def _as_of(text: str | None) -> tuple[int | None, int | None]:
    if text is None:
        return None, None
    if text.startswith("size:"):
        return None, decimal("as_of", text.removeprefix("size:"), 0, 2**53)
    return instant_us("as_of", text), None


def _optional(
    given: Mapping[str, str], name: str, pattern: re.Pattern[str], meaning: str
) -> str | None:
    return matching(name, given[name], pattern, meaning) if name in given else None


def _device_key(device: DeviceInfo) -> tuple[str, str]:
    return device.group, str(device.device)
