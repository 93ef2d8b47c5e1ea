"""The channels of files against the suite, and what is their own: processes, faults, positions."""

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

import pytest
from channels_suite import PARTITIONS, ChannelsSuite

from bal.errors import Stop
from infra.roles.ports import Position
from infra.roles.positions import SqlitePositions
from infra.roles.sqlite_channels import SqliteChannels

pytestmark = pytest.mark.xdist_group("roles")

EPOCH = "0123456789abcdef"


class TestSqliteChannels(ChannelsSuite):
    def make(self, folder: Path, partitions: int = PARTITIONS) -> None:
        SqliteChannels.make(folder / "channels", EPOCH, partitions)

    def open(
        self, folder: Path, is_bulk: Callable[[str], bool] = lambda credential: False
    ) -> SqliteChannels:
        return SqliteChannels.open(folder / "channels", epoch=EPOCH, is_bulk=is_bulk)

    def destroy(self, folder: Path) -> None:
        shutil.rmtree(folder / "channels")
        self.make(folder)


def test_they_are_made_once(tmp_path: Path) -> None:
    SqliteChannels.make(tmp_path, EPOCH, 2)
    with closing(SqliteChannels.open(tmp_path)) as channels:
        channels.rows(1).append([b"one"])
    SqliteChannels.make(tmp_path, EPOCH, 2)
    with closing(SqliteChannels.open(tmp_path)) as channels:
        assert channels.raw.epoch == EPOCH
        assert channels.raw.partitions == 2
        assert [item for _, item in channels.rows(1).read(0, 10)] == [b"one"]
    with pytest.raises(Stop, match=r"bus-settings: .* has 2 partitions, not 3"):
        SqliteChannels.make(tmp_path, EPOCH, 3)
    with pytest.raises(Stop, match="bus-went-backwards"):
        SqliteChannels.make(tmp_path, EPOCH[::-1], 2)


@pytest.mark.parametrize("lost", ["raw", "commitments", "announcements", "rows-0"])
def test_a_file_that_is_gone_stops(tmp_path: Path, lost: str) -> None:
    SqliteChannels.make(tmp_path, EPOCH, 1)
    (tmp_path / f"{lost}.db").unlink()
    with pytest.raises(Stop, match=f"bus-went-backwards: .*{lost}"):
        SqliteChannels.open(tmp_path).rows(0)
    assert not (tmp_path / f"{lost}.db").exists()


def test_a_file_of_another_platform_stops(tmp_path: Path) -> None:
    SqliteChannels.make(tmp_path / "one", EPOCH, 1)
    SqliteChannels.make(tmp_path / "two", EPOCH[::-1], 1)
    shutil.copy(tmp_path / "two" / "announcements.db", tmp_path / "one" / "announcements.db")
    with pytest.raises(Stop, match="bus-went-backwards: announcements"):
        SqliteChannels.open(tmp_path / "one")
    with pytest.raises(Stop, match="bus-went-backwards: raw"):
        SqliteChannels.open(tmp_path / "two", epoch=EPOCH)


def test_large_items_are_trimmed_in_steps(tmp_path: Path) -> None:
    SqliteChannels.make(tmp_path, EPOCH, 1)
    with closing(SqliteChannels.open(tmp_path)) as channels:
        rows = channels.rows(0)
        for number in range(5):
            rows.append([bytes([number]) * 5_000_000])
        rows.trim(4)
        assert [(at, item[:1]) for at, item in rows.read(4, 9)] == [(4, b"\4")]
        with pytest.raises(Stop, match="bus-trimmed"):
            rows.read(3, 1)
        rows.trim(99)
        assert rows.read(5, 1) == []


def test_positions_go_forward_alone(tmp_path: Path) -> None:
    with closing(SqlitePositions(tmp_path)) as positions, closing(SqlitePositions(tmp_path)) as two:
        assert positions.get("worker/0") == Position(0)
        positions.save("worker/0", Position(5, 2))
        assert two.get("worker/0") == Position(5, 2)
        two.save("worker/0", Position(4, 9))
        two.save("worker/0", Position(5, 1))
        assert positions.get("worker/0") == Position(5, 2)
        two.save("worker/0", Position(5, 3))
        two.save("worker/0", Position(6, 1))
        assert positions.get("worker/0") == Position(6, 1)
        assert positions.get("worker/1") == Position(0)


def test_threads_that_read_side_by_side_see_no_end_that_goes_back(tmp_path: Path) -> None:
    SqliteChannels.make(tmp_path, EPOCH, 1)
    failed: list[Stop] = []
    ended = Event()
    with closing(SqliteChannels.open(tmp_path)) as channels:
        topic = channels.announcements

        def read() -> None:
            while not ended.is_set():
                try:
                    topic.read(0, 1)
                except Stop as stop:
                    failed.append(stop)
                    return

        readers = [Thread(target=read, daemon=True) for _ in range(4)]
        for reader in readers:
            reader.start()
        for _ in range(100):
            topic.append([b"one more"])
        ended.set()
        for reader in readers:
            reader.join(60)
    assert failed == []
