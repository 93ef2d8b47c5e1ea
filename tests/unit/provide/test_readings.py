import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal import jcs
from bal.errors import Rejected, Stop, Unavailable
from bal.model import DeviceInfo, Pseudonym, Rank, ReadingsQuery, StoredRecord
from bal.provide.policy import ClientInfo
from bal.provide.readings import (
    devices_json,
    devices_page,
    next_cursor,
    page_json,
    parse_request,
    query_of,
)

KEY = b"k" * 32
CLIENT = ClientInfo("c", b"", frozenset({"readings.read"}), frozenset({"north"}))
DEVICE = "A" * 43


def ask(
    cursor_keys: Sequence[bytes] = (KEY,),
    client: ClientInfo = CLIENT,
    published: int = 100,
    stored: int = 100,
    **given: Any,
) -> ReadingsQuery:
    return query_of(
        parse_request(urlencode(given).encode()),
        client,
        published=published,
        stored=stored,
        size_at=lambda us: us // 1_000_000,
        cursor_keys=cursor_keys,
    )


def row(record: dict[str, Any], index: int = 0) -> StoredRecord:
    return StoredRecord(
        Pseudonym(DEVICE), 1, "reading", "r", 0, index, Rank.MEASURED, b"\x01", 2026,
        jcs.encode(record), "north/0",
    )  # fmt: skip


def test_every_parameter_reaches_the_query() -> None:
    query = ask(
        device=DEVICE,
        kind="reading",
        register="0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0",
        **{"from": "1970-01-01T00:00:01Z", "to": "1970-01-01T01:00:02+01:00"},
        as_of="size:7",
        versions="all",
        limit="5",
    )
    assert query == ReadingsQuery(
        groups=frozenset({"north"}),
        device=DEVICE,
        kind="reading",
        register="0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0",
        from_us=1_000_000,
        to_us=2_000_000,
        as_of_size=7,
        versions="all",
        limit=5,
    )


def test_without_parameters_it_is_the_newest_of_the_callers_groups() -> None:
    assert ask() == ReadingsQuery(groups=frozenset({"north"}), as_of_size=100)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"device": "A" * 42}, "device"),
        ({"device": "A" * 42 + "="}, "device"),
        ({"kind": "Reading"}, "kind"),
        ({"kind": "nonsense"}, "kind"),
        ({"kind": "device"}, "kind"),  # the platform's own: nobody's readings
        ({"register": "a b"}, "register"),
        ({"register": "x" * 257}, "register"),
        ({"register": ""}, "register"),
        ({"from": "2026-01-15T10:00:00"}, "from"),
        ({"to": "tomorrow"}, "to"),
        ({"from": "2026-01-15T10:00:01Z", "to": "2026-01-15T10:00:00Z"}, "to"),
        ({"as_of": "size:-1"}, "as_of"),
        ({"as_of": "size:07"}, "as_of"),
        ({"as_of": "7"}, "as_of"),
        ({"as_of": "size:101"}, "as_of"),
        ({"versions": "newest"}, "versions"),
        ({"limit": "0"}, "limit"),
        ({"limit": "10001"}, "limit"),
        ({"cursor": "AAAA"}, "cursor"),
        ({"group": "south"}, "group"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(given: dict[str, str], field: str) -> None:
    with pytest.raises(Rejected) as caught:
        ask(**given)
    assert caught.value.field == field


def test_as_of_an_instant_is_the_size_published_by_then() -> None:
    assert ask(as_of="1970-01-01T00:00:42Z").as_of_size == 42
    assert ask(as_of="2030-01-01T00:00:00Z").as_of_size == 100  # never beyond what is published


def test_what_is_not_stored_yet_is_waited_for_or_left_out() -> None:
    assert ask(stored=90).as_of_size == 90
    with pytest.raises(Unavailable):
        ask(stored=90, as_of="size:95")
    with pytest.raises(Unavailable):
        ask(stored=90, as_of="2030-01-01T00:00:00Z")


def test_a_cursor_pins_the_size_and_may_have_another_limit() -> None:
    asked = parse_request(b"kind=reading&limit=2")
    place = [1, DEVICE, "reading", "r", 0, 3]
    cursor = next_cursor(asked, CLIENT, KEY, 55, place)
    query = ask(kind="reading", limit="9", cursor=cursor)
    assert (query.as_of_size, query.after, query.limit) == (55, place, 9)


def test_a_cursor_is_for_one_client_and_one_query() -> None:
    cursor = next_cursor(parse_request(b"kind=reading"), CLIENT, KEY, 55, [1])
    ask(kind="reading", cursor=cursor)
    for changed in (
        {"kind": "event"},
        {"kind": "reading", "versions": "all"},
        {"kind": "reading", "as_of": "size:55"},
        {"kind": "reading", "device": DEVICE},
        {},
    ):
        with pytest.raises(Rejected, match="cursor-invalid"):
            ask(cursor=cursor, **changed)
    with pytest.raises(Rejected, match="cursor-invalid"):
        ask(client=replace(CLIENT, client_id="d"), kind="reading", cursor=cursor)


def test_rights_are_those_of_now_not_those_of_the_cursor() -> None:
    cursor = next_cursor(parse_request(b""), CLIENT, KEY, 55, [1])
    poorer = replace(CLIENT, groups=frozenset())
    assert ask(client=poorer, cursor=cursor).groups == frozenset()


def test_a_page_shows_the_certified_bytes_unchanged() -> None:
    finding = {
        "clause": "c", "code": "x", "field": "f", "line": "3", "severity": "warning", "text": "t",
    }  # fmt: skip
    record = {"findings": [{"id": "#finding-1", **finding}], "kind": "reading", "value": "ä€"}
    stored = row(record, 7)
    body = page_json([stored], ["final"], "next", 9)
    assert stored.record in body
    assert json.loads(body) == {
        "items": [
            {
                "record": record,
                "index": 7,
                "state": "final",
                "findings": [finding],
                "receipt": "/v1/receipts/7",
            }
        ],
        "next": "next",
        "as_of_size": 9,
    }


def test_an_empty_page() -> None:
    assert json.loads(page_json([], [], None, 0)) == {"items": [], "next": None, "as_of_size": 0}


def test_a_row_that_holds_no_record_stops_the_read() -> None:
    broken = row({"kind": "reading"})._replace(record=b'{"kind":')
    with pytest.raises(Stop, match="record-unreadable"):
        page_json([broken], ["final"], None, 1)


devices = st.lists(
    st.builds(
        DeviceInfo,
        device=st.text("AB", min_size=1, max_size=4).map(Pseudonym),
        group=st.sampled_from(["a", "b", "ab"]),
        shard=st.just(""),
        zone=st.just("UTC"),
        kind=st.just("meter"),
        sender=st.just("meter-of-somebody"),
        state=st.just("active"),
    ),
    unique_by=lambda d: (d.group, d.device),
)


@given(devices, st.integers(1, 5))
def test_pages_of_devices_give_each_once_in_order(found: list[DeviceInfo], limit: int) -> None:
    seen, after = [], None
    while True:
        page, after = devices_page(found, after, limit)
        seen += page
        if after is None:
            break
        assert len(page) == limit
    assert seen == sorted(found, key=lambda d: (d.group, d.device))


def test_a_list_of_devices_tells_no_sender() -> None:
    info = DeviceInfo(Pseudonym(DEVICE), "n", "n/0", "UTC", "meter", "meter-of-somebody", "active")
    assert b"somebody" not in devices_json([info], None)
