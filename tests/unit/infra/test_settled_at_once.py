"""What a start redid is fsynced soon, and not only with the next five seconds' work."""

from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import pytest

from infra import settler
from infra.roles import sequencer
from infra.settler import Settler
from infra.troubles import Troubles

PATIENCE_S = 60


def test_by_the_sequencer_of_several_roles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequencer, "SETTLE_EVERY_S", 1e6)
    settled = Event()
    log: Any = SimpleNamespace(settle=settled.set)
    settling = sequencer._Settling(log)
    assert settled.wait(PATIENCE_S)
    settling.stop()
    assert settling.failure is None


def test_by_a_platform_in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settler, "SETTLE_EVERY_S", 1e6)
    settled = Event()
    projector: Any = SimpleNamespace(sync=lambda: SimpleNamespace(needed_from=0))
    bus: Any = SimpleNamespace(trim=lambda _: None)
    one = Settler(
        settle=settled.set, projector=projector, bus=bus, log_size=lambda: 0, troubles=Troubles()
    )
    running = Thread(target=one.run)
    running.start()
    assert settled.wait(PATIENCE_S)
    one.stop()
    running.join(PATIENCE_S)
    assert not running.is_alive()
