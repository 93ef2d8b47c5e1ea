"""A process that was stopped while it read a file holds up nobody who writes it.

One that was stopped while it wrote holds up all others, and the operator is told what to do.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from bal.certify.log import Sequencer, tick
from bal.errors import Unavailable
from bal.registry import Registry
from infra.committed import Progress
from infra.file_log import FileLog
from infra.heads_row import FIRST, SqliteHeads
from infra.key_signer import KeySigner
from infra.projector import Projector
from infra.system_clock import SystemClock
from tests.unit.infra.sequencing_kit import ORIGIN

SOON_S = 4.0  # far less than SQLite waits for a lock


class Nothing:
    def store(self, *_: object) -> None: ...

    def sync(self) -> None: ...

    def tidy(self) -> bool:
        return False


@contextmanager
def stopped_reader(path: Path, table: str) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN")
        db.execute(f"SELECT * FROM {table}").fetchall()
        yield


def test_the_log_is_settled_beside_it(tmp_path: Path) -> None:
    log = FileLog(tmp_path, SystemClock())
    sequencer = Sequencer(log, log, KeySigner(ORIGIN, b"s" * 32), ORIGIN)
    sequencer.commit([], [tick(1)])
    with stopped_reader(tmp_path / "headers.db", "header"):
        sequencer.commit([], [tick(2)])
        began = time.monotonic()
        log.settle()
        assert time.monotonic() - began < SOON_S
    assert list((tmp_path / "staging").iterdir()) == []
    log.close()


def test_what_is_stored_is_synced_beside_it(tmp_path: Path) -> None:
    nothing: Any = Nothing()
    projector = Projector(
        tmp_path, bus=None, customer_db=nothing, archive=nothing, book=nothing,
        registry=Registry(), lanes=1,
    )  # fmt: skip
    projector.store_lane(0, [], Progress(1, 1, 0, 0), [], Registry())
    with stopped_reader(tmp_path / "progress.db", "lane"):
        projector.store_lane(0, [], Progress(2, 2, 0, 0), [], Registry())
        began = time.monotonic()
        projector.sync_lane(0, Progress(2, 2, 0, 0))
        assert time.monotonic() - began < SOON_S
    assert projector.progress().size == 2
    projector.close()


def test_who_waits_for_one_that_wrote_says_so(tmp_path: Path) -> None:
    heads = SqliteHeads(tmp_path)
    heads._db.execute("PRAGMA busy_timeout = 50")
    with closing(sqlite3.connect(tmp_path / "heads.db", isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match=r"heads.db: another process holds it; .* kill it"):
            heads.swap(FIRST, FIRST)
    heads.close()
