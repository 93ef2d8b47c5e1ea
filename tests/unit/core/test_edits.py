"""Edits: which are refused, and the record that one makes (docs/spec/vee.md)."""

from typing import Any

import pytest

from bal import jcs
from bal.derive.fold import series_days
from bal.edits import check_edit, edit_draft
from bal.errors import Rejected
from bal.harmonise.quality import quality
from bal.model import Digest, Pseudonym, Rank, Subject
from tests.unit.derive.vee_kit import QUARTERS, REGISTER, UTC_DAY, codes, quarters

SUBJECT = Subject(Pseudonym("A" * 43), bytes(32), "g", "g/0")
GIVEN = {
    "device": "A" * 43,
    "register": QUARTERS,
    "begin": "2026-01-15T01:00:00+01:00",
    "end": "2026-01-15T00:15:00Z",
    "value": "+250.50",
    "by": "N. Nemo",
    "why": "read from the display",
}


def test_an_edit_is_a_corrected_reading_with_who_and_why() -> None:
    command = check_edit(GIVEN)
    assert (command["begin"], command["value"]) == ("2026-01-15T00:00:00Z", "250.5")
    assert check_edit(command) == command
    made = edit_draft({**command, "nonce": "x"}, SUBJECT, Digest(b"\x01" * 32))
    record = jcs.decode(made.record)
    assert jcs.encode(record) == made.record
    assert record["edit"] == {"by": "N. Nemo", "id": "#edit", "why": "read from the display"}
    assert record["evidence"] == "01" * 32
    assert record["quality"] == ["3.7.0"]  # IEC 61968-9 annex D: metering data management, edited
    assert quality(tuple(record["quality"])).rank == made.rank == Rank.CORRECTED
    assert (made.kind, made.register) == ("reading", QUARTERS)
    assert (made.begin_us, made.end_us) == (UTC_DAY.begin_us, UTC_DAY.begin_us + 900_000_000)


def test_an_edited_slot_is_corrected_in_its_device_day() -> None:
    made = edit_draft(check_edit(GIVEN), SUBJECT, Digest(bytes(32)))
    rows = quarters(["100"] * 96)
    edited = rows[0]._replace(index=500, rank=made.rank, record=made.record)
    [day] = series_days([*rows, edited], *UTC_DAY[:2], {})
    assert day.slots[0][:1] + day.slots[0][2:] == (3, 250_500, 500)


def test_an_edit_of_an_edit_is_no_doubt() -> None:
    rows = quarters(["100"] * 96)
    for index, value in ((500, "250"), (501, "260")):
        made = edit_draft(check_edit({**GIVEN, "value": value}), SUBJECT, Digest(bytes(32)))
        rows.append(rows[0]._replace(index=index, rank=made.rank, record=made.record))
    assert codes(rows) == []


def test_a_register_is_edited_at_an_instant() -> None:
    command = check_edit({**GIVEN, "register": REGISTER, "begin": ""})
    assert command["begin"] == command["end"] == "2026-01-15T00:15:00Z"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"register": "activeEnergyIn"}, "register"),
        ({"register": QUARTERS.replace(".0.72.0", ".3.72.0")}, "register"),
        ({"register": REGISTER}, "begin"),
        ({"begin": ""}, "begin"),
        ({"begin": "2026-01-15T00:30:00Z"}, "begin"),
        ({"end": "2026-01-15T00:15:00"}, "timeStamp"),
        ({"value": "1e3"}, "value"),
        ({"by": ""}, "by"),
        ({"why": "\n"}, "why"),
        ({"why": "\ud800"}, "why"),
        ({"why": "x" * 201}, "why"),
        ({"why": 7}, "why"),
    ],
)
def test_what_is_no_edit_is_refused(change: dict[str, Any], field: str) -> None:
    with pytest.raises(Rejected) as caught:
        check_edit({**GIVEN, **change})
    assert caught.value.field == field
