"""The customer database of the embedded mode against the suite."""

from pathlib import Path

from customer_db_suite import Adapter, CustomerDbSuite

from infra.sqlite_customer_db import SqliteCustomerDb


class TestSqlite(CustomerDbSuite):
    def open(self, folder: Path) -> Adapter:
        return SqliteCustomerDb(folder / "scd")


class TestSqliteMerging(CustomerDbSuite):
    """So eager to merge, and with chunks so small, that a few rows pass through all of it."""

    def open(self, folder: Path) -> Adapter:
        return SqliteCustomerDb(folder / "scd", merge_at=2, small_bytes=400, chunk_bytes=16)
