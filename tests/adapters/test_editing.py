"""Edits that a meter can't have measured are refused: nothing takes them back."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bal.errors import Rejected
from bal.model import Pseudonym, ReadingsPage, ReadingsQuery, StoredRecord
from infra.commands import Commands
from infra.editing import Editing
from infra.system_clock import SystemClock
from tests.unit.core.test_subject_epochs import METER, MOVE, move, sent
from tests.unit.core.test_subjects import Line

QUARTERS = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0"
DAY_US = 86_400_000_000


class Desk(Line):
    """One meter that moved once, and who edits its readings."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.edits = 0
        self.enrol("headend", "any")
        worked = sent(self, "headend", "2026-01-09T23:45:00Z")
        self.rows = [row for row in worked.rows(0) if row.kind == "reading"]
        self.first = self.vault.find([METER])[METER]
        self.second = self.vault.begin(METER, "K-2")
        move(self, MOVE, self.first, self.second)
        worked = sent(self, "headend", "2026-01-10T12:00:00Z")
        self.rows += [row for row in worked.rows(10) if row.kind == "reading"]
        self.editing = Editing(
            self.registry, self._readings, lambda: 99, SystemClock(), Commands(self._put)
        )

    def _readings(self, query: ReadingsQuery) -> ReadingsPage:
        def asked(row: StoredRecord) -> bool:
            from_us, to_us = query.from_us or 0, query.to_us or 1 << 62
            same = (row.device, row.register) == (query.device, query.register)
            return same and from_us <= row.end_us < to_us

        return ReadingsPage(list(filter(asked, self.rows))[: query.limit], None)

    async def _put(self, *_: object) -> None:
        self.edits += 1

    def edit(self, device: Pseudonym, begin: str, end: str, register: str = QUARTERS) -> Any:
        asked = {"device": device, "register": register, "begin": begin, "end": end}
        more = {"value": "110", "by": "N. Nemo", "why": "a test"}
        return asyncio.run(self.editing.edit({**asked, **more}))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_slot_of_its_epoch_is_edited_whether_it_has_a_value_or_not(desk: Desk) -> None:
    made = desk.edit(desk.first, "2026-01-09T23:30:00Z", "2026-01-09T23:45:00Z")
    assert made["value"] == "110"
    desk.edit(desk.second, "2026-01-10T03:00:00Z", "2026-01-10T03:15:00Z")
    desk.edit(desk.second, "2026-04-10T03:00:00Z", "2026-04-10T03:15:00Z")  # nothing is near
    assert desk.edits == 3


@pytest.mark.parametrize(
    ("epoch", "span", "register", "field"),
    [
        ("first", ("2026-01-10T03:00:00Z", "2026-01-10T03:15:00Z"), QUARTERS, "begin"),
        ("second", ("2026-01-09T23:30:00Z", "2026-01-09T23:45:00Z"), QUARTERS, "begin"),
        ("second", ("2096-01-10T03:00:00Z", "2096-01-10T03:15:00Z"), QUARTERS, "end"),
        ("second", ("2026-01-10T03:03:00Z", "2026-01-10T03:18:00Z"), QUARTERS, "begin"),
        ("second", ("2026-01-10T03:00:00Z", "2026-01-10T04:00:00Z"), QUARTERS, "begin"),
        (
            "second", ("2026-01-10T03:00:00Z", "2026-01-10T03:15:00Z"),
            QUARTERS.replace("4.1.1.12", "4.19.1.12"), "register",
        ),
    ],
)  # fmt: skip
def test_what_it_can_not_have_measured_is_refused(
    desk: Desk, epoch: str, span: tuple[str, str], register: str, field: str
) -> None:
    with pytest.raises(Rejected) as refused:
        desk.edit(getattr(desk, epoch), *span, register)
    assert (refused.value.code, refused.value.field) == ("parameter-invalid", field)
    assert desk.edits == 0


def test_nobody_is_edited_who_is_unknown(desk: Desk) -> None:
    with pytest.raises(Rejected, match="no active device"):
        desk.edit(Pseudonym("P" * 43), "2026-01-10T03:00:00Z", "2026-01-10T03:15:00Z")
