"""Copies, backups, restores and drills of a folder that roles run on, topics as files."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from threading import Event, Thread

import pytest
from folder_kit import EPOCH, ManualClock, Played
from lane_kit import cim, frames
from storer_ground import PARTITIONS, Ground, digest, make_ground, rows_of, send

from bal.errors import Stop, Unavailable
from infra import data_copy
from infra.backup import backup, backup_in, restore
from infra.data_copy import copy_data
from infra.data_folder import DataFolder
from infra.drill import drill, table
from infra.fsck import fsck
from infra.replay import replay
from infra.roles.sqlite_channels import SqliteChannels
from infra.signer_memory import SEALED, last_signed

pytestmark = pytest.mark.xdist_group("roles")

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """Half of it is not stored, and some of it not even worked: that was accepted."""
    made = make_ground(tmp_path_factory.mktemp("backup") / "data")
    played = Played(made.root, PARTITIONS, ManualClock(made.clock_us))
    for partition in range(PARTITIONS):
        for number in range(3):
            played.send("cim", accepted(partition, number), partition)
    played.close()
    return made


def accepted(partition: int, number: int) -> bytes:
    return cim(f"late-{partition}-{number}", f"m-{partition}-0", value=1000 + number)


@pytest.fixture(scope="module")
def backed_up(ground: Ground) -> Path:
    file = ground.root.parent / "b.tar"
    backup(ground.root, file)
    return file


def clean(root: Path) -> None:
    """Nothing differs; the successor's genesis waits for the next storer."""
    found = fsck(root)
    assert found.differences == []
    assert set(found.unchecked.values()) <= {1, 2}, found.unchecked
    found = replay(root)
    assert (found.differences, found.unchecked) == ([], {})


def stored_whole(root: Path, clock_us: int) -> None:
    """Have a storer store all that the log has."""
    played = Played(root, PARTITIONS, ManualClock(clock_us))
    storer, _ = played.storer()
    played.settle(storer.step)
    storer.close()
    played.close()


def go_on(root: Path, clock_us: int, origin: str) -> None:
    """Play all roles until nothing waits."""
    played = Played(root, PARTITIONS, ManualClock(clock_us), origin=origin)
    storer, _ = played.storer()
    worker, sequencing = played.worker(), played.sequencing()
    send(played, Random(99))
    played.settle(worker.step, sequencing.step, storer.step)
    sequencing.finish()
    played.settle(storer.step)
    storer.close()
    worker.close()
    played.close()


def test_what_was_accepted_or_certified_is_there_after_a_restore(
    ground: Ground, backed_up: Path, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    done = restore(backed_up, root)
    assert done.of.size == ground.size
    clean(root)
    whole = tmp_path / "whole"
    copy_data(ground.root, whole)
    assert digest(rows_of(root)) == digest(rows_of(whole))
    folder = DataFolder(root)
    facts = folder.facts()
    assert facts is not None
    assert [one["origin"] for one in facts.predecessors] == ["gridseal.invalid/roles"]
    channels = SqliteChannels.open(folder.bus, epoch=EPOCH)
    waiting = [channels.raw.read(p, end - 3, 9) for p, end in enumerate(channels.raw.ends())]
    channels.close()
    for partition, found in enumerate(waiting):
        raws = [message.raw for message, _ in found]
        assert raws == [accepted(partition, number) for number in range(3)]

    go_on(root, ground.clock_us + 10_000_000, done.origin)
    for audit in (fsck(root), replay(root)):
        assert (audit.differences, audit.unchecked, audit.away) == ([], {}, {})
    rows = rows_of(root)
    late = {row.record for row in rows if b'"value":"1002' in row.record}
    assert len(late) == 2 * PARTITIONS
    assert len({row.index for row in rows}) == len(rows)


def test_without_rows_they_are_made_again(ground: Ground, backed_up: Path, tmp_path: Path) -> None:
    backup(ground.root, tmp_path / "b.tar", rows=False)
    assert (tmp_path / "b.tar").stat().st_size < backed_up.stat().st_size
    restore(tmp_path / "b.tar", tmp_path / "lean")
    restore(backed_up, tmp_path / "full")
    clean(tmp_path / "lean")
    assert digest(rows_of(tmp_path / "lean")) == digest(rows_of(tmp_path / "full"))


def test_without_keys_there_are_new_ones(ground: Ground, tmp_path: Path) -> None:
    """No role makes them at a later start."""
    backup(ground.root, tmp_path / "b.tar", keys=False)
    done = restore(tmp_path / "b.tar", tmp_path / "data")
    assert done.on_chain
    names = {path.name for path in (tmp_path / "data" / "keys").iterdir()}
    assert names >= {"ca.crt", "ca.key", "token.jwks", "anchorer.key", "admin.key", "log.key"}
    clean(tmp_path / "data")


def test_every_attack_is_caught(ground: Ground, tmp_path: Path) -> None:
    done = drill(ground.root, tmp_path)
    assert done.clean == []
    assert [row.attack for row in done.rows if not row.caught] == [], table(done.rows)
    assert done.passed
    assert list(tmp_path.iterdir()) == []


def test_copies_made_while_roles_work_are_each_of_one_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground = make_ground(tmp_path / "data")
    stored_whole(ground.root, ground.clock_us)
    ended = Event()
    working = Thread(target=_work, args=(ground, ended))
    working.start()
    try:
        for number in range(4):
            time.sleep(0.2)
            copy = tmp_path / f"copy-{number}"
            copy_data(ground.root, copy)
            for audit in (fsck(copy), replay(copy)):
                assert (audit.differences, audit.unchecked) == ([], {})
    finally:
        ended.set()
        working.join()
    assert fsck(ground.root).differences == []


def _work(ground: Ground, ended: Event) -> None:
    """New devices, so that the vault grows; rows are let go of at every turn."""
    folder = DataFolder(ground.root)
    folder.lock(shared=True)  # as role processes do
    played = Played(ground.root, PARTITIONS, ManualClock(ground.clock_us + 10_000_000))
    storer, _ = played.storer()
    worker, sequencing = played.worker(), played.sequencing()
    number = 0
    while not ended.is_set():
        number += 1
        for partition in range(PARTITIONS):
            played.send("cim", cim(f"new-{number}-{partition}", value=number), partition)
            played.send("pmu", frames(f"p-{partition}", 40_000 + number), partition)
        for step in 3 * (worker.step, sequencing.step, storer.step):
            step()
        played.clock.pass_(2)
    played.settle(worker.step, sequencing.step, storer.step)
    sequencing.finish()
    storer.close()
    worker.close()
    played.close()
    folder.unlock()


def test_what_is_let_go_of_meanwhile_is_looked_at_again(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Raw messages that were stored after the stores were looked at, and trimmed."""
    folder = DataFolder(ground.root)
    folder.lock(shared=True)
    seen = data_copy._kept
    looks: list[int] = []

    def before(data: Path) -> list[tuple[int, int]]:
        looks.append(1)
        found = seen(data)
        return found if len(looks) == 3 else [(partition, low - 1) for partition, low in found]

    monkeypatch.setattr(data_copy, "_kept", before)
    copy_data(ground.root, tmp_path / "copy")
    assert len(looks) == 3
    assert fsck(tmp_path / "copy").differences == []
    monkeypatch.setattr(data_copy, "_kept", lambda data: [])
    with pytest.raises(Unavailable, match="trimmed"):
        copy_data(ground.root, tmp_path / "never")
    assert not (tmp_path / "never").exists()
    folder.unlock()


def test_of_many_backups_the_newest_stay(ground: Ground, tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"gridseal-2026010{number}T000000Z.tar").touch()
    (tmp_path / "mine.tar").touch()
    left = tmp_path / ".gridseal-20260101T000000Z.tar.x" / "data"
    left.mkdir(parents=True)  # of one that was killed
    file, made = backup_in(tmp_path, ground.root, 2)
    assert made.size == ground.size
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"gridseal-20260103T000000Z.tar", file.name, "mine.tar"}
    restore(file, tmp_path / "data")


def test_a_backup_that_is_killed_leaves_nothing_that_looks_whole(
    ground: Ground, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "infra.cli", "backup", "--data", str(ground.root), "--to"]
    began = time.monotonic()
    subprocess.run([*command, str(tmp_path / "whole.tar")], cwd=REPOSITORY, check=True)
    took_s = time.monotonic() - began
    dice = Random(5)
    for number in range(6):
        to = tmp_path / str(number)
        to.mkdir()
        process = subprocess.Popen([*command, str(to / "b.tar")], cwd=REPOSITORY)
        while process.poll() is None and not any(to.iterdir()):
            time.sleep(0.01)
        time.sleep(dice.random() * took_s / 2)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for left in to.iterdir():
            if left.name == "b.tar":  # it came to its end first
                restore(left, to / "data")
                continue
            assert not (left / "data" / "keys" / "log.key").exists()
            if (left / "data" / "facts.json").exists():
                assert last_signed(left / "data" / "keys" / "log.signed")[0] == SEALED
            else:
                with pytest.raises(Stop, match="data-folder"):
                    fsck(left / "data")
