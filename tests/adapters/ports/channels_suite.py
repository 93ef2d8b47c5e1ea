"""What every Channels must do (infra/roles/ports.py). A test module subclasses `ChannelsSuite`.

`channels_child.py` is another process on the same channels; `other` starts one.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any

import pytest

from bal.collect.partition import BULK_KEYS, partition_of
from bal.errors import Stop, Unavailable
from bal.model import RawMessage
from bal.ports import Intake
from infra.roles.ports import Channels, Members, Topic

REPOSITORY = Path(__file__).resolve().parents[3]
CHILD = Path(__file__).with_name("channels_child.py")
PARTITIONS = 3
TAKE_OVER_S = 10  # what the port promises
PATIENCE_S = 60
TOPICS = ["commitments", "announcements", "rows"]


def intake(number: int) -> Intake:
    """The same message in every process."""
    raw = b"\x00\xff message %d " % number * (1 + number % 50)
    return Intake(f"sender-{number % 7}", "cim", 1_000_000 + number, raw)


def topic_of(channels: Channels, name: str) -> Topic:
    """rows: partition 1."""
    return channels.rows(1) if name == "rows" else getattr(channels, name)


def read_all(topic: Topic, position: int = 0) -> list[bytes]:
    """Everything from a position on, which is there when it begins."""
    found: list[bytes] = []
    end = topic.end()
    while position < end:
        items = topic.read(position, 1000, 10.0)
        assert items
        assert items[0][0] >= position
        assert [at for at, _ in items] == sorted({at for at, _ in items})
        found += [data for _, data in items]
        position = items[-1][0] + 1
    return found


def append_surely(topic: Topic, items: list[bytes]) -> None:
    """The same again, until it is there."""
    while True:
        with suppress(Unavailable):
            topic.append(items)
            return


def until(condition: Callable[[], bool], limit_s: float = PATIENCE_S) -> None:
    """Wait until it holds."""
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


class Other:
    """Another process; it prints a line of JSON for each that it did."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, CHILD, str(folder), *map(str, arguments)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        )
        self.told: list[Any] = []
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith("\n"):
                self.told.append(json.loads(line))

    @property
    def mine(self) -> dict[int, int]:
        """What a member has, as it said last."""
        return {int(share): number for share, number in (self.told or [{}])[-1].items()}

    def end(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Send the signal, and wait for its end and the rest of what it said."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(how)
        self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()


class ChannelsSuite:
    """`make` makes the channels that belong to a folder, `open` enters them once more."""

    def make(self, folder: Path, partitions: int = PARTITIONS) -> None:
        raise NotImplementedError

    def open(
        self, folder: Path, is_bulk: Callable[[str], bool] = lambda credential: False
    ) -> Channels:
        raise NotImplementedError

    def destroy(self, folder: Path) -> None:
        """Remove them, and make others of the same epoch, which are empty."""
        raise NotImplementedError

    @contextmanager
    def opened(self, folder: Path) -> Iterator[Channels]:
        self.make(folder)
        with closing(self.open(folder)) as channels:
            yield channels

    @contextmanager
    def other(self, folder: Path, *arguments: object) -> Iterator[Other]:
        other = Other(folder, *arguments)
        try:
            yield other
        finally:
            other.end()

    # -- a topic -------------------------------------------------------------------------------

    def test_what_is_appended_is_read_in_order(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as channels:
            for name in TOPICS:
                topic = topic_of(channels, name)
                topic.append([])
                assert topic.end() == 0
                assert topic.read(0, 10) == []
                topic.append([b"one", b"", b"three"])
                topic.append([name.encode()])
                assert read_all(topic) == [b"one", b"", b"three", name.encode()]
                found = topic.read(0, 10, 5.0)
                assert topic.read(found[1][0], 2, 5.0) == found[1:3]
                assert topic.end() > found[-1][0]
                assert topic.read(topic.end(), 10) == []
            assert channels.rows(0).end() == channels.rows(2).end() == 0

    def test_a_position_behind_the_end_stops(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as channels:
            channels.commitments.append([b"one"])
            with pytest.raises(Stop, match="bus-went-backwards"):
                channels.commitments.read(channels.commitments.end() + 1, 10)
            with pytest.raises(Stop, match="bus-went-backwards"):
                channels.raw.read(0, 1, 10)

    def test_a_read_waits_and_ends_in_time(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as channels, closing(self.open(tmp_path)) as other:
            topic = channels.announcements
            began = time.monotonic()
            assert topic.read(0, 10, 0.5) == []
            assert time.monotonic() - began >= 0.5
            assert channels.raw.read(1, 0, 10, 0.2) == []
            position = 0
            for number in range(5):
                item = b"%d" % number
                thread = Thread(target=lambda item=item: other.announcements.append([item]))
                thread.start()
                found = topic.read(position, 10, PATIENCE_S)
                thread.join()
                assert [data for _, data in found] == [item]
                position = found[0][0] + 1

    def test_two_readers_of_one_topic_don_t_hold_up_each_other(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as channels:
            topic = channels.commitments
            waiting = Thread(target=lambda: topic.read(0, 10, PATIENCE_S))
            waiting.start()
            assert channels.announcements.read(0, 10) == []
            topic.append([b"one"])
            waiting.join(PATIENCE_S)
            assert not waiting.is_alive()

    def test_large_items_in_a_group(self, tmp_path: Path) -> None:
        chance = Random(3)
        items = [chance.randbytes(5_000_000) for _ in range(8)] + [b"small"]
        with self.opened(tmp_path) as channels:
            append_surely(channels.rows(0), items)
            assert read_all(channels.rows(0)) == items

    def test_nobody_s_items_are_out_of_order(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as channels:
            topic = channels.commitments

            def append(who: int) -> None:
                for at in range(30):
                    topic.append([b"%d %d" % (who, 2 * at), b"%d %d" % (who, 2 * at + 1)])

            threads = [Thread(target=append, args=(who,)) for who in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            found = [tuple(map(int, item.split())) for item in read_all(topic)]
            for who in range(4):
                assert [at for one, at in found if one == who] == list(range(60))

    def test_what_is_trimmed_is_refused_and_the_rest_stays(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as channels, closing(self.open(tmp_path)) as other:
            for name in TOPICS:
                topic = topic_of(channels, name)
                items = [b"%d" % number for number in range(500)]
                topic.append(items)
                found = topic.read(0, 500, 5.0)
                keep = found[450][0] if len(found) > 450 else 450
                topic.trim(keep)
                for one in (topic, topic_of(other, name)):
                    with pytest.raises(Stop, match="bus-trimmed"):
                        one.read(keep - 1, 10)
                    assert read_all(one, keep) == items[450:]
                topic.trim(keep - 5)
                topic.trim(topic.end())
                with pytest.raises(Stop, match="bus-trimmed"):
                    topic.read(keep, 10, 1.0)
                assert topic.read(topic.end(), 10) == []
                topic.append([b"next"])
                assert read_all(topic, topic.end() - 1) == [b"next"]

    def test_topics_that_were_made_anew_stop(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as channels:
            channels.commitments.append([b"%d" % number for number in range(5)])
            channels.raw.append([intake(number) for number in range(40)], 0)
            position = channels.commitments.end()
            offset = channels.raw.ends()[1]
            assert read_all(channels.commitments)
            assert channels.raw.read(1, 0, 100)
        self.destroy(tmp_path)
        with closing(self.open(tmp_path)) as channels:
            with pytest.raises(Stop, match="bus-went-backwards"):
                channels.commitments.read(position, 10)
            with pytest.raises(Stop, match="bus-went-backwards"):
                channels.raw.read(1, offset, 10)

    # -- raw messages --------------------------------------------------------------------------

    def test_messages_are_in_the_partition_of_their_key(self, tmp_path: Path) -> None:
        group = [intake(number) for number in range(60)]
        self.make(tmp_path)
        with closing(self.open(tmp_path, is_bulk=lambda name: name == "sender-3")) as channels:
            raw = channels.raw
            assert raw.partitions == PARTITIONS
            assert len(raw.epoch) == 16
            assert raw.append([], 0) == []
            places = raw.append(group[:50], 7) + raw.append(group[50:], 8)
            for number, (one, (partition, offset)) in enumerate(zip(group, places, strict=True)):
                key = one.credential
                if key == "sender-3":
                    key += f"/{sha256(one.raw).digest()[-1] % BULK_KEYS}"
                assert partition == partition_of(key, PARTITIONS)
                ((found, registry),) = raw.read(partition, offset, 1, 5.0)
                assert found == RawMessage(
                    raw.epoch, partition, offset, one.credential, one.format, one.received_us,
                    one.raw,
                )  # fmt: skip
                assert registry == (7 if number < 50 else 8)
            assert sum(raw.ends()) == 60
            for partition in range(PARTITIONS):
                offsets = [one.offset for one, _ in raw.read(partition, 0, 100, 5.0)]
                assert offsets == list(range(raw.ends()[partition]))

    def test_messages_may_be_given_a_partition(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as channels:
            group = [intake(number) for number in range(5)]
            assert channels.raw.append(group, 0, 2) == [(2, at) for at in range(5)]
            assert channels.raw.append(group[:1], 0, partition=0) == [(0, 0)]
            assert channels.raw.ends() == [1, 0, 5]

    def test_messages_that_are_trimmed(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as channels, closing(self.open(tmp_path)) as other:
            raw = channels.raw
            raw.append([intake(7 * number) for number in range(300)], 0)  # of one sender
            partition = partition_of("sender-0", PARTITIONS)
            assert raw.ends()[partition] == 300
            raw.trim(partition, 250)
            with pytest.raises(Stop, match="bus-trimmed"):
                other.raw.read(partition, 249, 1)
            rest = other.raw.read(partition, 250, 300, 5.0)
            assert [one.raw for one, _ in rest] == [intake(7 * n).raw for n in range(250, 300)]

    def test_the_largest_group_of_the_largest_messages(self, tmp_path: Path) -> None:
        chance = Random(6)
        group = [Intake("head-end", "cim", at, chance.randbytes(4 << 20)) for at in range(5)]
        group.append(Intake("head-end", "cim", 5, b""))
        with self.opened(tmp_path) as channels:
            ((partition, first), *_) = channels.raw.append(group, 0)
            found: list[RawMessage] = []
            while len(found) < len(group):
                read = channels.raw.read(partition, first + len(found), 10, 10.0)
                assert read
                found += [one for one, _ in read]
        assert [one.raw for one in found] == [one.raw for one in group]

    # -- several processes ---------------------------------------------------------------------

    def test_what_a_killed_process_said_is_there(self, tmp_path: Path) -> None:
        """Three append until they are killed: in order, each item once, and what was said."""
        with self.opened(tmp_path) as channels:
            others = [Other(tmp_path, "append", who) for who in range(3)]
            until(lambda: all(len(other.told) > 10 for other in others))
            for other in others:
                other.end()
            found = [tuple(map(int, item.split())) for item in read_all(channels.commitments)]
            for who, other in enumerate(others):
                numbers = [number for one, number in found if one == who]
                assert numbers == list(range(len(numbers)))
                assert len(numbers) > other.told[-1]
            messages = sum(channels.raw.ends())
            assert messages >= sum(len(other.told) for other in others)

    def test_every_item_reaches_a_reader_in_another_process(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as channels, self.other(tmp_path, "follow") as other:
            for number in range(100):
                channels.commitments.append([b"%d" % number])
            until(lambda: len(other.told) >= 100)
            assert other.told == [str(number) for number in range(100)]

    # -- members -------------------------------------------------------------------------------

    def test_one_member_has_all_shares(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as channels:
            members = channels.members("worker", PARTITIONS)
            settled(members, PARTITIONS)
            first = dict(members.mine())
            assert set(first) == set(range(PARTITIONS))
            time.sleep(1)
            assert members.mine() == first

    def test_roles_are_apart(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as channels:
            workers = channels.members("worker", PARTITIONS)
            sequencers = channels.members("sequencer", 1)
            settled(workers, PARTITIONS)
            settled(sequencers, 1)

    def test_shares_are_balanced_and_those_of_who_leaves_are_given_on(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as channels, closing(self.open(tmp_path)) as second:
            one = channels.members("worker", 4)
            settled(one, 4)
            before = dict(one.mine())
            two = second.members("worker", 4)
            until(lambda: sorted((len(one.mine()), len(two.mine()))) == [2, 2])
            assert set(one.mine()) | set(two.mine()) == set(range(4))
            two.close()
            began = time.monotonic()
            settled(one, 4)
            assert time.monotonic() - began < TAKE_OVER_S
            after = one.mine()
            assert any(after[share] != before[share] for share in after)

    def test_one_works_and_the_others_stand_by(self, tmp_path: Path) -> None:
        with self.opened(tmp_path), self.other(tmp_path, "member", "sequencer", 1) as first:
            until(lambda: bool(first.mine))
            with self.other(tmp_path, "member", "sequencer", 1) as second:
                until(lambda: bool(second.told))
                time.sleep(2)
                assert sorted((len(first.mine), len(second.mine))) == [0, 1]

    def test_shares_of_a_killed_member_are_taken_over(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as channels:
            mine = channels.members("worker", PARTITIONS)
            with self.other(tmp_path, "member", "worker", PARTITIONS) as other:
                until(lambda: len(mine.mine()) + len(other.mine) == PARTITIONS and bool(other.mine))
                other.end()
                began = time.monotonic()
                settled(mine, PARTITIONS)
                assert time.monotonic() - began < TAKE_OVER_S + 5  # on a busy machine

    def test_shares_of_a_stopped_member_are_taken_over_and_it_notices(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as channels:
            mine = channels.members("sequencer", 1)
            settled(mine, 1)
            with self.other(tmp_path, "member", "sequencer", 1) as other:
                until(lambda: bool(other.told))
                mine.close()
                until(lambda: bool(other.mine))
                before = other.mine
                other.process.send_signal(signal.SIGSTOP)
                again = channels.members("sequencer", 1)
                began = time.monotonic()
                settled(again, 1)
                assert time.monotonic() - began < TAKE_OVER_S + 5
                other.process.send_signal(signal.SIGCONT)
                until(lambda: other.mine == {})
                again.close()
                until(lambda: bool(other.mine))
                assert other.mine != before

    def test_a_busy_member_keeps_its_shares(self, tmp_path: Path) -> None:
        """It lives, though it does not ask for long."""
        with self.opened(tmp_path) as channels:
            busy = channels.members("storer", 1)
            settled(busy, 1)
            before = busy.mine()
            with self.other(tmp_path, "member", "storer", 1) as other:
                time.sleep(TAKE_OVER_S)
                assert other.mine == {}
            assert busy.mine() == before

    def test_who_left_has_nothing(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as channels:
            members = channels.members("storer", 1)
            settled(members, 1)
            members.close()
            members.close()
            with pytest.raises(Unavailable):
                members.mine()


def settled(members: Members, shares: int) -> None:
    """Wait until a member has so many."""

    def has() -> bool:
        with suppress(Unavailable):
            return len(members.mine()) == shares
        return False

    until(has)


def serve(channels: Channels, arguments: list[str]) -> None:
    """What the child does until it is killed."""
    kind, *rest = arguments

    def tell(what: object) -> None:
        print(json.dumps(what), flush=True)

    if kind == "append":
        (who,) = map(int, rest)
        for number in range(10**9):
            append_surely(channels.commitments, [b"%d %d" % (who, number)])
            with suppress(Unavailable):
                channels.raw.append([intake(number)], number)
            tell(number)
    elif kind == "follow":
        position = 0
        while True:
            with suppress(Unavailable):
                for at, item in channels.commitments.read(position, 7, 1.0):
                    tell(item.decode())
                    position = at + 1
    elif kind == "member":
        role, shares = rest
        members, last = channels.members(role, int(shares)), None
        while True:
            with suppress(Unavailable):
                mine: Mapping[int, int] = members.mine()
                if mine != last:
                    last = mine
                    tell(dict(mine))
            time.sleep(0.1)
