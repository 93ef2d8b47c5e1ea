"""The bus of the embedded mode against the suite, and what is its own."""

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from bus_suite import BusSuite, ClosableBus, intake

from bal.errors import Stop
from infra.sqlite_bus import SqliteBus


class FullDisk:
    """A connection whose disk is full once rows were inserted."""

    def __init__(self, whole: sqlite3.Connection) -> None:
        self._whole = whole

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        cursor = self._whole.execute(sql, parameters)
        if not sql.startswith("INSERT"):
            return cursor
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)


class TestSqliteBus(BusSuite):
    child = str(Path(__file__).with_name("sqlite_bus_child.py"))

    def open(self, folder: Path) -> ClosableBus:
        return SqliteBus(folder / "bus")

    def destroy(self, folder: Path) -> None:
        for file in (folder / "bus").iterdir():
            file.unlink()

    @contextmanager
    def refusing(self, bus: ClosableBus) -> Iterator[None]:
        assert isinstance(bus, SqliteBus)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bus, "_db", FullDisk(bus._db))
            yield


def test_a_message_that_is_missing_in_between_is_no_end(tmp_path: Path) -> None:
    with closing(SqliteBus(tmp_path)) as bus:
        bus.append([intake(at) for at in range(5)])
        with closing(sqlite3.connect(tmp_path / "bus.db")) as db, db:
            db.execute("DELETE FROM raw WHERE offset IN (2, 4)")
        assert len(bus.read(0, 2)) == 2
        for offset, limit in ((0, 5), (1, 2), (3, 2)):
            with pytest.raises(Stop, match="store-damaged"):
                bus.read(offset, limit)
        with pytest.raises(Stop, match="bus-trimmed"):
            bus.read(4, 1)


def test_raw_messages_are_for_the_platforms_user_alone(tmp_path: Path) -> None:
    with closing(SqliteBus(tmp_path / "bus")) as bus:
        bus.append([intake(0)])
        modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "bus").iterdir()}
        assert modes == {0o600}
        assert stat.S_IMODE((tmp_path / "bus").stat().st_mode) == 0o700


def test_a_file_that_is_no_database_stops(tmp_path: Path) -> None:
    (tmp_path / "bus.db").write_bytes(b"\xff" * 8192)
    with pytest.raises(Stop, match=r"store-damaged: bus\.db"):
        SqliteBus(tmp_path)
