"""What the servers are told: on loopback only, TLS with client certificates, nothing dropped."""

import argparse
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from bal.errors import Stop
from infra import cli
from infra.consumers_local import AGGREGATOR
from infra.data_copy import copy_data
from infra.data_folder import DataFolder
from infra.servers import cassandra, chains, kafka, mosquitto, process, stack
from infra.servers import cli as servers_cli
from infra.servers.connect import ChainAt, read
from infra.servers.kafka_rights import RIGHTS
from infra.servers.place import NAMES, Place, write_state
from tests.bounded import END_S, line_of, told_to_end
from tests.servers_fixture import CACHE

ENTRY = {
    "port": 20001, "controller_port": 20002, "storage_port": 20003, "ssl_storage_port": 20004,
    "cluster": "gridseal-1", "cluster_id": "x" * 22, "chain_id": 5,
}  # fmt: skip


def settings(text: str, between: str) -> dict[str, str]:
    return dict(line.split(between, 1) for line in text.splitlines() if between in line)


def test_kafka_asks_everybody_for_a_certificate_and_for_rights(tmp_path: Path) -> None:
    found = settings(kafka.properties(Place(tmp_path, "kafka"), dict(ENTRY)), "=")
    assert found["listeners"] == "SSL://127.0.0.1:20001,CONTROLLER://127.0.0.1:20002"
    assert found["listener.security.protocol.map"] == "SSL:SSL,CONTROLLER:SSL"
    assert found["ssl.client.auth"] == "required"
    assert found["allow.everyone.if.no.acl.found"] == "false"
    assert found["super.users"] == "User:broker;User:admin"
    assert found["auto.create.topics.enable"] == "false"
    assert found["log.flush.interval.messages"] == "1"
    assert found["log.retention.ms"] == "-1"


def test_no_role_is_named_like_a_super_user_or_an_aggregator() -> None:
    assert set(RIGHTS) == set(kafka.ROLES)
    assert not set(RIGHTS) & {"broker", "admin"}
    assert not any(role.startswith(AGGREGATOR) for role in RIGHTS)


def test_the_auditor_writes_nothing() -> None:
    """It may read what any role reads between roles."""
    may = {(right.operation, right.kind) for right in RIGHTS["auditor"]}
    assert may == {("read", "topic")}
    read = {right.name for right in RIGHTS["auditor"]}
    between = {right.name for role in ("worker", "storer") for right in RIGHTS[role]
               if (right.operation, right.kind) == ("read", "topic")}  # fmt: skip
    assert {name for name in between if not name.endswith(".v1")} == read


def test_cassandra_asks_for_certificate_and_password(tmp_path: Path) -> None:
    text = cassandra.yaml(Place(tmp_path / "it's", "cassandra"), dict(ENTRY))
    for line in (
        "authenticator: PasswordAuthenticator",
        "authorizer: CassandraAuthorizer",
        "listen_address: 127.0.0.1",
        "rpc_address: 127.0.0.1",
        "commitlog_sync: batch",
        "  optional: false",
        "  internode_encryption: all",
    ):
        assert f"\n{line}\n" in text
    assert text.count("  require_client_auth: true\n") == 2
    assert "/it''s/servers/cassandra/data/commitlog'" in text


def test_mosquitto_drops_nothing(tmp_path: Path) -> None:
    found = settings(mosquitto.configuration(Place(tmp_path, "mosquitto"), dict(ENTRY)), " ")
    assert found["listener"] == "20001 127.0.0.1"
    assert found["require_certificate"] == "true"
    assert found["allow_anonymous"] == "false"
    assert found["tls_version"] == "tlsv1.2"
    assert found["persistence"] == "true"
    assert found["autosave_interval"] == "1"
    assert found["max_queued_messages"] == found["max_queued_bytes"] == "0"
    assert "persistent_client_expiration" not in found  # never


def test_a_chain_listens_on_loopback_with_its_own_id(tmp_path: Path) -> None:
    modules = tmp_path / "modules"
    for name in ("linux-amd64", "linux-arm64"):
        binary = modules / "@foundry-rs" / f"anvil-{name}" / "bin" / "anvil"
        binary.parent.mkdir(parents=True)
        binary.touch()
    for name, option in (("anvil", "--host"), ("ganache", "--server.host")):
        place, entry = Place(tmp_path, name), {"port": 20005}
        chains.prepare(place, entry)
        command = chains.command(place, entry, modules)
        assert command[command.index(option) + 1] == "127.0.0.1"
        assert str(entry["chain_id"]) in command
        assert entry["chain_id"] not in {1, 1337, 31337}


def test_connect_reads_what_was_written(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="servers-state"):
        read(tmp_path)
    (tmp_path / "servers").mkdir()
    write_state(tmp_path, {"anvil": dict(ENTRY), "kafka": dict(ENTRY)})
    Place(tmp_path, "kafka").client("worker")
    found = read(tmp_path)
    assert found.kafka is not None
    assert found.kafka.bootstrap == "127.0.0.1:20001"
    assert set(found.kafka.principals) == {"worker"}
    assert found.kafka.principals["worker"].certificate.is_file()
    assert found.cassandra is None
    assert found.chains["anvil"].url == "http://127.0.0.1:20001"


def test_names_are_taken_in_their_order_and_others_refused() -> None:
    def names(only: str) -> list[str]:
        return servers_cli._names(argparse.Namespace(only=only))

    assert names(",".join(NAMES)) == list(NAMES)
    assert names("anvil,kafka") == ["kafka", "anvil"]
    for wrong in ("", "redis", "kafka,redis"):
        with pytest.raises(Stop, match="usage"):
            names(wrong)


def test_commands_end_with_their_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["servers", "down", "--data", str(tmp_path)]) == 1
    assert "servers-state" in capsys.readouterr().err
    assert cli.main(["servers", "up", "--data", str(tmp_path), "--only", "redis"]) == 3
    assert cli.main(["servers", "status", "--data", str(tmp_path)]) == 1
    assert capsys.readouterr().out.count("never started") == len(NAMES)


def test_a_platform_and_its_servers_share_a_folder_that_is_theirs_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    stack.down(data, ["mosquitto"], lambda *_: None)
    for folder in (data, data / "servers"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    DataFolder(data).create()  # it takes no folder that holds anything else
    (data / "facts.json").write_text("{}")
    (data / "servers" / "mosquitto.db").write_text("no SQLite")
    copy_data(data, tmp_path / "copy")
    assert {path.name for path in (tmp_path / "copy").iterdir()} >= {"facts.json", "keys"}
    assert not (tmp_path / "copy" / "servers").exists()


def test_up_status_and_down_by_the_command_line(
    own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--data", str(own_folder), "--only", "mosquitto", "--json"]
    if cli.main(["servers", "up", *common]) != 0:
        pytest.skip(f"the server mosquitto can't be had: {capsys.readouterr().err}")
    assert cli.main(["servers", "status", *common]) == 0
    assert '"state": "up"' in capsys.readouterr().out
    assert cli.main(["servers", "down", *common]) == 0
    assert '"state": "stopped"' in capsys.readouterr().out
    assert cli.main(["servers", "status", *common]) == 1


@pytest.mark.parametrize("lost", [False, True])
def test_in_the_foreground_all_end_with_it_and_it_with_one_of_them(
    own_folder: Path, anvil: ChainAt, lost: bool
) -> None:
    """`anvil` is asked for as a machine that can't have one skips there."""
    command = [sys.executable, "-X", "faulthandler", "-m", "infra.cli", "servers", "up"]
    command += ["--only", "anvil", "--data", str(own_folder), "--cache", str(CACHE)]
    with subprocess.Popen(
        [*command, "--json", "--foreground"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            assert '"state": "up"' in line_of(running, "servers up")
            child = process.found(Place(own_folder, "anvil").folder)
            assert child is not None
            if lost:
                os.kill(child.pid, signal.SIGKILL)
                _, said = running.communicate(timeout=END_S)
                assert running.returncode == 1, said
                assert "servers-down: anvil ended; the others were stopped" in said
            else:
                told_to_end(running, "servers up --foreground")
            assert not process.running(child)
        finally:
            running.kill()
