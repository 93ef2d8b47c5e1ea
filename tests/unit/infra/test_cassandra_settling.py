"""Which blocks are settled, and by whom; over a session that has no server."""

from collections import Counter
from threading import Event, Thread
from typing import Any

import pytest

from bal.errors import Unavailable
from infra import cassandra_settling
from infra.cassandra_layout import BLOCKS, LANDED, Home, Layout, Piece
from infra.cassandra_settling import DAYS_MAX, LAST_MIN, Blocks, Settling

LANDED_PIECE = Piece(LANDED, 0, 0, 0, 0, 0, 1, 0, 0, b"", b"", b"")
LAYOUT = Layout(settle_at=4)
SHARD = "north/0"  # by its name due a batch later than `settle_at`, or at once
ENOUGH = LAYOUT.settle_at + 1


class Session:
    """Has nothing that landed; says what was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, int]] = []  # shard, slice, block
        self.away = False
        self.goes_on = Event()
        self.goes_on.set()

    def rows(self, _: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        self.goes_on.wait(10)
        if self.away:
            raise Unavailable("away", retry_after_s=1)
        _, shard, _, slice_, _, block = values
        self.asked.append((shard, slice_, block))
        return []


@pytest.fixture
def session() -> Session:
    return Session()


@pytest.fixture
def settling(session: Any) -> Settling:
    return Settling(LAYOUT, Blocks(session, "scd", LAYOUT, lambda size: size).settle)


def lands(settling: Settling, day: int, times: int = 1) -> None:
    for _ in range(times):
        settling.note({Home(SHARD, "", day): [LANDED_PIECE]})


def days(settling: Settling, session: Session) -> dict[int, int]:
    """By day the blocks that are settled until nothing is due."""
    session.asked.clear()
    while settling.one():
        pass
    return Counter(day for _, day, _ in session.asked)


def test_a_day_is_settled_after_some_batches_and_when_it_is_over(
    settling: Settling, session: Session
) -> None:
    lands(settling, 10)
    assert days(settling, session) == {9: BLOCKS}  # what an earlier process may have left
    lands(settling, 10, ENOUGH)
    assert days(settling, session) == {10: BLOCKS}
    lands(settling, 10, LAST_MIN)
    lands(settling, 11)
    assert days(settling, session) == {10: BLOCKS}


def test_what_lands_late_is_settled_too(settling: Settling, session: Session) -> None:
    lands(settling, 10)
    days(settling, session)
    lands(settling, 3, 2 * ENOUGH)
    assert days(settling, session) == {3: BLOCKS}  # due twice, and settled once
    lands(settling, 4, LAST_MIN)
    assert days(settling, session) == {}
    lands(settling, 11)
    found = days(settling, session)
    assert found[4] == BLOCKS
    assert found.keys() <= {3, 4, 10}


def test_of_more_late_days_than_are_counted_the_first_are_over(
    settling: Settling, session: Session
) -> None:
    lands(settling, 1000)
    days(settling, session)
    for day in range(100):
        lands(settling, day, LAST_MIN)
    assert days(settling, session).keys() >= set(range(100 - DAYS_MAX))


def test_what_cassandra_does_not_take_stays_due(settling: Settling, session: Session) -> None:
    lands(settling, 10)
    session.away = True
    assert not settling.one()
    session.away = False
    assert days(settling, session) == {9: BLOCKS}


def test_two_threads_settle_no_block_twice(settling: Settling, session: Session) -> None:
    lands(settling, 10)
    session.goes_on.clear()

    def work() -> None:
        while settling.one():
            pass

    threads = [Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    session.goes_on.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert Counter(session.asked) == {(SHARD, 9, block): 1 for block in range(BLOCKS)}


def test_what_is_settled_elsewhere_is_settled_here_only_by_who_stores(
    session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where that one is too slow, or does not start."""
    monkeypatch.setattr(cassandra_settling, "WAITING_MAX", BLOCKS)
    asked: list[tuple[Home, int]] = []

    def elsewhere(home: Home, block: int) -> None:
        asked.append((home, block))
        raise Unavailable("it ended a moment ago", retry_after_s=1)

    here = Blocks(session, "scd", LAYOUT, lambda size: size)
    settling = Settling(LAYOUT, here.settle, elsewhere)
    lands(settling, 10)
    assert not settling.one()
    assert len(asked) == 1
    settling.keep_up(1)
    assert session.asked == [], "no more is due than may wait"
    lands(settling, 10, ENOUGH)
    settling.keep_up(1)
    assert len(session.asked) == 1 + BLOCKS // LAYOUT.settle_at
    assert len(asked) == 1
