"""Two storers as processes on four partitions, under load: killed, stopped, and gone on late."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from random import Random

import pytest
from folder_kit import ManualClock, Played
from lane_kit import cim, frames_at
from storer_ground import digest
from test_worker_processes import WallClock

from bal.model import StoredRecord
from infra.fsck import fsck
from infra.replay import replay
from infra.roles.sqlite_members import SqliteMembers
from tests.bounded import line_of, told_to_end

pytestmark = [pytest.mark.xdist_group("roles"), pytest.mark.slow]

CHILD = Path(__file__).with_name("storer_process.py")
REPOSITORY = Path(__file__).resolve().parents[3]
PARTITIONS = 4
KILLS = 6
TAKE_OVER_S = 10.0  # of what was stopped; what was killed is taken over at once
PATIENCE_S = 90
S = 1_000_000


class Storers:
    """Some processes on one folder, by name."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.running: dict[str, subprocess.Popen[str]] = {}

    def start(self, name: str) -> None:
        env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-X", "faulthandler", str(CHILD), str(self._root)]
        self.running[name] = process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
            cwd=REPOSITORY,
        )
        assert line_of(process, f"storer {name}, to begin") == "begins"

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        process.kill()
        process.communicate(timeout=PATIENCE_S)

    def stop_between_writes(self, name: str) -> None:
        """SIGSTOP, where it holds no file's lock: that one the kernel gives to nobody else."""
        process = self.running[name]
        for _ in range(100):
            process.send_signal(signal.SIGSTOP)
            if not any(map(_is_locked, self._root.glob("*/*.db"))):
                return
            process.send_signal(signal.SIGCONT)
            time.sleep(0.02)
        raise AssertionError(f"{name} is always within a write")

    def end(self) -> None:
        time.sleep(1)  # a message without entries moves no size
        for name in list(self.running):
            told_to_end(self.running.pop(name), f"storer {name}", PATIENCE_S)


def _is_locked(path: Path) -> bool:
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as db:
        try:
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return True
    return False


class Load:
    """What is sent, and the workers and the sequencer beside the storers."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.played = Played(root, PARTITIONS, WallClock())
        self.seen = self.played.stores("gateway")
        self._sequencing = self.played.sequencing()
        self._worker = self.played.worker()
        self._dice = Random(7)
        self.played.enrol(self.seen)

    def step(self) -> None:
        self._worker.step()
        self._sequencing.step()

    def go_on(self, seconds: float) -> None:
        until, due = time.monotonic() + seconds, 0.0
        while time.monotonic() < until:
            self.step()
            if time.monotonic() > due:
                due = time.monotonic() + 0.03
                self._send()
            time.sleep(0.003)

    def _send(self) -> None:
        partition, dice = self._dice.randrange(PARTITIONS), self._dice
        if dice.random() < 0.3:
            at_us = self.played.clock.now_us() - dice.choice([0, 0, 1]) * S
            self.played.send("pmu", frames_at(f"p{partition}", at_us, 3), partition)
        else:  # meters of their own, meters that all partitions name, and now and then new ones
            names = [f"m-{partition}-{dice.randrange(9)}", f"shared-{dice.randrange(40)}"]
            self.played.send("cim", cim(*names, value=dice.randrange(999)), partition)

    def behind(self) -> int:
        """Entries that the log has and not all partitions have stored."""
        return self.seen.log.heads().size - self.seen.stored.size()

    def rest(self) -> None:
        """Until all is taken and stored."""
        deadline = time.monotonic() + PATIENCE_S
        raw = self.played.channels.raw
        while self.behind() or any(
            self.seen.log.heads().taken.get(f"{raw.epoch}/{p}", -1) + 1 != end
            for p, end in enumerate(raw.ends())
        ):
            assert time.monotonic() < deadline, f"{self.behind()} entries behind"
            self.step()
            time.sleep(0.005)

    def close_day(self) -> None:
        """As the sequencer's deriver does it, of a day that has readings."""
        while self._sequencing.last_close() > len(self.seen.book.closes()):
            self.step()
            time.sleep(0.005)
        self.played.close_day(self._sequencing, self.seen, date(2026, 1, 15))

    def stored_until(self, size: int, within_s: float) -> float:
        """Seconds until all partitions are stored up to there, while the load goes on."""
        began = time.monotonic()
        while self.seen.stored.size() < size:
            assert time.monotonic() - began < within_s, self.seen.projector.file.sizes()
            self.go_on(0.05)
        return time.monotonic() - began

    def finish(self) -> None:
        self._worker.close()
        self._sequencing.finish()
        self.played.close()


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    one = Load(tmp_path / "data")
    yield one
    one.played.close()


@pytest.fixture
def storers(load: Load) -> Iterator[Storers]:
    one = Storers(load.root)
    for name in ("a", "b"):
        one.start(name)
    yield one
    for name in list(one.running):
        one.kill(name)


def rows_of(root: Path) -> list[StoredRecord]:
    played = Played(root, PARTITIONS)
    stores = played.stores("gateway")
    found = stores.customer_db.records(0, stores.customer_db.size())
    played.close()
    return found


def undisturbed(root: Path, to: Path) -> list[StoredRecord]:
    """The rows as one storer makes them of the same log, whom nothing happens to."""
    shutil.copytree(root, to)
    shutil.rmtree(to / "scd")
    played = Played(to, PARTITIONS, ManualClock(time.time_ns() // 1000))
    storer, _ = played.storer()
    played.settle(storer.step)
    storer.close()
    played.close()
    return rows_of(to)


def check(load: Load, tmp_path: Path) -> None:
    size = load.seen.log.heads().size
    load.finish()
    for audit in (fsck(load.root), replay(load.root)):
        assert audit.differences == []
        assert audit.unchecked == {}
    rows = rows_of(load.root)
    assert len(rows) > 100
    assert rows[-1].index < size
    expected = undisturbed(load.root, tmp_path / "undisturbed")
    assert rows == expected
    assert digest(rows) == digest(expected)


def test_two_storers_of_which_one_is_killed(load: Load, storers: Storers, tmp_path: Path) -> None:
    dice = Random(3)
    load.go_on(3.0)
    assert load.seen.stored.size() > 0
    load.close_day()
    for number in range(KILLS):
        name = dice.choice("ab")
        load.go_on(dice.uniform(0.2, 1.5))
        storers.kill(name)
        # Its partitions are the other one's at once: what came before the kill is soon stored.
        load.stored_until(load.seen.log.heads().size, TAKE_OVER_S)
        if number == 2:
            load.close_day()
        storers.start(name)
    load.rest()
    storers.end()
    check(load, tmp_path)


def test_a_storer_that_stands_still_and_goes_on_late(
    load: Load, storers: Storers, tmp_path: Path
) -> None:
    """Its partitions are the other one's within ten seconds; both have them for a while."""
    load.go_on(4.0)
    for name in ("a", "b"):
        storers.stop_between_writes(name)
        load.go_on(0.5)
        load.stored_until(load.seen.log.heads().size, TAKE_OVER_S)
        load.go_on(2.0)
        storers.running[name].send_signal(signal.SIGCONT)  # in the middle of whatever it did
        load.go_on(1.5)
    load.rest()
    storers.end()
    check(load, tmp_path)


def test_both_stop_and_the_intake_waits(load: Load, storers: Storers, tmp_path: Path) -> None:
    """Nothing is visible that has holes, and nothing is lost; then another one has them all."""
    load.go_on(3.0)
    load.stored_until(load.seen.log.heads().size, PATIENCE_S)
    for name in ("a", "b"):
        storers.kill(name)
    size = load.seen.stored.size()
    load.go_on(1.0)
    assert load.seen.stored.size() == size < load.seen.log.heads().size
    storers.start("c")
    load.rest()
    with closing(SqliteMembers(load.root / "bus" / "members", "storer", PARTITIONS)) as member:
        assert member.mine() == {}  # nobody takes from the living
    storers.end()
    check(load, tmp_path)
