"""What the process that feeds is handed, and when. The process itself: tests/adapters/kafka."""

from collections.abc import Callable, Iterator
from dataclasses import astuple
from pathlib import Path
from time import monotonic, sleep
from types import SimpleNamespace
from typing import Any

import pytest

from bal.model import StoredRecord
from infra import feed_process, feed_rows
from infra.cassandra_customer_db import CassandraCustomerDb
from infra.cassandra_recent import Packed, RecentRows, Stretch, WaitingRows
from infra.config import KafkaConfig
from infra.data_folder import DataFolder
from infra.feed_process import FeedProcess, _Feeding
from infra.feed_rows import FeedRows
from tests.unit.infra.test_cassandra_recent import a_row

STEP = 4  # entries that one question publishes
ROOM = 1 << 20


class Child:
    """In the place of ChildProcess: rows become more while it works, and it may have ended."""

    def __init__(self, rows: RecentRows) -> None:
        self.pid, self.at, self.end, self.closed = 1, 0, 0, False
        self.asked: list[str] = []
        self.read_back = 0  # steps whose rows it did not have
        self.has = WaitingRows(ROOM)
        self.look: Callable[[], None] = lambda: None  # as the platform's thread does in time
        self._rows = rows

    def start(self) -> None:
        return

    def close(self) -> None:
        self.closed = True

    def store(self, count: int) -> None:
        """What the platform stores meanwhile."""
        begin, self.end = self.end, self.end + count
        self._rows.add(begin, self.end, [a_row(index) for index in range(begin, self.end)])
        self.look()

    def ask(self, command: str, *values: Any) -> int:
        self.asked.append(command)
        if command == "rows":
            return int(self.has.add(Packed(*values)))
        size, _ = values
        stop = min(size, self.end, self.at + STEP)
        if self.at < stop:
            self.read_back += self.has.records(self.at, stop) is None
        self.at = stop
        self.has.forget(stop)
        if self.end < 12:
            self.store(2)
        return self.at


@pytest.fixture
def rows() -> RecentRows:
    return RecentRows(ROOM)


@pytest.fixture
def child(rows: RecentRows, monkeypatch: pytest.MonkeyPatch) -> Child:
    one = Child(rows)
    monkeypatch.setattr(feed_process, "ChildProcess", lambda *_, **__: one)
    monkeypatch.setattr(feed_process, "STEP_ENTRIES", STEP)
    monkeypatch.setattr(feed_rows, "LOOK_S", 3600)
    return one


@pytest.fixture
def feed(rows: RecentRows, child: Child) -> Iterator[FeedProcess]:
    made = FeedProcess(Path(), KafkaConfig(), recent=rows.since, clients=list)
    child.look = made._rows.look
    yield made
    made._rows.stop()


def test_what_is_stored_while_it_publishes_is_handed_over_before_its_next_step(
    feed: FeedProcess, child: Child
) -> None:
    child.store(3)
    feed.publish(6)
    assert feed.fed == child.at == 6
    assert child.asked == ["rows", "publish"] * 3, "3, then 2 and 2 that came meanwhile"
    feed.publish(10)
    assert feed.fed == child.at == 10
    assert child.asked[6:] == ["rows", "publish"] * 2
    assert child.read_back == 0


def test_what_was_stored_this_moment_is_handed_over_at_once(
    feed: FeedProcess, child: Child
) -> None:
    """The thread has not looked yet when whoever stored wakes the feed."""
    child.look = lambda: None
    child.store(STEP)
    feed.publish(STEP)
    assert feed.fed == child.at == STEP
    assert (child.asked, child.read_back) == (["rows", "publish"], 0)


def test_what_is_remembered_no_longer_waits_all_the_same(
    feed: FeedProcess, child: Child, rows: RecentRows
) -> None:
    """A second of full load is remembered, and a step takes two."""
    child.end = 100
    child.at = 100
    feed.publish(100)
    asked = len(child.asked)
    for _ in range(3):
        child.store(STEP)
        rows.add(999, 1000, [])  # what lies behind a gap is all that is remembered
    assert rows.records(100, 112) is None
    feed.publish(112)
    assert feed.fed == 112
    assert child.asked[asked:] == ["rows", "publish"] * 3, "no more than the next step takes"
    assert child.read_back == 0
    assert feed._rows.since(0) == [], "what consumers have waits no longer"


def test_more_is_asked_for_than_is_stored(feed: FeedProcess, child: Child) -> None:
    child.end = 12  # by an earlier process, and none of it is here
    feed.publish(100)
    assert feed.fed == child.at == 12
    assert child.asked == ["publish"] * 4, "three steps, and one that leads nowhere"
    assert child.read_back == 3


def test_a_process_that_was_started_again_is_handed_what_the_next_step_takes(
    feed: FeedProcess, child: Child
) -> None:
    """Wherever that is; what consumers have it is not handed."""
    child.end = 100
    for _ in range(9):
        child.store(1)
    child.at = 100
    feed.publish(104)
    assert (feed.fed, child.read_back) == (104, 0)
    child.pid, child.has, child.asked = 2, WaitingRows(ROOM), []
    feed.publish(108)
    assert child.asked == ["rows"] * 4 + ["publish"]
    assert (feed.fed, child.read_back) == (108, 0)


def test_what_it_has_no_room_for_it_is_offered_after_its_next_step(
    feed: FeedProcess, child: Child
) -> None:
    child.has = WaitingRows(1)  # one stretch, whatever its size
    for _ in range(3):
        child.store(STEP)
    feed.publish(12)
    assert child.asked == ["rows", "rows", "publish", "rows", "publish", "rows", "publish"]
    assert (child.at, child.read_back) == (12, 0)


def test_where_it_stands_is_known_from_its_first_answer(feed: FeedProcess, child: Child) -> None:
    """Until then it is handed all that it has room for, and from then on nothing below it."""
    child.at = 8
    for _ in range(3):
        child.store(STEP)
    feed.publish(12)
    assert child.asked == ["rows"] * 3 + ["publish"]
    child.store(STEP)
    feed.publish(16)
    assert child.asked[4:] == ["rows", "publish"]
    assert (child.at, child.read_back) == (16, 0)


def test_a_thread_packs_what_is_stored_as_it_comes(
    rows: RecentRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_rows, "LOOK_S", 0.001)
    waiting = FeedRows(rows.since, ROOM)
    waiting.start()
    try:
        for begin in (0, 3):
            rows.add(begin, begin + 3, [a_row(index) for index in range(begin, begin + 3)])
        until_s = monotonic() + 30
        while len(waiting.since(0)) < 2 and monotonic() < until_s:
            sleep(0.001)
    finally:
        waiting.stop()
    assert [one.end for one in waiting.since(0)] == [3, 6]
    assert not waiting._thread.is_alive()


def test_what_there_is_no_room_for_is_not_packed_until_there_is(
    rows: RecentRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka may be away for hours, in which the platform has other things to do."""
    packed = []

    def noted(stretch: Stretch) -> Packed:
        packed.append(stretch.begin)
        return Packed.of(stretch)

    monkeypatch.setattr(feed_rows, "Packed", SimpleNamespace(of=noted))
    waiting = FeedRows(rows.since, 1)  # one stretch, whatever its size
    for begin in range(3):
        rows.add(begin, begin + 1, [a_row(begin)])
    for _ in range(5):
        waiting.look()
    assert packed == [0, 1], "that there was no room it knows by one"
    waiting.forget(1)
    waiting.look()
    assert [one.begin for one in waiting.since(0)] == [1]


def test_behind_a_gap_it_goes_on_once_what_waits_is_over(
    rows: RecentRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = FeedRows(rows.since, ROOM)
    rows.add(0, 3, [a_row(0)])
    waiting.look()
    rows.add(5, 7, [a_row(5)])  # 3 and 4 were remembered no longer when it looked
    monkeypatch.setattr(feed_rows, "Packed", None)  # nothing is packed for nothing
    waiting.look()
    monkeypatch.undo()
    assert [one.begin for one in waiting.since(0)] == [0]
    waiting.forget(3)
    waiting.look()
    assert [one.begin for one in waiting.since(0)] == [5]


def test_its_end_is_that_of_thread_and_process(feed: FeedProcess, child: Child) -> None:
    feed.close()
    assert child.closed
    assert not feed._rows._thread.is_alive()


class Db(CassandraCustomerDb):
    """What a feeding process asks of it, without its Cassandra."""

    def __init__(self, waiting: WaitingRows) -> None:
        self.stored, self.waiting = 0, waiting

    def note_stored(self, size: int) -> None:
        self.stored = size


class Readings:
    """In the place of KafkaReadings."""

    def __init__(self, db: Db) -> None:
        self.db, self.got = db, list[StoredRecord]()
        self.at = 0

    def publish_some(self, size: int) -> int:
        stop = min(size, self.db.stored, self.at + STEP)
        found = self.db.waiting.records(self.at, stop)
        assert found is not None
        self.got, self.at = self.got + found, stop
        return stop


def test_the_process_keeps_what_it_is_handed_until_it_is_published() -> None:
    feeding = _Feeding(DataFolder(Path()), KafkaConfig())
    db = Db(feeding._waiting)
    readings = Readings(db)
    feeding._opened = db, readings  # type: ignore[assignment]
    rows = [a_row(index) for index in range(6)]
    source = RecentRows(ROOM)
    for begin in (0, 3):
        source.add(begin, begin + 3, rows[begin : begin + 3])
    first, second = map(Packed.of, source.since(0))
    assert feeding.work("rows", *astuple(first)) == 1
    assert feeding.work("rows", 4, 6, second.data, False) == 0, "a gap"
    assert feeding.work("rows", *astuple(second)) == 1
    assert feeding.work("publish", 6, []) == 4
    assert feeding.work("publish", 6, []) == 6
    assert readings.got == rows
    assert feeding._waiting.records(3, 6) is None, "it is forgotten"
