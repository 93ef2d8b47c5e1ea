"""Settling in a process of its own, over a real Cassandra."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from cassandra_support import Sessions, address, scd_of
from customer_db_suite import head_end

from bal.errors import Stop, Unavailable
from bal.model import StoredRecord
from infra import child_process
from infra.cassandra_customer_db import CassandraCustomerDb
from infra.cassandra_layout import BLOCKS, LANDED, SETTLED, Home, Layout
from infra.servers.connect import CassandraAt
from infra.settling_process import SettlingProcess
from tests.bench.processors import children

LAYOUT = Layout(settle_at=4)
HOME = Home("feeder-7/0", "", 0)
_TIERS = "SELECT tier FROM segment WHERE scd = ? AND shard = ? AND owner = ? AND slice = ?"


@pytest.fixture(scope="module")
def sessions(cassandra_server: CassandraAt) -> Iterator[Sessions]:
    opened = Sessions.open(cassandra_server)
    yield opened
    opened.close()


@pytest.fixture
def apart(cassandra_server: CassandraAt, tmp_path: Path) -> Iterator[SettlingProcess]:
    at = address(cassandra_server, "writer")
    with closing(SettlingProcess(at, scd_of(tmp_path), 1, LAYOUT)) as made:
        yield made


@pytest.fixture
def db(sessions: Sessions, apart: SettlingProcess, tmp_path: Path) -> CassandraCustomerDb:
    name = scd_of(tmp_path)
    return CassandraCustomerDb(
        name, sessions.reader, sessions.writer, layout=LAYOUT, recent_bytes=0, apart=apart
    )


def landed(db: CassandraCustomerDb, messages: int = 8, meters: int = 40) -> list[StoredRecord]:
    """What so many messages of a head-end bring, stored."""
    rows: list[StoredRecord] = []
    for number in range(messages):
        rows += head_end(number, meters)
        db.store(rows[-meters:], len(rows))
    return rows


def tiers(sessions: Sessions, scd: str) -> Counter[int]:
    return Counter(tier for (tier,) in sessions.reader.rows(_TIERS, (scd, *HOME)))


def tidied(db: CassandraCustomerDb) -> None:
    while db.tidy():
        pass


def own(apart: SettlingProcess) -> int:
    """Its process."""
    assert apart.pid is not None
    assert apart.pid in children(os.getpid())
    return apart.pid


def test_what_landed_is_settled_by_the_other_process(
    db: CassandraCustomerDb, apart: SettlingProcess, sessions: Sessions, tmp_path: Path
) -> None:
    rows = landed(db)
    assert apart.pid is None, "started with the first block"
    assert set(tiers(sessions, scd_of(tmp_path))) == {LANDED}
    tidied(db)
    pid = own(apart)
    found = tiers(sessions, scd_of(tmp_path))
    assert found[SETTLED] == 40
    assert found[LANDED] < 8 * BLOCKS
    assert db.records(0, len(rows)) == rows
    assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)
    apart.close()
    assert pid not in children(os.getpid())
    with pytest.raises(Unavailable, match="closed"):
        apart.settle(HOME, 0)


def test_its_end_costs_no_row_and_what_was_due_stays_due(
    db: CassandraCustomerDb,
    apart: SettlingProcess,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = landed(db)
    assert db.tidy()
    before = own(apart)
    os.kill(before, signal.SIGKILL)
    assert not db.tidy()
    assert "the process that settles ended, with -9" in caplog.text
    assert not db.tidy(), "not started again and again"
    assert apart.pid is None
    assert db.records(0, len(rows)) == rows
    monkeypatch.setattr(child_process, "AGAIN_S", 0.0)
    tidied(db)
    assert own(apart) != before
    assert db.records(0, len(rows)) == rows


def test_who_is_not_let_in_is_the_operators_to_see_to(
    cassandra_server: CassandraAt, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text("another\n")
    at = replace(address(cassandra_server, "writer"), password_file=password)
    with closing(SettlingProcess(at, "x", 1, LAYOUT)) as apart:
        with pytest.raises(Stop) as caught:
            apart.settle(HOME, 0)
        assert caught.value.code == "cassandra-refuses"


def test_a_server_that_is_away_is_asked_again(
    cassandra_server: CassandraAt, tmp_path: Path
) -> None:
    """The process stays, and goes on once it is there."""
    at = replace(address(cassandra_server, "writer"), port=1)
    with closing(SettlingProcess(at, "x", 1, LAYOUT)) as apart:
        for _ in range(2):
            with pytest.raises(Unavailable, match="Cassandra"):
                apart.settle(HOME, 0)
            pid = own(apart)
        assert pid == own(apart)


def test_a_damaged_piece_is_told_with_its_place(
    db: CassandraCustomerDb, sessions: Sessions, tmp_path: Path
) -> None:
    landed(db)
    listed = (
        "SELECT tier, slot, first, mark, piece FROM segment"
        " WHERE scd = ? AND shard = ? AND owner = ? AND slice = ?"
    )
    harm = (
        "UPDATE segment SET records = ? WHERE scd = ? AND shard = ? AND owner = ? AND slice = ?"
        " AND tier = ? AND slot = ? AND first = ? AND mark = ? AND piece = ?"
    )
    place = (scd_of(tmp_path), *HOME)
    for key in sessions.reader.rows(listed, place):
        sessions.writer.rows(harm, (b"\0", *place, *key))
    with pytest.raises(Stop) as caught:
        tidied(db)
    assert caught.value.code == "store-damaged"
    assert "feeder-7/0" in caught.value.text
