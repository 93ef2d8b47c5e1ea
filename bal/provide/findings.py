"""`GET /v1/findings` without the HTTP: what was refused or doubtful, in messages and in closed
days, for those who may know."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast, get_args

import msgspec

from bal.errors import Rejected, Stop
from bal.found import About, FindingsQuery, StoredFinding
from bal.model import Severity
from bal.provide import cursor as cursors
from bal.provide.parameters import check_known, instant_us, matching, one_of, parameters
from bal.provide.policy import ClientInfo, may_read, readable_groups
from bal.provide.readings import page_limit
from bal.times import rfc3339

PAGE_MAX = 1_000  # of each message on a page the bytes are opened, for their hash
PAGE_DEFAULT = 100
PARAMETERS = ("device", "sender", "code", "severity", "from", "to", "order", "cursor", "limit")
SEVERITIES: tuple[str, ...] = get_args(Severity)
ORDERS = ("newest", "log")
_PSEUDONYM = re.compile(r"[A-Za-z0-9_-]{43}")
_OF_NO_RECORD = About("", "", "")
_CODE = re.compile(r"[a-z][a-z0-9-]{0,63}")

Place = tuple[int, int, int, int, str]


@dataclass(frozen=True, slots=True)
class FindingsRequest:
    """What the caller wrote, checked."""

    device: str | None
    sender: str | None
    code: str | None
    severity: str | None
    from_us: int | None
    to_us: int | None
    order: str
    cursor: str | None
    limit: int

    def identity(self, client: ClientInfo) -> list[str]:
        """What must be the same on the next page; the limit may change."""
        asked = (self.device, self.sender, self.code, self.severity)
        when = (self.from_us, self.to_us, self.order)
        return ["findings", client.client_id, *(str(part) for part in (*asked, *when))]


def parse_request(query: bytes, page_max: int = PAGE_MAX) -> FindingsRequest:
    """The request in a raw query string; Rejected names the parameter at fault."""
    given = parameters(query)
    check_known(given, PARAMETERS)
    from_us = instant_us("from", given["from"]) if "from" in given else None
    to_us = instant_us("to", given["to"]) if "to" in given else None
    if from_us is not None and to_us is not None and to_us < from_us:
        raise Rejected("parameter-invalid", "Must not lie before `from`.", field="to")
    severity = one_of("severity", given["severity"], SEVERITIES) if "severity" in given else None
    return FindingsRequest(
        device=_matching(given, "device", _PSEUDONYM, "a pseudonym, 43 characters of base64url"),
        sender=_matching(given, "sender", _PSEUDONYM, "a pseudonym, 43 characters of base64url"),
        code=_matching(given, "code", _CODE, "a code, a-z 0-9 and -"),
        severity=severity,
        from_us=from_us,
        to_us=to_us,
        order=one_of("order", given.get("order", ORDERS[0]), ORDERS),
        cursor=given.get("cursor"),
        limit=page_limit({"limit": given.get("limit", str(min(PAGE_DEFAULT, page_max)))}, page_max),
    )


def query_of(
    request: FindingsRequest, client: ClientInfo, *, visible: int, cursor_keys: Sequence[bytes]
) -> FindingsQuery:
    """The query that answers `request` for `client`; one item more than a page tells of the next.

    visible: entries that are published and stored. Raises Rejected("cursor-invalid").
    """
    after: Place | None = None
    if request.cursor is not None:
        place = cursors.unseal(cursor_keys, request.identity(client), request.cursor)
        after = cast("Place", tuple(place))  # sealed by us: no need to check
    return FindingsQuery(
        groups=readable_groups(client),
        device=request.device,
        sender=request.sender,
        code=request.code,
        severity=request.severity,
        from_us=request.from_us,
        to_us=request.to_us,
        newest_first=request.order == ORDERS[0],
        size=visible,
        after=after,
        limit=request.limit + 1,
    )


class _Item(msgspec.Struct):
    source: str
    message: str
    batch: str
    first_index: int
    count: int
    received: str
    format: str
    sender: str
    device: str
    code: str
    severity: str
    field: str
    line: str
    clause: str
    text: str
    index: int | None
    register: str
    begin: str
    end: str
    replaced_by: int | None


class _Page(msgspec.Struct):
    items: list[_Item]
    next: str | None


def page(
    request: FindingsRequest,
    client: ClientInfo,
    key: bytes,
    found: Sequence[StoredFinding],
    message_of: Callable[[str, int, int], str],
) -> tuple[bytes, str | None]:
    """A page as JSON, and the cursor of the next one.

    found: what the query gave; message_of: SHA-256 of the message of a batch in hex, "" where its
    bytes can no longer be opened. Raises Stop where an item is not for this client.
    """
    shown = found[: request.limit]
    for one in shown:  # the store was asked for these only; better dead than wrong
        if not _may_know(client, one):
            text = f"the store gave a finding of batch {one.batch} against the query"
            raise Stop("row-not-asked-for", text)
    following = None
    if len(found) > len(shown):
        following = cursors.seal(key, request.identity(client), shown[-1].place)
    batches = dict.fromkeys(one.batch for one in shown if one.source == "message")
    messages = {batch: message_of(*batch) for batch in batches}
    items = [_item(one, messages.get(one.batch, "")) for one in shown]
    return msgspec.json.encode(_Page(items, following)), following


def _may_know(client: ClientInfo, one: StoredFinding) -> bool:
    """What is of no device is for those who may read every device."""
    return may_read(client, one.group) if one.device else readable_groups(client) is None


def _item(one: StoredFinding, message: str) -> _Item:
    about = one.about or _OF_NO_RECORD
    return _Item(
        source=one.source,
        message=message,
        batch="/".join(map(str, one.batch)) if one.on_bus else "",
        first_index=one.place[0],
        count=one.count,
        received=rfc3339(one.received_us),
        format=one.format,
        sender=one.sender,
        device=one.device,
        **one.finding.as_json(),
        index=one.index,
        register=about.register,
        begin=about.begin,
        end=about.end,
        replaced_by=about.replaced_by,
    )


def _matching(
    given: Mapping[str, str], name: str, pattern: re.Pattern[str], meaning: str
) -> str | None:
    return matching(name, given[name], pattern, meaning) if name in given else None
