"""What a close finds, as the operator's list has it: each with its record's place in the log."""

from bal.derive.vee_found import Found
from bal.derive.vee_record import finding_record
from bal.found import About
from bal.found_by_vee import found_by_vee
from bal.model import TYPE_RECORD, Pseudonym, Rank, StoredRecord
from bal.times import rfc3339

DEVICE, REGISTER = Pseudonym("D" * 43), "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0"
BEGIN_US = 1_768_471_200_000_000
END_US, CLOSED_US = BEGIN_US + 900_000_000, BEGIN_US + 86_400_000_000


def row(
    index: int, *codes: str, begin_us: int = BEGIN_US, supersedes: int | None = None
) -> StoredRecord:
    """A record of kind finding; of no code, it takes back what the one before said."""
    found = [Found(begin_us, END_US, code, "warning", f"text of {code}", (3,)) for code in codes]
    record = finding_record(DEVICE, (REGISTER, begin_us, END_US), found, supersedes)
    return StoredRecord(
        DEVICE, END_US, "finding", REGISTER, begin_us, index, Rank.MEASURED, TYPE_RECORD, 2026,
        record, "north/0",
    )  # fmt: skip


def test_each_finding_leads_to_its_record_and_says_what_it_is_about() -> None:
    found = found_by_vee([row(57, "slot-missing", "energy-spike")], k=5, closed_us=CLOSED_US)
    assert [one.finding.code for one in found.items] == ["energy-spike", "slot-missing"]
    for number, one in enumerate(found.items):
        assert one.place == (57, 0, 4, number, "derive")
        assert (one.source, one.index, one.count) == ("vee", 57, 1)
        assert one.batch == ("derive", 0, 4)
        assert (one.device, one.group, one.sender, one.format) == (DEVICE, "north", "", "")
        assert one.received_us == CLOSED_US
        assert one.about == About(REGISTER, rfc3339(BEGIN_US), rfc3339(END_US))
        assert one.finding.text == f"text of {one.finding.code}"
        assert (one.finding.severity, one.finding.line) == ("warning", None)
    assert found.replaced == {}


def test_an_instant_begins_where_it_ends() -> None:
    found = found_by_vee([row(57, "register-fell", begin_us=END_US)], k=1, closed_us=CLOSED_US)
    [one] = found.items
    assert one.about == About(REGISTER, rfc3339(END_US), rfc3339(END_US))


def test_a_further_version_takes_the_place_of_the_one_before() -> None:
    rows = [row(80, supersedes=57), row(81, "energy-spike", supersedes=60)]
    found = found_by_vee(rows, k=6, closed_us=CLOSED_US)
    assert found.replaced == {57: 80, 60: 81}
    assert [one.index for one in found.items] == [81]  # what is resolved is nothing found


def test_estimates_and_device_days_are_no_findings() -> None:
    rows = [row(57, "slot-missing")._replace(kind=kind) for kind in ("reading", "device-day")]
    found = found_by_vee(rows, k=1, closed_us=CLOSED_US)
    assert (found.items, found.replaced) == ([], {})
