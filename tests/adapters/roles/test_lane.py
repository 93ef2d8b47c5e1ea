"""Workers over partitions that are claimed (docs/decisions/0017): infra/roles/{worker,lane}.py."""

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from lane_kit import EPOCH, MemoryMembers, World, cim, frames

from bal.certify.order import Outcome
from bal.errors import Stop, Unavailable
from bal.model import Identity, Pseudonym
from bal.pipeline import FLUSH_FORMAT
from infra.roles import lane as lanes
from infra.roles import worker as workers
from infra.roles.lane import Ended, Lane, LaneState, position_name
from infra.roles.ports import Position
from infra.roles.worker import WorkerRole

SOURCE = f"{EPOCH}/0"


def lane_of(role: WorkerRole) -> Lane:
    lane = role._shares[0].lane
    assert lane is not None
    return lane


def state(role: WorkerRole) -> LaneState:
    return lane_of(role).state


def has_lane(role: WorkerRole) -> bool:
    return role._shares[0].lane is not None


def again(world: World) -> dict[int, str]:
    """By offset which batch a retry repeats."""
    return {int(h["offset"]): h["again"] for h in world.headers() if "again" in h}


# -- the way of a message -------------------------------------------------------------------


def test_a_worker_claims_a_partition_and_works_what_is_there() -> None:
    world = World()
    role = world.begun()
    world.send("headend", "cim", cim("m1", "m2"))
    world.send("headend", "cim", cim("m1", "m2", value=2))
    world.send("nobody", "cim", cim("m1"))
    world.settle()
    world.check()
    [generation] = world.claims()
    assert 0 < world.clock.us - (generation >> workers.RANDOM_BITS) < 60_000_000
    assert world.log.row.taken[SOURCE] == 4
    world.clock.sleep(2)
    role.step()
    assert (role.status.worked, role.status.lag, role.status.unstored) == (5, 0, 0)
    assert role.status.states == {0: LaneState.WORKING}
    assert world.positions.get(position_name(0)).offset == 5


def test_what_waits_is_counted_while_there_is_no_sequencer() -> None:
    world = World()
    world.begun()
    for value in range(3):
        world.send("headend", "cim", cim("m1", value=value))
    later, members = world.worker()
    world.give(members)
    for _ in range(5):
        later.step()
        world.clock.sleep(1)
    assert later.status.states == {0: LaneState.CLAIMING}
    assert later.status.lag == 3
    world.settle(later)
    world.clock.sleep(2)
    later.step()
    assert later.status.lag == 0


def test_nothing_is_done_without_a_share() -> None:
    world = World()
    role, _ = world.worker()
    world.send("headend", "cim", cim("m1"))
    assert not role.step()
    assert world.log.row.version == 0
    assert world.channels.commitments.items == []


def test_several_partitions_go_by_one_registry_and_one_claim_each() -> None:
    world = World(partitions=3)
    role = world.begun()
    for value in range(30):
        world.send(["headend", "a", "bc"][value % 3], "cim", cim("m1", value=value))
    world.settle()
    world.check()
    assert [len(world.claims(partition)) for partition in range(3)] == [1, 1, 1]
    assert sum(world.log.row.taken[f"{EPOCH}/{p}"] + 1 for p in range(3)) == 32
    assert role._shared.size == world.storer.size()


def test_messages_of_a_step_are_appended_together() -> None:
    world = World()
    role = world.begun()
    for value in range(50):
        world.send("headend", "cim", cim("pmu-1", value=value))
    before = world.channels.by_partition[0].appends
    role.step()
    assert lane_of(role).next == 2 + 50
    assert world.channels.by_partition[0].appends == before + 1
    world.settle()
    world.check()


def test_large_messages_are_taken_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "STEP_BYTES", 600)
    monkeypatch.setattr(lanes, "READ_BYTES", 2_000)
    monkeypatch.setattr(lanes, "APPEND_BYTES", 700)
    world = World()
    role = world.begun()
    for value in range(12):
        world.send("headend", "cim", cim("pmu-1", value=value))
    worked = [role.step() and lane_of(role).worked for _ in range(3)]
    assert worked == [4, 6, 8]
    world.settle()
    world.check()


# -- claims ---------------------------------------------------------------------------------


def test_offers_of_the_one_before_are_dropped_once_another_has_claimed() -> None:
    """The first was stopped for a while, and goes on as if it had the partition."""
    world = World()
    first = world.begun()
    world.send("headend", "cim", cim("m1"))
    world.settle()
    second, members = world.worker()
    world.give(members)
    second.step()  # its claim stands in the topic
    world.send("headend", "cim", cim("m1", value=2))
    first.step()  # it does not know yet
    world.log.step()
    assert world.log.outcomes[Outcome.DROPPED] == 1
    first.step()
    assert not has_lane(first)
    world.settle()
    assert len(world.claims()) == 2
    assert world.log.row.taken[SOURCE] == 3
    world.check()


def test_who_is_superseded_claims_again_only_after_a_while() -> None:
    world = World()
    first = world.begun()
    second, members = world.worker()
    world.give(members)
    world.settle(second)  # 400 rounds at most, of 50 ms
    first.step()
    assert not has_lane(first)
    members.shares.clear()
    for _ in range(9):
        world.clock.sleep(1)
        first.step()
    assert not has_lane(first)
    world.clock.sleep(1.1)
    world.send("headend", "cim", cim("m1"))
    world.settle()
    assert len(world.claims()) == 3
    world.check()


def test_a_share_that_was_lost_between_is_claimed_anew() -> None:
    world = World()
    world.begun()
    world.give(world.members[0])
    world.send("headend", "cim", cim("m1"))
    world.settle()
    one, other = world.claims()
    assert one < other
    world.check()


def test_a_generation_is_higher_than_the_last_though_the_clock_was_set_back() -> None:
    world = World()
    world.begun()
    [before] = world.claims()
    world.clock.us -= 3_600_000_000
    second, members = world.worker()
    world.give(members)
    world.settle(second)
    assert world.claims()[1] > before
    assert world.claims()[1] >> workers.RANDOM_BITS == (before >> workers.RANDOM_BITS) + 1


def test_what_was_taken_before_the_claim_is_stored_before_anything_is_worked() -> None:
    """Else a retry of a message that is not stored yet would be certified once more."""
    world = World()
    first = world.begun()
    world.send("headend", "cim", cim("m1"))
    while world.log.row.taken[SOURCE] < 2:
        first.step()
        world.log.step()
    second, members = world.worker()
    world.give(members)
    world.send("headend", "cim", cim("m1"))
    for _ in range(5):
        second.step()
        world.log.step()
    assert state(second) is LaneState.BEHIND
    world.settle(second)
    assert again(world) == {3: f"{SOURCE}/2"}
    world.check()


# -- retries --------------------------------------------------------------------------------


def test_a_retry_is_found_among_the_recent_ones_and_in_the_archive() -> None:
    world = World()
    role = world.begun()
    raw = cim("pmu-1", value=3)
    for _ in range(3):
        world.send("headend", "cim", raw)
    world.settle()
    assert lane_of(role)._recent == {}
    world.send("headend", "cim", raw)
    world.send("other", "cim", raw)
    world.settle()
    assert again(world) == {3: f"{SOURCE}/2", 4: f"{SOURCE}/2", 5: f"{SOURCE}/2"}
    assert lane_of(role).retries == 3
    world.check()


def test_a_message_without_entries_stays_a_recent_one_until_it_is_stored_for_certain() -> None:
    """Frames that a window only took: the log does not grow by them, so its size tells nothing."""
    world = World()
    world.begun()
    world.clock.us += 2_000_000
    raw = frames("pmu-1", 0)
    world.send("pmu-1", "pmu", raw)
    role = world.workers[0]
    for _ in range(5):
        role.step()
        world.log.step()
    assert world.headers()[-1]["count"] == "0"
    assert world.storer.size() == world.log.row.size
    role.step()
    world.send("pmu-1", "pmu", raw)
    world.settle()
    assert again(world) == {3: f"{SOURCE}/2"}
    world.check()


# -- windows --------------------------------------------------------------------------------


def test_windows_are_made_again_by_who_takes_over() -> None:
    world = World()
    first = world.begun()
    for second in range(8):
        world.clock.us += 1_000_000
        world.send("pmu-1", "pmu", frames("pmu-1", second, range(0, 10, 2)))
        world.send("headend", "cim", cim("m1", value=second))
        world.settle(first)
    saved = world.positions.get(position_name(0))
    assert 0 < saved.offset < world.log.row.taken[SOURCE]
    role, members = world.worker()
    world.give(members)
    for second in range(8):  # frames that the first one's windows wait for
        world.send("pmu-1", "pmu", frames("pmu-1", second, range(1, 10, 2)))
    world.clock.us += 1_000_000
    world.send("pmu-1", "pmu", frames("pmu-1", 12))
    world.settle(role)
    world.clock.sleep(2)
    role.step()
    assert role.status.fed > 0
    assert world.check() > 8


def test_windows_are_fed_with_the_registry_that_the_header_names() -> None:
    """A sender was enrolled while windows were open: what it sent before was refused, and stays."""
    world = World()
    first = world.begun()
    world.send("pmu-1", "pmu", frames("pmu-1", 0))
    world.send("gateway", "pmu", frames("new", 2, range(5)))
    world.settle(first)
    world.enrol("gateway", bulk=True)
    world.settle(first)
    world.send("gateway", "pmu", frames("new", 2, range(5, 10)))
    world.settle(first)
    world.clock.sleep(1)
    first.step()
    assert world.positions.get(position_name(0)).offset <= 2
    role, members = world.worker()
    world.give(members)
    world.send("gateway", "pmu", frames("new", 4))
    world.settle(role)
    world.clock.sleep(2)
    role.step()
    assert role.status.fed == 3
    assert world.check() == 1


def test_windows_that_were_left_half_made_are_made_from_the_beginning() -> None:
    world = World()
    first = world.begun()
    for second in range(3):
        world.clock.us += 1_000_000
        world.send("pmu-1", "pmu", frames("pmu-1", second))
        world.settle(first)
    role, members = world.worker()
    world.give(members)
    world.faults.next["vault away"] = 2
    world.send("pmu-1", "pmu", frames("pmu-1", 5))
    for _ in range(10):
        world.settle(role)
        world.clock.sleep(1)
    assert len(world.claims()) == 2
    assert world.check() == 4


def test_windows_of_a_silent_stream_are_closed_by_a_flush() -> None:
    world = World()
    role = world.begun()
    world.clock.us += 2_000_000
    world.send("pmu-1", "pmu", frames("pmu-1", 0))
    for _ in range(100):
        world.settle(role)
        world.clock.sleep(1)
    flushes = [one for one, _ in world.raw.kept[0] if one.format == FLUSH_FORMAT]
    assert len(flushes) == 2  # one closes the window, one forgets the stream
    assert world.check() == 1
    assert world.positions.get(position_name(0)).offset == len(world.raw.kept[0])


def test_a_flush_goes_to_the_workers_own_partition() -> None:
    world = World(partitions=3)
    role = world.begun()
    world.clock.us += 2_000_000
    world.send("pmu-1", "pmu", frames("pmu-1", 0))
    own = sum(b"pmu-1") % 3
    for _ in range(20):
        world.settle(role)
        world.clock.sleep(1)
    for partition in range(3):
        formats = [one.format for one, _ in world.raw.kept[partition]]
        assert (FLUSH_FORMAT in formats) == (partition == own)
    assert world.check() == 1


def test_flushes_of_two_partitions_at_the_same_moment_are_no_retries_of_each_other() -> None:
    world = World(partitions=2)
    role = world.begun()
    world.enrol("pmu-2", bulk=False)
    world.settle()
    world.clock.us += 2_000_000
    for name in ("pmu-1", "pmu-2"):
        world.send(name, "pmu", frames(name, 0))
    for _ in range(20):
        world.settle(role)
        world.clock.sleep(1)
    formats = [[one.format for one, _ in world.raw.kept[partition]] for partition in range(2)]
    assert [one.count(FLUSH_FORMAT) for one in formats] == [1, 1]
    assert world.check() == 2


def waiting(world: World) -> tuple[WorkerRole, MemoryMembers, list[Any]]:
    """A worker that waits for a header that the log lacks; and what the log should have."""
    first = world.begun()
    world.clock.us += 1_000_000
    world.send("pmu-1", "pmu", frames("pmu-1", 0))
    world.settle(first)
    world.positions.saved.clear()
    kept = world.log.kept
    world.log.kept = [one for one in kept if b'"offset":"1"' not in one[1]]
    role, members = world.worker()
    world.give(members)
    world.settle(role)
    return role, members, kept


def test_of_a_partition_that_is_given_away_the_operator_is_told_that_its_trouble_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "gridseal.troubles")
    world = World()
    role, members, _ = waiting(world)
    assert role.alarms() == ["working-waits"]
    members.shares.clear()
    world.settle(role)
    assert role.alarms() == []
    begin, over = [one.getMessage() for one in caplog.records]
    assert begin.startswith("working-waits: messages can't be worked on (partition 0)")
    assert over == "working-waits is over"


def test_a_header_that_is_missing_is_waited_for() -> None:
    world = World()
    role, _, kept = waiting(world)
    text = f"the log lacks the header of batch {SOURCE}/1, which its heads row says is taken"
    assert role._troubles == {"partition 0": text}
    assert role.alarms() == ["working-waits"]
    world.log.kept = sorted({*kept, *world.log.kept})
    world.send("pmu-1", "pmu", frames("pmu-1", 2))
    world.clock.sleep(1)
    world.settle(role)
    assert role._troubles == {}
    assert role.alarms() == []
    assert world.check() == 1


# -- the registry ---------------------------------------------------------------------------


def test_a_message_waits_until_the_registry_knows_what_its_collector_knew() -> None:
    world = World()
    role = world.begun()
    world.send("headend", "cim", cim("pmu-1"), registry=world.log.row.size + 1)
    for _ in range(5):
        role.step()
    assert state(role) is LaneState.REGISTRY
    world.log.tick()
    world.settle()
    assert world.log.row.taken[SOURCE] == 2
    world.check()


def test_after_a_batch_that_changes_the_registry_nothing_is_worked_until_it_is_stored() -> None:
    world = World()
    role = world.begun()
    for value in range(3):
        world.send("headend", "cim", cim("new", value=value))
    for _ in range(10):
        role.step()
        world.log.step()
    assert state(role) is LaneState.REGISTRY
    assert world.log.row.taken[SOURCE] == 2
    world.settle()
    assert [header["count"] for header in world.headers()[2:]] == ["2", "1", "1"]
    world.check()


# -- back-pressure --------------------------------------------------------------------------


@pytest.mark.parametrize(("entries", "most"), [(100, 100), (1, 64), (2_000, 128)])
def test_no_more_than_some_messages_are_offered_and_not_announced(
    entries: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "SMALL_IN_FLIGHT_MAX", 128)
    monkeypatch.setattr(lanes, "IN_FLIGHT_ENTRIES", entries)
    monkeypatch.setattr(lanes, "STEP_MESSAGES", 4)
    world = World()
    role = world.begun()
    for value in range(200):
        world.send("headend", "cim", cim("pmu-1", value=value))
    for _ in range(50):
        role.step()
    lane = lane_of(role)
    assert lane.next == 2 + most
    assert lane.state is LaneState.IN_FLIGHT
    world.settle()
    assert world.log.row.taken[SOURCE] == 201
    world.check()


def test_nothing_is_worked_while_the_storer_is_too_far_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lanes, "AHEAD_MAX", 50)
    world = World()
    role = world.begun()
    for value in range(300):
        world.send("headend", "cim", cim("pmu-1", value=value))
    for _ in range(200):
        role.step()
        world.log.step()
    assert state(role) is LaneState.AHEAD
    assert 50 < world.log.row.size - world.storer.size() <= 300
    world.settle()
    assert world.log.row.taken[SOURCE] == 301
    world.check()


# -- what fails -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        "commitments refused", "commitments lost", "rows refused", "rows lost", "raw away",
        "raw refused", "announcements away",
    ],
)  # fmt: skip
def test_what_a_topic_refuses_is_appended_again(fault: str) -> None:
    world = World()
    role = world.begun()
    world.clock.us += 3_000_000
    world.faults.next[fault] = 3
    for second in range(3):
        world.send("pmu-1", "pmu", frames("pmu-1", second))
        world.send("headend", "cim", cim("m1", value=second))
    for _ in range(10):
        world.settle()
        world.clock.sleep(1)
    assert world.log.row.taken[SOURCE] >= 7
    assert world.check() == 3
    assert len(world.claims()) == 1
    assert role.status.troubles == {}


@pytest.mark.parametrize("form", ["pmu", "cim"])
def test_a_message_that_the_vault_left_half_done_is_worked_again(form: str) -> None:
    """The lane is begun anew where windows may have half of it."""
    world = World()
    role = world.begun()
    world.clock.us += 3_000_000
    for second in range(3):
        world.send("pmu-1", "pmu", frames("pmu-1", second))
    world.settle()
    world.faults.next["vault away"] = 3
    role._shared._worker._subjects._platform.clear()  # as in a new year: the vault is asked
    if form == "pmu":
        world.send("pmu-1", "pmu", frames("pmu-1", 4))
    else:
        world.send("headend", "cim", cim("m1"))
    role.step()
    assert has_lane(role) == (form == "cim")
    assert role._troubles == {"partition 0": "the vault does not answer"}
    for _ in range(10):
        world.settle()
        world.clock.sleep(1)
    world.check()
    assert world.log.row.taken[SOURCE] >= 5
    assert len(world.claims()) == (1 if form == "cim" else 2)
    assert role._troubles == {}


def test_what_was_made_before_the_vault_was_away_goes_out() -> None:
    world = World()
    role = world.begun()
    for value in range(4):
        world.send("headend", "cim", cim(f"m{value}", value=value))
    real, calls = world.vault.pseudonyms, [0]

    def pseudonyms(wanted: Sequence[Identity]) -> dict[Identity, Pseudonym]:
        calls[0] += 1
        if calls[0] == 3:
            raise Unavailable("the vault does not answer")
        return real(wanted)

    world.vault.pseudonyms = pseudonyms  # type: ignore[method-assign]
    role.step()
    assert 2 < lane_of(role).next < 6
    for _ in range(10):
        world.settle()
        world.clock.sleep(1)
    assert world.log.row.taken[SOURCE] == 5
    assert len(world.claims()) == 1
    world.check()


def test_a_partition_of_which_nothing_is_taken_any_more_is_claimed_anew() -> None:
    """As where an item of the commitments was lost on the way: the sequencer halts it."""
    world = World()
    role = world.begun()
    world.send("headend", "cim", cim("pmu-1"))
    role.step()
    world.channels.commitments.items.pop()
    for _ in range(100):
        world.clock.sleep(1)
        world.log.tick()
        role.step()
        world.storer.step(world.vault)
    assert len(world.claims()) == 1
    world.settle()
    assert world.log.row.taken[SOURCE] == 2
    assert len(world.claims()) == 2
    world.check()


def test_announcements_that_were_trimmed_before_they_were_heard_are_made_up_for() -> None:
    """The storer trims what it has stored while a worker is at a long message."""
    world = World()
    role = world.begun()
    for value in range(3):
        world.send("headend", "cim", cim("m1", value=value))
        role.step()
        world.log.step()
        world.storer.step(world.vault)
        world.storer.trim()
    world.settle()
    assert len(world.claims()) == 1
    assert lane_of(role).next == world.log.row.taken[SOURCE] + 1 == 5
    world.check()


def test_who_was_stopped_until_the_announcements_were_trimmed_learns_of_the_other_claim() -> None:
    world = World()
    first = world.begun()
    world.send("headend", "cim", cim("m1"))
    second, members = world.worker()
    world.give(members)
    world.settle(second)
    world.storer.trim()
    first.step()
    assert not has_lane(first)
    members.shares.clear()
    world.send("headend", "cim", cim("m1", value=2))
    world.settle()
    world.clock.sleep(10)
    world.settle()
    assert len(world.claims()) == 3
    assert world.log.row.taken[SOURCE] == 3
    world.check()


def test_who_has_no_partition_reads_no_headers_of_what_was_trimmed() -> None:
    world = World()
    world.begun()
    idle, members = world.worker()
    idle.step()
    world.send("headend", "cim", cim("m1"))
    world.settle(world.workers[0])
    world.storer.trim()
    asked = world.log.asked
    idle.step()
    assert world.log.asked == asked
    world.give(members)
    world.settle(idle)
    world.check()
    assert len(world.claims()) == 2


def test_who_was_stopped_until_the_messages_were_trimmed_is_superseded() -> None:
    world = World()
    first = world.begun()
    world.send("headend", "cim", cim("m1"))
    second, members = world.worker()
    world.give(members)
    world.settle(second)
    world.raw.trim(0, 3)
    lane = lane_of(first)
    assert not lane.step()
    assert lane.ended is Ended.SUPERSEDED


def test_a_worker_whose_saved_position_was_lost_goes_on_behind_what_was_trimmed() -> None:
    world = World()
    first, members = world.worker()
    world.give(members)
    world.send("headend", "cim", cim("m1"))
    world.settle(first)
    first.close()
    taken = world.raw.ends()[0]
    world.raw.trim(0, taken)
    world.positions.saved.clear()
    second, members = world.worker()
    world.give(members)
    world.send("headend", "cim", cim("m2"))
    world.settle(second)
    world.check()
    second.close()
    assert world.positions.get(position_name(0)).offset > taken


def test_a_message_that_is_gone_though_nobody_worked_it_stops_the_worker() -> None:
    world = World()
    role = world.begun()
    world.send("headend", "cim", cim("m1"))
    world.raw.trim(0, 3)
    with pytest.raises(Stop, match="bus-trimmed"):
        role.step()


def test_a_worker_that_ends_saves_its_positions_and_leaves() -> None:
    world = World()
    role = world.begun()
    world.send("headend", "cim", cim("m1"))
    for _ in range(4):
        role.step()
        world.log.step()
    role.step()
    role.close()
    assert world.positions.get(position_name(0)) == Position(3, world.log.row.version)
    assert world.members[0].closed


# -- any order of things --------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(16))
def test_two_workers_in_any_order_make_one_chain(seed: int) -> None:
    """Shares that wander, workers that are stopped, topics and a vault that fail; seeded."""
    dice = Random(seed)
    world = World(partitions=dice.choice([1, 2]))
    world.begun()
    world.worker()
    world.faults.dice, world.faults.often = Random(seed + 1), dice.choice([0, 0.02, 0.1])
    second = 0
    for _ in range(400):
        chance = dice.random()
        if chance < 0.05:
            for partition in range(world.partitions):
                _wander(world, dice, partition)
        elif chance < 0.3:
            second += dice.choice([0, 1])
            world.clock.us = max(world.clock.us, 1_768_471_200_000_000 + second * 1_000_000)
            _send(world, dice, second)
        elif chance < 0.7:
            dice.choice(world.workers).step()
        elif chance < 0.85:
            world.log.step()
            if dice.random() < 0.7:
                world.storer.step(world.vault)
            if dice.random() < 0.05:
                world.storer.trim()
        else:
            world.clock.sleep(dice.choice([0.1, 1, 4]))
    world.faults.often = 0
    for partition in range(world.partitions):
        _wander(world, dice, partition)
    for _ in range(40):
        world.settle()
        world.clock.sleep(1)
    for partition in range(world.partitions):
        assert world.log.row.taken[f"{EPOCH}/{partition}"] + 1 == len(world.raw.kept[partition])
    world.check()


def _wander(world: World, dice: Random, partition: int) -> None:
    """The partition is another's, or the same one's anew; or both believe it is theirs."""
    if dice.random() < 0.8:
        for one in world.members:
            one.shares.pop(partition, None)
    world.give(dice.choice(world.members), partition)


def _send(world: World, dice: Random, second: int) -> None:
    kind = dice.random()
    if kind < 0.6:
        late = max(0, second - dice.choice([0, 0, 1, 3]))
        numbers = dice.sample(range(10), dice.randint(1, 10))
        world.send("pmu-1", "pmu", frames("pmu-1", late, sorted(numbers)))
    elif kind < 0.9:
        world.send("headend", "cim", cim(f"m{dice.randrange(4)}", value=dice.randrange(9)))
    else:
        world.enrol(f"other-{dice.randrange(3)}", bulk=True)
