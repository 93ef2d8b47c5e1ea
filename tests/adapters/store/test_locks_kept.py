"""Another process that looks at a database and goes takes nothing away from who is at work on it.

The last connection that is closed removes `-wal` and `-shm`. SQLite knows the last one by the
locks on the database, and a process loses all it has on a file where it closes the file by itself
(SQLite, How To Corrupt §2.2): who goes on then writes where nobody looks.
"""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bal.errors import Stop
from infra.sqlite_file import SqliteFile
from tests.journey.small_platform import Small, cim

LOOK = """
import sqlite3, sys
for path in sys.argv[1:]:
    db = sqlite3.connect(path)
    print(db.execute("SELECT count(*) FROM sqlite_master").fetchone())
    db.close()
"""


def look(*paths: Path) -> None:
    """Open to write, read, and close, as a role does that starts and ends, or sqlite3(1)."""
    subprocess.run([sys.executable, "-c", LOOK, *map(str, paths)], check=True, capture_output=True)


def count(path: Path) -> int:
    code = (
        "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone())"
    )
    words = [sys.executable, "-c", code, str(path), "SELECT count(*) FROM t"]
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def test_what_is_written_behind_a_sync_is_seen_by_others(tmp_path: Path) -> None:
    path = tmp_path / "x" / "a.db"
    file = SqliteFile(path, "CREATE TABLE t(a);", form=1, lazy=True)
    for number in range(1, 4):
        with file.writing() as db:
            db.execute("INSERT INTO t VALUES(1)")
        file.sync()
        look(path)
        assert count(path) == number
    file.close()


def test_who_finds_its_journal_gone_says_so(tmp_path: Path) -> None:
    """However it went: to say that all is durable would be to lose it."""
    path = tmp_path / "x" / "a.db"
    file = SqliteFile(path, "CREATE TABLE t(a);", form=1, lazy=True)
    path.with_name("a.db-wal").rename(path.with_name("away"))
    with pytest.raises(Stop, match=r"disk-unsynced: a\.db-wal was taken away"):
        file.sync()
    file.close()


def test_what_the_disk_failed_to_take_is_not_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel has dropped it, and would say that all is well."""
    path = tmp_path / "x" / "a.db"
    file = SqliteFile(path, "CREATE TABLE t(a);", form=1, lazy=True)

    def failing(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", failing)
        with pytest.raises(Stop, match="disk-unsynced"):
            file.sync()
    with pytest.raises(Stop, match="disk-unsynced"):
        file.sync()
    file.close()


def test_no_file_of_a_platform_at_work_loses_its_journal(tmp_path: Path) -> None:
    root = tmp_path / "data"
    small = Small(root)
    small.start()
    try:
        small.enrol("headend")
        small.take("headend", cim(0, range(3)))
        small.engine.settler.settle()
        journals = {path: path.stat().st_ino for path in root.rglob("*.db-wal")}
        assert len(journals) > 8
        look(*(path.with_name(path.name.removesuffix("-wal")) for path in journals))
        assert {path: path.stat().st_ino for path in root.rglob("*.db-wal")} == journals
        small.take("headend", cim(1, range(3)))
    finally:
        small.close()
