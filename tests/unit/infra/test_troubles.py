"""A trouble is told once when it begins and once when it is over, however often it is tried."""

import logging

import pytest

from bal.errors import Unavailable
from infra.troubles import AWAY_S, BUS, STORING, Troubles


def test_each_is_told_once_and_once_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    troubles = Troubles()
    assert set(troubles.health().values()) == {"ok"}
    for _ in range(50):
        assert troubles.note(BUS, Unavailable("Kafka does not answer", retry_after_s=5)) == AWAY_S
    troubles.note(STORING, Unavailable("Cassandra does not answer"))
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert "bus-down" in caplog.records[0].message
    assert "Kafka does not answer" in caplog.records[0].message
    assert troubles.alarms() == [BUS, STORING]
    assert troubles.health()["bus"] == "bus-down: Kafka does not answer"
    assert troubles.health()["log"] == "ok"

    for _ in range(3):
        troubles.over(BUS)
    assert [record.levelname for record in caplog.records[2:]] == ["INFO"]
    assert troubles.alarms() == [STORING]
    troubles.note(BUS, Unavailable("again"))
    assert caplog.records[-1].levelname == "ERROR"
