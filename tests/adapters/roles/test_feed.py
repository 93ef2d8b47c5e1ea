"""The feed beside a storer: whatever goes wrong with it, the storer goes on, and it is told."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bal.errors import GridsealError, Stop, Unavailable
from infra.data_folder import DataFolder
from infra.outside import Outside
from infra.roles import feed
from infra.roles.feed import Feed
from infra.roles.role import Process
from infra.roles.turn import Turn
from infra.system_clock import SystemClock
from tests.bounded import killed, line_of, until

REPOSITORY = Path(__file__).resolve().parents[3]
HOLDER = """
import sys, time
from pathlib import Path
from infra.roles.turn import Turn

turn = Turn(Path(sys.argv[1]))
assert turn.take()
print("mine", flush=True)
while True:
    turn.beat()
    time.sleep(0.02)
"""


def made_in(root: Path, failures: list[GridsealError]) -> Feed:
    """Of a storer whose data folder is `root`."""
    folder = DataFolder(root)
    folder.create()
    made: Any = SimpleNamespace(folder=folder, outside=Outside())
    return Feed(Process(made, SystemClock(), failures.append))


def test_servers_that_are_away_are_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried: list[float] = []

    def away(*_: object) -> None:
        tried.append(time.monotonic())
        raise Unavailable("Cassandra does not answer", retry_after_s=1)

    monkeypatch.setattr(feed, "open_stores", away)
    failures: list[GridsealError] = []
    one = made_in(tmp_path, failures)
    one.start()
    until(lambda: len(tried) >= 3, "not tried again")
    assert failures == []
    assert one.alarm == "feed-down"
    one.stop()
    assert caplog.text.count("feed-down") == 1


@pytest.mark.parametrize(
    "failure", [Stop("store-damaged", "a record of Kafka's is none of ours"), KeyError("a defect")]
)
def test_what_ends_the_feed_ends_no_storing_and_lets_another_feed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    """A Stop while it feeds, and a defect before it does."""

    def fails(*_: object) -> None:
        raise failure

    at = "open_stores" if isinstance(failure, Stop) else "Feed._my_turn"
    monkeypatch.setattr(f"infra.roles.feed.{at}", fails)
    failures: list[GridsealError] = []
    one = made_in(tmp_path, failures)
    one.start()
    until(lambda: one.alarm == "feed-stopped", "no alarm")
    assert str(failure) in one.health()
    other = Turn(tmp_path / "feed.lock")
    until(other.take, "the turn is kept")
    other.release()
    one.stop()
    assert one.alarm == "feed-stopped"
    assert failures == []


def test_a_process_that_stands_still_with_the_turn_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As long as it does; and when it is killed, the one that waits feeds."""

    def away(*_: object) -> None:
        raise Unavailable("Cassandra does not answer", retry_after_s=1)

    monkeypatch.setattr(feed, "open_stores", away)
    monkeypatch.setattr(feed, "ASK_S", 0.02)
    monkeypatch.setattr(feed, "STILL_S", 1.0)
    failures: list[GridsealError] = []
    one = made_in(tmp_path, failures)
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "feed.lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as holder:
        try:
            assert line_of(holder, "the holder") == "mine"
            one.start()
            os.kill(holder.pid, signal.SIGSTOP)
            until(lambda: one.alarm == "feed-still", "not told")
            assert "kill it" in one.health()
            os.kill(holder.pid, signal.SIGCONT)
            until(lambda: one.health() == "ok", "told for ever")
            os.kill(holder.pid, signal.SIGSTOP)
            until(lambda: one.alarm == "feed-still", "not told again")
        finally:
            killed(holder, "the holder")
    until(lambda: one.alarm == "feed-down", "not its turn")  # its turn, and it tried
    one.stop()
    assert failures == []


def test_who_feeds_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise Unavailable("Cassandra does not answer", retry_after_s=1)

    monkeypatch.setattr(feed, "open_stores", away)
    monkeypatch.setattr(feed, "BEAT_S", 0.02)
    turn = Turn(tmp_path / "feed.lock")
    assert turn.last_beat() == 0
    one = made_in(tmp_path, [])
    one.start()
    seen: set[int] = set()

    def beats() -> bool:
        seen.add(turn.last_beat())
        return len(seen) > 3

    until(beats, "it does not beat")
    one.stop()
