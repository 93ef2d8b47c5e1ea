"""Phasor frames over real stores: windows, kills, and the receipt of one frame."""

import json
import random
import shutil
import sqlite3
import time
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bal import jcs
from bal.certify.verify import parse_policy, verify_receipt
from bal.model import PHASORS, StoredRecord
from bal.pipeline import FLUSH_FORMAT, OPERATOR
from bal.times import rfc3339
from infra import settler as settler_module
from infra.fsck import fsck
from infra.replay import replay
from infra.squeezed import squeeze, unsqueezed
from tests.journey.conftest import Running
from tests.journey.pmu_stream import BEGIN, FRAMES_PER_S, frame, message, stream
from tests.journey.small_platform import WAIT_S, Hand, Small

GATEWAY = "gateway"
S = 1_000_000
BEGIN_US = int(BEGIN.timestamp()) * S
YEAR_END_US = 1_767_225_600 * S  # 2026-01-01T00:00:00Z


def begun(root: Path, clock: Hand | None = None) -> Small:
    small = Small(root, clock)
    small.start()
    small.enrol(GATEWAY)
    return small


def again(root: Path, clock: Hand | None = None) -> Small:
    small = Small(root, clock)
    small.start()
    return small


def windows(small: Small) -> list[StoredRecord]:
    size = small.stores.customer_db.size()
    return [row for row in small.stores.customer_db.records(0, size) if row.kind == PHASORS]


def said(rows: list[StoredRecord]) -> list[tuple[str, str, str, list[bytes]]]:
    """What windows say apart from names, salts and messages, in order of the log."""
    records = [(json.loads(row.certified), row.frames) for row in rows]
    return [(one["begin"], one["rate"], one["missing"], frames) for one, frames in records]


def check(root: Path) -> None:
    for audit in (fsck(root), replay(root)):
        assert audit.differences == []
        assert audit.unchecked == {}


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def flush(small: Small) -> None:
    """As the engine does."""
    raw = jcs.encode({"time": rfc3339(small.clock.now_us())})
    small.take(OPERATOR, raw, form=FLUSH_FORMAT)


def test_a_stream_becomes_windows(tmp_path: Path) -> None:
    small = begun(tmp_path)
    for raw in stream(0, 230, without=(7, 60, 61)):
        small.take(GATEWAY, raw, form="pmu")
    rows = windows(small)
    assert [(one[2], len(one[3])) for one in said(rows)] == [
        ("1", 49),
        ("2", 48),
        ("0", 50),
        ("0", 50),
    ]
    assert [row.end_us - row.begin_us for row in rows] == [S] * 4
    [device] = small.stores.registry.devices(None)
    assert device.kind == "pmu"
    assert {row.device for row in rows} == {device.device}
    summaries = [one.summary for one in small.certified[1:]]
    assert sum(int(str(one["good"])) for one in summaries) == 227
    assert sum(int(str(one["count"])) for one in summaries) == 5  # and the device
    small.close()
    check(tmp_path)


def test_every_frame_is_proved_by_its_receipt(tmp_path: Path) -> None:
    small = begun(tmp_path)
    for raw in stream(0, 80, without=(3,)):
        small.take(GATEWAY, raw, form="pmu")
    [row] = windows(small)
    receipts = small.stores.receipts()
    policy = parse_policy(f"log {small.sequencer._signer.vkey}\nquorum none\n".encode())
    for number, data in enumerate(row.frames):
        text = receipts.receipt(row.index, number)
        assert verify_receipt(text, policy).authentic.code == "authentic"
        assert verify_receipt(text, policy).authentic.text.startswith("The record of a window")
        extra = json.loads(b64decode(text.split("\n")[1][6:]))
        assert extra["frame"]["data"].encode() == data
    assert "frame" not in receipts.receipt(row.index)
    for index, number in ((row.index, 49), (row.index, -1), (row.index - 1, 0)):
        with pytest.raises(KeyError):
            receipts.receipt(index, number)
    small.close()


@pytest.mark.parametrize("sign", ["\U0001f50c", '"'])  # twelve bytes in a URI; doubly escaped
@pytest.mark.parametrize(("length", "frames"), [(64, 4), (128, 2), (256, 1)])
def test_a_window_as_wide_as_it_may_be_has_receipts_that_verify(
    tmp_path: Path, sign: str, length: int, frames: int
) -> None:
    """By the number of its channels, or by the length of their components."""
    small = begun(tmp_path)
    for number in range(5):
        readings = [
            {"component": sign * (length - 3) + f"{place:03}", "measurand": measurand,
             "phase": phase, "data": -1e-40}
            for measurand in ("voltangle", "currangle", "activepower")
            for phase in "ABC"
            for place in range(number * 28, number * 28 + 28)
        ]  # fmt: skip
        raw = {"device": "pmu-1", "timestamp": f"2026-01-15T10:00:00.{number}Z"}
        small.take(GATEWAY, json.dumps([raw | {"readings": readings}]).encode(), form="pmu")
    assert "window-full" in str(small.certified[-1].summary["refused"])
    small.take(GATEWAY, message([frame(80)]), form="pmu")
    [row] = windows(small)
    assert len(row.frames) == frames
    policy = parse_policy(f"log {small.sequencer._signer.vkey}\nquorum none\n".encode())
    for place in (None, 0, frames - 1):
        text = small.stores.receipts().receipt(row.index, place)
        assert verify_receipt(text, policy).authentic.code == "authentic"
    small.close()
    check(tmp_path)


def test_the_same_message_again_has_no_second_effect(tmp_path: Path) -> None:
    small = begun(tmp_path)
    ahead = message([frame(50 * 90)])  # refused now, and it would not be at a later receipt
    raws = [*stream(0, 100), ahead]
    for raw in raws:
        small.take(GATEWAY, raw, form="pmu")
    small.clock.now += 40 * S
    for raw in raws:
        small.put(GATEWAY, raw, form="pmu")
    small.kill()
    small = again(tmp_path, small.clock)
    small.take(GATEWAY, *stream(100, 125), form="pmu")
    assert len(windows(small)) == 1
    small.close()
    check(tmp_path)


def test_flushes_close_what_no_frame_closes(tmp_path: Path) -> None:
    small = begun(tmp_path)
    asked: list[int] = []
    small.engine._on_flush = asked.append
    small.take(GATEWAY, *stream(0, 25), form="pmu")
    small.clock.now += 4 * S
    until(lambda: bool(asked))
    flush(small)
    assert [len(row.frames) for row in windows(small)] == [25]
    small.take(GATEWAY, *stream(25, 50), form="pmu")  # late: a version of all fifty
    small.clock.now += 3 * S
    flush(small)
    assert [len(row.frames) for row in windows(small)] == [25, 50]
    small.clock.now += 61 * S
    flush(small)
    assert small.worker.windows.needed_from(7) == 7
    small.close()
    check(tmp_path)


def test_a_flush_that_is_none_stops_no_start(tmp_path: Path) -> None:
    small = begun(tmp_path)
    small.take(OPERATOR, b"{}", form=FLUSH_FORMAT)
    assert "command-failed" in str(small.certified[-1].summary["refused"])
    small.close()
    check(tmp_path)


def test_a_window_over_the_years_end(tmp_path: Path) -> None:
    """Its frames came in one year and it closed in the next: one key for record and frames."""
    clock = Hand(YEAR_END_US - S)
    small = begun(tmp_path, clock)
    first = (YEAR_END_US - S - BEGIN_US) // (S // FRAMES_PER_S)
    small.take(GATEWAY, *stream(first, first + 25), form="pmu")
    clock.now = YEAR_END_US + S
    small.take(GATEWAY, *stream(first + 25, first + 100), form="pmu")
    assert [(row.year, len(row.frames)) for row in windows(small)] == [(2026, 50)]
    small.close()
    check(tmp_path)


def test_a_sender_revoked_while_its_window_is_open(tmp_path: Path) -> None:
    """The frames it sent while it might count, also after a restart."""
    small = begun(tmp_path)
    small.take(GATEWAY, *stream(0, 50), form="pmu")
    small.stores.projector.sync()
    small.enrol(GATEWAY, command="revoke")
    small.take(GATEWAY, *stream(50, 75), form="pmu")
    assert "sender-revoked" in str(small.certified[-1].summary["refused"])
    small.stores.projector.store = lambda *_: None  # type: ignore[method-assign]
    small.clock.now += 5 * S
    flush(small)
    small.kill()
    small = again(tmp_path)  # its flush is made again, by windows that are made again
    assert [len(row.frames) for row in windows(small)] == [50]
    small.close()
    check(tmp_path)


def messages_of(seed: int) -> list[bytes]:
    """Two devices, messages of odd lengths, frames late, doubled and missing."""
    chance = random.Random(seed)
    numbers = [n for n in range(700) if chance.random() > 0.02]
    for _ in range(40):
        at = chance.randrange(len(numbers) - 1)
        numbers.insert(min(len(numbers), at + chance.randrange(1, 120)), numbers[at])
    raws = []
    while numbers:
        count = chance.randrange(1, 40)
        device = chance.choice(("pmu-1", "pmu-2"))
        raws.append(message(frame(number, device) for number in numbers[:count]))
        numbers = numbers[count:]
    return raws


@pytest.mark.parametrize("seed", range(4))
def test_kills_in_the_middle_of_a_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Whenever it is killed, and whatever was stored by then: the same windows as without."""
    monkeypatch.setattr(settler_module, "SETTLE_EVERY_S", 0.01)
    raws, chance = messages_of(seed), random.Random(seed)
    whole = begun(tmp_path / "whole")
    for raw in raws:
        whole.take(GATEWAY, raw, form="pmu")
    expected = sorted(said(windows(whole)))  # of those that close together the names decide
    whole.close()
    small = begun(tmp_path / "killed")
    unseen = list(raws)
    while unseen:
        count = chance.randrange(1, 9)
        if chance.random() < 0.3:  # what is committed from here on is not stored
            small.stores.projector.store = lambda *_: None  # type: ignore[method-assign]
        small.put(GATEWAY, *unseen[:count], form="pmu")
        if chance.random() < 0.7:
            small.wait(len(small.certified) + 1)
        unseen = unseen[count:]
        small.kill() if chance.random() < 0.8 else small.close()
        small = again(tmp_path / "killed")
    end = small.stores.bus.end()
    until(lambda: small.engine._next == end)
    small.close()
    small = Small(tmp_path / "killed")
    assert sorted(said(windows(small))) == expected
    small.release()
    check(tmp_path / "killed")


def test_nothing_that_windows_need_is_trimmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settler_module, "SETTLE_EVERY_S", 0.01)
    small = begun(tmp_path)
    for raw in stream(0, 1_000):
        small.take(GATEWAY, raw, form="pmu")
    progress = small.stores.projector.sync()
    bus = small.stores.bus
    until(lambda: len(held(tmp_path)) == bus.end() - progress.needed_from)
    assert 0 < progress.next_offset - progress.needed_from <= 24
    small.close()


def held(root: Path) -> list[int]:
    [file] = root.rglob("bus.db")
    with sqlite3.connect(file) as db:
        found = [row[0] for row in db.execute("SELECT offset FROM raw ORDER BY offset")]
    db.close()
    return found


def test_a_replay_without_a_message_of_a_window_says_so(tmp_path: Path) -> None:
    """As an erasure leaves it: no difference, but not checked."""
    small = begun(tmp_path)
    for raw in stream(0, 130):
        small.take(GATEWAY, raw, form="pmu")
    small.close()
    [file] = tmp_path.rglob("archive.db")
    with sqlite3.connect(file) as db:
        db.execute("DELETE FROM message WHERE place = 2")
    db.close()
    audit = replay(tmp_path)
    assert audit.differences == []
    assert audit.unchecked == {
        "messages whose raw bytes or keys are gone": 1,
        "windows that have frames of messages that are gone": 1,
    }


# --- what fsck finds ---------------------------------------------------------------------------


def altered(root: Path, change: Callable[[bytes], bytes]) -> list[str]:
    """What fsck says of a copy in which a stored chunk is changed."""
    copy = root.with_name("copy")
    shutil.copytree(root, copy)
    [file] = copy.rglob("customer.db")
    with sqlite3.connect(file) as db:
        for number, data in db.execute("SELECT id, data FROM chunk").fetchall():
            changed = squeeze(change(unsqueezed(data)))
            db.execute("UPDATE chunk SET data = ? WHERE id = ?", (changed, number))
    db.close()
    found = [one.check for one in fsck(copy).differences]
    shutil.rmtree(copy)
    return found


def test_fsck_tells_altered_frames(tmp_path: Path) -> None:
    root = tmp_path / "data"
    small = begun(root)
    for raw in stream(0, 80):
        small.take(GATEWAY, raw, form="pmu")
    small.close()
    assert altered(root, lambda data: data) == []
    for old, new in (
        (b'"data":"230.1"', b'"data":"230.2"'),
        (b'"time":"2026-01-15T10:00:00.02Z"', b'"time":"2026-01-15T10:00:00.03Z"'),
    ):
        assert altered(root, lambda data, a=old, b=new: data.replace(a, b)) == ["frames-differ"]
    assert altered(root, lambda data: data.replace(b'"missing":"0"', b'"missing":"1"')) == [
        "row-altered"
    ]


# --- by the outside alone ----------------------------------------------------------------------


def live(caller: Any, first: int, last: int) -> list[Any]:
    return [
        caller.request("POST", "/v1/messages?format=pmu", content=raw)
        for raw in stream(first, last)
    ]


@pytest.mark.slow
def test_kill_9_in_the_middle_of_a_stream(running: Running, tmp_path: Path) -> None:
    caller = running.client("pdc", "messages.write readings.read", "--all-devices")
    answers = live(caller, 0, 60)
    running.kill()
    running.start()
    answers += live(caller, 60, 160)
    assert {answer.status_code for answer in answers} <= {200, 202}
    items = caller.readings(kind="phasors")
    deadline = time.monotonic() + WAIT_S
    while len(items) < 4:  # the last ones by a flush
        assert time.monotonic() < deadline, "the last windows do not come"
        items = caller.readings(kind="phasors")
    assert [item["record"]["frames"] for item in items] == ["50", "50", "50", "10"]
    index = items[1]["index"]
    frames = caller.get(f"/v1/phasors/{index}/frames")
    assert [one["time"] for one in frames][:2] == [
        "2026-01-15T10:00:01Z",
        "2026-01-15T10:00:01.02Z",
    ]
    receipt = caller.request("GET", f"/v1/receipts/{index}", params={"frame": "49"})
    file, policy = tmp_path / "frame.tlog-proof", tmp_path / "policy"
    file.write_text(receipt.text)
    policy.write_text(running.cli("policy", "--data", running.data))
    told = running.cli(
        "verify", file, "--policy", policy, "--ca", running.ready["ca"], "--json", code=None
    )
    assert json.loads(told)["verdicts"]["authentic"]["code"] == "authentic"
    for path in (f"/v1/receipts/{index}?frame=50", f"/v1/phasors/{index + 10_000}/frames"):
        assert caller.request("GET", path).status_code == 404
    assert caller.request("GET", f"/v1/receipts/{index}?frame=-1").status_code == 400
    assert running.stop() == 0
    running.check()
