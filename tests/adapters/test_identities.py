"""Moves and exchanges over a real vault, registry and worker; no bus, no gateway."""

import asyncio
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from bal import jcs
from bal.errors import Rejected
from bal.model import Pseudonym
from bal.pipeline import COMMAND_FORMAT, OPERATOR
from bal.subjects import identity_of_name
from infra.control import _under_way
from infra.identities import Identities
from infra.system_clock import SystemClock
from tests.journey.conftest import cim
from tests.unit.core.test_subjects import Line


class Office(Line):
    """Who puts moves in; what is put is worked at once."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.puts = 0
        self.gate: asyncio.Event | None = None
        self.identities = Identities(
            self.vault, self.registry, Mock(), Mock(), clock=SystemClock(), put=self._put
        )
        self.enrol("headend", "any")
        for number in (1, 2, 3):
            self.take("headend", "cim", cim((f"m-{number}", "2026-01-09T23:45:00Z", "1.0")))

    async def _put(self, credential: str, form: str, raw: bytes) -> None:
        self.puts += 1
        if self.gate is not None:
            await self.gate.wait()
        assert not self.take(credential, form, raw).refused

    async def ask(self, command: str, **request: Any) -> Any:
        return await self.identities.handlers()[command](request)

    def asked(self, command: str, **request: Any) -> Any:
        return asyncio.run(self.ask(command, **request))

    def refused(self, command: str, **request: Any) -> str:
        puts, open_ = self.puts, self.vault.who("K-9")
        with pytest.raises(Rejected) as error:
            self.asked(command, **request)
        assert (self.puts, self.vault.who("K-9")) == (puts, open_)
        return error.value.code

    def named(self, name: str) -> Pseudonym:
        return self.vault.epochs(identity_of_name(name))[0]


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def test_a_move_that_is_given_twice_at_once_is_one(office: Office) -> None:
    """Once by the meter's name, once by its pseudonym."""
    first = office.named("m-1")

    async def both() -> list[Any]:
        office.gate = asyncio.Event()
        asked = [
            asyncio.create_task(office.ask("subject-move", meter=meter, date="2026-01-16"))
            for meter in ("m-1", first)
        ]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        office.gate.set()
        return await asyncio.gather(*asked, return_exceptions=True)

    one, two = asyncio.run(both())
    assert one["ends"] == first
    assert isinstance(two, Rejected)
    assert office.puts == 1


def test_what_would_give_a_meter_two_epochs_at_a_time_is_refused(office: Office) -> None:
    first = office.named("m-1")
    office.asked("subject-move", meter="m-1", holder="K-1", date="2026-01-16")
    again = {"holder": "K-9"}
    assert office.refused("subject-move", meter="m-1", date="2026-01-16", **again) == "epoch-order"
    assert office.refused("subject-move", meter=first, date="2026-02-01", **again) == "epoch-order"
    early = {"new": "m-1", "date": "2026-01-12"}  # m-1's epoch began later
    assert office.refused("subject-exchange", meter="m-2", **early) == "epoch-order"
    office.asked("subject-exchange", meter="m-2", new="m-1", date="2026-03-01")
    assert office.refused("subject-exchange", meter="m-3", **early) == "epoch-order"


def test_a_revoked_meter_neither_moves_nor_takes_the_place_of_another(office: Office) -> None:
    command = {"command": "device", "device": office.named("m-1"), "state": "revoked"}
    office.take(OPERATOR, COMMAND_FORMAT, jcs.encode(command))
    day = {"date": "2026-01-16"}
    assert office.refused("subject-move", meter="m-1", **day) == "device-revoked"
    assert office.refused("subject-exchange", meter="m-2", new="m-1", **day) == "device-revoked"
    office.asked("subject-exchange", meter="m-1", new="m-4", **day)  # it is taken away


@pytest.mark.parametrize("date", ["2226-01-16", "9999-12-31", "0001-01-01", "2026-1-16", ""])
def test_a_slip_of_the_pen_is_no_date(office: Office, date: str) -> None:
    """What lies far ahead could not be taken back: the next move begins later."""
    code = "epoch-order" if date.startswith("0001") else "parameter-invalid"
    assert office.refused("subject-move", meter="m-1", date=date) == code


def test_a_move_that_may_come_later_is_given_again_and_is_the_same(office: Office) -> None:
    """The bus took it and did not answer."""

    async def late(credential: str, form: str, raw: bytes) -> None:
        office.take(credential, form, raw)
        raise TimeoutError

    put, office.identities._commands._put = office.identities._commands._put, late
    with pytest.raises(TimeoutError):
        office.asked("subject-move", meter="m-1", date="2026-01-16")
    begun = office.named("m-1")
    office.identities._commands._put = put
    assert office.asked("subject-move", meter="m-1", date="2026-01-16")["begins"] == begun
    assert (office.puts, office.named("m-1")) == (0, begun)
    for command in ("subject-move", "subject-exchange"):
        assert "gridseal subject show" in _under_way(command)
