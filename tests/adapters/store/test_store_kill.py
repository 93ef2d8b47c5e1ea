"""kill -9 of a process that writes: what it was told is stored is there, whole, and goes on."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
import store_child as child

from bal.model import ReadingsQuery
from infra.sqlite_archive import SqliteArchive
from infra.sqlite_vault import SqliteVault

REPOSITORY = Path(__file__).resolve().parents[3]
KILLS = 5


def start(role: str, folder: Path, *more: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, child.__file__, role, str(folder), *map(str, more)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )


def lines_until_killed(role: str, folder: Path, lines: int, *more: object) -> Iterator[str]:
    """Every whole line that the process printed before it was killed, at least `lines`."""
    with start(role, folder, *more) as process:
        assert process.stdout is not None
        for _ in range(lines):
            yield process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read()
        yield from rest[: rest.rfind("\n") + 1].splitlines()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("seed", range(3))
def test_rows_told_to_be_stored_are_stored(tmp_path: Path, seed: int) -> None:
    chance = Random(seed)
    for _ in range(KILLS):
        *_, told = lines_until_killed("customer", tmp_path / "scd", chance.randrange(1, 30))
        with closing(child.customer_db(tmp_path / "scd")) as db:
            size = db.size()
            assert size >= int(told)
            assert size % 13 == 0
            wanted = [child.row(index) for index in range(size)]
            assert db.records(0, size) == wanted
            page = db.readings(ReadingsQuery(None, as_of_size=size, limit=size + 1))
            assert page.rows == wanted
            found = db.readings(ReadingsQuery(None, device="meter-3", as_of_size=size, limit=size))
            assert found.rows == [row for row in wanted if row.device == "meter-3"]


def test_messages_told_to_be_kept_are_kept(tmp_path: Path) -> None:
    chance = Random(1)
    for _ in range(KILLS):
        *_, told = lines_until_killed("archive", tmp_path / "archive", chance.randrange(1, 40))
        archive = SqliteArchive(tmp_path / "archive", b"a" * 32, child.archive_key)
        with closing(archive):
            end = next(at for at in range(10**6) if archive.raw(child.EPOCH, 0, at) is None)
            assert end >= int(told)
            assert end % 3 == 0
            for item in map(child.item, range(end)):
                assert archive.raw(child.EPOCH, 0, item.message.offset) == item.message
                assert archive.summary("head-end", item.message_id) == item.summary


def told_subjects(lines: Iterator[str] | list[str]) -> dict[str, tuple[str, str]]:
    """Pseudonym and key by identity; an identity is never told two."""
    told: dict[str, tuple[str, str]] = {}
    for line in lines:
        identity, name, key = line.split()
        assert told.setdefault(identity, (name, key)) == (name, key)
    return told


def test_subjects_told_keep_their_pseudonym_and_key(tmp_path: Path) -> None:
    chance = Random(2)
    told: dict[str, tuple[str, str]] = {}
    for _ in range(KILLS):
        lines = lines_until_killed("vault", tmp_path / "vault", chance.randrange(1, 600), 10_000)
        now = told_subjects(lines)
        assert all(now.get(identity, known) == known for identity, known in told.items())
        told |= now
        with closing(SqliteVault(tmp_path / "vault", child.FixedClock())) as vault:
            for identity, (name, key) in told.items():
                assert vault.find([identity]) == {identity: name}  # type: ignore[list-item]
                assert vault.salt_key(name, 2026) == bytes.fromhex(key)  # type: ignore[arg-type]


def test_processes_that_race_for_the_same_identities_agree(tmp_path: Path) -> None:
    """Four start on a vault that is not there yet, and ask for the same two hundred meters."""
    racers = [start("vault", tmp_path / "vault", 20) for _ in range(4)]
    told = [told_subjects(racer.communicate(timeout=60)[0].splitlines()) for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * 4
    assert len(told[0]) == 210
    assert all(one == told[0] for one in told)
