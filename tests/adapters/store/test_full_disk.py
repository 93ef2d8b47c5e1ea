"""A full disk is told as one, by whatever part of a platform meets it, and ends nothing else."""

import asyncio
import errno
import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bal.certify.tree import EMPTY_ROOT
from bal.errors import GridsealError, Stop, Unavailable
from bal.model import Digest, TreeHead
from bal.ports import Commit, Heads, Intake
from infra import ending, file_log
from infra.app import Platform, run
from infra.config import Config
from infra.data_folder import DataFolder
from infra.file_log import FileLog
from infra.heads_row import SqliteHeads
from infra.sqlite_bus import SqliteBus
from infra.sqlite_file import translated
from infra.stores import Stores
from infra.system_clock import SystemClock
from tests.adapters.test_failed_start import ANYWHERE

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
FIRST = Heads(0, 0, EMPTY_ROOT, {})


@pytest.fixture
def log(tmp_path: Path) -> Iterator[FileLog]:
    opened = FileLog(tmp_path / "log", SystemClock())
    yield opened
    opened.close()


def refuses(*_: Any, **__: Any) -> Any:
    raise FULL


# -- the last line of a process ---------------------------------------------------------------


def ended(root: Path, monkeypatch: pytest.MonkeyPatch, *failures: GridsealError) -> str:
    """How a platform ends that has these failures, or is told to end, and can't close its log."""
    start = Platform.start

    def unsettled(_: FileLog) -> None:
        with translated("headers.db"):
            raise FULL

    async def started(platform: Platform, *at: tuple[str, int]) -> dict[str, Any]:
        ready = await start(platform, *at)
        monkeypatch.setattr(FileLog, "settle", unsettled)
        for failure in failures:
            platform._fail(failure)
        if not failures:
            asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGTERM)
        return ready

    monkeypatch.setattr(Platform, "start", started)
    said = asyncio.run(run(root, ANYWHERE, ANYWHERE, Config()))
    assert isinstance(said, Stop)
    return str(said)


def test_what_a_platform_ended_for_is_its_last_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not what failed after it, and not what could not be closed then."""
    first = Stop("store-unavailable", "the log's disk is full")
    later = Stop("internal-error", "a consequence")
    assert ended(tmp_path, monkeypatch, first, later) == str(first)


def test_an_end_that_cant_be_written_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = ended(tmp_path, monkeypatch)
    assert said.startswith("store-unavailable: ")
    assert "headers.db: the disk is full" in said


def test_a_defect_while_it_ends_is_none_of_the_disk() -> None:
    assert str(ending.unclosed(ValueError("odd"), None)) == "internal-error: ValueError: odd"


def test_stores_are_let_go_of_whatever_one_of_them_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    DataFolder(tmp_path).create()
    stores = Stores.open(DataFolder(tmp_path), SystemClock())
    with monkeypatch.context() as patched:
        patched.setattr(FileLog, "settle", refuses)
        with pytest.raises(OSError, match="No space"):
            stores.close()
    for closed in (stores.bus.end, stores.log.checkpoint):
        with pytest.raises((sqlite3.ProgrammingError, Unavailable), match="closed"):
            closed()


# -- the parts --------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_commit_says_that_the_disk_is_full(
    log: FileLog, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(file_log, "replace_file", full)
    commit = Commit(FIRST, Heads(1, 1, Digest(bytes(32)), {}), [bytes(32)], [b"{}"])
    with pytest.raises(Unavailable, match="the log's disk refuses: the disk is full"):
        log.stage(commit)


def test_shared_memory_that_cant_grow_is_a_full_disk() -> None:
    """SQLite itself says no more than `disk I/O error`."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
    with pytest.raises(Unavailable, match="the disk is full"), translated("bus.db"):
        raise error


def test_a_swap_that_finds_no_room_is_no_damage_and_may_be_tried_again(tmp_path: Path) -> None:
    heads = SqliteHeads(tmp_path)
    new = Heads(1, 1, Digest(bytes(32)), {f"source {n}": n for n in range(2000)})
    (pages,) = heads._db.execute("PRAGMA page_count").fetchone()
    heads._db.execute(f"PRAGMA max_page_count={pages}")
    for _ in range(2):
        with pytest.raises(Unavailable, match="full"):
            heads.swap(FIRST, new)
    heads._db.execute("PRAGMA max_page_count=1000000")
    heads.swap(FIRST, new)
    assert heads.read() == new
    heads.close()


class Refusing:
    """A connection whose `word` statements fail on a full disk, with or without a rollback."""

    def __init__(self, db: sqlite3.Connection, word: str, *, rolls_back: bool) -> None:
        self._db, self._word, self._rolls_back = db, word, rolls_back
        self.refuses = True

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if self.refuses and sql.startswith(self._word):
            if self._rolls_back:
                self._db.execute("ROLLBACK")
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        return self._db.execute(sql, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)


@pytest.mark.parametrize("rolls_back", [True, False])
def test_a_refused_read_of_the_bus_is_no_damage(tmp_path: Path, *, rolls_back: bool) -> None:
    bus = SqliteBus(tmp_path)
    bus.append([Intake("meter-1", "cim", 1, b"raw")])
    reader = Refusing(bus._reader, "SELECT", rolls_back=rolls_back)
    bus._reader = reader  # type: ignore[assignment]
    for _ in range(2):
        with pytest.raises(Unavailable, match="full"):
            bus.read(0, 1)
    reader.refuses = False
    assert [one.raw for one in bus.read(0, 1)] == [b"raw"]
    bus.close()


@pytest.mark.parametrize("rolls_back", [True, False])
@pytest.mark.parametrize("word", ["REPLACE", "COMMIT"])
def test_a_refused_checkpoint_is_published_once_there_is_room(
    log: FileLog, word: str, *, rolls_back: bool
) -> None:
    head = TreeHead(1, Digest(bytes(32)))
    published = Refusing(log._published, word, rolls_back=rolls_back)
    log._published = published  # type: ignore[assignment]
    for _ in range(2):
        with pytest.raises(Unavailable, match="full"):
            log.publish(head, b"note")
    assert log.checkpoint() is None
    published.refuses = False
    log.publish(head, b"note")
    assert log.checkpoint() == (head, b"note")
