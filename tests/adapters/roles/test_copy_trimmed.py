"""Copies of a folder whose messages are on a server that lets go of them while they are made."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from folder_kit import EPOCH
from lane_kit import cim
from storer_ground import make_ground

from bal.errors import Stop, Unavailable
from bal.model import RawMessage
from bal.ports import Intake
from infra import copy_servers, data_copy
from infra.config import KafkaConfig
from infra.copy_servers import Servers
from infra.data_copy import copy_data
from infra.data_folder import OUTSIDE, DataFolder
from infra.files import make_folder
from infra.fsck import fsck
from infra.outside import Outside
from infra.replay import replay
from infra.roles.sqlite_channels import SqliteChannels, SqliteRawTopic

pytestmark = pytest.mark.xdist_group("roles")


class Topic:
    """Stands in for Kafka's: reads as that, and lets go of messages when the test wants."""

    def __init__(self, raw: SqliteRawTopic) -> None:
        self.raw, self.epoch, self.partitions = raw, raw.epoch, raw.partitions
        self.ends = raw.ends
        self.trim_at_read: dict[int, int] = {}  # by number of a read: keep so many of partition 0
        self.reads = 0

    def read(
        self, partition: int, offset: int, limit: int, wait_s: float = 0.0
    ) -> Sequence[tuple[RawMessage, int]]:
        self.reads += 1
        keep = self.trim_at_read.get(self.reads)
        if keep is not None:
            self.raw.trim(0, self.ends()[0] - keep)
        return self.raw.read(partition, offset, limit)

    def work_on(self, number: int) -> None:
        """All that is there is let go of, and more comes."""
        for partition, end in enumerate(self.ends()):
            self.raw.trim(partition, end)
            self.append(partition, number)

    def append(self, partition: int, number: int) -> None:
        raw = cim(f"later-{partition}-{number}", f"m-{partition}-0", value=number)
        self.raw.append([Intake("he", "cim", 1, raw)], 0, partition)


@pytest.fixture
def at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Topic]]:
    """A folder of roles that the lock says are at work, and the topic of its messages elsewhere."""
    root = make_ground(tmp_path / "data").root
    (root / "bus").rename(tmp_path / "kafka")
    (root / OUTSIDE).write_text(json.dumps(asdict(Outside(kafka=KafkaConfig("kafka:1")))))
    folder = DataFolder(root)
    folder.lock(shared=True)
    with closing(SqliteChannels.open(tmp_path / "kafka", epoch=EPOCH)) as channels:
        topic = Topic(channels.raw)
        opened: Any = SimpleNamespace(raw=topic, close=lambda: None)
        monkeypatch.setattr(copy_servers, "kafka_access", lambda *_, **__: None)
        monkeypatch.setattr(copy_servers, "KafkaChannels", lambda *_: opened)
        monkeypatch.setattr(copy_servers, "MESSAGES_AT_ONCE", 2)
        yield root, topic
    folder.unlock()


def kept_in(bus: Path) -> list[list[RawMessage]]:
    """By partition all messages."""
    found = []
    with closing(sqlite3.connect(bus / "raw.db")) as db:
        ends = db.execute("SELECT low, next FROM ends ORDER BY partition").fetchall()
    with closing(SqliteChannels.open(bus, epoch=EPOCH)) as channels:
        for partition, (low, end) in enumerate(ends):
            messages = channels.raw.read(partition, low, end - low)
            found.append([message for message, _ in messages])
    return found


def test_messages_that_go_while_files_are_copied_are_in_the_copy(
    at_work: tuple[Path, Topic], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under load something is let go of during every copy of a large folder."""
    root, topic = at_work
    real, copies = make_folder, []
    before: list[list[RawMessage]] = []

    def large(path: Path) -> Path:
        """The first folder of files, or of a database, that is made behind the looks."""
        if path.name in {"archive", "vault", "tile"} and path.is_relative_to(tmp_path / "copy"):
            copies.append(path)
            before.extend(() if before else kept_in(tmp_path / "kafka"))
            topic.work_on(len(copies))
        return real(path)

    monkeypatch.setattr(data_copy, "make_folder", large)
    copy_data(root, tmp_path / "copy")
    assert copies
    assert kept_in(tmp_path / "copy" / "bus") == before
    for audit in (fsck(tmp_path / "copy"), replay(tmp_path / "copy")):
        assert audit.differences == []


def test_what_goes_before_the_looks_is_not_needed(
    at_work: tuple[Path, Topic], tmp_path: Path
) -> None:
    root, topic = at_work
    before, (end, *_) = kept_in(tmp_path / "kafka"), topic.ends()
    steps = len(bin(end))  # until the first that is kept is found
    topic.trim_at_read = {steps + 2: end - 9, steps + 6: 3}
    servers = Servers(DataFolder(root))
    with closing(servers):
        servers.begin(DataFolder(make_folder(tmp_path / "copy")))
        topic.append(1, 1)
        servers.see_messages()
        topic.append(1, 2)
        servers.take_messages(None)
    assert kept_in(tmp_path / "copy" / "bus") == [
        before[0][-3:],
        kept_in(tmp_path / "kafka")[1][:-1],
        before[2],
    ]


def test_what_goes_between_looks_and_messages_is_looked_at_again(
    at_work: tuple[Path, Topic], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, topic = at_work
    real, looks = Servers.see_messages, []

    def see(servers: Servers) -> None:
        looks.append(1)
        topic.append(0, len(looks))
        real(servers)
        topic.work_on(-len(looks))

    monkeypatch.setattr(Servers, "see_messages", see)
    with pytest.raises(Unavailable, match="trimmed"):
        copy_data(root, tmp_path / "never")
    assert len(looks) == 5
    assert not (tmp_path / "never").exists()


def test_a_projection_that_asks_for_what_is_gone_is_refused(
    at_work: tuple[Path, Topic], tmp_path: Path
) -> None:
    root, topic = at_work
    topic.raw.trim(0, 2)
    with closing(Servers(DataFolder(root))) as servers:
        servers.begin(DataFolder(make_folder(tmp_path / "copy")))
        servers.see_messages()
        with pytest.raises(Stop, match="bus-trimmed"):
            servers.take_messages(1)
