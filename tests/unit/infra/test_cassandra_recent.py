"""What was stored a moment ago is given as it was stored, whole or not at all."""

from hypothesis import given
from hypothesis import strategies as st

from bal.model import Pseudonym, Rank, StoredRecord
from infra.cassandra_recent import ROW_BYTES, Packed, RecentRows, Stretch


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
    here, there = RecentRows(1 << 20), RecentRows(1 << 20)
    rows = [a_row(index)._replace(rank=Rank(index % 4)) for index in range(9)]
    here.add(0, 4, rows[:4])
    here.add(4, 6, [])  # public entries
    here.add(6, 9, rows[6:])
    assert here.since(9) == []
    assert [one.begin for one in here.since(4)] == [4, 6]
    assert [one.begin for one in here.since(3)] == [0, 4, 6]
    for one in here.since(0):
        assert isinstance(one, Stretch)
        there.keep(Packed.of(one))
    found = there.records(0, 9)
    assert found == [*rows[:4], *rows[6:]]
    assert all(type(row.rank) is Rank for row in found)
    assert there.records(2, 8) == [*rows[2:4], *rows[6:8]], "a step ends within a stretch"


def test_what_nobody_asks_for_any_more_takes_no_room() -> None:
    """Whole stretches go; a row that is forgotten is not here, so it is looked for elsewhere."""
    there = RecentRows(12 * ROW_BYTES)
    for index in range(0, 30, 3):
        rows = [a_row(index + at) for at in range(3)]
        there.keep(Stretch(index, index + 3, tuple(zip(*rows, strict=True)), 3 * ROW_BYTES))
        there.forget(index + 2)
        assert there.records(index, index + 3) == rows
        assert there.records(index - 1, index + 3) is None
    there.forget(30)
    assert there.since(0) == []
    there.keep(Stretch(30, 31, (), ROW_BYTES))
    assert there.records(30, 31) == []
