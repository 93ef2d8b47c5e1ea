"""A feed whose servers are away when its turn comes: it waits, and the storer goes on."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bal.errors import GridsealError, Unavailable
from infra.data_folder import DataFolder
from infra.outside import Outside
from infra.roles import feed
from infra.roles.feed import Feed
from infra.roles.role import Process
from infra.system_clock import SystemClock

PATIENCE_S = 20


def test_servers_that_are_away_are_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried: list[float] = []

    def away(*_: object) -> None:
        tried.append(time.monotonic())
        raise Unavailable("Cassandra does not answer", retry_after_s=1)

    monkeypatch.setattr(feed, "open_stores", away)
    folder = DataFolder(tmp_path)
    folder.create()
    made: Any = SimpleNamespace(folder=folder, outside=Outside())
    failures: list[GridsealError] = []
    one = Feed(Process(made, SystemClock(), failures.append))
    one.start()
    deadline = time.monotonic() + PATIENCE_S
    while len(tried) < 3 and not failures and time.monotonic() < deadline:
        time.sleep(0.01)
    assert failures == []
    assert len(tried) >= 3
    assert one.alarm == "feed-down"
    one.stop()
    assert caplog.text.count("feed-down") == 1
