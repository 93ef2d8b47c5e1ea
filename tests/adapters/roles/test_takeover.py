"""A second sequencer stands by and takes over, wherever the first one was stopped or killed.

Processes on one folder: topics, members and positions of infra/roles/sqlite_channels.py, which
takes a process for stopped that has not written the time for six seconds. At each of four lines of
a commit the active one is stopped (SIGSTOP), overtaken by ten heads, and let go on; or it is
killed there. test_takeover_servers.py has the same on Kafka and Cassandra.
"""

import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import sequencer_child as child
from takeover_kit import PATIENCE_S, Ground, check_in_time, overtaken, wait_for

from infra.config import Config
from infra.roles.making import begin
from infra.system_clock import SystemClock

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("roles")]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of roles as its first start leaves it."""
    data = tmp_path_factory.mktemp("takeover") / "data"
    begin(data, Config(), SystemClock(), partitions=2).folder.unlock()
    return data


@pytest.fixture
def ground(template: Path, tmp_path: Path) -> Iterator[Ground]:
    shutil.copytree(template, tmp_path / "data")
    made = Ground(tmp_path / "data")
    yield made
    made.close()


@pytest.mark.parametrize("point", child.POINTS)
def test_stopped_at_a_line_and_overtaken(ground: Ground, point: str) -> None:
    overtaken(ground, point)


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_each_line(ground: Ground, seed: int) -> None:
    """Two that take turns: whoever is active is killed at a line, the other one goes on."""
    dice = random.Random(seed)
    points = [*child.POINTS, *child.POINTS]
    dice.shuffle(points)
    active = ground.start(points[0], "KILL")
    active.said("the sequencer from version")
    for point in [*points[1:], "swap"]:
        ground.certify(dice.randrange(3))
        standby = ground.start(point, "KILL")
        active.signal(signal.SIGUSR1)
        for _ in range(dice.randrange(1, 4)):
            last = ground.offer()
        active.said("^at ")
        assert active.child.wait(PATIENCE_S) == -signal.SIGKILL
        check_in_time(wait_for(lambda: ground.taken() >= last))  # noqa: B023 - asked at once
        standby.said("the sequencer from version")
        active = standby
    ground.certify(2)
    ground.check()
    active.end()
