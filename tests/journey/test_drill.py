"""The drill on a small platform: ten attacks, ten catches, and what it says where it can't."""

import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bal.errors import Stop
from infra import data_copy
from infra.backup import backup
from infra.cli import main
from infra.copy_projection import redo
from infra.data_copy import copy_data
from infra.data_folder import DataFolder
from infra.drill import Drill, drill, report, table
from infra.fsck import fsck
from infra.replay import replay
from tests.journey.small_platform import Small, cim
from tests.journey.test_fsck import content, execute

METERS = range(30)
ATTACKS = [
    "edit", "delete", "insert", "reorder", "truncate", "replayed batch", "wrong salt",
    "swapped meter", "missing tile", "hidden reading",
]  # fmt: skip


def begun(root: Path, *, close: bool = True) -> Small:
    """Some 470 entries, so that there is a full tile; a day closed, and a message behind it."""
    small = Small(root)
    small.start()
    small.enrol("headend")
    for number in range(12):
        small.take("headend", cim(number, METERS))
    if close:
        small.close_day("2026-01-01")
    small.take("headend", cim(13, METERS))
    return small


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drill") / "data"
    begun(root).close()
    return root


def passed(done: Drill) -> None:
    assert done.clean == []
    assert [row.attack for row in done.rows] == ATTACKS
    assert [row.attack for row in done.rows if not row.caught] == [], table(done.rows)
    assert all(row.where for row in done.rows)
    assert done.passed


def test_every_attack_is_caught_and_the_original_is_as_it_was(data: Path, tmp_path: Path) -> None:
    before = content(data)
    done = drill(data, tmp_path)
    passed(done)
    assert content(data) == before
    assert list(tmp_path.iterdir()) == []  # the copies are gone


def test_copies_inside_the_data_folder_are_refused(data: Path, tmp_path: Path) -> None:
    """They would be copied, too, and the folder is only read."""
    before = content(data)
    link = tmp_path / "link"
    link.symlink_to(data)
    for temp in (data, data / "log", link):
        with pytest.raises(Stop, match="outside"):
            drill(data, temp)
    for to in (data / "backup.tar", link / "log" / "backup.tar"):
        with pytest.raises(Stop, match="outside"):
            backup(data, to)
    with pytest.raises(Stop, match="outside"):
        copy_data(link, data / "copy")
    with pytest.raises(Stop, match="no folder"):
        backup(data, tmp_path / "none" / "backup.tar")
    assert content(data) == before


def test_what_a_killed_copy_left_is_not_copied(data: Path, tmp_path: Path) -> None:
    left = data / ".backup.tar.x" / "data" / "log"
    left.mkdir(parents=True)
    (left / "heads.db").write_bytes(b"")
    copy_data(data, tmp_path / "copy")
    shutil.rmtree(data / ".backup.tar.x")
    copied = content(tmp_path / "copy").keys()
    assert "facts.json" in copied
    assert not [name for name in copied if name.startswith(".")]


@pytest.mark.parametrize("when", ["listed", "copied"])
def test_a_tile_that_becomes_full_while_it_is_copied(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Its partial file goes, and its folder with it, before anybody has read them."""
    original, copy = tmp_path / "data", tmp_path / "copy"
    shutil.copytree(data, original)
    [partial] = (original / "log" / "tile" / "entries").glob("*.p")
    [narrow] = partial.iterdir()
    copy2, scandir = shutil.copy2, os.scandir

    def become_full() -> None:
        if narrow.exists():
            narrow.rename(partial.with_suffix(""))
            partial.rmdir()

    def copying(source: Path, target: Path) -> object:
        if when == "copied" and source.parent == partial:
            become_full()
        return copy2(source, target)

    def listing(place: object = ".") -> object:
        if when == "listed" and str(place) == str(partial):
            become_full()
        return scandir(place)  # type: ignore[call-overload]

    monkeypatch.setattr(shutil, "copy2", copying)
    monkeypatch.setattr(os, "scandir", listing)
    copy_data(original, copy)
    assert not narrow.exists()
    assert (copy / "log" / "tile" / "entries" / partial.stem).is_file()


def test_beside_a_platform_that_is_at_work(tmp_path: Path) -> None:
    small = begun(tmp_path / "data")
    small.stores.projector.sync()  # as every second
    copy = tmp_path / "copy"
    copy_data(tmp_path / "data", copy)
    assert small.stores.log.heads().size == Small(copy).sequencer.heads.size
    passed(drill(tmp_path / "data", tmp_path))
    small.take("headend", cim(14, METERS))
    small.close()
    assert fsck(tmp_path / "data").differences == []


def test_copies_made_while_messages_come_in_are_each_of_one_moment(tmp_path: Path) -> None:
    small = begun(tmp_path / "data")
    for number in range(15, 25):
        small.put("headend", *(cim(number + 10 * more, METERS) for more in range(3)))
        copy = tmp_path / f"copy-{number}"
        copy_data(tmp_path / "data", copy)
        for audit in (fsck(copy), replay(copy)):
            assert audit.differences == []
        Small(copy).release()  # as after a kill; its signer may know more, and sign no more
        assert fsck(copy).unchecked == {}
    small.close()


def test_a_copy_made_while_a_sequencer_redoes_the_log_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a power cut: what it puts into the files goes from the staging at once."""
    root, copy = tmp_path / "data", tmp_path / "copy"
    folder, small = DataFolder(root), begun(root)
    small.engine.settler.settle()
    monkeypatch.setattr(small.stores.log, "settle", lambda: None)
    monkeypatch.setattr(small.engine.settler, "_settle", lambda: None)
    whole = {path for path in (root / "log" / "tile").rglob("*") if path.is_file()}
    version = small.sequencer.heads.version
    for number in (14, 15):
        small.take("headend", cim(number, METERS))
    small.close()
    for path in set((root / "log" / "tile").rglob("*")) - whole:
        if path.is_file():
            path.write_bytes(bytes(path.stat().st_size))
    with closing(sqlite3.connect(root / "log" / "headers.db")) as db, db:
        db.execute("DELETE FROM header WHERE version > ?", (version,))
    bus_is_whole = data_copy._bus_is_whole

    def meanwhile(*looks: Any) -> bool:
        redo(folder)
        assert [one.name for one in (root / "log" / "staging").iterdir()] == ["notes.txt"]
        return bus_is_whole(*looks)

    monkeypatch.setattr(data_copy, "_bus_is_whole", meanwhile)
    (root / "log" / "staging" / "notes.txt").write_text("of somebody\n")
    folder.lock()  # as a platform that is at work
    copy_data(root, copy)
    folder.unlock()
    for audit in (fsck(copy), replay(copy)):
        assert audit.differences == []
    Small(copy).release()


def test_without_a_closed_day(tmp_path: Path) -> None:
    begun(tmp_path / "data", close=False).close()
    done = drill(tmp_path / "data", tmp_path)
    assert [row.attack for row in done.rows if not row.caught] == ["hidden reading"]
    assert done.rows[-1].done == "nothing: no closed day to attack"
    assert not done.passed


def test_without_a_reading(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = Small(tmp_path / "data")
    small.start()
    small.close()
    done = drill(tmp_path / "data", tmp_path)
    assert {row.done for row in done.rows} == {"nothing: no stored and published reading"}
    assert not done.passed
    assert not any(row.made for row in done.rows)
    assert "nobody" not in table(done.rows)  # that is for attacks that were made
    assert report(done, as_json=False) == 1
    assert "0 of 10 attacks caught, 10 not made" in capsys.readouterr().out


def test_a_folder_that_is_not_clean_is_not_attacked(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy_data(data, tmp_path / "data")
    execute(tmp_path / "data" / "log" / "heads.db", "UPDATE heads SET root = zeroblob(32)")
    assert main(["drill", "--data", str(tmp_path / "data")]) == 1
    said = capsys.readouterr().out
    assert "the untouched copy: root-differs" in said
    assert "no attack was made" in said


def test_the_command(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drill", "--data", str(data)]) == 0
    said = capsys.readouterr().out
    assert "10 of 10 attacks caught" in said
    assert "row-altered" in said
    assert main(["drill", "--data", str(data), "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["passed"] is True
    assert {row["by"] for row in body["attacks"]} == {"fsck", "replay", "verify", "signer"}


def test_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="data-folder"):
        drill(tmp_path)
    assert main(["drill", "--data", str(tmp_path), "--temp", str(tmp_path / "absent")]) == 3
