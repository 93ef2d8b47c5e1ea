"""Back up while it runs, restore, start: a successor log; what stood before stays provable."""

import io
import json
import tarfile
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from bal import jcs
from bal.certify.log import genesis, tick
from bal.certify.note import checkpoint_text
from bal.certify.tiles import split_bundle
from bal.errors import Rejected, Stop
from bal.model import Digest, StoredRecord, TreeHead
from infra.backup import MANIFEST, backup, restore
from infra.cli import main
from infra.control import call
from infra.data_copy import copy_data
from infra.data_folder import DataFolder
from infra.fsck import fsck
from infra.key_signer import CheckpointSigner, check_grown
from infra.stores import Stores
from infra.system_clock import SystemClock
from tests.journey.conftest import Caller, Running, cim
from tests.journey.small_platform import Hand, Small
from tests.journey.small_platform import cim as small_cim

DAY, END, LATER = "2026-01-15", "2026-01-15T11:00:00+01:00", "2026-01-15T11:15:00+01:00"


def post(caller: Caller, *readings: tuple[str, str, str]) -> int:
    answer = caller.request("POST", "/v1/messages?format=cim", content=cim(*readings))
    assert answer.status_code == 200, answer.text
    return int(answer.json()["first_index"])


def receipt(running: Running, caller: Caller, file: Path, device: str) -> Path:
    """The anchored receipt of that device's first reading."""
    call(running.data, "anchor")
    item = next(one for one in caller.readings() if one["record"]["device"] == device)
    file.write_text(caller.request("GET", item["receipt"]).text)
    return file


def verdict(running: Running, file: Path, policy: Path) -> tuple[int, str, str]:
    said = json.loads(running.cli(
        "verify", file, "--policy", policy, "--ca", running.ready["ca"], "--accept-own-chain",
        "--json", code=None,
    ))  # fmt: skip
    return said["exit"], said["verdicts"]["authentic"]["code"], said["verdicts"]["complete"]["code"]


def policy(running: Running, file: Path) -> Path:
    file.write_text(running.cli("policy", "--data", running.data))
    return file


def test_a_successor_goes_on_behind_the_old_log(running: Running, tmp_path: Path) -> None:
    caller = running.client("dso", "messages.write readings.read devices.read", "--all-devices")
    post(caller, ("meter-1", END, "1.5"))
    running.cli("day", "close", DAY, "--data", running.data)
    (device,) = [one["device"] for one in caller.get("/v1/devices")["items"]]
    old_receipt = receipt(running, caller, tmp_path / "old.tlog-proof", device)
    old_policy, old_ready = policy(running, tmp_path / "old.policy"), running.ready
    said = running.cli("backup", "--data", running.data, "--to", tmp_path / "b.tar")
    assert (tmp_path / "b.tar").stat().st_mode & 0o777 == 0o600
    assert "holds no key of the log" in said
    post(caller, ("meter-1", LATER, "1.6"))  # the backup lacks it
    assert running.stop() == 0

    (tmp_path / "after").mkdir()
    after = Running(tmp_path / "after")
    after.http_at, after.mqtt_at = running.http_at, running.mqtt_at
    made = json.loads(running.cli("restore", tmp_path / "b.tar", "--data", after.data, "--json"))
    assert made["predecessor"]["origin"] == old_ready["origin"]
    assert made["open_on_chain"] is True
    deadline = monotonic() + 30
    again = Caller(after, *caller.auth)
    try:
        after.start()
        new_policy = policy(after, tmp_path / "new.policy")
        assert after.ready["origin"] == made["origin"] != old_ready["origin"]
        assert after.ready["log_key"] != old_ready["log_key"]
        # clients, devices and history are there
        assert [one["device"] for one in again.get("/v1/devices")["items"]] == [device]
        assert [one["record"]["value"] for one in again.readings()] == ["1500"]
        post(again, ("meter-1", LATER, "1.7"))
        new_receipt = receipt(after, again, tmp_path / "new.tlog-proof", device)
        document = tmp_path / "day.json"
        document.write_bytes(again.request("GET", f"/v1/device-days/{device}/{DAY}").content)
        again.forget()  # before its connection is too old
        assert verdict(after, old_receipt, old_policy)[:2] == (0, "authentic")
        assert verdict(after, new_receipt, new_policy)[:2] == (0, "authentic")
        assert verdict(after, old_receipt, new_policy)[1] == "log-key-unknown"
        assert verdict(after, new_receipt, old_policy)[1] == "log-key-unknown"
        found = verdict(after, document, new_policy)  # the book's closes go on chain once more
        while found[2] == "close-not-on-chain" and monotonic() < deadline:
            call(after.data, "anchor")
            found = verdict(after, document, new_policy)
        assert (found[0], found[2]) == (0, "own-chain")
        assert after.stop() == 0
        after.check()
    finally:
        again.forget()
        if after.process is not None:
            after.kill()
    check_genesis(after.data, made)


def check_genesis(data: Path, made: dict[str, Any]) -> None:
    """The successor's genesis is the entry behind the predecessor's."""
    folder = DataFolder(data)
    stores = Stores.open(folder, SystemClock(), read_only=True)
    size = int(made["predecessor"]["size"])
    bundle = stores.log.bundle(size // 256, size % 256 + 1)
    said = jcs.decode(split_bundle(bundle)[size % 256])
    stores.close()
    facts = folder.facts()
    assert facts is not None
    assert said["type"] == "genesis"
    assert said["origin"] == made["origin"] == facts.origin
    assert said["log_key"] == facts.log_key
    assert {**said["predecessor"]} == facts.predecessors[0]
    assert {name: said["predecessor"][name] for name in ("origin", "size", "root")} == made[
        "predecessor"
    ]


def test_without_keys_there_is_a_new_ca_and_a_new_contract(
    running: Running, tmp_path: Path
) -> None:
    caller = running.client("dso", "messages.write readings.read", "--all-devices")
    post(caller, ("meter-1", END, "1.5"))
    words = ("backup", "--data", running.data, "--to", tmp_path / "b.tar", "--without-keys")
    assert "enrolled anew" in running.cli(*words)
    old = running.ready
    assert running.stop() == 0
    (tmp_path / "after").mkdir()
    after = Running(tmp_path / "after")
    running.cli("restore", tmp_path / "b.tar", "--data", after.data)
    again = Caller(after, *caller.auth)
    try:
        after.start()
        assert (
            after.ready["contract"] != old["contract"] or after.ready["chain_id"] != old["chain_id"]
        )
        again = Caller(after, *caller.auth)
        assert [one["record"]["value"] for one in again.readings()] == ["1500"]
        call(after.data, "anchor")
        assert after.stop() == 0
        after.check()
    finally:
        again.forget()
        if after.process is not None:
            after.kill()


# -- without gateways ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("built") / "data"
    small = Small(root)
    small.start()
    small.enrol("headend")
    for number in range(3):
        small.take("headend", small_cim(number, range(10)))
    small.close()
    backup(root, root.parent / "b.tar")
    return root


def test_whoever_just_unpacks_a_backup_can_sign_nothing(built: Path, tmp_path: Path) -> None:
    with tarfile.open(built.parent / "b.tar") as tar:
        names = tar.getnames()
        tar.extractall(tmp_path, filter="data")
    assert names[0] == MANIFEST
    assert not {"data/keys/log.key", "data/keys/intake.key"} & set(names)
    small = Small(tmp_path / "data")
    with pytest.raises(Stop, match="signer-refuses"):
        small.start()
    small.release()


def test_a_log_that_was_put_back_is_refused_before_it_grows(built: Path, tmp_path: Path) -> None:
    """A few entries more, and it would be larger than what its signer remembers."""
    copy_data(built, tmp_path / "data")
    small = Small(tmp_path / "data")
    memory, log = small.folder.keys / "log.signed", small.stores.log
    size = small.sequencer.heads.size
    check_grown(memory, log, size)
    check_grown(tmp_path / "absent", log, size)  # nothing was signed yet
    small.sequencer.commit([], [tick(Hand().now)])
    check_grown(memory, log, size + 1)
    with pytest.raises(Stop, match="signer-refuses"):
        check_grown(memory, log, size - 1)
    memory.unlink()
    head = TreeHead(size, Digest(bytes(32)))
    CheckpointSigner("x.invalid/1", bytes(32), memory).sign(checkpoint_text("x.invalid/1", head))
    with pytest.raises(Stop, match="signer-refuses"):
        check_grown(memory, log, size + 1)
    small.release()


def test_the_successors_signer_refuses_the_old_log(built: Path, tmp_path: Path) -> None:
    done = restore(built.parent / "b.tar", tmp_path / "data")
    folder = DataFolder(tmp_path / "data")
    signer = CheckpointSigner(done.origin, folder.seed("log"), folder.keys / "log.signed")
    head = TreeHead(
        done.of.size, Stores.open(folder, SystemClock(), read_only=True).log.heads().root
    )
    with pytest.raises(Stop, match="signer-refuses"):
        signer.sign(checkpoint_text(done.of.origin, head))
    assert fsck(tmp_path / "data").differences == []


def test_a_successor_has_a_name_of_its_own(built: Path, tmp_path: Path) -> None:
    facts = DataFolder(built).facts()
    assert facts is not None
    with pytest.raises(Rejected, match="origin-taken"):
        restore(built.parent / "b.tar", tmp_path / "data", facts.origin)
    assert list(tmp_path.iterdir()) == []
    assert (
        restore(built.parent / "b.tar", tmp_path / "data", "example.org/2").origin
        == "example.org/2"
    )
    again = backup(tmp_path / "data", tmp_path / "again.tar")  # a successor of a successor
    assert restore(tmp_path / "again.tar", tmp_path / "third").of == again
    third = DataFolder(tmp_path / "third").facts()
    assert third is not None
    assert [one["origin"] for one in third.predecessors] == [facts.origin, "example.org/2"]
    assert fsck(tmp_path / "third").differences == []


def test_a_root_that_is_not_the_predecessors_is_found(built: Path, tmp_path: Path) -> None:
    restore(built.parent / "b.tar", tmp_path / "data")
    path = tmp_path / "data" / "facts.json"
    said = json.loads(path.read_text())
    said["predecessors"][0]["root"] = "00" * 32
    path.write_text(json.dumps(said))
    assert {one.check for one in fsck(tmp_path / "data").differences} == {"fork"}


def test_what_is_no_backup_or_not_whole(built: Path, tmp_path: Path) -> None:
    whole = (built.parent / "b.tar").read_bytes()
    file = tmp_path / "cut.tar"
    for content, code in (
        (whole[: len(whole) // 2], "backup-damaged"),
        (b"no tar at all" * 100, "backup-damaged"),
        (whole.replace(b'"v": "gridseal.backup/1"', b'"v": "gridseal.backup/9"'), "backup-invalid"),
    ):
        file.write_bytes(content)
        with pytest.raises(Stop, match=code):
            restore(file, tmp_path / "data")
        assert sorted(tmp_path.iterdir()) == [file]  # nothing is left half made
    with tarfile.open(file, "w") as tar:
        for name, data in (
            (MANIFEST, (built.parent / "b.tar").read_bytes()[512:900]),
            ("../x", b""),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data.split(b"\0")[0])
            tar.addfile(info, io.BytesIO(data.split(b"\0")[0]))
    with pytest.raises(Stop, match="backup-invalid"):
        restore(file, tmp_path / "data")
    assert main(["restore", str(tmp_path / "absent.tar"), "--data", str(tmp_path / "data")]) == 1


def test_an_altered_backup_is_not_restored(built: Path, tmp_path: Path) -> None:
    """fsck looks through what is restored, before anything is signed."""
    whole = (built.parent / "b.tar").read_bytes()
    with tarfile.open(built.parent / "b.tar") as tar:
        member = next(m for m in tar if m.name.startswith("data/log/tile/0/") and m.isfile())
    at = member.offset_data + 40
    (tmp_path / "b.tar").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(Stop, match="backup-damaged"):
        restore(tmp_path / "b.tar", tmp_path / "data")


def test_nothing_is_overwritten(built: Path, tmp_path: Path) -> None:
    with pytest.raises(Stop, match="out-exists"):
        backup(built, built.parent / "b.tar")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x").touch()
    with pytest.raises(Stop, match="data-folder"):
        restore(built.parent / "b.tar", tmp_path / "data")
    assert main(["restore", "b.tar", "--data", str(tmp_path / "n"), "--origin", "a b"]) == 3


def test_a_genesis_without_predecessor_is_as_it_was() -> None:
    said = jcs.decode(genesis("x.invalid/1", "k", "i", 10, Hand().now))
    assert "predecessor" not in said


def test_without_rows_they_are_made_again(built: Path, tmp_path: Path) -> None:
    backup(built, tmp_path / "b.tar", rows=False)
    with tarfile.open(tmp_path / "b.tar") as tar:
        assert not [
            name for name in tar.getnames() if name.endswith(("customer.db", "progress.db"))
        ]
    restore(tmp_path / "b.tar", tmp_path / "lean")
    restore(built.parent / "b.tar", tmp_path / "full")
    assert fsck(tmp_path / "lean").differences == []
    assert _rows(tmp_path / "lean") == _rows(tmp_path / "full") != []


def _rows(data: Path) -> list[StoredRecord]:
    stores = Stores.open(DataFolder(data), SystemClock(), read_only=True)
    found = stores.customer_db.records(0, stores.customer_db.size())
    stores.close()
    return found
