"""The role `sequencer`, where it stands by and what it looks at was away for a moment."""

from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from bal.errors import Unavailable
from infra.roles import sequencer
from infra.roles.sequencer import SequencerRole


class Members:
    """Away at the first look; another process is the active one."""

    def __init__(self, stopping: Event) -> None:
        self.role: SequencerRole | None = None
        self.alarms: list[list[str]] = []
        self._stopping = stopping

    def mine(self) -> dict[int, int]:
        assert self.role is not None
        self.alarms.append(self.role.alarms())
        if len(self.alarms) == 1:
            raise Unavailable("Kafka does not answer in time", retry_after_s=0)
        if len(self.alarms) == 3:
            self._stopping.set()
        return {}

    def close(self) -> None:
        pass


def test_one_that_stands_by_says_when_its_trouble_is_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sequencer, "STANDBY_S", 0.0)
    caplog.set_level("INFO")
    stopping = Event()
    members = Members(stopping)
    any_: Any = SimpleNamespace(
        members=lambda *_: members, health=lambda: "ok", alarm="", end=lambda: None
    )
    role = members.role = SequencerRole(
        open_log=any_, signer=any_, origin="", channels=any_, positions=any_, clock=any_,
        interval_s=1, closes=any_,
    )  # fmt: skip
    role.run(stopping)
    assert members.alarms == [[], ["sequencing-waits"], []]
    assert role.health() == {"sequencer": "ok", "order": "ok", "days": "ok"}
    said = [record.getMessage().partition(":")[0] for record in caplog.records]
    assert said == ["sequencing-waits", "sequencing-waits is over"]
