"""The customer database of the embedded mode against the suite."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from customer_db_suite import Adapter, CustomerDbSuite, a_row, check_lanes

from bal.model import StoredRecord
from infra.sqlite_customer_db import SqliteCustomerDb


class TestSqlite(CustomerDbSuite):
    def open(self, folder: Path) -> Adapter:
        return SqliteCustomerDb(folder / "scd")


class TestSqliteMerging(CustomerDbSuite):
    """So eager to merge, and with chunks so small, that a few rows pass through all of it."""

    def open(self, folder: Path) -> Adapter:
        return SqliteCustomerDb(folder / "scd", merge_at=2, small_bytes=400, chunk_bytes=16)


class TestSqliteLane(CustomerDbSuite):
    """One of several lanes is as good as the only one, where the others are up to date."""

    def open(self, folder: Path) -> Adapter:
        return _Both(folder / "scd", lanes=2, merge_at=3, small_bytes=400)


class _Both(SqliteCustomerDb):
    def store(self, rows: Sequence[StoredRecord], size: int, lane: int = 0) -> None:
        del lane
        for number in range(2):
            super().store([row for row in rows if row.index % 2 == number], size, number)


@pytest.mark.parametrize("merge_at", [2, 32])
def test_what_is_visible_is_what_all_lanes_have_stored(tmp_path: Path, merge_at: int) -> None:
    with (
        closing(SqliteCustomerDb(tmp_path / "scd", lanes=2, merge_at=merge_at)) as even,
        closing(SqliteCustomerDb(tmp_path / "scd", lanes=2, merge_at=merge_at)) as odd,
    ):
        check_lanes(even, odd)
    with closing(SqliteCustomerDb(tmp_path / "scd", read_only=True)) as seen:
        assert (seen.size(), len(seen.records(0, 99))) == (40, 40)


def test_lanes_of_a_file_that_had_none_begin_with_what_it_has(tmp_path: Path) -> None:
    with closing(SqliteCustomerDb(tmp_path / "scd")) as one:
        one.store([a_row(0), a_row(1)], 2)
    with closing(SqliteCustomerDb(tmp_path / "scd", lanes=3)) as db:
        assert [db.stored(lane) for lane in range(3)] == [2, 2, 2]
        db.store([a_row(0), a_row(1), a_row(2)], 3, 1)
        assert (db.size(), [db.stored(lane) for lane in range(3)]) == (2, [2, 3, 2])
        db.store([], 3)
        db.store([], 3, 2)
        assert db.records(0, 9) == [a_row(index) for index in range(3)]
