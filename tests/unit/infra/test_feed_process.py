"""What the process that feeds is handed, and when. The process itself: tests/adapters/kafka."""

from pathlib import Path
from typing import Any

import pytest

from bal.model import Pseudonym, Rank, StoredRecord
from infra import feed_process
from infra.cassandra_recent import Packed, RecentRows, Stretch
from infra.config import KafkaConfig
from infra.feed_process import FeedProcess

STEP = 4  # entries that one question publishes
ROOM = 1 << 20


class Child:
    """In the place of ChildProcess: rows become more while it works, and it may have ended."""

    def __init__(self, rows: RecentRows) -> None:
        self.pid, self.at, self.end = 1, 0, 0
        self.asked: list[str] = []
        self.has = RecentRows(ROOM)
        self._rows = rows

    def start(self) -> None:
        return

    def store(self, count: int) -> None:
        """What the platform stores meanwhile."""
        begin, self.end = self.end, self.end + count
        self._rows.add(begin, self.end, [a_row(index) for index in range(begin, self.end)])

    def ask(self, command: str, *values: Any) -> int:
        self.asked.append(command)
        if command == "rows":
            return int(self.has.queue(Packed(*values)))
        size, _ = values
        stop = min(size, self.end, self.at + STEP)
        if self.at < stop:
            assert self.has.records(self.at, stop) is not None, "it would have to read them back"
        self.at = stop
        self.has.forget(stop)
        if self.end < 12:
            self.store(2)
        return self.at


def a_row(index: int) -> StoredRecord:
    return StoredRecord(
        Pseudonym("A"), 900, "reading", "r1", 0, index, Rank.MEASURED, b"", 2026, b"r", "g/0"
    )


@pytest.fixture
def rows() -> RecentRows:
    return RecentRows(ROOM)


@pytest.fixture
def child(rows: RecentRows, monkeypatch: pytest.MonkeyPatch) -> Child:
    one = Child(rows)
    monkeypatch.setattr(feed_process, "ChildProcess", lambda *_, **__: one)
    return one


@pytest.fixture
def feed(rows: RecentRows, child: Child) -> FeedProcess:
    return FeedProcess(Path(), KafkaConfig(), recent=rows.since, clients=list)


def test_what_is_stored_while_it_publishes_is_handed_over_before_its_next_step(
    feed: FeedProcess, child: Child
) -> None:
    child.store(6)
    feed.publish(6)
    assert child.asked == ["rows", "publish", "rows", "publish"]
    assert child.at == 6
    feed.publish(10)
    assert child.asked[4:] == ["rows", "publish"]


def test_more_is_asked_for_than_is_stored(feed: FeedProcess, child: Child) -> None:
    child.end = 12  # by an earlier process, and none of it is here
    child.has.queue(Packed.of(Stretch(0, 12, (), 0)))
    feed.publish(100)
    assert child.asked == ["publish"] * 4, "three steps, and one that leads nowhere"


def test_a_process_that_was_started_again_has_nothing(feed: FeedProcess, child: Child) -> None:
    child.store(12)
    feed.publish(4)
    child.pid, child.has, child.asked = 2, RecentRows(ROOM), []
    feed.publish(12)
    assert child.asked == ["rows", "publish", "publish"]
    assert child.at == 12


def test_what_it_has_no_room_for_it_is_offered_after_its_next_step(
    feed: FeedProcess, child: Child
) -> None:
    child.has = RecentRows(1)  # one stretch, whatever its size
    for _ in range(3):
        child.store(STEP)
    feed.publish(12)
    assert child.asked == ["rows", "rows", "publish", "rows", "rows", "publish", "rows", "publish"]
