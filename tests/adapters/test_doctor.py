"""The doctor: each thing that can be wrong is told in one sentence, with what to do."""

import json
import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from eth_account import Account

import infra.doctor
from bal.certify.log import tick
from bal.errors import Stop
from infra import doctor_servers
from infra.anchor_contract import AnchorContract
from infra.certificates import create_ca, issue_server, load_ca
from infra.chain_embedded import EmbeddedChain
from infra.chain_setup import log_id
from infra.cli import main
from infra.config import AnchorConfig, Config, KafkaConfig, LimitsConfig
from infra.data_folder import DataFolder
from infra.doctor import FAULT, OK, WARNING, Check, examine, exit_of, file_system
from infra.doctor_servers import ROLES, ending, roles, servers
from infra.key_signer import seal
from infra.outside import Outside
from infra.roles.making import begin
from infra.system_clock import SystemClock
from tests.journey.small_platform import Hand, Small, cim
from tests.journey.test_fsck import execute

ADMIN, ANCHORER = b"\1" * 32, b"\2" * 32
FREE = (("127.0.0.1", 0),)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("doctor") / "data"
    small = Small(root)
    small.start()
    small.enrol("headend")
    small.take("headend", cim(1, range(3)))
    small.close()
    create_ca(root / "keys", SystemClock())
    return root


@pytest.fixture
def data(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "data"))


def told(data: Path, name: str, config: Config | None = None) -> Check:
    """The one check of that name; what is not all right has a remedy, and what is has none."""
    checks = examine(data, config or Config(), FREE)
    assert all(bool(check.remedy) == (check.state != OK) for check in checks)
    (found,) = [check for check in checks if check.name == name]
    return found


def test_all_is_well_but_for_what_waits(data: Path) -> None:
    states = {check.name: check.state for check in examine(data, Config(), FREE)}
    states.pop("clock")  # the host's own matter
    assert {name for name, state in states.items() if state != OK} == {"anchor"}


def test_exit_codes() -> None:
    for states, code in (((OK,), 0), ((OK, WARNING), 2), ((WARNING, FAULT), 1)):
        assert exit_of([Check("x", state, "") for state in states]) == code


def test_open_permissions(data: Path) -> None:
    (data / "keys" / "log.key").chmod(0o644)
    found = told(data, "permissions")
    assert (found.state, "keys/log.key" in found.text) == (FAULT, True)


@pytest.mark.parametrize(
    ("warn", "stop", "state"), [(1, 1, OK), (2**60, 1, WARNING), (2**60, 2**60, FAULT)]
)
def test_the_disk(data: Path, warn: int, stop: int, state: str) -> None:
    limits = LimitsConfig(disk_free_bytes=warn, disk_stop_bytes=stop)
    assert told(data, "disk", Config(limits=limits)).state == state


def test_a_clock_behind_the_log(tmp_path: Path) -> None:
    ahead = Hand(SystemClock().now_us() + 3_600_000_000)
    small = Small(tmp_path, ahead)
    small.sequencer.commit([], [tick(ahead.now)])
    small.release()
    found = told(tmp_path, "clock")
    assert (found.state, "behind the log's newest tick" in found.text) == (FAULT, True)


def test_a_clock_that_is_not_synchronised(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for said, state in ((True, OK), (None, OK), (False, WARNING)):
        monkeypatch.setattr(infra.doctor, "_synchronised", lambda said=said: said)
        assert told(data, "clock").state == state


def test_a_port_that_is_taken(data: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        place = ("127.0.0.1", other.getsockname()[1])
        (found,) = [c for c in examine(data, Config(), (place,)) if c.name == "ports"]
    assert (found.state, str(place[1]) in found.text) == (FAULT, True)


@pytest.mark.parametrize(("days", "state"), [(-1, FAULT), (30, WARNING), (4000, OK)])
def test_certificates(data: Path, monkeypatch: pytest.MonkeyPatch, days: int, state: str) -> None:
    ends = datetime.now(UTC) + timedelta(days=days)
    certificate = SimpleNamespace(not_valid_after_utc=ends)
    monkeypatch.setattr(infra.doctor.x509, "load_pem_x509_certificate", lambda _: certificate)
    assert told(data, "certificates").state == state


def test_a_log_that_was_put_back(data: Path) -> None:
    seal(data / "keys" / "log.signed")
    assert "unpacked backup" in told(data, "stores").text
    (data / "keys" / "log.signed").unlink()
    execute(data / "log" / "published.db", "UPDATE published SET size = size + 5")
    assert told(data, "stores").state == FAULT


def test_a_store_of_another_version(data: Path) -> None:
    import sqlite3

    db = sqlite3.connect(data / "archive" / "archive.db")
    db.execute("PRAGMA user_version=99")
    db.close()
    found = told(data, "stores")
    assert (found.state, "store-version" in found.text) == (FAULT, True)


def test_file_systems(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        f"/dev/x / ext4 rw 0 0\nhost:/x {tmp_path} nfs4 rw 0 0\nx {tmp_path}-other tmpfs rw 0 0\n"
    )
    assert file_system(tmp_path / "data", mounts) == "nfs4"
    assert file_system(Path("/"), mounts) == "ext4"
    assert file_system(tmp_path, tmp_path / "absent") == ""
    monkeypatch.setattr(infra.doctor, "file_system", lambda *_: "nfs4")
    assert told(data, "file system").state == FAULT


# -- a chain --------------------------------------------------------------------------------------


@pytest.fixture
def remote(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Config, AnchorContract]]:
    """A chain that the doctor reaches by URL, and a contract that does not know the log yet."""
    funded = [Account.from_key(key).address for key in (ADMIN, ANCHORER)]
    chain = EmbeddedChain(tmp_path / "chain.db", funded)
    contract = AnchorContract.deploy(chain.web3(), ADMIN)
    monkeypatch.setattr(infra.doctor, "remote_web3", lambda _: chain.web3())
    folder = DataFolder(data)
    facts = folder.facts()
    assert facts is not None
    folder.write_facts(
        replace(
            facts, chain_kind="public", contract=contract.address, code_hash=contract.code_hash()
        )
    )
    key = tmp_path / "anchorer"
    key.write_text(ANCHORER.hex())
    yield (
        Config(
            AnchorConfig(rpc_url="https://x.invalid", contract=contract.address, key_file=str(key))
        ),
        contract,
    )
    chain.close()


def test_an_anchorer_that_may_and_can_pay(
    data: Path, remote: tuple[Config, AnchorContract], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, contract = remote
    facts = DataFolder(data).facts()
    assert facts is not None
    found = told(data, "chain", config)
    assert (found.state, "lets nobody anchor" in found.text) == (FAULT, True)
    assert log_id(facts.origin).hex() in found.remedy
    contract.open(log_id(facts.origin), Account.from_key(ANCHORER).address, ADMIN)
    found = told(data, "chain", config)
    assert (found.state, "can pay for" in found.text) == (OK, True)
    monkeypatch.setattr(infra.doctor, "HEADS_LEFT_MIN", 10**12)
    assert told(data, "chain", config).state == WARNING
    assert told(data, "chain").state == WARNING  # no configuration was given


def test_a_chain_that_is_out_of_reach(data: Path) -> None:
    config = Config(AnchorConfig(rpc_url="http://127.0.0.1:9", contract="0x" + 40 * "0"))
    assert told(data, "chain", config).state == FAULT


# -- the command ----------------------------------------------------------------------------------


def test_the_command(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "vault" / "vault.db").chmod(0o666)
    words = ["doctor", "--data", str(data), "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"]
    assert main(words) == 1
    said = capsys.readouterr().out
    assert "✘ permissions   others may read vault/vault.db" in said
    assert "→ chmod" in said
    assert main([*words, "--json"]) == 1
    assert '"remedy": "chmod' in capsys.readouterr().out
    assert main(["doctor", "--data", str(tmp_path)]) == 1
    assert main([*words, "--http", "nowhere"]) == 3
    with pytest.raises(Stop, match="data-folder"):
        examine(tmp_path, Config(), FREE)


# -- roles and servers ------------------------------------------------------------------------


@pytest.fixture
def of_roles(tmp_path: Path) -> Iterator[DataFolder]:
    made = begin(tmp_path / "roles", Config(), SystemClock())
    yield made.folder
    made.folder.unlock()


def test_roles_that_are_not_seen(of_roles: DataFolder, tmp_path: Path) -> None:
    at = (of_roles.root / "lock").stat()
    place = f"{os.major(at.st_dev):02x}:{os.minor(at.st_dev):02x}:{at.st_ino}"
    locks, processes = tmp_path / "locks", tmp_path / "proc"
    lines = ["1: POSIX  ADVISORY  READ 77 00:2f:5 0 EOF"]

    def runs(pid: int, role: str) -> None:
        lines.append(f"{pid}: FLOCK  ADVISORY  READ {pid} {place} 0 EOF")
        (processes / str(pid)).mkdir(parents=True)
        command = f"python\0-m\0infra.cli\0run\0{role}\0--data\0x\0"
        (processes / str(pid) / "cmdline").write_bytes(command.encode())
        locks.write_text("\n".join(lines) + "\n")

    locks.write_text(lines[0])
    (none,) = roles(of_roles, locks, processes)
    assert (none.state, "none is seen" in none.text) == (OK, True)
    for number, role in enumerate(ROLES[:-1], start=100):
        runs(number, role)
    (found,) = roles(of_roles, locks, processes)
    assert (found.state, found.text.split(" is ")[0]) == (WARNING, "no gateway")
    assert found.remedy == f"start: gridseal run gateway --data {of_roles.root}"
    runs(200, "gateway")
    runs(201, "worker")
    (found,) = roles(of_roles, locks, processes)
    assert (found.state, "2 workers" in found.text) == (OK, True)


def test_a_lock_of_this_host_is_seen(of_roles: DataFolder) -> None:
    """By the kernel's own list; this process is no role."""
    words = Path("/proc/locks").read_text().split()
    assert str((of_roles.root / "lock").stat().st_ino) in " ".join(words)
    (found,) = roles(of_roles)
    assert "none is seen" in found.text


def test_a_folder_of_roles_is_examined(of_roles: DataFolder) -> None:
    checks = examine(of_roles.root, Config(), FREE)
    states = {check.name: check.state for check in checks}
    assert FAULT not in states.values(), checks
    assert states["roles"] == OK
    assert "servers" not in states


def test_a_server_that_does_not_answer(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = data / "keys"
    certificate, key = issue_server(load_ca(keys), ["localhost"], SystemClock())
    (keys / "k.crt").write_bytes(certificate)
    (keys / "k.key").write_bytes(key)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        at = f"127.0.0.1:{nobody.getsockname()[1]}"
        kafka = KafkaConfig(at, str(keys / "ca.crt"), str(keys / "k.crt"), str(keys / "k.key"),
                            "bal.raw.0123456789abcdef")  # fmt: skip
        (data / "outside.json").write_text(json.dumps(asdict(Outside(kafka=kafka))))
        found = list(servers(DataFolder(data)))
    assert [one.state for one in found] == [FAULT]
    assert found[0].text.startswith("Kafka: ")
    assert list(ending(DataFolder(data))) == []
    monkeypatch.setattr(doctor_servers, "CLIENT_SOON", timedelta(days=9999))
    (soon,) = ending(DataFolder(data))
    assert (soon.state, soon.text.split(" (")[0]) == (WARNING, "kafka.certificate")
