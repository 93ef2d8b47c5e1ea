"""fsck and replay of a folder that roles ran on: what is altered in it is told."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from folder_kit import EPOCH, ManualClock, Played
from storer_ground import PARTITIONS, Ground, check, make_ground

from bal import jcs
from infra.data_folder import DataFolder
from infra.fsck import fsck
from infra.replay import replay
from infra.stores import Stores
from infra.system_clock import SystemClock

pytestmark = pytest.mark.xdist_group("roles")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """A folder of which everything is stored."""
    ground = make_ground(tmp_path_factory.mktemp("audit") / "data")
    played = Played(ground.root, PARTITIONS, ManualClock(ground.clock_us))
    storer, _ = played.storer()
    played.settle(storer.step)
    storer.close()
    played.close()
    return ground


@pytest.fixture
def root(stored: Ground, tmp_path: Path) -> Path:
    shutil.copytree(stored.root, tmp_path / "data")
    return tmp_path / "data"


Header = dict[str, Any]


def alter(root: Path, which: Callable[[Header], bool], how: Callable[[Header], None]) -> None:
    """Change the last header of that sort."""
    with closing(sqlite3.connect(root / "log" / "headers.db", isolation_level=None)) as db:
        rows = db.execute("SELECT version, number, header FROM header ORDER BY 1, 2").fetchall()
        for version, number, header in reversed(rows):
            data = jcs.decode(header)
            if which(data):
                how(data)
                values = (jcs.encode(data), version, number)
                db.execute("UPDATE header SET header = ? WHERE version = ? AND number = ?", values)
                return
    raise AssertionError("there is no such header")


def is_message(data: Header) -> bool:
    return bool(data["epoch"] == EPOCH and "again" not in data and int(data["count"]))


def is_claim(data: Header) -> bool:
    return str(data["epoch"]).startswith("claim.")


def codes(root: Path) -> set[str]:
    return {one.check for one in fsck(root).differences}


def test_nothing_differs(stored: Ground, root: Path) -> None:
    """Retries, claims, windows over several messages, a close and what was refused are in it."""
    rows = check(stored, root)
    assert {row.kind for row in rows} >= {"reading", "phasors", "refused", "message", "device-day"}
    counts = replay(root).counts
    assert counts["claims"] >= PARTITIONS
    assert counts["retries"] > 0
    assert counts["closes made again"] == 1


def test_a_registry_that_was_not_known_yet(root: Path) -> None:
    def later(data: Header) -> None:
        data["inputs"]["registry"] = str(int(data["first"]) + 1)

    alter(root, is_message, later)
    assert codes(root) == {"header-inputs"}


def test_a_registry_older_than_that_of_the_message_before(root: Path) -> None:
    def earlier(data: Header) -> None:
        data["inputs"]["registry"] = "1"

    alter(root, is_message, earlier)
    assert codes(root) == {"header-inputs"}
    assert replay(root).differences == []  # of a source the size only grows


def test_rules_that_no_record_of_the_log_names(root: Path) -> None:
    def other(data: Header) -> None:
        data["inputs"]["rules"] = "0" * 64

    alter(root, is_message, other)
    assert codes(root) == {"header-inputs"}
    assert {one.check for one in replay(root).differences} == {"header-differs"}


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("prev", "5", "header-order"),
        ("part", "1", "header-order"),
        ("offset", "-2", "header-order"),
        ("offset", "1", "taken-differs"),
    ],
)
def test_a_claim_that_does_not_follow(root: Path, name: str, value: str, code: str) -> None:
    def other(data: Header) -> None:
        data[name] = value

    alter(root, is_claim, other)
    assert code in codes(root)


def test_raw_messages_that_went_backwards(root: Path) -> None:
    with closing(sqlite3.connect(root / "bus" / "raw.db", isolation_level=None)) as db:
        db.execute("UPDATE ends SET next = 3, low = 0 WHERE partition = 1")
    found = fsck(root).differences
    assert {(one.check, one.where) for one in found} == {
        ("bus-went-backwards", "raw messages of partition 1")
    }


def test_topics_of_another_epoch(root: Path) -> None:
    with closing(sqlite3.connect(root / "bus" / "raw.db", isolation_level=None)) as db:
        db.execute("UPDATE topic SET epoch = 'ffffffffffffffff'")
    assert codes(root) == {"bus-went-backwards"}


def test_a_row_in_another_place_is_told(root: Path) -> None:
    """Of a device that two workers named the first record says where its rows are."""
    stores = Stores.open(DataFolder(root), SystemClock(), read_only=True)
    shards = {row.shard for row in stores.customer_db.records(0, 10**6) if row.kind == "reading"}
    stores.close()
    [shard] = shards
    with closing(sqlite3.connect(root / "scd" / "customer.db", isolation_level=None)) as db:
        db.execute("UPDATE shard SET name = 'g/7' WHERE name = ?", (shard,))
    assert codes(root) >= {"row-misplaced"}
