"""Worlds whose workers are those of `gridseal run worker` (infra/roles/worker.py)."""

import pytest

from tests.simulation import simulation
from tests.simulation.__main__ import run
from tests.simulation.role_workers import RoleWorker

METERS = 60


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nothing_is_lost_whatever_breaks(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "WorkerProcess", RoleWorker)
    _, found = run(seed, METERS, 1)
    assert all(isinstance(one, RoleWorker) for one in found.workers)
    assert sum(found.world.injected.values()) > 50, "the faults were not injected"
    assert found.world.seen["rows rebuilt"] > METERS * 92
