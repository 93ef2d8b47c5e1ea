"""What a copy takes of the one bus of `gridseal up`, where a server has it."""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bal.errors import Stop, Unavailable
from bal.ports import Intake
from infra import copy_servers
from infra.config import KafkaConfig
from infra.copy_servers import Servers
from infra.data_folder import OUTSIDE, DataFolder
from infra.files import make_folder
from infra.outside import Outside
from infra.sqlite_bus import SqliteBus


def append(bus: SqliteBus, *numbers: int) -> None:
    bus.append([Intake("he", "cim", number, b"%d" % number) for number in numbers])


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqliteBus]:
    """Ten messages, of which three were let go of; it stands in for Kafka's."""
    root = make_folder(tmp_path / "data")
    (root / OUTSIDE).write_text(json.dumps(asdict(Outside(kafka=KafkaConfig("kafka:1")))))
    with closing(SqliteBus(tmp_path / "kafka")) as found:
        append(found, *range(10))
        found.trim(3)
        calls: Any = {name: getattr(found, name) for name in ("epoch", "read", "end")}
        opened = SimpleNamespace(**calls, close=lambda: None)
        monkeypatch.setattr(copy_servers, "kafka_access", lambda *_, **__: None)
        monkeypatch.setattr(copy_servers, "KafkaBus", lambda *_, **__: opened)
        yield found


def test_the_copy_has_what_was_kept_and_what_came_until_the_look(
    bus: SqliteBus, tmp_path: Path
) -> None:
    to = DataFolder(make_folder(tmp_path / "copy"))
    with closing(Servers(DataFolder(tmp_path / "data"))) as servers:
        servers.begin(to)
        append(bus, 10, 11)
        bus.trim(8)  # before the look at what the projection needs
        servers.see_messages()
        append(bus, 12)
        servers.take_messages(9)
    with closing(SqliteBus(to.bus)) as file:
        assert (file.epoch, file.end()) == (bus.epoch, 12)
        assert [m.received_us for m in file.read(3, 99)] == list(range(3, 12))
        assert file.read(9, 99) == bus.read(9, 3)
        with pytest.raises(Stop, match="bus-trimmed"):
            file.read(2, 1)


@pytest.mark.parametrize("needed_from", [2, 9])
def test_what_the_projection_needs_and_is_gone_is_not_left_out(
    bus: SqliteBus, tmp_path: Path, needed_from: int
) -> None:
    with closing(Servers(DataFolder(tmp_path / "data"))) as servers:
        servers.begin(DataFolder(make_folder(tmp_path / "copy")))
        append(bus, 10, 11)
        servers.see_messages()
        bus.trim(12 if needed_from == 9 else 3)
        with pytest.raises(Stop, match="bus-trimmed"):
            servers.take_messages(needed_from)


def test_a_bus_that_kept_nothing_goes_on_at_its_offsets(bus: SqliteBus, tmp_path: Path) -> None:
    bus.trim(10)
    to = DataFolder(make_folder(tmp_path / "copy"))
    with closing(Servers(DataFolder(tmp_path / "data"))) as servers:
        servers.begin(to)
        servers.see_messages()
        servers.take_messages(99)  # as far as there is anything
    with closing(SqliteBus(to.bus)) as file:
        assert file.end() == 10
        append(file, 10)
        assert [m.offset for m in file.read(10, 9)] == [10]


def test_a_server_that_gives_nothing_is_away(
    bus: SqliteBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Any = {"epoch": bus.epoch, "read": lambda *_: [], "end": bus.end}
    opened = SimpleNamespace(**calls, close=lambda: None)
    monkeypatch.setattr(copy_servers, "KafkaBus", lambda *_, **__: opened)
    with (
        closing(Servers(DataFolder(tmp_path / "data"))) as servers,
        pytest.raises(Unavailable, match="message 0 of the bus"),
    ):
        servers.begin(DataFolder(make_folder(tmp_path / "copy")))
