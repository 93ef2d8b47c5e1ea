"""The heads row in Cassandra against the suite, and where its answers are lost."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cassandra_support import Patient, address
from heads_suite import HeadsSuite, heads

from bal.errors import Stop, Unavailable
from bal.model import Digest, TreeHead
from bal.ports import Commit
from infra.cassandra_heads import CassandraHeads
from infra.cassandra_schema import LOG, migrate
from infra.cassandra_session import CassandraSession
from infra.file_log import FileLog
from infra.heads_row import FIRST, HeadsRow
from infra.servers.connect import CassandraAt
from infra.system_clock import SystemClock


@pytest.fixture(scope="module")
def session(cassandra_server: CassandraAt) -> Iterator[CassandraSession]:
    migrate(address(cassandra_server, "migrator", LOG), "log")
    opened = CassandraSession(address(cassandra_server, "sequencer", LOG))
    yield opened
    opened.close()


class TestCassandraHeads(HeadsSuite):
    @pytest.fixture(autouse=True)
    def over(self, session: CassandraSession, cassandra_server: CassandraAt) -> None:
        self.session, self.data = session, cassandra_server.place.data

    def open(self, folder: Path) -> HeadsRow:
        made: HeadsRow = Patient(CassandraHeads(str(folder), self.session))
        return made

    def racer(self, folder: Path) -> list[str]:
        return ["cassandra", str(self.data), str(folder)]


class Losing:
    """A session that loses answers: of what was done, or instead of doing it."""

    def __init__(self, whole: CassandraSession, faults: Sequence[str]) -> None:
        self._whole, self._faults = whole, list(faults)

    def rows(self, cql: str, *values: Any, **more: Any) -> list[tuple[Any, ...]]:
        fault = "" if cql.startswith("SELECT") or not self._faults else self._faults.pop(0)
        if fault == "not done":
            raise Unavailable("lost")
        found = self._whole.rows(cql, *values, **more)
        if fault == "done":
            raise Unavailable("lost")
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)


@pytest.mark.parametrize(
    "faults", [["done"], ["not done"], ["not done", "done"], ["not done", "not done"]]
)
def test_a_lost_answer_is_found_out(
    session: CassandraSession, tmp_path: Path, faults: list[str]
) -> None:
    losing: Any = Losing(session, [*faults, ""])
    row = CassandraHeads(str(tmp_path), losing)
    row.swap(FIRST, heads(1))
    losing._faults = list(faults)
    row.swap(heads(1), heads(2))
    assert row.read() == heads(2)


def test_the_same_swap_may_be_asked_for_again(session: CassandraSession, tmp_path: Path) -> None:
    """What a caller does after Unavailable: this object knows its own."""
    losing: Any = Losing(session, ["not done", "not done", "done"])
    row = CassandraHeads(str(tmp_path), losing)
    with pytest.raises(Unavailable):
        row.swap(FIRST, heads(1))
    row.swap(FIRST, heads(1))
    other = CassandraHeads(str(tmp_path), session)
    with pytest.raises(Stop, match="lost-swap"):
        other.swap(FIRST, heads(1))


def test_a_row_that_is_damaged_stops(session: CassandraSession, tmp_path: Path) -> None:
    row = CassandraHeads(str(tmp_path), session)
    row.swap(FIRST, heads(1))
    session.rows("UPDATE heads SET taken = ? WHERE log = ? IF version = 1", ("[", str(tmp_path)))
    with pytest.raises(Stop, match="store-damaged"):
        row.read()


def test_a_file_log_takes_it(session: CassandraSession, tmp_path: Path) -> None:
    def opened() -> FileLog:
        row = CassandraHeads(str(tmp_path), session)
        return FileLog(tmp_path / "log", SystemClock(), heads=row)

    new = heads(1)
    with closing(opened()) as log:
        commit = Commit(log.heads(), new, [b"x" * 32], [b"{}"])
        log.stage(commit)
        log.swap(commit)
        assert log.staged() == [commit]
        log.integrate(commit, {0: [Digest(bytes(32))]})
        log.publish(TreeHead(new.size, new.root), b"note")
    assert not (tmp_path / "log" / "heads.db").exists()
    with closing(opened()) as log:
        assert log.heads() == new
        with pytest.raises(Stop, match="lost-swap"):
            log.swap(commit)
