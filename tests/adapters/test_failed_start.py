"""A start that fails leaves nothing running and nothing held, wherever it fails."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bal.errors import GridsealError, Stop, Unavailable
from infra.app import Platform
from infra.config import Config

ANYWHERE = ("127.0.0.1", 0)
OURS = {
    "notifier", "deriver", "pipeline", "storer", "tidier", "settler", "intake-writer", "disk",
    "backlog", "anchorer",
}  # fmt: skip
OTHERS: list[threading.Thread] = []


def fails(*_: Any, **__: Any) -> Any:
    raise Unavailable("it is away")


async def fails_later(*_: Any, **__: Any) -> Any:
    raise Unavailable("it is away")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def taken() -> Iterator[tuple[str, int]]:
    with socket.socket() as other:
        other.bind(ANYWHERE)
        other.listen()
        yield other.getsockname()


@pytest.fixture(autouse=True)
def before() -> Iterator[None]:
    """What other tests left running is not looked at."""
    OTHERS[:] = threading.enumerate()
    yield
    OTHERS.clear()


def ours() -> set[str]:
    return {one.name for one in threading.enumerate() if one not in OTHERS} & OURS


def started(root: Path, http: tuple[str, int] = ANYWHERE) -> None:
    """Start and stop one."""

    async def scenario() -> None:
        platform = Platform(root, Config())
        await asyncio.to_thread(platform.open)
        await platform.start(http, ANYWHERE)
        assert ours() == OURS
        await platform.stop()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("at", "failure"),
    [
        ("infra.app.Stores.open", fails),
        ("infra.app.open_chain", fails),
        ("infra.app.write_public_records", fails),
        ("infra.app.HttpServer.start", fails_later),
        ("infra.sqlite_bus.SqliteBus.end", fails),
        ("infra.app.DiskWatch.start", fails),
        ("infra.app.Anchorer.start", fails),
        ("infra.app.ControlServer.start", fails_later),
    ],
)
def test_what_was_started_is_stopped_again(
    root: Path, monkeypatch: pytest.MonkeyPatch, at: str, failure: Any
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(at, failure)
        with pytest.raises(GridsealError, match="it is away"):
            started(root)
    assert ours() == set()
    started(root)  # in the same process: folder, files and addresses are free
    assert ours() == set()


def test_a_port_that_is_taken(root: Path, taken: tuple[str, int]) -> None:
    with pytest.raises(Stop, match="in use"):
        started(root, taken)
    assert ours() == set()
    started(root)


def test_nothing_is_made_in_a_folder_that_another_one_holds(root: Path) -> None:
    """Not even keys and funds: of two starts at once only one makes them."""
    made: list[str] = []

    def made_by(name: str, config: Config) -> Config:
        made.append(name)
        return config

    first = Platform(root, Config(), partial(made_by, "first"))
    second = Platform(root, Config(), partial(made_by, "second"))
    first.open()
    with pytest.raises(Stop, match="already runs"):
        second.open()
    assert made == ["first"]
    first._begun.close()
    second.open()
    second._begun.close()
    assert made == ["first", "second"]
