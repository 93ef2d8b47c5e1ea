"""The active sequencer on topics in memory and a log in a folder."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bal.certify.log import Sequencer
from bal.certify.tree import leaf_hashes, tree_head
from bal.errors import Stop, Unavailable
from bal.ports import Commit
from bal.store.merge import Announced, parse
from infra.file_log import FileLog
from infra.key_signer import CheckpointSigner
from infra.roles.ports import Position
from infra.roles.sequencing import COMMIT_OFFERS, POSITION, TELL_VERSIONS, Sequencing
from tests.unit.infra.sequencing_kit import (
    EPOCH,
    ORIGIN,
    MemoryPositions,
    MemoryTopic,
    Time,
    claimed,
    entries,
    offer,
)

SOURCE = f"{EPOCH}/0"
INTERVAL_S = 0.1


class Ground:
    """What outlives a sequencer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.time = Time()
        self.commitments, self.announcements = MemoryTopic(), MemoryTopic()
        self.positions = MemoryPositions()
        self.signer = CheckpointSigner(ORIGIN, b"s" * 32, folder / "log.signed")
        self.ticks: list[int] = []
        self._logs: list[FileLog] = []

    def log(self) -> FileLog:
        self._logs.append(FileLog(self.folder / "log", self.time))
        return self._logs[-1]

    def begin(
        self, log: FileLog | None = None, begin: Callable[[Sequencer], object] = lambda _: None
    ) -> Sequencing:
        log = log or self.log()
        return Sequencing(
            log, log, self.signer, ORIGIN, commitments=self.commitments,
            announcements=self.announcements, positions=self.positions, clock=self.time,
            now_s=self.time.now_s, interval_s=INTERVAL_S, begin=begin, on_tick=self.ticks.append,
        )  # fmt: skip

    def told(self) -> list[Announced]:
        return [parse(item) for item in self.announcements.items]

    def offer(self, *items: list[bytes]) -> None:
        for item in items:
            self.commitments.append(item)

    def close(self) -> None:
        for log in self._logs:
            log.close()


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    made = Ground(tmp_path)
    yield made
    made.close()


def begun(ground: Ground) -> Sequencing:
    """One whose first tick and checkpoint are done."""
    sequencing = ground.begin()
    sequencing.step()
    assert sequencing.published is not None
    return sequencing


def test_offers_gather_until_a_checkpoint_is_due(ground: Ground) -> None:
    sequencing = begun(ground)
    version, size = sequencing.heads.version, sequencing.heads.size
    ground.time.pass_s(INTERVAL_S / 4)
    for offset in range(3):
        ground.offer(offer(offset))
        sequencing.step()
        assert sequencing.gathers()
    assert sequencing.heads.version == version
    assert 0 < sequencing.wait_s() <= INTERVAL_S
    ground.time.pass_s(INTERVAL_S)
    assert sequencing.wait_s() == 0
    sequencing.step()
    assert (sequencing.heads.version, sequencing.heads.size) == (version + 1, size + 3)
    assert sequencing.published is not None
    assert sequencing.published.size == size + 3
    last = ground.told()[-1]
    assert (last.version, last.size) == (version + 1, size + 3)
    assert [(place.source, place.offset, place.first) for place in last.places] == [
        (SOURCE, offset, size + offset) for offset in range(3)
    ]
    assert not sequencing.gathers()


def test_one_that_comes_after_a_pause_is_committed_at_once(ground: Ground) -> None:
    sequencing = begun(ground)
    ground.time.pass_s(5)
    ground.offer(offer(0))
    sequencing.step()
    assert sequencing.heads.taken[SOURCE] == 0
    assert sequencing.published is not None
    assert sequencing.published.size == sequencing.heads.size


@pytest.mark.parametrize(("offers", "count"), [(3, 4096), (COMMIT_OFFERS + 1, 0)])
def test_many_are_committed_before_a_checkpoint_is_due(
    ground: Ground, offers: int, count: int
) -> None:
    sequencing = begun(ground)
    version = sequencing.heads.version
    ground.offer(*(offer(offset, count) for offset in range(offers)))
    while sequencing.step():
        pass
    assert sequencing.heads.version > version


def test_what_was_not_announced_is_told_by_the_next_one(ground: Ground) -> None:
    sequencing = begun(ground)
    ground.announcements.away = True
    for offset in range(3):
        ground.time.pass_s(2 * INTERVAL_S)
        ground.offer(offer(offset))
        sequencing.step()
    version = sequencing.heads.version
    assert sequencing.published is not None
    assert sequencing.published.size == sequencing.heads.size  # that goes on
    assert "can't be announced" in sequencing.health()["sequencer"]
    assert POSITION not in ground.positions.saved
    ground.announcements.away = False
    before = len(ground.told())
    ground.begin().step()
    told = [one.version for one in ground.told()[before:]]
    assert told == [version - 2, version - 1, version, version + 1]


def test_an_announcement_whose_answer_was_lost_is_told_twice_at_most(ground: Ground) -> None:
    sequencing = begun(ground)
    before = len(ground.told())
    append = ground.announcements.append

    def lost(items: list[bytes]) -> None:
        append(items)
        raise Unavailable("no answer")

    ground.announcements.append = lost  # type: ignore[assignment, method-assign]
    ground.time.pass_s(INTERVAL_S)
    ground.offer(offer(0))
    sequencing.step()
    ground.announcements.append = append  # type: ignore[method-assign]
    ground.time.pass_s(2)
    sequencing.step()
    assert [one.version for one in ground.told()[before:]] == [sequencing.heads.version] * 2


def test_where_the_end_of_the_announcements_is_trimmed(ground: Ground) -> None:
    sequencing = begun(ground)
    for offset in range(3):
        ground.time.pass_s(2)
        ground.offer(offer(offset))
        sequencing.step()
    ground.announcements.trim(len(ground.announcements.items) - 1)
    count = len(ground.told())
    assert ground.begin().announced == sequencing.heads.version
    ground.announcements.trim(len(ground.announcements.items))
    assert ground.begin().announced == ground.positions.get(POSITION).version > 0
    assert len(ground.told()) == count


def test_a_log_that_is_told_again_whole_holds_up_no_commit(ground: Ground) -> None:
    """Where roles.db was lost, and all announcements were trimmed."""
    sequencing = begun(ground)
    for offset in range(3 * TELL_VERSIONS):
        ground.time.pass_s(2 * INTERVAL_S)
        ground.offer(offer(offset))
        sequencing.step()
    version = sequencing.heads.version
    assert version > 3 * TELL_VERSIONS
    ground.announcements.trim(len(ground.announcements.items))
    ground.positions.saved.clear()
    before = len(ground.told())
    again = ground.begin()
    assert again.announced == 0
    for step in range(1, 4):
        ground.offer(offer(3 * TELL_VERSIONS + step - 1))
        ground.time.pass_s(2 * INTERVAL_S)
        assert again.step()  # there is more
        assert again.wait_s() == 0
        assert again.announced == step * TELL_VERSIONS
        assert again.heads.taken[SOURCE] == 3 * TELL_VERSIONS + step - 1
    ground.announcements.away = True
    ground.time.pass_s(2)
    assert not again.step()
    assert again.wait_s() > 0  # it does not spin
    ground.announcements.away = False
    ground.time.pass_s(2)
    while again.step():
        assert again.published is not None
    told = [one.version for one in ground.told()[before:]]
    assert told == list(range(1, again.heads.version + 1))
    assert POSITION in ground.positions.saved


def test_what_was_taken_is_read_no_more(ground: Ground) -> None:
    sequencing = begun(ground)
    two = offer(2, 5, parts=2)
    ground.offer(offer(0), offer(1), two[:1])
    ground.time.pass_s(2)
    sequencing.step()
    version = sequencing.heads.version
    assert ground.positions.get(POSITION) == Position(2, version)  # not beyond a first part
    ground.time.pass_s(20)
    sequencing.step()
    assert ground.commitments.low == 2
    again = ground.begin()
    assert again.position == 2
    ground.offer(two[1:])
    ground.time.pass_s(1)
    again.step()
    assert again.heads.taken[SOURCE] == 2
    again.finish()
    assert ground.positions.get(POSITION).offset == 4


def test_a_halted_partition_is_told_and_holds_up_no_other(ground: Ground) -> None:
    sequencing = begun(ground)
    ground.offer([claimed(1)], offer(0, generation=1), offer(2, generation=1))
    ground.offer(offer(0, partition=1))
    ground.time.pass_s(2)
    sequencing.step()
    assert list(sequencing.halted) == [SOURCE]
    assert sequencing.health()["order"].startswith("batch-out-of-order: ")
    taken = sequencing.heads.taken
    assert (taken[SOURCE], taken[f"{EPOCH}/1"]) == (0, 0)
    assert ground.positions.get(POSITION).offset == 2
    ground.offer(offer(1, partition=1))  # and another worker takes the partition
    ground.offer([claimed(2)], offer(1, generation=2), offer(2, generation=2))
    for _ in range(2):
        ground.time.pass_s(2)
        sequencing.step()
    assert sequencing.halted == {}
    assert sequencing.heads.taken == {**taken, f"claim.{SOURCE}": 2, SOURCE: 2, f"{EPOCH}/1": 1}


def test_what_is_no_offer_is_passed_over(ground: Ground, caplog: pytest.LogCaptureFixture) -> None:
    sequencing = begun(ground)
    ours = offer(0)[0].replace(f'"epoch":"{EPOCH}"'.encode(), b'"epoch":"derive"')
    ground.offer([b"junk", b"{}\n", ours], offer(0))
    ground.time.pass_s(1)
    sequencing.step()
    assert sequencing.heads.taken == {SOURCE: 0}
    assert caplog.text.count("passed over") == 3


def test_a_tick_a_minute(ground: Ground) -> None:
    sequencing = begun(ground)
    version = sequencing.heads.version
    ground.time.pass_s(59)
    sequencing.step()
    assert sequencing.heads.version == version
    ground.time.pass_s(2)
    sequencing.step()
    assert sequencing.heads.version == version + 1
    ground.time.pass_s(-3600)  # the clock is set back
    sequencing.step()
    assert sequencing.heads.version == version + 2
    assert len(ground.ticks) == 3


def test_offers_that_are_away(ground: Ground, caplog: pytest.LogCaptureFixture) -> None:
    sequencing = begun(ground)
    ground.commitments.away = True
    for _ in range(10):
        ground.time.pass_s(0.5)
        sequencing.step()
    assert caplog.text.count("offers can't be read") == 1
    ground.commitments.away = False
    ground.offer(offer(0))
    ground.time.pass_s(2)
    sequencing.step()
    assert sequencing.heads.taken == {SOURCE: 0}
    assert sequencing.health()["sequencer"] == "ok"


def test_a_commit_that_fails_is_made_by_the_next_one(ground: Ground) -> None:
    log = ground.log()
    sequencing = ground.begin(log)
    sequencing.step()
    stage = log.stage

    def full(commit: Commit) -> None:
        raise Unavailable("the disk is full")

    log.stage = full  # type: ignore[method-assign]
    ground.offer(offer(0, 3))
    ground.time.pass_s(1)
    with pytest.raises(Unavailable):
        sequencing.step()
    log.stage = stage  # type: ignore[method-assign]
    again = ground.begin()
    again.step()
    ground.time.pass_s(1)
    again.step()
    assert again.heads.taken == {SOURCE: 0}


def test_two_that_both_believe_to_be_the_active_one(ground: Ground) -> None:
    """Whatever comes between, there is one order, and one root for each size."""
    sequencers = [ground.begin(), ground.begin()]
    lost = 0
    for offset in range(40):
        ground.offer(offer(offset))
        ground.time.pass_s(INTERVAL_S)
        for at in (offset % 2, (offset // 3) % 2):
            if sequencers[at].heads == ground.log().heads():
                sequencers[at].step()
                continue
            with pytest.raises(Stop, match="lost-swap"):
                sequencers[at].step()
            lost += 1
            sequencers[at] = ground.begin()
    assert lost > 5
    last = ground.begin()
    last.step()
    ground.time.pass_s(INTERVAL_S)
    last.step()
    assert last.heads.taken == {SOURCE: 39}
    versions = sorted({one.version for one in ground.told()})
    assert versions == list(range(1, last.heads.version + 1))
    by_version = {one.version: one for one in ground.told()}
    found = [place for v in versions for place in by_version[v].places if place.source == SOURCE]
    assert [place.offset for place in found] == list(range(40))
    for one in ground.told():
        assert one == by_version[one.version]
    log = ground.log()
    data = b"".join(log.bundle(n, min(256, last.heads.size - 256 * n)) for n in [0])
    assert data.count(entries(0, 7, 1)[0]) == 1
    leaves = []
    while data:
        length = int.from_bytes(data[:2], "big")
        leaves.append(data[2 : 2 + length])
        data = data[2 + length :]
    assert tree_head(leaf_hashes(leaves)).root == last.heads.root


def test_what_is_to_be_said_first(ground: Ground) -> None:
    def genesis(sequencer: Sequencer) -> None:
        with suppress(IndexError):
            if sequencer.heads.size == 0:
                sequencer.commit([], [b'{"type":"genesis"}'.ljust(64)])

    sequencing = ground.begin(begin=genesis)
    assert (sequencing.heads.version, sequencing.announced) == (1, 0)
    assert sequencing.published is not None
    sequencing.step()
    assert [one.version for one in ground.told()] == [1, 2]
    assert ground.begin(begin=genesis).heads.version == 2


def test_who_lost_the_saved_position_goes_on_at_what_is_kept(
    ground: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    """All that was trimmed was in the log by then."""
    sequencing = begun(ground)
    ground.offer(*(offer(at) for at in range(5)))
    ground.time.pass_s(2)
    sequencing.step()
    size = sequencing.heads.size
    for restarts, low in enumerate((0, 1, 3, 5), 1):
        ground.commitments.trim(low)
        ground.positions.saved.clear()
        caplog.clear()
        again = ground.begin()
        assert again.position == low
        assert ("has no position of" in caplog.text) == (low > 0)
        again.step()
        assert again.heads.size == size + restarts  # a tick each, and nothing a second time
    ground.offer(offer(5))
    ground.time.pass_s(2)
    again.step()
    assert again.heads.taken[SOURCE] == 5
