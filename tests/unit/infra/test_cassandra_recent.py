"""What was stored a moment ago is given as it was stored, whole or not at all."""

from hypothesis import given
from hypothesis import strategies as st

from bal.model import Pseudonym, Rank, StoredRecord
from infra.cassandra_recent import ROW_BYTES, RecentRows


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
