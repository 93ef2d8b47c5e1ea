"""The writer of the intake, where the bus fails: whoever waits is answered, and it goes on."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event

import pytest

from bal.errors import GridsealError, Stop, Unavailable
from bal.ports import Intake
from infra.intake_writer import IntakeWriter, on_bus
from infra.key_signer import KeySigner
from infra.sqlite_bus import SqliteBus
from infra.system_clock import SystemClock

ORIGIN = "gridseal.invalid/test"
WAIT_S = 30


class Failing(SqliteBus):
    """Raises `failure` once instead of taking a group."""

    failure: Exception | None = None

    def append(self, messages: Sequence[Intake]) -> list[int]:
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure
        return super().append(messages)


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Failing]:
    bus = Failing(tmp_path)
    yield bus
    bus.close()


@pytest.fixture
def stopped_by() -> list[GridsealError]:
    return []


@pytest.fixture
def writer(bus: Failing, stopped_by: list[GridsealError]) -> Iterator[IntakeWriter]:
    signer = KeySigner(f"{ORIGIN}/intake", bytes(32))
    writer = IntakeWriter(
        on_bus(bus), signer, ORIGIN, SystemClock(), lambda: None, on_stop=stopped_by.append
    )
    writer.start()
    yield writer
    writer.stop()


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (Unavailable("away"), "away"),
        (ValueError("a group has at most 24 MiB"), "the bus failed"),  # a defect
    ],
)
def test_a_group_that_fails_is_answered_and_the_next_is_taken(
    bus: Failing,
    writer: IntakeWriter,
    stopped_by: list[GridsealError],
    failure: Exception,
    raised: str,
) -> None:
    bus.failure = failure
    with pytest.raises(Unavailable, match=raised):
        writer.submit("a", "cim", b"1").result(WAIT_S)
    assert writer.waiting_bytes == 0
    assert writer.submit("a", "cim", b"2").result(WAIT_S).batch == f"{bus.epoch}/0/0"
    assert (writer.accepted, stopped_by) == (1, [])


def test_a_bus_that_can_not_be_gone_on_with_stops_the_platform(
    bus: Failing, writer: IntakeWriter, stopped_by: list[GridsealError]
) -> None:
    bus.failure = Stop("bus-went-backwards", "it was made anew")
    with pytest.raises(Stop, match="made anew"):
        writer.submit("a", "cim", b"1").result(WAIT_S)
    assert [str(error) for error in stopped_by] == ["bus-went-backwards: it was made anew"]


def test_a_bus_that_stands_still_holds_up_no_end(bus: Failing, writer: IntakeWriter) -> None:
    """Who waits is told that it is not acknowledged, those behind the append under way as well."""
    begun, go = Event(), Event()
    append = SqliteBus.append

    def hangs(messages: Sequence[Intake]) -> list[int]:
        begun.set()
        assert go.wait(WAIT_S)
        return append(bus, messages)

    bus.append = hangs  # type: ignore[method-assign]
    first = writer.submit("a", "cim", b"1")
    assert begun.wait(WAIT_S)
    behind = writer.submit("a", "cim", b"2")
    assert not writer.stop(0.05)
    for one in (first, behind):
        with pytest.raises(Unavailable, match="the platform is stopping"):
            one.result(WAIT_S)
    go.set()
    assert writer.stop()
    assert [message.raw for message in bus.read(0, 9)] == [b"1"]  # acknowledged to nobody
