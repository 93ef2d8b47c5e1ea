"""What was stored a moment ago is given as it was stored, whole or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.model import Pseudonym, Rank, StoredRecord
from infra.cassandra_recent import ROW_BYTES, Packed, RecentRows, Stretch, WaitingRows


def a_row(index: int) -> StoredRecord:
    record = b"record of %d" % index
    return StoredRecord(
        Pseudonym("A"), 900, "reading", "r1", 0, index, Rank.MEASURED, b"\x01", 2026, record, "g/0"
    )


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 6), st.integers(0, 2**6)), max_size=8),
    st.integers(0, 20 * ROW_BYTES),
)
def test_all_of_a_stretch_or_none(calls: list[tuple[int, int, int]], bytes_max: int) -> None:
    """Each call skips some entries or none, and has rows for some of those that it covers."""
    recent, end = RecentRows(bytes_max), 0
    rows: list[StoredRecord] = []
    begin = 0  # of what has no gap
    for skipped, count, mask in calls:
        first = end + skipped // 3  # mostly none
        if first > end:
            begin = first
        end = first + count
        new = [a_row(index) for index in range(first, end) if mask >> index - first & 1]
        recent.add(first, end, [*reversed(new), a_row(end + 5)])
        rows += new
    lowest = next((low for low in range(end) if recent.records(low, end) is not None), end)
    assert lowest >= begin
    for start in range(end):
        for stop in range(start + 1, end + 2):
            wanted = [row for row in rows if start <= row.index < stop]
            found = recent.records(start, stop)
            assert found == (wanted if lowest <= start and stop <= end else None)
    kept = [row for row in rows if row.index >= lowest]
    assert sum(len(row.record) + ROW_BYTES for row in kept) <= bytes_max


def test_the_newest_fit_first() -> None:
    recent = RecentRows(5 * ROW_BYTES)
    for index in range(9):
        recent.add(index, index + 1, [a_row(index)])
    assert recent.records(8, 9) == [a_row(8)]
    assert recent.records(7, 9) == [a_row(7), a_row(8)]
    assert recent.records(0, 9) is None


def test_another_process_has_them_by_columns() -> None:
    """From where it has none, or all: the stretches that end behind it, in order."""
    here, there = RecentRows(1 << 20), WaitingRows(1 << 20)
    rows = [a_row(index)._replace(rank=Rank(index % 4)) for index in range(9)]
    here.add(0, 4, rows[:4])
    here.add(4, 6, [])  # public entries
    here.add(6, 9, rows[6:])
    assert here.since(9) == []
    assert [one.begin for one in here.since(4)] == [4, 6]
    assert [one.begin for one in here.since(3)] == [0, 4, 6]
    for one in here.since(0):
        assert there.add(Packed.of(one))
    found = there.records(0, 9)
    assert found == [*rows[:4], *rows[6:]]
    assert all(type(row.rank) is Rank for row in found)
    assert there.records(2, 8) == [*rows[2:4], *rows[6:8]], "a step ends within a stretch"


def stretch(begin: int, end: int) -> Stretch:
    rows = [a_row(index) for index in range(begin, end)]
    return Stretch(begin, end, tuple(zip(*rows, strict=True)), 0)


@pytest.mark.parametrize("squeezed", [False, True])
def test_packed_or_squeezed_it_says_the_same(squeezed: bool) -> None:
    packed = Packed.of(stretch(5, 400))
    if squeezed:
        assert packed.small().small().size < packed.size / 4
        packed = packed.small()
    assert list(packed.rows(7, 99)) == [a_row(index) for index in range(7, 99)]
    assert list(packed.rows(0, 9999)) == [a_row(index) for index in range(5, 400)]
    assert list(Packed.of(Stretch(0, 9, (), 0)).rows(0, 9)) == []


def test_who_goes_through_all_gets_the_oldest_first() -> None:
    """What there is no room for is offered again; nothing that was taken goes before its turn."""
    whole = Packed.of(stretch(0, 100))
    there, end = WaitingRows(whole.size + 5 * whole.small().size // 2), 0
    while there.add(Packed.of(stretch(end, end + 100))):
        end += 100
    assert end == 300, "one as it is, and two that are squeezed"
    assert there.records(0, end) == [a_row(index) for index in range(end)]
    there.forget(150)
    assert there.records(0, end) is None, "its first stretch is over"
    assert there.records(100, end) == [a_row(index) for index in range(100, end)]
    assert not there.add(Packed.of(stretch(400, 500))), "300 to 400 would be left out"
    assert there.add(Packed.of(stretch(300, 400)))
    there.forget(400)
    assert there.records(399, 400) is None
    assert there.add(Packed.of(stretch(900, 9900))), "however large, if there is nothing else"
    assert there.records(900, 9900) == [a_row(index) for index in range(900, 9900)]


def test_entries_without_rows_take_room_too() -> None:
    """Of public entries alone there may be as many stretches as there are commits."""
    there, end = WaitingRows(20 * ROW_BYTES), 0
    while there.add(Packed.of(Stretch(end, end + 1, (), 0))):
        end += 1
    assert 10 < end < 20
