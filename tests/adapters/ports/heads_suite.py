"""What every HeadsRow must do (infra/heads_row.py). A test module subclasses `HeadsSuite`."""

import json
import os
import subprocess
import sys
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from threading import Barrier, Thread

import pytest

from bal.errors import Stop
from bal.model import Digest
from bal.ports import Heads
from infra.heads_row import FIRST, HeadsRow

REPOSITORY = Path(__file__).resolve().parents[3]
RACES = 20


def heads(version: int, who: str = "") -> Heads:
    """The row of one version, as one process would make it."""
    root = Digest(sha256(f"{version} {who}".encode()).digest())
    return Heads(version, 10 * version, root, {"00112233445566aa/0": version, "-": 2**40})


class HeadsSuite:
    """`open` opens the row that belongs to a folder; `racer` says how a process opens it."""

    def open(self, folder: Path) -> HeadsRow:
        raise NotImplementedError

    def racer(self, folder: Path) -> list[str]:
        """Arguments of heads_child.py."""
        raise NotImplementedError

    def test_where_there_is_no_row_it_is_that_of_an_empty_log(self, tmp_path: Path) -> None:
        with closing(self.open(tmp_path)) as row:
            assert row.read() == FIRST

    def test_what_was_swapped_in_is_read_by_everyone(self, tmp_path: Path) -> None:
        with closing(self.open(tmp_path)) as row:
            row.swap(FIRST, heads(1))
            row.swap(heads(1), heads(2))
            assert row.read() == heads(2)
            with closing(self.open(tmp_path)) as other:
                assert other.read() == heads(2)
                other.swap(heads(2), heads(3))
            assert row.read() == heads(3)

    @pytest.mark.parametrize(
        "old", [FIRST, heads(1), heads(2, "another"), heads(3)], ids=lambda one: str(one.version)
    )
    def test_who_starts_from_another_row_has_lost(self, tmp_path: Path, old: Heads) -> None:
        with closing(self.open(tmp_path)) as row:
            row.swap(FIRST, heads(1))
            row.swap(heads(1), heads(2))
            with pytest.raises(Stop, match="lost-swap"):
                row.swap(old, heads(old.version + 1, "late"))
            assert row.read() == heads(2)

    def test_the_same_commit_of_two_is_won_by_one(self, tmp_path: Path) -> None:
        with closing(self.open(tmp_path)) as row, closing(self.open(tmp_path)) as other:
            row.swap(FIRST, heads(1))
            with pytest.raises(Stop, match="lost-swap"):
                other.swap(FIRST, heads(1))

    def test_of_threads_that_race_exactly_one_wins(self, tmp_path: Path) -> None:
        rows = [self.open(tmp_path) for _ in range(4)]
        start, told = Barrier(len(rows)), list[str]()

        def race(number: int) -> None:
            start.wait()
            try:
                rows[number].swap(FIRST, heads(1, str(number)))
                told.append("won")
            except Stop as stop:
                told.append(stop.code)

        threads = [Thread(target=race, args=(number,)) for number in range(len(rows))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(told) == ["lost-swap"] * 3 + ["won"]
        assert rows[0].read() in [heads(1, str(number)) for number in range(len(rows))]
        for row in rows:
            row.close()

    def test_of_processes_that_race_exactly_one_wins_each_version(self, tmp_path: Path) -> None:
        self.open(tmp_path).close()
        command = [sys.executable, str(Path(__file__).with_name("heads_child.py"))]
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        racers = [
            subprocess.Popen(
                [*command, *self.racer(tmp_path), name, str(RACES)],
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
            )
            for name in ("one", "two")
        ]
        texts = [racer.communicate(timeout=300)[0] for racer in racers]
        assert [racer.returncode for racer in racers] == [0, 0]
        told = dict(zip(("one", "two"), map(json.loads, texts), strict=True))
        for version in range(1, RACES + 1):
            assert sorted(told[name][str(version)] for name in told) == ["lost-swap", "won"]
        with closing(self.open(tmp_path)) as row:
            winner = next(name for name in told if told[name][str(RACES)] == "won")
            assert row.read() == heads(RACES, winner)
