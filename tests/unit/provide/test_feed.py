"""Topics and headers of the feed, and what supersedes what, against the plainest definition."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from bal.model import Pseudonym, Rank, ReadingsPage, ReadingsQuery, StoredRecord
from bal.provide.feed import (
    CHECKPOINTS,
    READINGS,
    Placed,
    Superseding,
    headers,
    is_for,
    own_topic,
    topics_of,
)
from bal.provide.policy import SCOPES, ClientInfo, group_of, may_read

ALL = frozenset(SCOPES)
EVERYTHING = ClientInfo("dso-1", b"", ALL, None)
NORTH = ClientInfo("agg-1", b"", ALL, frozenset({"north"}))

groups = st.none() | st.frozensets(st.sampled_from(["north", "south", "n"]))
clients = st.builds(
    ClientInfo,
    client_id=st.just("c"),
    secret_sha256=st.just(b""),
    scopes=st.frozensets(st.sampled_from(sorted(SCOPES))),
    groups=groups,
    state=st.sampled_from(["active", "revoked"]),
)


class Rows:
    """A customer database of what a list has; as the port promises it for these questions."""

    def __init__(self, rows: Sequence[StoredRecord]) -> None:
        self.rows, self.asked = rows, 0

    def records(self, start: int, stop: int) -> list[StoredRecord]:
        return [row for row in self.rows if start <= row.index < stop]

    def readings(self, query: ReadingsQuery) -> ReadingsPage:
        self.asked += 1
        found: list[StoredRecord] = []
        for row in self.rows:
            wanted = (
                row.index < query.as_of_size
                and (row.device, row.kind, row.register)
                == (query.device, query.kind, query.register)
                and (query.from_us is None or query.from_us <= row.end_us)
                and (query.to_us is None or row.end_us < query.to_us)
            )
            if wanted and not any(
                one.record == row.record and one.begin_us == row.begin_us for one in found
            ):
                found.append(row)
        return ReadingsPage(found[: query.limit], None)


def a_row(index: int, **changes: object) -> StoredRecord:
    plain = StoredRecord(
        device=Pseudonym("A"),
        end_us=900,
        kind="reading",
        register="r1",
        begin_us=0,
        index=index,
        rank=Rank.MEASURED,
        type=b"\x01",
        year=2026,
        record=b'{"n":"%d"}' % index,
        shard="north/0",
    )
    return plain._replace(**changes)  # type: ignore[arg-type]


def placed(rows: Sequence[StoredRecord], *cuts: int, **options: int) -> dict[int, int | None]:
    found: dict[int, int | None] = {}
    superseding, start = Superseding(Rows(rows), **options), cuts[0] if cuts else 0  # type: ignore[arg-type]
    for stop in (*cuts[1:], len(rows)):
        found |= {one.row.index: one.supersedes for one in superseding.placed(start, stop)}
        start = stop
    return found


def definition(rows: Sequence[StoredRecord], start: int = 0) -> dict[int, int | None]:
    found: dict[int, int | None] = {}
    for row in rows[start:]:
        slot = [
            one
            for one in rows[: row.index]
            if one[:2] == row[:2] and one.register == row.register and one.begin_us == row.begin_us
        ]
        if any(one.record == row.record for one in slot):
            continue
        slot = [
            one
            for one in slot
            if not any(old.record == one.record and old.index < one.index for old in slot)
        ]
        current = max(slot, key=lambda one: (one.rank, one.index), default=None)
        is_newer = current is not None and row.rank >= current.rank
        found[row.index] = current.index if current is not None and is_newer else None
    return found


@st.composite
def logs(draw: st.DrawFn) -> list[StoredRecord]:
    rows = []
    for index in range(draw(st.integers(0, 25))):
        end = draw(st.integers(1, 4))
        rows.append(
            a_row(
                index,
                device=Pseudonym(draw(st.sampled_from("AB"))),
                register=draw(st.sampled_from(["r1", "r2"])),
                begin_us=draw(st.sampled_from([0, end])),
                end_us=end,
                rank=draw(st.sampled_from(Rank)),
                record=b'{"n":"%d"}' % draw(st.integers(0, 3)),
            )
        )
    return rows


@given(logs(), st.integers(0, 25), st.integers(0, 25), st.integers(1, 3))
def test_what_a_row_supersedes(
    rows: list[StoredRecord], start: int, cut: int, series_max: int
) -> None:
    start = min(start, len(rows))
    cut = min(max(start, cut), len(rows))
    assert placed(rows, start, cut) == definition(rows, start)
    assert placed(rows, start, cut, series_max=series_max) == definition(rows, start)


@given(logs(), st.integers(0, 25))
def test_going_back_gives_the_same_again(rows: list[StoredRecord], back: int) -> None:
    superseding, wanted = Superseding(Rows(rows)), definition(rows)  # type: ignore[arg-type]
    for start in (0, min(back, len(rows))):
        found = {one.row.index: one.supersedes for one in superseding.placed(start, len(rows))}
        assert found == {index: old for index, old in wanted.items() if index >= start}


def test_readings_in_order_of_time_ask_the_database_nothing() -> None:
    rows = Rows([a_row(at, begin_us=at, end_us=at + 1) for at in range(100)])
    superseding = Superseding(rows)  # type: ignore[arg-type]
    assert len(superseding.placed(0, 100)) == 100
    assert rows.asked == 0
    superseding = Superseding(rows)  # type: ignore[arg-type]
    assert len(superseding.placed(50, 100)) == 50
    assert rows.asked <= 2


def test_messages_that_overtake_each_other_ask_the_database_nothing() -> None:
    order = [1, 0, 2, 4, 3, 5, 7, 6, 6]  # the last one a second time
    rows = Rows([a_row(at, begin_us=n, end_us=n + 1) for at, n in enumerate(order)])
    superseding = Superseding(rows)  # type: ignore[arg-type]
    found = [(one.row.index, one.supersedes) for one in superseding.placed(0, 9)]
    assert found == [*((at, None) for at in range(8)), (8, 7)]
    assert rows.asked == 0


def test_an_event_without_a_register_supersedes_none_and_other_kinds_are_not_given() -> None:
    rows = [
        a_row(0, kind="event", register=""),
        a_row(1, kind="event", register=""),
        a_row(2, kind="device"),
        a_row(3, kind="device-day"),
    ]
    assert placed(rows) == {0: None, 1: None}


def test_headers_say_what_opens_the_entry() -> None:
    record = b'{"evidence":"%s","quality":["1.0.0","2.5.258"]}' % (b"ab" * 32)
    row = a_row(17, record=record, rank=Rank.CORRECTED)
    assert dict(headers(Placed(row, 5), b"\x01" * 32)) == {
        "index": b"17",
        "type": b"01",
        "salt": b"01" * 32,
        "evidence": b"ab" * 32,
        "quality": b"1.0.0,2.5.258",
        "rank": b"corrected",
        "supersedes": b"5",
    }
    assert dict(headers(Placed(a_row(0), None), bytes(32)))["supersedes"] == b""


def test_topics_by_policy() -> None:
    assert topics_of(EVERYTHING) == {READINGS, CHECKPOINTS}
    assert topics_of(NORTH) == {"bal.readings.v1.agg-1", CHECKPOINTS}
    for nothing in (
        replace(NORTH, state="revoked"),
        replace(EVERYTHING, state="revoked"),
        replace(EVERYTHING, scopes=frozenset({"messages.write"})),
        replace(NORTH, groups=frozenset()),
    ):
        assert topics_of(nothing) == frozenset()


@given(clients, st.sampled_from(["north/0", "south/1", "n/0", "$platform/0"]))
def test_no_row_reaches_who_may_not_read_it(client: ClientInfo, shard: str) -> None:
    row, topics = a_row(0, shard=shard), topics_of(client)
    if is_for(client, row):
        assert may_read(client, group_of(shard))
        assert own_topic("c") in topics
    elif may_read(client, group_of(shard)) and "readings.read" in client.scopes:
        assert READINGS in topics
    if READINGS in topics:
        assert client.groups is None
    assert not is_for(None, row)
