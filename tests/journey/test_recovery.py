"""The engine over real stores, cut off where it hurts: what was on the bus is in the log, once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bal import jcs
from bal.errors import Stop, Unavailable
from bal.model import Pseudonym
from infra import file_log
from infra.data_folder import DataFolder
from infra.fsck import fsck
from infra.replay import replay
from tests.bounded import until
from tests.journey.small_platform import Hand, Small, cim, message_id

METERS = range(5)


def check(root: Path, messages: int) -> None:
    """Everything agrees, and each message is in the log once."""
    for audit in (fsck(root), replay(root)):
        assert audit.differences == []
        assert audit.unchecked == {}
    assert replay(root).counts["messages made again"] == messages


def once(call: Callable[..., Any], error: Exception, passing: int = 0) -> Callable[..., Any]:
    """As `call`, but that one passing of it raises."""
    passed = iter(range(1_000_000))

    def raising(*arguments: Any, **more: Any) -> Any:
        if next(passed) == passing:
            raise error
        return call(*arguments, **more)

    return raising


def begun(root: Path) -> Small:
    """One message of five new meters is stored."""
    small = Small(root)
    small.start()
    small.enrol("headend")
    small.take("headend", cim(0, METERS))
    return small


def committed_behind(small: Small, version: int) -> None:
    """Wait until there is a later head."""
    heads = small.sequencer
    until(lambda: small.stopped or heads.heads.version > version, f"a head behind {version}")
    assert not small.stopped


def readings(small: Small) -> int:
    size = small.stores.customer_db.size()
    return sum(row.kind == "reading" for row in small.stores.customer_db.records(0, size))


@pytest.mark.parametrize("step", ["stage", "swap", "integrate"])
def test_a_disk_that_refuses_a_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The registry had the new devices already; the next start makes them once more."""
    small = begun(tmp_path)
    log = small.stores.log
    full = Unavailable("the disk is full")
    monkeypatch.setattr(log, step, once(getattr(log, step), full))
    small.put("headend", cim(1, range(3, 9)))
    stop = small.wait_stop()
    assert isinstance(stop, Stop)
    assert stop.code == "store-unavailable"
    assert "the disk is full" in stop.text
    small.kill()
    small = Small(tmp_path)
    small.start()
    small.take("headend", cim(2, range(12)))
    assert len(small.stores.registry.devices(None)) == 12
    assert readings(small) == 5 + 6 + 12
    small.close()
    check(tmp_path, 4)


def test_a_checkpoint_that_cant_be_signed_now_is_published_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is committed waits for the signer, or for room on the disk; nothing stops."""
    small = begun(tmp_path)
    log = small.stores.log
    monkeypatch.setattr(log, "publish", once(log.publish, Unavailable("away", retry_after_s=0)))
    small.take("headend", cim(1, range(3, 9)))
    assert readings(small) == 5 + 6
    small.close()
    check(tmp_path, 3)


def test_a_command_that_fails_stops_no_start(tmp_path: Path) -> None:
    """It is refused, provably, and so it is when it is made again: at a start, by a replay."""
    small = begun(tmp_path)
    small.stores.projector.sync()
    small.stores.projector.store = lambda *_: None  # type: ignore[method-assign]
    small.command(command="nonsense")
    assert "command-failed" in str(small.certified[-1].summary["refused"])
    small.kill()
    small = Small(tmp_path)
    small.start()
    small.take("headend", cim(1, METERS))
    small.close()
    check(tmp_path, 4)


def test_a_full_disk_while_staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = begun(tmp_path)
    refused = OSError(28, "No space left on device")
    monkeypatch.setattr(file_log, "replace_file", once(file_log.replace_file, refused))
    small.put("headend", cim(1, METERS))
    assert str(small.wait_stop()).startswith("store-unavailable: ")
    small.kill()
    small = Small(tmp_path)
    small.start()
    small.take("headend", cim(2, METERS))
    small.close()
    check(tmp_path, 4)


def test_a_commit_that_nobody_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between swap and store, for many commits."""
    small = begun(tmp_path)
    monkeypatch.setattr(small.engine._storer, "_store", lambda _: True)
    for number in range(1, 8):
        size = small.sequencer.heads.version
        small.put("headend", cim(number, range(number, number + 7)))
        committed_behind(small, size)
    small.kill()
    small = Small(tmp_path)
    assert readings(small) == 5 + 7 * 7
    small.start()
    small.take("headend", cim(9, METERS))
    small.close()
    check(tmp_path, 10)


def test_killed_between_store_and_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored already is stored again, and is there once."""
    small = begun(tmp_path)
    small.close()
    small = Small(tmp_path)
    progress = small.stores.projector.progress()
    monkeypatch.setattr(small.stores.projector, "sync", lambda: progress)
    small.start()
    small.take("headend", cim(1, range(8)), cim(2, METERS))
    assert small.stores.projector.progress() == progress
    small.release()
    small = Small(tmp_path)
    assert small.stores.projector.progress().size > progress.size
    assert readings(small) == 5 + 8 + 5
    small.start()
    again = small.take("headend", cim(1, range(8)))[0].summary
    assert again["count"] == 3 + 8 + 1
    small.close()
    check(tmp_path, 4)


def test_a_store_that_waits_is_not_overtaken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end comes while one job waits for the disk; the job behind it must not be stored."""
    small = begun(tmp_path)
    full = Unavailable("the disk is full", retry_after_s=600)
    projector = small.stores.projector
    monkeypatch.setattr("infra.storer.STORE_ENTRIES_MAX", 1)
    monkeypatch.setattr(projector, "store", once(projector.store, full))
    for number in range(1, 4):
        version = small.sequencer.heads.version
        small.put("headend", cim(number, METERS))
        committed_behind(small, version)
    small.close()
    small = Small(tmp_path)
    assert readings(small) == 4 * 5
    small.close()
    check(tmp_path, 5)


def test_duplicates_within_a_commit_and_across_a_restart(tmp_path: Path) -> None:
    small = begun(tmp_path)
    raw, other = cim(1, METERS), cim(2, METERS)
    found = small.take("headend", raw, raw, other, raw)
    same = [one.summary for one in found if one.message == message_id(raw)]
    assert len(same) == 3
    assert same[0] == same[1] == same[2]
    small.kill()
    small = Small(tmp_path)
    small.start()
    assert small.take("headend", raw)[0].summary == same[0]
    assert readings(small) == 3 * 5
    small.close()
    check(tmp_path, 4)


def test_the_same_bytes_of_two_senders_are_two_messages(tmp_path: Path) -> None:
    small = begun(tmp_path)
    small.enrol("second")
    first, second = small.take("headend", cim(1, METERS)), small.take("second", cim(1, METERS))
    assert first[0].summary["batch"] != second[0].summary["batch"]
    small.close()
    check(tmp_path, 5)


def test_a_message_of_many_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 8,192 entries each; caught up with, and replayed."""
    small = begun(tmp_path)
    many = range(1000, 5300)
    monkeypatch.setattr(small.engine._storer, "_store", lambda _: True)
    version = small.sequencer.heads.version
    small.put("headend", cim(1, many), cim(2, METERS))
    source = f"{small.stores.bus.epoch}/0"
    until(lambda: small.stopped or small.sequencer.heads.taken[source] >= 3, "both are taken")
    assert not small.stopped
    assert small.sequencer.heads.version > version
    small.kill()
    small = Small(tmp_path)
    assert readings(small) == 5 + len(many) + 5
    counts = [jcs.decode(header)["count"] for _, header in small.stores.log.headers((0, -1), 100)]
    assert {"8192", str(2 * len(many) + 1 - 8192)} <= set(counts)
    small.start()
    small.take("headend", cim(3, many[:10]))
    small.close()
    check(tmp_path, 5)


@pytest.mark.parametrize("part", [0, 1])
def test_another_worker_is_noticed_in_every_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    monkeypatch.setattr("bal.pipeline.BATCH_ENTRIES_MAX", 4)
    small = begun(tmp_path)
    monkeypatch.setattr(small.engine._storer, "_store", lambda _: True)
    version = small.sequencer.heads.version
    small.put("headend", cim(1, METERS))
    committed_behind(small, version)
    small.kill()
    from bal.pipeline import Worker

    whole = Worker.process

    def other(self: Worker, message: Any) -> Any:
        worked = whole(self, message)
        if message.offset == 2:
            worked.entries[4 * part] = bytes(32)  # type: ignore[call-overload]
        return worked

    monkeypatch.setattr(Worker, "process", other)
    with pytest.raises(Stop, match="worker-differs"):
        Small(tmp_path)


def test_a_sender_that_was_revoked_in_between(tmp_path: Path) -> None:
    """Its message was accepted; by the bus's order it comes behind the revocation."""
    small = begun(tmp_path)
    small.enrol("headend", command="revoke")
    (told,) = small.take("headend", cim(1, METERS))
    assert told.summary["good"] == 0
    (refused,) = told.summary["refused"]  # type: ignore[misc]
    assert refused["code"] == "sender-revoked"
    assert told.summary["count"] == 1  # the refusal is provable
    assert small.take("headend", cim(0, METERS))[0].summary["good"] == 5  # a retry of the first
    small.close()
    check(tmp_path, 4)


def ticks(small: Small) -> list[str]:
    from bal.certify.commitment import is_public
    from bal.certify.tiles import split_bundle

    entries = split_bundle(small.stores.log.bundle(0, small.sequencer.heads.size))
    found = [jcs.decode(entry) for entry in entries if is_public(entry)]
    return [one["time"] for one in found if one["type"] == "tick"]


def test_a_clock_that_is_set_back_goes_on_ticking(tmp_path: Path) -> None:
    clock = Hand()
    small = Small(tmp_path, clock)
    small.start()
    small.enrol("headend")
    for number, step_s in enumerate((61, -3600, 61, 30)):
        clock.now += step_s * 1_000_000
        small.take("headend", cim(number, METERS))
    found = ticks(small)
    assert len(found) == 4  # the start, and three of the four steps
    assert found[2] < found[0] < found[1]
    assert found[2] < found[3]
    small.close()
    check(tmp_path, 5)


def test_a_second_platform_on_the_same_folder(tmp_path: Path) -> None:
    small = begun(tmp_path)
    with pytest.raises(Stop, match="data-folder-in-use"):
        DataFolder(tmp_path).lock()
    small.close()
    folder = DataFolder(tmp_path)
    folder.lock()
    folder.unlock()


def test_an_unlocked_second_sequencer_makes_the_first_one_stop(tmp_path: Path) -> None:
    """Should the lock fail, as on some network file systems: the swap is the fence."""
    small = begun(tmp_path)
    small.folder.unlock()
    other = Small(tmp_path)
    other.start()
    other.put("headend", cim(1, METERS))
    other.wait(1)
    small.put("headend", cim(2, METERS))
    stop = small.wait_stop()
    assert isinstance(stop, Stop)
    assert stop.code == "lost-swap"
    other.wait(2)
    small.kill()
    other.close()
    check(tmp_path, 4)


def test_a_bus_that_was_made_anew_stops_the_start(tmp_path: Path) -> None:
    small = begun(tmp_path)
    small.close()
    for file in (tmp_path / "bus").iterdir():
        file.unlink()
    small = Small(tmp_path)
    for number in range(5):  # so many that the count alone would not show it
        small.put("headend", cim(number, METERS))
    with pytest.raises(Stop, match="bus-went-backwards"):
        small.start()
    small.release()


def test_a_gap_on_the_bus_stops_the_engine(tmp_path: Path) -> None:
    small = begun(tmp_path)
    small.close()
    small = Small(tmp_path)
    small.put("headend", *(cim(number, METERS) for number in range(1, 5)))
    small.stores.bus._db.execute("DELETE FROM raw WHERE offset = 4")
    small.start()
    stop = small.wait_stop()
    assert isinstance(stop, Stop)
    assert stop.code == "store-damaged"
    small.kill()


def test_a_vault_that_forgot_a_subject_leaves_the_rest_to_replay(tmp_path: Path) -> None:
    small = begun(tmp_path)
    small.take("headend", cim(1, range(100, 120)), cim(2, range(3)))
    gone = small.stores.registry.devices(None)[0].device
    small.close()
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(tmp_path / "vault" / "vault.db")) as db, db:
        db.execute(
            "DELETE FROM salt_key WHERE subject = (SELECT id FROM subject WHERE pseudonym = ?)",
            (Pseudonym(gone),),
        )
    for audit in (fsck(tmp_path), replay(tmp_path)):
        assert audit.differences == []
        assert audit.unchecked
    assert replay(tmp_path).counts["messages made again"] >= 1
