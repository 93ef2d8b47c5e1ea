"""The storer over real files: whatever happens on the way, everything is stored once."""

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from folder_kit import Given, ManualClock, Played
from lane_kit import Faults, MemoryTopic
from storer_child import Fuse
from storer_ground import PARTITIONS, Ground, check, digest, make_ground, rows_of

from bal import jcs
from bal.certify.commitment import COMMITMENT_BYTES
from bal.certify.tiles import split_bundle
from bal.errors import Stop, Unavailable
from bal.model import StoredRecord
from bal.ports import Heads
from bal.registry import KINDS
from infra import log_reader
from infra.committed import Committed, Progress
from infra.file_log import FileLog
from infra.fsck import fsck
from infra.log_reader import batch_headers
from infra.roles import remaking, storing
from infra.roles.ports import Position
from infra.roles.positions import SqlitePositions
from infra.roles.remaking import Remaking
from infra.roles.storer import StorerRole
from infra.roles.storer_begin import (
    ROWS_POSITION,
    HeadersAwaited,
    announcements_position,
    checked,
    rows_position,
    taken_at,
)
from infra.roles.storing import storer_ports
from infra.stores import Stores

pytestmark = pytest.mark.xdist_group("roles")
BUNDLE = 256  # entries
CHILD = Path(__file__).with_name("storer_child.py")


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return make_ground(tmp_path_factory.mktemp("ground") / "data")


@pytest.fixture(scope="module")
def expected(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Digest of the rows that one storer stores, whom nothing disturbs."""
    root = tmp_path_factory.mktemp("expected") / "data"
    shutil.copytree(ground.root, root)
    played = Played(root, PARTITIONS, ManualClock(ground.clock_us))
    storer, _ = played.storer()
    played.settle(storer.step)
    storer.close()
    played.close()
    return digest(check(ground, root))


class Copy:
    """A copy of the ground that a test plays on."""

    def __init__(self, ground: Ground, root: Path) -> None:
        shutil.copytree(ground.root, root)
        self.ground, self.root = ground, root
        self.played = Played(root, PARTITIONS, ManualClock(ground.clock_us))

    def check(self, expected: str) -> list[StoredRecord]:
        rows = check(self.ground, self.root)
        assert digest(rows) == expected
        return rows


@pytest.fixture
def copy(ground: Ground, tmp_path: Path) -> Iterator[Copy]:
    one = Copy(ground, tmp_path / "data")
    yield one
    one.played.close()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little in one go."""
    monkeypatch.setattr(storing, "VERSIONS_AT_ONCE", 2)
    monkeypatch.setattr(storing, "READ_ITEMS", 5)
    monkeypatch.setattr(storing, "SYNC_EVERY_S", 0.4)


def test_everything_is_stored_once(copy: Copy, expected: str) -> None:
    played, ground = copy.played, copy.ground
    assert 0 < ground.stored < ground.size
    storer, _ = played.storer()
    played.settle(storer.step)
    played.clock.pass_(2)
    storer.step()
    status = storer.status
    assert (status.active, status.size, status.held) == (True, ground.size, 0)
    assert status.dropped == 0
    storer.close()
    seen = played.stores("gateway")
    assert seen.stored.size() == ground.size
    records = seen.stored.registry_records(ground.size)
    assert list(records) == sorted(records)
    assert len(seen.book.closes()) == 1
    rows = copy.check(expected)
    assert {row.index: row.record for row in rows if row.index in records} == records
    assert len({row.shard for row in rows if row.kind == "reading"}) == 1


def test_what_is_stored_is_trimmed_and_not_read_again(copy: Copy, slow: None) -> None:
    played = copy.played
    storer, _ = played.storer()
    played.settle(storer.step)
    storer.close()
    topics = [played.channels.rows(p) for p in range(PARTITIONS)]
    topics.append(played.channels.announcements)
    for topic in topics:
        end = topic.end()
        assert end > 0
        assert topic.read(end, 9) == []
        with pytest.raises(Stop, match="bus-trimmed"):
            topic.read(end - 1, 9)
    version = played.stores("gateway").log.heads().version
    for partition in range(PARTITIONS):
        at = played.positions.get(rows_position(partition))
        assert at == Position(topics[partition].end(), version)
        needed = played.positions.get(f"worker.{partition}").offset
        assert 0 < needed <= played.channels.raw.ends()[partition]
        played.channels.raw.read(partition, needed, 1)
        with pytest.raises(Stop, match="bus-trimmed"):
            played.channels.raw.read(partition, needed - 1, 1)
    again, _ = played.storer()
    assert not again.step()
    again.close()


def test_raw_messages_stay_that_a_worker_needs(copy: Copy) -> None:
    """Where none has saved a position, all of them."""
    played = copy.played
    kept = played.positions.get("worker.1").offset
    played.positions._file.close()
    (copy.root / "roles.db").rename(copy.root / "roles.db.away")
    without = SqlitePositions(copy.root)
    for partition in range(PARTITIONS):
        for name in (announcements_position(partition), rows_position(partition)):
            without.save(name, Position(_first(played, name)))
    stores = played.stores("storer")
    ports = storer_ports(stores, played.channels, without, played.clock.elapsed_s)
    storer = StorerRole(ports, played.storer()[1])
    played.settle(storer.step)
    storer.close()
    assert played.channels.raw.ends()[1] > kept + 1
    played.channels.raw.read(1, kept, 1)
    without.close()


def _first(played: Played, name: str) -> int:
    """The first position of a topic that is still there."""
    channels = played.channels
    kind, _, partition = name.rpartition(".")
    topic = channels.rows(int(partition)) if kind == ROWS_POSITION else channels.announcements
    for position in range(topic.end()):
        with suppress(Stop):
            topic.read(position, 1)
            return position
    return topic.end()


@pytest.mark.parametrize("seed", range(4))
def test_no_raw_message_is_let_go_of_before_the_archive_has_it_for_good(
    copy: Copy, expected: str, slow: None, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """A power cut between any two calls leaves it on the bus or in the archive."""
    monkeypatch.setattr(storing, "SYNC_EVERY_S", 0.0)
    played, dice = copy.played, Random(seed)
    raw, trim = played.channels.raw, played.channels.raw.trim
    storers, unsynced = [played.storer(0, 2)[0], played.storer(1)[0]], set[tuple[int, int]]()
    trimmed = [0]

    def watch(storer: StorerRole) -> None:
        archive, mine = storer._ports.projector._archive, set[tuple[int, int]]()
        put_many, sync = archive.put_many, archive.sync

        def put(items: Any) -> None:
            put_many(items)
            mine.update((one.message.partition, one.message.offset) for one in items)
            unsynced.update(mine)

        def synced() -> None:
            if dice.random() < 0.3:
                raise Unavailable("the disk refuses", retry_after_s=0)
            sync()
            unsynced.difference_update(mine)
            mine.clear()

        monkeypatch.setattr(archive, "put_many", put)
        monkeypatch.setattr(archive, "sync", synced)

    def check_trim(partition: int, offset: int) -> None:
        assert not [one for one in unsynced if one[0] == partition and one[1] < offset]
        trimmed[0] += 1
        trim(partition, offset)

    monkeypatch.setattr(raw, "trim", check_trim)
    for storer in storers:
        watch(storer)
    for _ in range(200):
        dice.choice(storers).step()
    played.settle(*(storer.step for storer in storers))
    assert trimmed[0] > PARTITIONS
    for storer in storers:
        storer.close()
    copy.check(expected)


# -- who takes over ----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_a_storer_that_takes_over(copy: Copy, expected: str, slow: None, seed: int) -> None:
    """Turn and turn about: each begins with what the other has synced."""
    played, dice = copy.played, Random(seed)
    storers = [played.storer(), played.storer()]
    for _, members in storers:
        members.shares.clear()
    for number in range(8):
        storer, members = storers[number % 2]
        members.take(range(PARTITIONS), 100 + number)
        for _ in range(dice.randrange(1, 12)):
            storer.step()
            played.clock.pass_(0.05)
        members.shares.clear()
    storer, members = storers[0]
    members.take(range(PARTITIONS), 1000)
    played.settle(storer.step)
    for storer, _ in storers:
        storer.close()
    copy.check(expected)


@pytest.mark.parametrize("at", [1, 2, 4, 9, 17])
def test_a_storer_that_was_stopped_within_a_store_goes_on_late(
    copy: Copy, expected: str, slow: None, at: int
) -> None:
    """Meanwhile another stored everything. Neither rows, nor progress, nor positions go back."""
    played = copy.played
    late, late_members = played.storer()
    other, _ = played.storer()

    def stopped() -> None:
        played.settle(other.step)
        other.close()

    _at_call(late, at, stopped)
    played.settle(late.step)  # it does not know that it lost its share
    played.clock.pass_(1)
    late.step()
    late_members.take(range(PARTITIONS), 99)
    played.settle(late.step)
    late.close()
    seen = played.stores("gateway")
    assert seen.projector.progress().size == copy.ground.size
    copy.check(expected)


def _at_call(storer: StorerRole, at: int, do: Any) -> None:
    """Before the call of that number, of those that store or sync, do that."""
    ports = storer._ports
    projector = ports.projector

    class Stopping(Fuse):
        def _count(self) -> None:
            self.calls += 1
            if self.calls == self.at:
                do()

    fuse = Stopping(at)
    fuse.on(projector._customer_db, "store")
    fuse.on(projector._archive, "put_many", "sync")
    fuse.on(projector._book, "touch", "add")
    fuse.on(projector.file, "note_stored", "note_synced")


def test_one_that_stands_by_does_nothing(copy: Copy) -> None:
    storer, members = copy.played.storer()
    members.shares.clear()
    assert not storer.step()
    assert not storer.status.active
    assert copy.played.stores("gateway").stored.size() == copy.ground.stored
    storer.close()


# -- several at once ---------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_storers_that_share_the_partitions(
    copy: Copy, expected: str, slow: None, seed: int
) -> None:
    """Each has some; now and then one goes to the other, and for a while both have it."""
    played, dice = copy.played, Random(seed)
    storers = [played.storer(0, 2), played.storer(1)]
    visible, seen = copy.ground.stored, played.stores("gateway")
    for number in range(8):
        for partition in range(PARTITIONS):
            has = dice.choice([(0,), (1,), (0, 1)])
            for at, (_, members) in enumerate(storers):
                members.shares.pop(partition, None)
                if at in has:
                    members.shares[partition] = dice.choice([7, 100 + number])
        for _ in range(dice.randrange(2, 9)):
            dice.choice(storers)[0].step()
            played.clock.pass_(0.05)
            visible = check_prefix(seen, visible)
    for at, (_, members) in enumerate(storers):
        members.take(range(at, PARTITIONS, 2), 1000)
    played.settle(*(storer.step for storer, _ in storers))
    for storer, _ in storers:
        storer.close()
    copy.check(expected)


def check_prefix(stores: Stores, visible: int) -> int:
    """What is visible has no hole, and does not go back; its size."""
    size = stores.stored.size()
    assert visible <= size <= stores.customer_db.size()
    found = {row.index for row in stores.customer_db.records(0, size)}
    assert found == {index for index in range(size) if is_commitment(stores.log, index)}
    registry = stores.stored.registry_records(size)
    assert registry == {
        row.index: row.record for row in stores.customer_db.records(0, size) if row.kind in KINDS
    }
    return size


def is_commitment(log: FileLog, index: int) -> bool:
    n, end = index // BUNDLE, log.heads().size
    found = split_bundle(log.bundle(n, min(BUNDLE, end - n * BUNDLE)))
    return len(found[index % BUNDLE]) == COMMITMENT_BYTES


@pytest.mark.parametrize("behind", range(PARTITIONS))
def test_one_partition_that_nobody_stores(copy: Copy, expected: str, behind: int) -> None:
    """The others go on, as far as they need nothing of it; no size goes beyond it."""
    played = copy.played
    others = [partition for partition in range(PARTITIONS) if partition != behind]
    storer, members = played.storer(*others)
    played.settle(storer.step)
    seen = played.stores("gateway")
    check_prefix(seen, copy.ground.stored)
    sizes = seen.projector.file.sizes()
    assert seen.stored.size() == sizes[behind] < copy.ground.size
    assert max(sizes) > sizes[behind]
    assert seen.customer_db.size() == sizes[behind]
    for _ in range(30):
        storer.step()
        played.clock.pass_(0.5)
    assert set(storer.status.behind) >= {behind}
    assert "by another storer or by none" in storer.status.behind[behind]
    assert storer.status.stored == dict(enumerate(sizes))
    late, _ = played.storer(behind)
    played.settle(storer.step, late.step)
    played.clock.pass_(2)
    storer.step()
    assert storer.status.behind == {}
    members.take((), 0)
    for one in (storer, late):
        one.close()
    copy.check(expected)


@pytest.mark.parametrize("seed", range(3))
def test_two_that_both_have_all(copy: Copy, expected: str, slow: None, seed: int) -> None:
    """In turns within a step, too: one is stopped within a store, and the other does some."""
    played, dice = copy.played, Random(seed)
    first, second = played.storer()[0], played.storer()[0]
    for at in sorted(dice.sample(range(1, 60), 6)):
        _at_call(first, at, lambda: [second.step() for _ in range(dice.randrange(1, 9))])
    played.settle(first.step, second.step)
    for one in (first, second):
        one.close()
    copy.check(expected)


def test_what_is_counted_is_counted_once(copy: Copy) -> None:
    """Where one stores again what another one stored and did not sync, it does not count."""
    played, told = copy.played, list[Committed]()
    for _ in range(2):
        stores = played.stores("storer")
        ports = storer_ports(
            stores, played.channels, played.positions, played.clock.elapsed_s, told.extend
        )
        storer = StorerRole(ports, Given(dict.fromkeys(range(PARTITIONS), 1)))
        played.settle(storer.step)  # and is killed
    batches = [one.batch for one in told if one.worked.entries]
    assert len(batches) == len(set(batches)) > 20


# -- what may happen to it ----------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 4, 7, 10, 17, 30, 55])
def test_killed_within_a_store(ground: Ground, expected: str, tmp_path: Path, seed: int) -> None:
    root = tmp_path / "data"
    shutil.copytree(ground.root, root)
    killed = _child(root, ground, seed)
    assert killed.returncode == -9
    done = _child(root, ground, 10**9)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("done")
    assert digest(check(ground, root)) == expected


def _child(root: Path, ground: Ground, seed: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(CHILD), str(root), str(ground.clock_us), str(seed)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("seed", range(3))
def test_topics_that_repeat_and_mix(copy: Copy, expected: str, slow: None, seed: int) -> None:
    """Items twice, announcements in any order, rows in any order of theirs."""
    played, dice = copy.played, Random(seed)
    at = [played.positions.get(rows_position(p)).offset for p in range(PARTITIONS)]
    announced_at = played.positions.get(announcements_position(0)).offset
    rows = [played.channels.rows(p).read(at[p], 10**6) for p in range(PARTITIONS)]
    announced = played.channels.announcements.read(announced_at, 10**6)
    stores = played.stores("storer")
    topics = [_mixed(items, dice) for items in [announced, *rows]]

    class Mixed:
        raw, announcements = played.channels.raw, topics[0]

        def rows(self, partition: int) -> MemoryTopic:
            return topics[1 + partition]

    nowhere = Played(copy.root.with_name("other"), PARTITIONS)  # positions in other topics
    ports = storer_ports(stores, Mixed(), nowhere.positions, played.clock.elapsed_s)  # type: ignore[arg-type]
    _, members = played.storer()
    storer = StorerRole(ports, members)
    played.settle(storer.step)
    played.clock.pass_(2)
    storer.step()
    assert storer.status.dropped > 0
    storer.close()
    nowhere.close()
    copy.check(expected)


def _mixed(items: list[tuple[int, bytes]], dice: Random) -> MemoryTopic:
    topic = MemoryTopic("mixed", Faults())
    found = [item for _, item in items]
    found += dice.sample(found, len(found) // 2)
    for start in range(0, len(found), 9):  # late by a little, as in life
        some = found[start : start + 9]
        dice.shuffle(some)
        topic.append(some)
    return topic


def test_a_store_that_refuses_is_tried_again(
    copy: Copy, expected: str, slow: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gridseal")
    played, dice = copy.played, Random(3)
    storer, _ = played.storer()
    projector = storer._ports.projector
    refused, often = [0], [0.3]

    def refusing(call: Any) -> Any:
        def maybe(*args: Any, **named: Any) -> Any:
            if dice.random() < often[0]:
                refused[0] += 1
                raise Unavailable("the disk is full", retry_after_s=1)
            return call(*args, **named)

        return maybe

    for owner, name in (
        (projector._archive, "put_many"), (projector._archive, "sync"),
        (projector._customer_db, "store"), (projector._book, "touch"),
        (projector.file, "note_stored"), (played.positions, "save"),
        (played.channels.announcements, "read"),
    ):  # fmt: skip
        setattr(owner, name, refusing(getattr(owner, name)))
    played.settle(storer.step)
    while played.stores("gateway").projector.progress().size < copy.ground.size:
        played.clock.pass_(1)
        storer.step()
    assert refused[0] > 5
    often[0] = 0
    played.clock.pass_(10)
    storer.step()
    told = [one.getMessage() for one in caplog.records if one.name == "gridseal.troubles"]
    begins = "storing-waits: rows can't be stored; it is tried on: the disk is full"
    assert told == [begins, "storing-waits is over"] * (len(told) // 2)  # however often it failed
    assert storer.alarms() == []
    storer.close()
    copy.check(expected)


@pytest.mark.parametrize(("late_s", "is_told"), [(1.0, False), (10.0, True)])
def test_headers_that_a_sequencer_is_about_to_write_are_no_trouble(
    copy: Copy,
    expected: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    *,
    late_s: float,
    is_told: bool,
) -> None:
    """They follow its heads row at once; only where it was killed in between they do not."""
    caplog.set_level("INFO", "gridseal")
    played = copy.played
    storer, _ = played.storer()
    until_s = played.clock.elapsed_s() + late_s

    def late(log: Any, version: int, heads: Any) -> dict[str, int]:
        if played.clock.elapsed_s() < until_s:
            raise HeadersAwaited("the log's newest headers are not written yet", retry_after_s=1)
        return taken_at(log, version, heads)

    monkeypatch.setattr("infra.roles.storing.taken_at", late)
    while played.clock.elapsed_s() < until_s + 1:
        storer.step()
        played.clock.pass_(0.1)
    played.settle(storer.step)
    told = [one.getMessage() for one in caplog.records if one.name == "gridseal.troubles"]
    assert len(told) == (2 if is_told else 0), told
    storer.close()
    copy.check(expected)


def test_where_headers_are_missing_nothing_is_taken_for_stored(
    copy: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what the log took in between would count as stored, and its topics let go of it."""
    log = copy.played.stores("storer").log
    heads = log.heads()
    before = taken_at(log, heads.version - 5, heads)
    assert before != taken_at(log, heads.version - 2, heads) != heads.taken
    with monkeypatch.context() as patched:
        gone = heads.version - 3
        patched.setattr(log, "headers", _without(gone, log.headers))
        with pytest.raises(Stop, match=f"log-damaged: .*lacks version {gone} and"):
            taken_at(log, heads.version - 5, heads)
    with monkeypatch.context() as patched:
        patched.setattr(log, "headers", _without(heads.version, log.headers))
        with pytest.raises(HeadersAwaited):
            taken_at(log, heads.version - 5, heads)
    assert taken_at(log, heads.version - 5, heads) == before


def _without(version: int, headers: Any) -> Any:
    return lambda *asked: [one for one in headers(*asked) if one[0][0] != version]


def test_making_again_waits_for_headers_that_are_not_written_yet(
    copy: Copy, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sequencer is between the heads row and them: what they name is not stored yet."""
    ports = copy.played.storer()[0]._ports
    last = ports.log.heads().version
    with monkeypatch.context() as patched:
        patched.setattr(ports.log, "headers", _without(last, ports.log.headers))
        with pytest.raises(HeadersAwaited):
            _make_again(Remaking(ports))
    assert ports.projector.progress().version < last
    _make_again(Remaking(ports))
    copy.check(expected)


def _make_again(making: Remaking) -> None:
    while not making.is_done:
        assert making.step() or making.is_done  # else it waits for itself


# -- what is made again of raw messages ---------------------------------------------------------


@pytest.mark.parametrize("at", [-5, -1], ids=["within", "at the end"])
def test_rows_that_are_gone_are_made_again(
    copy: Copy,
    expected: str,
    at: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And fsck says that they are gone."""
    played = copy.played
    topic = played.channels.rows(1)
    lost = topic.read(played.positions.get(rows_position(1)).offset, 10**6)[at][0]
    read = topic.read
    monkeypatch.setattr(topic, "read", lambda *args: [one for one in read(*args) if one[0] != lost])
    storer, _ = played.storer()
    played.settle(storer.step)
    assert played.stores("gateway").stored.size() < copy.ground.size
    codes = {one.check for one in fsck(copy.root).differences}
    assert codes <= {"rows-missing"}
    for _ in range(40):
        played.clock.pass_(1)
        storer.step()
    played.settle(storer.step)
    assert any("made again from raw" in one.getMessage() for one in caplog.records)
    storer.close()
    copy.check(expected)


def test_fsck_tells_of_rows_that_nobody_can_store(copy: Copy) -> None:
    topic = copy.played.channels.rows(1)
    assert fsck(copy.root).differences == []
    topic.trim(topic.end() - 3)
    found = fsck(copy.root).differences
    assert {one.check for one in found} == {"rows-missing"}
    assert all("/1/" in one.where for one in found)


@pytest.mark.parametrize("gone", ["projection", "half of it"])
def test_a_projection_that_is_lost_is_made_again(
    copy: Copy, expected: str, tmp_path: Path, gone: str
) -> None:
    """From the archive and the raw messages: topics of rows have let go of what was stored."""
    played = copy.played
    old = tmp_path / "old"
    shutil.copytree(copy.root / "scd", old)
    storer, _ = played.storer()
    played.settle(storer.step)
    storer.close()
    played.close()
    shutil.rmtree(copy.root / "scd")
    if gone != "projection":
        shutil.copytree(old, copy.root / "scd")
    copy.played = Played(copy.root, PARTITIONS, ManualClock(copy.ground.clock_us))
    storer, _ = copy.played.storer()
    copy.played.settle(storer.step)
    storer.close()
    copy.check(expected)


def test_making_again_goes_on_where_it_was_stopped(
    copy: Copy, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remaking, "CATCH_UP_MESSAGES", 5)
    played, dice = copy.played, Random(2)
    for partition in range(PARTITIONS):
        topic = played.channels.rows(partition)
        topic.trim(topic.end())
    storer, _ = played.storer()
    store = storer._ports.projector._customer_db.store

    def refusing(*args: Any) -> None:
        if dice.random() < 0.2:
            raise Unavailable("full", retry_after_s=1)
        store(*args)

    monkeypatch.setattr(storer._ports.projector._customer_db, "store", refusing)
    for _ in range(600):
        played.clock.pass_(0.5)
        storer.step()
    storer.close()
    copy.check(expected)


@pytest.mark.parametrize("behind", range(PARTITIONS))
def test_making_again_of_lanes_that_are_not_equally_far(
    copy: Copy, expected: str, behind: int
) -> None:
    """As it is after a power cut in the middle of syncing; one process has all of them."""
    played = copy.played
    with closing(sqlite3.connect(copy.root / "scd" / "progress.db")) as db, db:
        db.execute(
            "UPDATE lane SET version = 0, size = 0, stored = 0, boot = '' WHERE number = ?",
            (behind,),
        )
    ports = played.storer()[0]._ports
    synced = [ports.projector.file.synced(lane).size for lane in range(PARTITIONS)]
    assert synced[behind] == 0 < sorted(synced)[1]
    _make_again(Remaking(ports))
    assert ports.projector.progress().size == copy.ground.size
    copy.check(expected)


def test_making_again_keeps_what_it_stored_before_a_server_went_away(
    copy: Copy, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No run gets to the end, all of them together do."""
    monkeypatch.setattr(remaking, "CATCH_UP_MESSAGES", 2)
    ports = copy.played.storer()[0]._ports
    store, left = ports.projector._customer_db.store, [0]

    def refusing(*args: Any) -> None:
        if left[0] == 0:
            raise Unavailable("it takes too long", retry_after_s=1)
        left[0] -= 1
        store(*args)

    monkeypatch.setattr(ports.projector._customer_db, "store", refusing)
    versions = [ports.projector.progress().version]
    while ports.projector.progress().size < copy.ground.size:
        making, left[0] = Remaking(ports), 12 * PARTITIONS
        with suppress(Unavailable):
            while not making.is_done:
                assert making.step() or making.is_done
        versions.append(ports.projector.progress().version)
        assert versions[-1] > versions[-2]
    assert len(versions) > 4
    copy.check(expected)


def test_making_again_reads_a_little_of_the_log_in_a_step(
    copy: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other partitions of the process go on in between."""
    monkeypatch.setattr(remaking, "HEADERS_A_STEP", 8)
    monkeypatch.setattr(log_reader, "HEADERS_AT_ONCE", 8)
    ports = copy.played.storer()[0]._ports
    headers, message = FileLog.headers, Remaking._message
    pages, messages = [0], [0]

    def paged(self: FileLog, *args: Any) -> Any:
        pages[0] += 1
        return headers(self, *args)

    def counted(self: Remaking, *args: Any) -> Any:
        messages[0] += 1
        return message(self, *args)

    monkeypatch.setattr(FileLog, "headers", paged)
    monkeypatch.setattr(Remaking, "_message", counted)
    making = Remaking(ports, [1])
    while not making.is_done:
        pages[0] = messages[0] = 0
        if not making.step():
            break
        assert pages[0] <= 3
        assert messages[0] <= 2


def test_a_log_that_is_older_stops_it(copy: Copy) -> None:
    copy.played.positions.save(rows_position(0), Position(10**6, 10**6))
    storer, _ = copy.played.storer()
    with pytest.raises(Stop, match="projection-ahead"):
        storer.step()


@pytest.mark.parametrize("others", [1, 2, 9])
def test_another_one_may_store_whenever_this_one_looks(
    copy: Copy, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    """What is stored is never ahead of the log, however late the heads row came that was read."""
    ports = copy.played.storer()[0]._ports
    newest, reads = ports.log.heads(), [0]

    def heads() -> Heads:
        """Each read is followed by a commit, and by another one's storing of it."""
        reads[0] += 1
        left = max(0, others - reads[0])
        return replace(newest, version=newest.version - left, size=newest.size - left)

    monkeypatch.setattr(ports.log, "heads", heads)
    stored = Progress(newest.version, newest.size, 0, 0)
    monkeypatch.setattr(ports.projector.file, "synced", lambda lane: stored)
    monkeypatch.setattr(ports.projector._customer_db, "stored", lambda lane: newest.size)
    assert checked(ports.log, ports.projector, 0).version == newest.version
    reads[0] = -10_000  # it goes on and on
    with pytest.raises(Unavailable):
        checked(ports.log, ports.projector, 0)
    monkeypatch.setattr(ports.log, "heads", lambda: replace(newest, size=newest.size - 1))
    with pytest.raises(Stop, match="projection-ahead"):
        checked(ports.log, ports.projector, 0)


def test_what_was_taken_as_of_a_version(copy: Copy) -> None:
    """By the headers alone, compared with each row that there was."""
    stores = copy.played.stores("gateway")
    heads = stores.log.heads()

    taken: dict[str, int] = {}
    at = 0
    for place, header in batch_headers(stores.log, last=heads.version):
        if place[0] != at:
            assert taken_at(stores.log, at, heads) == taken
            at = place[0]
        data = jcs.decode(header)
        if data["epoch"] != "sequencer":
            taken[f"{data['epoch']}/{data['partition']}"] = int(data["offset"])
    assert taken_at(stores.log, heads.version, heads) == taken == dict(heads.taken)
    assert rows_of(copy.root)
