"""Subject epochs: whose a reading is when people move (docs/spec/registry.md, subject epochs)."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal import jcs
from bal.certify.commitment import commitment
from bal.epochs import Epochs
from bal.found import found_in
from bal.message_records import root_of
from bal.model import (
    TYPE_PART,
    DeviceInfo,
    Draft,
    Harmonised,
    Identity,
    Part,
    Pseudonym,
    Rank,
    Subject,
)
from bal.pipeline import COMMAND_FORMAT, OPERATOR, Worked, Worker
from bal.registry import Registry, device_record
from bal.subjects import identity_of_name
from bal.times import instant_us, rfc3339, year
from infra.sqlite_vault import SqliteVault
from infra.system_clock import SystemClock
from tests.journey.conftest import cim
from tests.unit.core.test_subjects import AT_US, Line

METER = identity_of_name("m-1")
MOVE = "2026-01-10T00:00:00Z"


@pytest.fixture
def line(tmp_path: Path) -> Line:
    return Line(tmp_path)


def move(line: Line, at: str, ends: Pseudonym, begins: Pseudonym, follows: str = "") -> Worked:
    command = {"command": "move", "ends": ends, "begins": begins, "follows": follows or ends}
    return line.take(OPERATOR, COMMAND_FORMAT, jcs.encode({**command, "at": at}))


def said(worked: Worked) -> list[tuple[str, str]]:
    """Whose each reading is, and when it ended."""
    readings = [jcs.decode(one.record) for one in worked.drafts if one.kind == "reading"]
    assert [one.subject.pseudonym for one in worked.drafts if one.kind == "reading"] == [
        record["device"] for record in readings
    ]
    return [(str(record["device"]), str(record["end"])) for record in readings]


def sent(line: Line, sender: str, *ends: str) -> Worked:
    return line.take(sender, "cim", cim(*(("m-1", end, "1.0") for end in ends)))


BEFORE, AT, BEHIND = "2026-01-09T23:45:00Z", MOVE, "2026-01-10T00:15:00Z"
NEXT_DAY = "2026-01-11T00:15:00Z"


@pytest.mark.parametrize("subjects", ["self", "list", "any"])
def test_an_interval_that_begins_before_the_move_is_the_formers(line: Line, subjects: str) -> None:
    """And who might speak for the meter speaks for it as before."""
    name = "m-1" if subjects == "self" else "headend"
    first = line.vault.pseudonyms([METER])[METER]
    item = {"device": first, "group": "g", "zone": "UTC", "kind": "meter"}
    listed = {"allowed": [first], "devices": [item]} if subjects == "list" else {}
    line.enrol(name, subjects, **listed)
    assert said(sent(line, name, BEFORE)) == [(first, BEFORE)]
    second = line.vault.begin(METER, "K-2")
    assert said(sent(line, name, BEHIND)) == [(first, BEHIND)]  # the move is not in force yet
    move(line, MOVE, first, second)
    assert said(sent(line, name, BEFORE, AT, BEHIND)) == [
        (first, BEFORE), (first, AT), (second, BEHIND),
    ]  # fmt: skip
    old, new = line.registry.device(first), line.registry.device(second)
    assert old is not None
    assert new is not None
    assert (old.until_us, new.since_us) == (instant_us(MOVE), instant_us(MOVE))
    assert (new.group, new.zone, new.kind, new.follows) == (old.group, old.zone, old.kind, first)


def test_no_record_of_one_holder_names_another(line: Line) -> None:
    """He may have all of his; which two epochs are one meter's the platform's own record says."""
    line.enrol("headend", "any")
    sent(line, "headend", BEFORE)
    first = line.vault.pseudonyms([METER])[METER]
    second = line.vault.begin(METER, "K-2")
    by_owner: dict[str, list[bytes]] = {}
    for one in move(line, MOVE, first, second).drafts:
        by_owner.setdefault(one.subject.pseudonym, []).append(one.record)
    ((own,), (others,)) = by_owner.pop(first), by_owner.pop(second)
    assert second.encode() not in own
    assert first.encode() not in others
    ((tied,),) = by_owner.values()
    said_of = jcs.decode(tied)
    assert (said_of["kind"], said_of["begins"], said_of["follows"]) == ("epoch", second, first)


def test_a_log_whose_device_records_say_what_they_follow_is_read_as_it_was_meant() -> None:
    """Those of the first logs with moves do; their late readings are the former holder's still."""
    info = DeviceInfo(Pseudonym("b"), "g", "g/0", "UTC", "meter", "s", "active", since_us=AT_US)
    registry = Registry()
    registry.apply(jcs.encode({**jcs.decode(device_record(info)), "follows": "a"}))
    assert registry.begins == {"b": (AT_US, "a")}


def test_an_exchange_says_whose_place_a_meter_takes_and_a_move_does_not(line: Line) -> None:
    line.enrol("headend", "any")
    sent(line, "headend", BEFORE)
    first = line.vault.pseudonyms([METER])[METER]
    new, away = identity_of_name("m-2"), "2026-01-20T00:00:00Z"
    second = line.vault.begin(new, "K-1")
    worked = line.take(
        OPERATOR,
        COMMAND_FORMAT,
        jcs.encode({"command": "move", "ends": first, "begins": second, "follows": "", "at": MOVE}),
    )
    said_of = {one.subject.pseudonym: jcs.decode(one.record) for one in worked.drafts}
    assert said_of[second]["replaces"] == first
    assert "replaces" not in said_of[first]
    third = line.vault.begin(new, "K-2")
    move(line, away, second, third)
    again = Registry()
    for one in worked.drafts:
        again.apply(one.record)
    for registry in (line.registry, again):
        begun = registry.device(second)
        assert begun is not None
        assert (begun.replaces, begun.follows) == (first, "")
    moved_in = line.registry.device(third)
    assert moved_in is not None
    assert (moved_in.replaces, moved_in.follows) == ("", second)


def test_each_late_reading_goes_back_as_far_as_it_is_old(line: Line) -> None:
    line.enrol("headend", "any")
    epochs = [line.vault.pseudonyms([METER])[METER]]
    sent(line, "headend", "2026-01-01T00:15:00Z")
    for day in ("05", "10"):
        epochs.append(line.vault.begin(METER, ""))
        move(line, f"2026-01-{day}T00:00:00Z", *epochs[-2:])
    found = said(sent(line, "headend", *(f"2026-01-{day}T12:00:00Z" for day in ("02", "07", "12"))))
    assert [device for device, _ in found] == epochs


def test_what_was_taken_before_the_move_is_made_again_the_same(line: Line) -> None:
    """Replay: a worker that has not read of the move yet, of a vault that knows of it."""
    line.enrol("headend", "any")
    first = line.vault.pseudonyms([METER])[METER]
    taken = sent(line, "headend", BEFORE)
    records = [one.record for one in taken.drafts if one.kind == "device"]
    move(line, MOVE, first, line.vault.begin(METER, "K-2"))
    earlier = Registry()
    for record in records:
        earlier.apply(record)
    earlier.senders.update(line.registry.senders)
    again = Worker(line.vault, earlier).process(taken.message)
    assert [one.subject.pseudonym for one in again.drafts] == [first] * len(again.drafts)


def test_what_named_a_meter_first_is_made_again_the_same_behind_a_move(line: Line) -> None:
    """Replay begins without the device, of a vault that knows later epochs of it."""
    line.enrol("headend", "any")
    senders = dict(line.registry.senders)
    taken = sent(line, "headend", BEFORE)
    first = line.vault.find([METER])[METER]
    move(line, MOVE, first, line.vault.begin(METER, "K-2"))
    earlier = Registry()
    earlier.senders.update(senders)
    again = Worker(line.vault, earlier).process(taken.message)
    assert [one.record for one in again.drafts] == [one.record for one in taken.drafts]


def test_a_revoked_meter_stays_so_through_a_move(line: Line) -> None:
    line.enrol("headend", "any")
    sent(line, "headend", BEFORE)
    first = line.vault.find([METER])[METER]
    device = {"command": "device", "device": first, "state": "revoked"}
    line.take(OPERATOR, COMMAND_FORMAT, jcs.encode(device))
    begins = line.vault.begin(METER, "K-2")
    move(line, MOVE, first, begins)
    assert [one.code for one in sent(line, "headend", BEHIND).refused] == ["device-revoked"]


def test_an_epoch_has_one_successor(line: Line) -> None:
    """The bus had a command that nobody waited for any more; it comes behind the next one."""
    line.enrol("headend", "any")
    sent(line, "headend", BEFORE)
    first = line.vault.find([METER])[METER]
    one, two = (line.vault.begin(METER, holder) for holder in ("K-2", "K-3"))
    move(line, MOVE, first, one)
    late = move(line, "2026-01-11T00:00:00Z", first, two)
    assert [finding.code for finding in late.refused] == ["command-failed"]
    assert line.registry.device(two) is None
    ended = line.registry.device(first)
    assert ended is not None
    assert ended.until_us == instant_us(MOVE)


def test_a_meter_that_was_taken_away_ended_then_wherever_it_goes(line: Line) -> None:
    line.enrol("headend", "any")
    line.take("headend", "cim", cim(*((f"m-{n}", BEFORE, "1.0") for n in (1, 2, 3))))
    ids = [identity_of_name(f"m-{n}") for n in (1, 2, 3)]
    found = line.vault.find(ids)
    away = line.vault.begin(ids[1], "K-1")
    move(line, MOVE, found[METER], away, follows=found[ids[1]])  # m-2 for m-1
    again = line.vault.begin(METER, "K-3")
    move(line, "2026-01-20T00:00:00Z", found[ids[2]], again, follows=found[METER])  # m-1 for m-3
    ended, begun = line.registry.device(found[METER]), line.registry.device(again)
    assert ended is not None
    assert begun is not None
    assert ended.until_us == instant_us(MOVE)
    assert begun.follows == found[METER]


def test_late_readings_of_who_was_erased_cost_no_other_reading(line: Line) -> None:
    line.enrol("headend", "any")
    sent(line, "headend", BEFORE)
    first = line.vault.find([METER])[METER]
    second = line.vault.begin(METER, "K-2")
    move(line, MOVE, first, second)

    class Erased:
        def __getattr__(self, name: str) -> object:
            return getattr(line.vault, name)

        def salt_keys(self, wanted: list[Pseudonym], year: int) -> dict[Pseudonym, bytes]:
            if first in wanted:
                raise KeyError(first)
            return line.vault.salt_keys(wanted, year)

    message = sent(line, "headend", BEFORE, BEHIND).message
    again = Worker(Erased(), line.registry).process(message)  # type: ignore[arg-type]
    assert said(again) == [(second, BEHIND)]
    [refused] = again.refused
    assert refused.code == "device-revoked"
    assert BEFORE in refused.text
    assert first not in refused.text
    assert devices_of(again) == [second]  # as the meter is named now: nobody is tied to nobody


def devices_of(worked: Worked) -> list[str]:
    """Under which device an operator finds each item of a message."""
    raw = worked.message.raw
    found = found_in(raw, worked.parts, worked.drafts, worked.findings, worked.refused)
    return [one.device for one in found]


def test_what_is_nobodys_is_found_under_the_meter_that_said_it(line: Line) -> None:
    """Of several in one line of a message, too, and whosever the other readings of its part are."""
    line.enrol("headend", "any")
    line.take("headend", "cim", cim(("m-1", BEFORE, "1.0"), ("m-3", BEFORE, "1.0")))
    found = line.vault.find([METER, identity_of_name("m-3")])
    first, third = found.values()
    new = line.vault.begin(identity_of_name("m-2"), "")
    command = {"command": "move", "ends": first, "begins": new, "follows": "", "at": MOVE}
    line.take(OPERATOR, COMMAND_FORMAT, jcs.encode(command))
    raw = cim(("m-1", NEXT_DAY, "1.0"), ("m-3", BEHIND, "1.0")).replace(b"\n", b"")
    worked = line.take("headend", "cim", raw)
    assert devices_of(worked) == [first]
    [refused] = worked.refused
    register = next(one.register for one in worked.drafts if one.subject.pseudonym == third)
    assert register in refused.text
    again = line.vault.begin(METER, "K-3")
    move(line, "2026-01-20T00:00:00Z", third, again, follows=first)  # m-1 for m-3
    late = sent(line, "headend", BEFORE, NEXT_DAY)
    assert parts_of(late) == [first]
    assert devices_of(late) == [again]


def test_an_event_that_says_no_time_is_of_the_time_it_came(line: Line) -> None:
    """The move lies ahead."""
    line.enrol("headend", "any")
    sent(line, "headend", BEFORE)
    first = line.vault.find([METER])[METER]
    second = line.vault.begin(METER, "K-2")
    move(line, "2027-01-01T00:00:00Z", first, second)
    of = Subject(second, bytes(32), "g", "g/0")
    drafts = [Draft(of, "event", "", -1, -1, Rank.MEASURED, b"{}")]
    found = Harmonised(records=drafts)
    Epochs(line.vault, line.registry).settle(found, b"", AT_US)
    assert [one.subject.pseudonym for one in found.records] == [first]


def test_a_process_that_remembers_the_former_pseudonym_takes_the_newer(
    line: Line, tmp_path: Path
) -> None:
    line.enrol("headend", "any")
    first = line.vault.pseudonyms([METER])[METER]
    sent(line, "headend", BEFORE)
    other = SqliteVault(tmp_path / "vault", SystemClock())
    second = other.begin(METER, "K-2")
    move(line, MOVE, first, second)
    assert line.vault.find([METER]) == {METER: first}  # stale
    assert said(sent(line, "headend", BEHIND)) == [(second, BEHIND)]
    other.close()


def test_an_exchanged_meters_readings_of_before_are_whose_it_was_then(line: Line) -> None:
    """The new meter was in service elsewhere."""
    line.enrol("headend", "any")
    used = identity_of_name("m-2")
    line.take("headend", "cim", cim(("m-1", BEFORE, "1.0"), ("m-2", BEFORE, "1.0")))
    found = line.vault.find([METER, used])
    begins = line.vault.begin(used, "K-1")
    move(line, MOVE, found[METER], begins, follows=found[used])
    worked = line.take("headend", "cim", cim(("m-2", AT, "2.0"), ("m-2", BEHIND, "2.0")))
    assert said(worked) == [(found[used], AT), (begins, BEHIND)]
    ended = line.registry.device(found[used])
    assert ended is not None
    assert ended.until_us == instant_us(MOVE)


@pytest.mark.parametrize("subjects", ["self", "list"])
def test_a_new_meter_that_was_enrolled_first_speaks_for_its_new_place(
    line: Line, subjects: str
) -> None:
    """Its certificate was made before it was hung up."""
    line.enrol("m-1", "self")
    new = identity_of_name("m-2")
    stock = line.vault.pseudonyms([new])[new]
    item = {"device": stock, "group": "g", "zone": "UTC", "kind": "meter"}
    name = "m-2" if subjects == "self" else "other"
    listed = {"allowed": [stock], "devices": [item]} if subjects == "list" else {}
    line.enrol(name, subjects, **listed)
    ends, begins = line.registry.senders["m-1"].subject, line.vault.begin(new, "K-1")
    move(line, MOVE, ends, begins, follows=stock)
    assert said(line.take(name, "cim", cim(("m-2", AT, "1.0"), ("m-2", BEHIND, "1.0")))) == [
        (stock, AT), (begins, BEHIND),
    ]  # fmt: skip
    assert line.registry.senders["m-1"].subject == ends


def parts_of(worked: Worked) -> list[Pseudonym]:
    return [part.subject.pseudonym for part in worked.parts]


def evidence(worked: Worked) -> list[str]:
    return [
        str(jcs.decode(one.record)["evidence"]) for one in worked.drafts if one.kind == "reading"
    ]


def opens(line: Line, worked: Worked, device: Pseudonym, part: Part) -> str:
    """The commitment to a part by the key of a subject."""
    message_year = year(worked.message.received_us)
    key = line.vault.salt_keys([device], message_year)[device]
    return commitment(key, TYPE_PART, worked.message.raw[part.start : part.end]).hex()


def moved(line: Line) -> tuple[Pseudonym, Pseudonym]:
    line.enrol("headend", "any")
    sent(line, "headend", BEFORE)
    first = line.vault.find([METER])[METER]
    second = line.vault.begin(METER, "K-2")
    move(line, MOVE, first, second)
    return first, second


def test_what_a_meter_says_after_it_was_taken_away_is_nobodys(line: Line) -> None:
    """It is at the workshop, or at somebody else's: the former holder's days are over."""
    line.enrol("headend", "any")
    sent(line, "headend", BEFORE)
    first = line.vault.find([METER])[METER]
    new = line.vault.begin(identity_of_name("m-2"), "K-1")
    command = {"command": "move", "ends": first, "begins": new, "follows": "", "at": MOVE}
    line.take(OPERATOR, COMMAND_FORMAT, jcs.encode(command))
    worked = sent(line, "headend", BEFORE, BEHIND, NEXT_DAY)
    assert said(worked) == [(first, BEFORE), (first, BEHIND)]  # it was taken away about noon
    [refused] = worked.refused
    assert refused.code == "epoch-over"
    assert NEXT_DAY in refused.text
    assert not Epochs(line.vault, line.registry).stands(
        [Draft(worked.parts[0].subject, "reading", "", AT_US, AT_US + 1, Rank.MEASURED, b"{}")]
    )


def test_what_it_says_before_it_measures_elsewhere_is_nobodys_too(line: Line) -> None:
    line.enrol("headend", "any")
    line.take("headend", "cim", cim(("m-1", BEFORE, "1.0"), ("m-3", BEFORE, "1.0")))
    found = line.vault.find([METER, identity_of_name("m-3")])
    first, third = found.values()
    new, again = line.vault.begin(identity_of_name("m-2"), ""), line.vault.begin(METER, "K-3")
    command = {"command": "move", "ends": first, "begins": new, "follows": "", "at": MOVE}
    line.take(OPERATOR, COMMAND_FORMAT, jcs.encode(command))
    move(line, "2026-01-20T00:00:00Z", third, again, follows=first)  # m-1 for m-3
    worked = sent(line, "headend", AT, NEXT_DAY, "2026-01-20T00:15:00Z")
    assert said(worked) == [(first, AT), (again, "2026-01-20T00:15:00Z")]
    assert [one.code for one in worked.refused] == ["epoch-over"]


def test_late_readings_alone_are_kept_under_the_formers_key(line: Line) -> None:
    """Else his bytes would outlive the destruction of his keys."""
    first, _ = moved(line)
    worked = sent(line, "headend", "2026-01-09T12:00:00Z", BEFORE)
    assert parts_of(worked) == [first]
    [part] = worked.parts
    assert set(evidence(worked)) == {part.commitment.hex()} == {opens(line, worked, first, part)}


def test_of_several_meters_only_the_moved_ones_part_changes_hands(line: Line) -> None:
    first, _ = moved(line)
    worked = line.take("headend", "cim", cim(("m-1", BEFORE, "1.0"), ("m-2", BEHIND, "1.0")))
    other = line.vault.find([identity_of_name("m-2")])[identity_of_name("m-2")]
    platform = worked.parts[0].subject.pseudonym
    assert [one for one in parts_of(worked) if one != platform] == [first, other]
    known = {part.commitment.hex(): part for part in worked.parts}
    for (device, _), shown in zip(said(worked), evidence(worked), strict=True):
        assert shown == opens(line, worked, Pseudonym(device), known[shown])
    [message] = [jcs.decode(one.record) for one in worked.drafts if one.kind == "message"]
    assert message["root"] == root_of([part.commitment for part in worked.parts]).hex()


def test_the_evidence_of_both_sides_of_a_move_ties_nobody_to_nobody(line: Line) -> None:
    first, second = moved(line)
    worked = sent(line, "headend", BEFORE, BEHIND)
    assert parts_of(worked) == [second]
    [part] = worked.parts
    one, two = evidence(worked)
    assert one != two
    assert (one, two) == (
        opens(line, worked, first, part), opens(line, worked, second, part),
    )  # fmt: skip


def test_nobody_is_looked_up_without_a_record_of_it(line: Line) -> None:
    """Of each of them one of his own: he may have it, and learns of nobody else by it."""
    names = [Identity(f"name://{number}") for number in (1, 2)]
    devices = list(line.vault.pseudonyms(names).values())
    asked = {"by": "clerk", "purpose": "show", "time": MOVE, "why": "a letter"}
    command = {"command": "lookup", "devices": devices, **asked}
    worked = line.take(OPERATOR, COMMAND_FORMAT, jcs.encode(command))
    assert not worked.refused
    own = {"id": "", "kind": "lookup", "v": "1"}
    assert [jcs.decode(one.record) for one in worked.drafts] == [
        {**asked, **own, "device": device} for device in devices
    ]
    rows = worked.rows(7)
    assert [(row.kind, row.device) for row in rows] == [("lookup", device) for device in devices]
    assert all(row.shard.startswith("$platform") for row in rows)


@given(st.integers(0, 4_000_000_000_000_000))
def test_an_instant_that_was_written_is_read(us: int) -> None:
    assert instant_us(rfc3339(us)) == us


def test_where_nobody_moved_nothing_is_looked_at(line: Line) -> None:
    subject = Subject(Pseudonym("p"), bytes(32), "g", "g/0")
    drafts = [Draft(subject, "reading", "", 0, 1, 2, b"{}")]  # type: ignore[arg-type]
    epochs = Epochs(line.vault, Registry())
    epochs.settle(Harmonised(records=drafts), b"", AT_US)
    assert epochs.stands(drafts)
    assert drafts[0].record == b"{}"
