"""Workers as processes on the files of one folder, killed and stopped at any moment."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from folder_kit import EPOCH, ManualClock, Played
from lane_kit import cim, frames_at

from bal import jcs
from bal.certify.order import CLAIM
from bal.harmonise.phasors import rate_of
from bal.pipeline import Worker
from bal.registry import Registry
from bal.windows import Windows
from infra.roles.worker_state import apply
from tests.bounded import told_to_end

pytestmark = [pytest.mark.xdist_group("roles"), pytest.mark.slow]

CHILD = Path(__file__).with_name("worker_child.py")
REPOSITORY = Path(__file__).resolve().parents[3]
PARTITIONS = 2
ROUNDS = 8
STOPPED_S = 8.0  # longer than a session
PATIENCE_S = 90
S = 1_000_000


class WallClock(ManualClock):
    """The host's."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def elapsed_s(self) -> float:
        return time.monotonic()

    def pass_(self, seconds: float) -> None:
        time.sleep(seconds)


class Workers:
    """Some processes on one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.running: list[subprocess.Popen[str]] = []

    def start(self) -> None:
        env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        self.running.append(
            subprocess.Popen(
                [sys.executable, "-X", "faulthandler", str(CHILD), str(self._root)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=env,
                cwd=REPOSITORY,
            )
        )

    def kill(self, at: int) -> None:
        process = self.running.pop(at)
        process.kill()
        process.communicate(timeout=PATIENCE_S)

    def end(self) -> list[int]:
        """By SIGTERM; how many messages each has worked."""
        for process in self.running:
            process.send_signal(signal.SIGCONT)
        found = []
        while self.running:
            found.append(int(told_to_end(self.running.pop(0), "a worker", PATIENCE_S)))
        return found


class Grid:
    """What is sent, and the sequencer and storer that go on beside the workers."""

    def __init__(self, root: Path) -> None:
        self.played = Played(root, PARTITIONS, WallClock())
        self.stores = self.played.stores("sequencer")
        self._sequencing = self.played.sequencing()
        self._storer, _ = self.played.storer()
        self._dice = Random(4)
        self.sent = [0] * PARTITIONS
        self.played.enrol(self.stores)
        self.sent[0] += 1

    def step(self) -> None:
        self._sequencing.step()
        self._storer.step()

    def go_on(self, seconds: float) -> None:
        until, due = time.monotonic() + seconds, 0.0
        while time.monotonic() < until:
            self.step()
            if time.monotonic() > due:
                due = time.monotonic() + 0.05
                self.send()
            time.sleep(0.005)

    def send(self) -> None:
        partition = self._dice.randrange(PARTITIONS)
        if self._dice.random() < 0.8:
            at_us = self.played.clock.now_us() - self._dice.choice([0, 0, 0, 1, 3]) * S
            raw, form = frames_at(f"p{partition}", at_us, self._dice.randint(1, 5)), "pmu"
        else:
            raw, form = cim(f"m{self._dice.randrange(5)}", value=self._dice.randrange(8)), "cim"
        self.played.send(form, raw, partition)
        self.sent[partition] += 1

    def taken(self, partition: int) -> int:
        return self.stores.log.heads().taken.get(f"{EPOCH}/{partition}", -1)

    def rest(self) -> None:
        """Until all is taken and stored."""
        deadline = time.monotonic() + PATIENCE_S
        raw, log, stored = self.played.channels.raw, self.stores.log, self.stores.stored
        while [self.taken(p) + 1 for p in range(PARTITIONS)] != raw.ends() or (
            stored.size() < log.heads().size
        ):
            assert time.monotonic() < deadline, "not everything is taken"
            self.step()
            time.sleep(0.005)

    def headers(self) -> list[dict[str, str]]:
        found, place = [], (-1, 0)
        while some := self.stores.log.headers(place, 1000):
            place = some[-1][0]
            found += [jcs.decode(header) for _, header in some]
        return found

    def check(self) -> tuple[int, int]:
        """The log is what one worker makes of the messages; (windows, retries) in it."""
        made = retries = 0
        for partition in range(PARTITIONS):
            windows, expected = Windows(rate_of), 0
            for header in self.headers():
                if (header["epoch"], header["partition"]) != (EPOCH, str(partition)):
                    continue
                offset = int(header["offset"])
                assert offset == expected
                expected += 1
                if "again" in header:
                    retries += 1
                    continue
                made += self._check(partition, offset, header, windows)
            assert expected >= self.sent[partition]
        return made, retries

    def _check(
        self, partition: int, offset: int, header: dict[str, object], windows: Windows
    ) -> int:
        inputs, stores = header["inputs"], self.stores
        assert isinstance(inputs, dict)
        registry = Registry()
        for index, record in stores.stored.registry_records(int(inputs["registry"])).items():
            apply(registry, index, record)
        message = stores.archive.raw(EPOCH, partition, offset)
        assert message is not None
        worked = Worker(stores.vault, registry, windows).process(message)
        assert worked.row_digests() == [header["rows"]], f"{partition}/{offset}"
        return sum(draft.kind == "phasors" for draft in worked.drafts)


@pytest.fixture
def grid(tmp_path: Path) -> Iterator[Grid]:
    one = Grid(tmp_path)
    yield one
    one.played.close()


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    one = Workers(tmp_path)
    yield one
    while one.running:
        one.kill(0)


def test_workers_that_are_killed_and_stopped_make_one_log(grid: Grid, workers: Workers) -> None:
    dice = Random(11)
    for _ in range(2):
        workers.start()
    deadline = time.monotonic() + PATIENCE_S
    while grid.taken(0) < 0:
        assert time.monotonic() < deadline, "no worker begins"
        grid.go_on(0.2)
    for _ in range(ROUNDS):
        grid.go_on(dice.uniform(0.3, 2.0))
        workers.kill(dice.randrange(2))
        workers.start()
    stopped = workers.running[0]
    stopped.send_signal(signal.SIGSTOP)
    grid.go_on(STOPPED_S)  # the other one takes its partitions over
    stopped.send_signal(signal.SIGCONT)
    grid.go_on(3.0)
    grid.rest()
    made, retries = grid.check()
    assert made > 20
    assert retries > 0
    claims = [h for h in grid.headers() if h["epoch"].startswith(CLAIM)]
    assert len(claims) > PARTITIONS
    assert sum(workers.end()) > 0
