"""Some simulated worlds of a few hundred meters; `make soak` runs large ones.

A seed that fails prints the command that runs it again.
"""

import pytest

from tests.simulation.__main__ import again, run
from tests.simulation.world import Failed

METERS = 80
SEEDS = range(1, 8)


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_whatever_breaks(seed: int) -> None:
    try:
        _, simulation = run(seed, METERS, 1)
    except BaseException:
        print(again(seed, METERS, 1))
        raise
    assert sum(simulation.world.injected.values()) > 50, "the faults were not injected"
    assert simulation.world.seen["rows rebuilt"] > METERS * 92


def test_one_seed_gives_one_root() -> None:
    roots = {run(5, 40, 1)[0] for _ in range(2)}
    assert len(roots) == 1


def test_days_follow_each_other() -> None:
    _, simulation = run(11, 40, 2)
    assert [day.isoformat() for day in simulation.days] == sorted(
        {close.date for close in simulation.book.closes()}
    )[-2:]


def test_a_failing_seed_says_how_to_run_it_again() -> None:
    assert again(7, 200, 1) == "python -m tests.simulation --seed 7 --meters 200 --days 1"
    assert issubclass(Failed, AssertionError)
