"""What every Bus must do (bal/ports.py). A test module subclasses `BusSuite` and opens its own."""

import os
import signal
import subprocess
import sys
from contextlib import AbstractContextManager, closing
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any, Protocol

import pytest

from bal.errors import Stop, Unavailable
from bal.model import RawMessage
from bal.ports import Bus, Intake

REPOSITORY = Path(__file__).resolve().parents[3]
KILLS = 5


class ClosableBus(Bus, Protocol):
    def close(self) -> None: ...


def intake(number: int) -> Intake:
    """The same message in every process."""
    raw = b"\x00\xff message %d " % number * (1 + number % 50)
    return Intake(f"sender-{number % 3}", "cim", 1_000_000 + number, raw)


def expected(bus: Bus, offset: int, number: int) -> RawMessage:
    one = intake(number)
    return RawMessage(bus.epoch, 0, offset, one.credential, one.format, one.received_us, one.raw)


class BusSuite:
    """`open` opens or makes the bus in a folder; `child` is a file that appends until killed."""

    child: str

    def open(self, folder: Path) -> ClosableBus:
        raise NotImplementedError

    def destroy(self, folder: Path) -> None:
        """Remove the bus, so that `open` makes another one."""
        raise NotImplementedError

    def refusing(self, bus: ClosableBus) -> AbstractContextManager[None]:
        """As long as it lasts, the disk or the server refuses every append."""
        raise NotImplementedError

    def test_what_is_appended_is_read_in_order(self, tmp_path: Path) -> None:
        with closing(self.open(tmp_path)) as bus:
            assert bus.append([]) == []
            assert bus.append([intake(at) for at in range(3)]) == [0, 1, 2]
            assert bus.append([intake(3)]) == [3]
            assert bus.end() == 4
            assert bus.read(0, 10) == [expected(bus, at, at) for at in range(4)]
            assert bus.read(1, 2) == [expected(bus, at, at) for at in (1, 2)]
            assert bus.read(4, 10) == bus.read(99, 10) == []

    def test_offsets_have_no_gap_whoever_appends(self, tmp_path: Path) -> None:
        given: list[int] = []
        with closing(self.open(tmp_path)) as bus:

            def append(first: int) -> None:
                for at in range(20):
                    given.extend(bus.append([intake(first + at)] * (1 + at % 3)))

            threads = [Thread(target=append, args=(100 * number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sorted(given) == list(range(bus.end()))
            assert [one.offset for one in bus.read(0, 1000)] == sorted(given)

    def test_a_reopened_bus_goes_on(self, tmp_path: Path) -> None:
        with closing(self.open(tmp_path)) as bus:
            epoch = bus.epoch
            bus.append([intake(0)])
        with closing(self.open(tmp_path)) as bus:
            assert bus.epoch == epoch
            assert bus.append([intake(1)]) == [1]
            assert bus.read(0, 10) == [expected(bus, at, at) for at in range(2)]

    def test_an_epoch_is_16_hex_digits_and_new_with_each_bus(self, tmp_path: Path) -> None:
        epochs = set()
        for _ in range(3):
            with closing(self.open(tmp_path)) as bus:
                assert bus.end() == 0
                bus.append([intake(0)])
                assert len(bus.epoch) == 16
                int(bus.epoch, 16)
                epochs.add(bus.epoch)
            self.destroy(tmp_path)
        assert len(epochs) == 3

    def test_the_largest_group_of_the_largest_messages(self, tmp_path: Path) -> None:
        chance = Random(6)
        group = [
            Intake("head-end", "cim", at, chance.randbytes(4 * 1024 * 1024)) for at in range(5)
        ]
        group.append(Intake("head-end", "cim", 5, b""))
        with closing(self.open(tmp_path)) as bus:
            assert bus.append(group) == list(range(6))
            found = bus.read(0, 10)
        assert [one.raw for one in found] == [one.raw for one in group]

    def test_the_same_message_again_is_a_further_message(self, tmp_path: Path) -> None:
        with closing(self.open(tmp_path)) as bus:
            assert bus.append([intake(0)]) == [0]
            assert bus.append([intake(0), intake(0)]) == [1, 2]
            assert bus.read(0, 10) == [expected(bus, at, 0) for at in range(3)]

    def test_what_is_read_again_is_the_same_in_any_order(self, tmp_path: Path) -> None:
        chance = Random(5)
        with closing(self.open(tmp_path)) as bus:
            for at in range(0, 200, 10):
                bus.append([intake(at + number) for number in range(10)])
            for _ in range(30):
                offset, limit = chance.randrange(200), chance.randrange(1, 60)
                wanted = range(offset, min(200, offset + limit))
                assert bus.read(offset, limit) == [expected(bus, at, at) for at in wanted]
            assert bus.read(150, 0) == []

    def test_a_reader_of_its_own_sees_what_another_appends(self, tmp_path: Path) -> None:
        with closing(self.open(tmp_path)) as bus, closing(self.open(tmp_path)) as other:
            assert other.read(0, 10) == []
            bus.append([intake(0)])
            assert other.end() == 1
            assert other.read(0, 10) == [expected(bus, 0, 0)]

    def test_trimmed_messages_are_refused_and_never_given_anew(self, tmp_path: Path) -> None:
        with closing(self.open(tmp_path)) as bus:
            bus.append([intake(at) for at in range(5)])
            bus.trim(3)
            with pytest.raises(Stop, match="bus-trimmed"):
                bus.read(0, 10)
            assert bus.read(3, 10) == [expected(bus, at, at) for at in (3, 4)]
            bus.trim(5)
            with pytest.raises(Stop, match="bus-trimmed"):
                bus.read(4, 1)
            assert bus.read(5, 10) == []
            assert bus.end() == 5
        with closing(self.open(tmp_path)) as bus:
            assert bus.append([intake(5)]) == [5]
            bus.trim(2)
            assert bus.read(5, 10) == [expected(bus, 5, 5)]

    def test_all_or_none(self, tmp_path: Path) -> None:
        with closing(self.open(tmp_path)) as bus:
            bus.append([intake(0)])
            with self.refusing(bus), pytest.raises(Unavailable):
                bus.append([intake(at) for at in range(1, 40)])
            assert bus.end() == 1
            assert bus.read(0, 100) == [expected(bus, 0, 0)]
            assert bus.append([intake(1), intake(2)]) == [1, 2]
        with closing(self.open(tmp_path)) as bus:
            assert bus.read(0, 100) == [expected(bus, at, at) for at in range(3)]

    def test_what_it_said_is_there_is_there_after_a_kill(self, tmp_path: Path) -> None:
        chance, epoch = Random(4), None
        for _ in range(KILLS):
            told = self._told_until_killed(tmp_path, chance.randrange(1, 30))
            with closing(self.open(tmp_path)) as bus:
                assert bus.end() >= told
                assert bus.epoch == (epoch or bus.epoch)
                epoch = bus.epoch
                assert bus.read(0, 10**6) == [expected(bus, at, at) for at in range(bus.end())]
                assert bus.end() % 7 == 0  # a group is there whole or not at all

    def _told_until_killed(self, folder: Path, lines: int) -> int:
        command = [sys.executable, self.child, str(folder)]
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        ) as process:
            assert process.stdout is not None
            told = [process.stdout.readline() for _ in range(lines)]
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read()
            told += rest[: rest.rfind("\n") + 1].splitlines()
        assert process.returncode == -signal.SIGKILL
        return int(told[-1])


def append_for_ever(bus: Any) -> None:
    """What the child does: groups of seven, a line for each that is there for good."""
    while True:
        end = bus.end()
        bus.append([intake(end + at) for at in range(7)])
        print(end + 7, flush=True)
