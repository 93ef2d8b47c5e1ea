"""The customer database in Cassandra against the suite, and what is its own."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from cassandra_support import Patient, Sessions, scd_of
from customer_db_suite import DAY_US, Adapter, CustomerDbSuite, a_row, all_of, check_lanes, head_end

from bal.model import StoredRecord
from infra import cassandra_settling
from infra.cassandra_customer_db import CassandraCustomerDb
from infra.cassandra_layout import LANDED, SETTLED, Layout, slot_of
from infra.cassandra_recent import Packed, WaitingRows
from infra.cassandra_stored import StoredSize
from infra.servers.connect import CassandraAt


@pytest.fixture(scope="module")
def sessions(cassandra_server: CassandraAt) -> Iterator[Sessions]:
    """Connections as reader and as writer: making one costs a second."""
    opened = Sessions.open(cassandra_server)
    yield opened
    opened.close()


class Tidied(CassandraCustomerDb):
    """Whoever stores in it always finds the time for what waits."""

    def store(self, rows: Sequence[StoredRecord], size: int, lane: int = 0) -> None:
        super().store(rows, size, lane)
        while self.tidy():
            pass


class CassandraSuite(CustomerDbSuite):
    model_examples = 25
    layout = Layout()
    recent_bytes = 0  # all is read from the server

    @pytest.fixture(autouse=True)
    def over(self, sessions: Sessions) -> None:
        self.sessions = sessions

    def open(self, folder: Path) -> Adapter:
        """A folder is known by its name: the tables are shared."""
        scd = scd_of(folder)
        reader, writer = self.sessions.reader, self.sessions.writer
        made: Adapter = Patient(
            Tidied(scd, reader, writer, layout=self.layout, recent_bytes=self.recent_bytes)
        )
        return made


class TestCassandra(CassandraSuite):
    pass


class TestCassandraSettling(CassandraSuite):
    """So eager to settle, and with pieces so small, that a few rows pass through all of it.

    And only the last few are remembered.
    """

    recent_bytes = 2_000
    layout = Layout(direct_devices=0, direct_rows=1000, piece_bytes=16, settle_at=2)


def test_what_landed_is_settled_by_device(sessions: Sessions, tmp_path: Path) -> None:
    scd, wanted = scd_of(tmp_path), list[StoredRecord]()
    layout = Layout(settle_at=4)
    db = Tidied(scd, sessions.reader, sessions.writer, layout=layout, recent_bytes=0)
    for number in range(12):
        wanted += head_end(number)
        db.store(head_end(number), len(wanted))
    listed = "SELECT tier FROM segment WHERE scd = ? AND shard = ? AND owner = ? AND slice = ?"
    home = (scd, "feeder-7/0", "", 0)
    found = Counter(tier for (tier,) in sessions.reader.rows(listed, home))
    slots = len({slot_of(row.device) for row in wanted})
    assert found[SETTLED] in {2 * slots, 3 * slots}
    assert found[LANDED] <= 8 * layout.settle_at
    db.store([a_row(len(wanted), end_us=DAY_US)], len(wanted) + 1)  # the next day
    found = Counter(tier for (tier,) in sessions.reader.rows(listed, home))
    assert found[LANDED] <= 8
    assert db.records(0, len(wanted)) == wanted
    assert db.readings(all_of(limit=1000)).rows[: len(wanted)] == wanted


def test_who_never_finds_the_time_settles_on_the_way(
    sessions: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a storer that is always behind leaves no more than so many blocks as they landed."""
    monkeypatch.setattr(cassandra_settling, "WAITING_MAX", 4)
    scd, wanted = scd_of(tmp_path), list[StoredRecord]()
    db = CassandraCustomerDb(scd, sessions.reader, sessions.writer, layout=Layout(settle_at=4))
    for number in range(24):
        wanted += head_end(number)
        db.store(head_end(number), len(wanted))
    listed = "SELECT tier FROM segment WHERE scd = ? AND shard = ? AND owner = ? AND slice = ?"
    found = Counter(tier for (tier,) in sessions.reader.rows(listed, (scd, "feeder-7/0", "", 0)))
    assert found[SETTLED] > 0
    assert found[LANDED] <= 8 * 9
    due = db.unsettled
    assert due > 0
    assert db.tidy()
    assert db.unsettled == due - 1
    assert db.records(0, len(wanted)) == wanted


def test_who_is_given_what_another_stored_asks_for_none_of_it(
    sessions: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Kafka's feed, in a process of its own; what it was not given it reads."""
    scd = scd_of(tmp_path)
    storer = CassandraCustomerDb(scd, sessions.reader, sessions.writer)
    waiting = WaitingRows(1 << 20)
    feed = CassandraCustomerDb(scd, sessions.reader, waiting=waiting)
    rows = [row for number in range(3) for row in head_end(number)]
    storer.store(rows[:40], 40)
    storer.store(rows, 120)
    (first, second) = storer.recent(0)
    feed.note_stored(second.end)
    assert waiting.add(Packed.of(second))
    assert feed.records(0, 120) == rows, "the first 40 are read"
    monkeypatch.setattr(feed._by_index, "records", None)
    assert feed.records(40, 120) == rows[40:]
    assert not waiting.add(Packed.of(first))
    waiting.forget(120)
    assert waiting.add(Packed.of(first))
    assert feed.records(0, 40) == rows[:40]
    assert storer.recent(120) == []


def test_what_is_visible_is_what_all_lanes_have_stored(sessions: Sessions, tmp_path: Path) -> None:
    even, odd = (
        CassandraCustomerDb(scd_of(tmp_path), sessions.reader, sessions.writer, lanes=2)
        for _ in range(2)
    )
    check_lanes(even, odd)


def test_one_that_comes_late_takes_nothing_back(
    sessions: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A storer that was paused in the middle of a call, and goes on after its successor."""
    late, db = (
        CassandraCustomerDb(scd_of(tmp_path), sessions.reader, sessions.writer, recent_bytes=0)
        for _ in range(2)
    )
    rows = [row for number in range(3) for row in head_end(number)]
    db.store(rows[:100], 100)
    db.store(rows, 120)
    monkeypatch.setattr(StoredSize, "of", lambda *_: 0)  # what it saw before the pause
    late.store(rows[:70], 70)
    assert db.size() == 120
    assert db.records(0, 120) == rows
    assert [db.record(index) for index in (0, 69, 70, 99, 119)] == [
        rows[index] for index in (0, 69, 70, 99, 119)
    ]
    assert db.readings(all_of(limit=1000, versions="all")).rows == rows


@pytest.mark.parametrize("lanes", [1, 2])
def test_one_that_comes_late_with_a_longer_cut_hides_no_row(
    sessions: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lanes: int
) -> None:
    """It stands between its rows and its number, while another stores the same in small cuts."""
    late, db, seen = (
        CassandraCustomerDb(
            scd_of(tmp_path), sessions.reader, sessions.writer, lanes=lanes, recent_bytes=0
        )
        for _ in range(3)
    )
    rows = [row for number in range(3) for row in head_end(number)]
    for lane in range(lanes):
        db.store(rows[:50] if lane == 0 else [], 50 if lane == 0 else 120, lane)
    swap = StoredSize.swap

    def meanwhile(self: StoredSize, lane: int, old: int, new: int) -> bool:
        monkeypatch.setattr(StoredSize, "swap", swap)
        for end in (60, 64):
            db.store(rows[:end], end)
        return swap(self, lane, old, new)

    monkeypatch.setattr(StoredSize, "swap", meanwhile)
    late.store(rows, 120)
    db.store(rows, 120)
    assert seen.size() == 120
    assert [seen.record(index) for index in range(120)] == rows
    assert seen.records(70, 80) == rows[70:80]
    assert seen.records(0, 120) == rows
    assert seen.readings(all_of(limit=1000, versions="all")).rows == rows
