"""The audit's look at the bus, beside a platform that trims it meanwhile."""

from types import SimpleNamespace
from typing import Any

import pytest

from bal.errors import Stop
from infra import fsck


class Bus:
    """Has the messages from `low` on; what is below is trimmed."""

    epoch = "e"

    def __init__(self, low: int) -> None:
        self.low, self.read_at = low, list[int]()

    def end(self) -> int:
        return 1000

    def read(self, offset: int, limit: int) -> list[int]:
        if offset < self.low:
            raise Stop("bus-trimmed", f"message {offset}")
        self.read_at.append(offset)
        return list(range(offset, min(1000, offset + limit)))


def look(bus: Bus, *progress: int) -> None:
    """progress: the first offset that is not stored, at each look."""
    looks = iter(progress)
    stores = SimpleNamespace(
        bus=bus,
        projector=SimpleNamespace(progress=lambda: SimpleNamespace(next_offset=next(looks))),
    )
    check: Any = SimpleNamespace(heads=SimpleNamespace(taken={"e/0": 998}))
    fsck._Check.bus(check, stores)  # type: ignore[arg-type]


def test_what_was_stored_and_trimmed_meanwhile_is_no_difference() -> None:
    bus = Bus(low=600)
    look(bus, 100, 700)
    assert bus.read_at == [700, 956]


def test_what_is_still_needed_and_gone_is_one() -> None:
    with pytest.raises(Stop, match="bus-trimmed"):
        look(Bus(low=600), 100, 100)
