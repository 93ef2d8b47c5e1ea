"""VEE of a shard: what of a device's epochs decides (docs/spec/vee.md)."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from bal.model import DeviceInfo, Pseudonym, Rank, StoredRecord
from bal.vee import Shard
from tests.unit.derive.vee_kit import DAY, DAY_US, DEVICE, QUARTERS, RULES, UTC_DAY, quarters

INFO = DeviceInfo(DEVICE, "g", "g/0", "UTC", "meter", "headend", "active")
HALF: list[str | None] = ["100"] * 48  # it was taken away at noon


class Weeks:
    """Port DayRows: the same day of every week before, of one device."""

    def of_shard(
        self, _: str, from_us: int, __: int, ___: int
    ) -> Iterator[tuple[Pseudonym, Sequence[StoredRecord]]]:
        weeks = (UTC_DAY.begin_us - from_us) // (7 * DAY_US)
        span = UTC_DAY._replace(begin_us=from_us, end_us=from_us + DAY_US)
        yield DEVICE, quarters(["200"] * 96, span=span, first=1000 * weeks)


@pytest.mark.parametrize(("until_us", "estimates"), [(0, 48), (UTC_DAY.begin_us, 0)])
def test_a_meter_that_was_taken_away_has_no_estimates(until_us: int, estimates: int) -> None:
    """The one in its place measured the same energy."""
    shard = Shard(Weeks(), DAY, 10_000, RULES, name="g/0", known={})
    shard.take(replace(INFO, until_us=until_us), quarters(HALF), UTC_DAY.end_us)
    found = shard.derived()
    assert sum(one.rank == Rank.ESTIMATED for one in found) == estimates
    assert [one.kind for one in found if one.rank != Rank.ESTIMATED] == ["finding"]
    assert {one.register for one in found} == {QUARTERS}
