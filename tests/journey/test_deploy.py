"""docker-compose.yml without an engine: its two commands on real servers, then each role apart.

Each role enters with the files that it is handed and nothing else, as in its container; only the
addresses are of loopback, and the folder of those files has another name.
"""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from shutil import copyfile, copytree
from typing import Any
from urllib.request import urlopen

import pytest

from bal.errors import Stop
from bal.model import Digest
from infra import cli
from infra.certificates import client_context
from infra.config import Config, load
from infra.consumers_local import admin_access
from infra.deploy import init, own_servers
from infra.deploy.init import toml
from infra.files import make_folder
from infra.heads_row import FIRST
from infra.kafka_grants import rights_of
from infra.outside import open_heads
from infra.roles import making
from infra.servers import cassandra, stack
from infra.servers.connect import CassandraAt, KafkaAt, read
from infra.servers.place import Entry, kept_ports
from infra.system_clock import SystemClock
from tests.bounded import line_of
from tests.journey.conftest import REPOSITORY, cim
from tests.journey.test_local_profile import Device, wait_for
from tests.servers_fixture import start

pytestmark = [pytest.mark.xdist_group("kafka"), pytest.mark.slow]

PARTITIONS = 2


def on_loopback(entry: Entry, taken: set[int]) -> Entry:
    """The same server, but beside the others of this machine."""
    ports = tuple(name for name in entry if name.endswith("port"))
    return {**entry, **kept_ports({}, ports, taken), "host": "127.0.0.1"}


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    found = tmp_path / "data"
    session = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    found.mkdir()
    subprocess.Popen(
        [sys.executable, "-m", "tests.servers_fixture", str(found), str(session)],
        cwd=REPOSITORY,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
    ).returncode = 0  # not waited for: it outlives this process by seconds
    taken: set[int] = set()
    init.prepare(found, {name: on_loopback(entry, taken) for name, entry in init.HOSTS.items()})
    start(found, *init.HOSTS)
    yield found
    stack.down(found, tuple(init.HOSTS), lambda *_: None)


@pytest.fixture
def begin(data: Path, tmp_path: Path) -> Iterator[Any]:
    """Starts all roles, each with what it was handed; returns the URLs of their probes."""
    running: dict[str, subprocess.Popen[str]] = {}

    def one(role: str, secrets: Path, mqtt: str) -> None:
        file = tmp_path / f"{role}.toml"
        text = (secrets / role / "gridseal.toml").read_text()
        # Cassandra's address is every role's and kept in the data folder, as is its path; in each
        # container other files are there.
        own = tmp_path / "cassandra"
        for one in (role, "storer", "sequencer"):
            copytree(secrets / one / "cassandra", own, dirs_exist_ok=True)
        text = text.replace(f"{init.RUN}/cassandra", str(own))
        file.write_text(text.replace(str(init.RUN), str(secrets / role)))
        command = [sys.executable, "-m", "infra.cli", "run", role, f"--data={data}"]
        command += [f"--config={file}", "--status=127.0.0.1:0", "--http=127.0.0.1:0"]
        with (tmp_path / f"{role}.log").open("wb") as log:
            running[role] = subprocess.Popen(
                [*command, f"--mqtt={mqtt}"], stdout=subprocess.PIPE, stderr=log, text=True,
                cwd=REPOSITORY,
            )  # fmt: skip

    def told(role: str) -> str:
        line = line_of(running[role], f"{role}, to be ready")
        assert line, (tmp_path / f"{role}.log").read_text()[-3000:]
        return str(json.loads(line)["status"])

    def every(secrets: Path, mqtt: str) -> list[str]:
        for role in init.ROLES:
            one(role, secrets, mqtt)
        return [told(role) for role in init.ROLES]

    yield every
    for process in running.values():
        process.terminate()
    for process in running.values():
        process.wait(20)
        assert process.stdout is not None
        process.stdout.close()


def is_ready(url: str) -> bool:
    try:
        with urlopen(f"{url}/health/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def administrators(kafka: KafkaAt, cassandra: CassandraAt, roles: Config) -> Config:
    """ADMIN.toml of docs/deploy.md, for the keyspaces that were made by hand."""
    own = kafka.principals["admin"]
    certificate, key = str(own.certificate), str(own.key)
    entering = replace(
        roles.cassandra, ca=str(cassandra.ca), certificate=str(cassandra.client.certificate),
        key=str(cassandra.client.key), keyspace="mine", log_keyspace="mine_log",
        passwords=str(cassandra.roles["migrator"].password_file.parent),
    )  # fmt: skip
    at = replace(roles.kafka, ca=str(kafka.ca), certificate=certificate, key=key)
    return Config(kafka=at, cassandra=entering)


def by_hand(at: CassandraAt) -> None:
    """What docs/deploy.md tells the operator of a Cassandra to say, under other names."""
    page = (REPOSITORY / "docs" / "deploy.md").read_text(encoding="utf-8")
    lines = page.split("```cql\n")[1].split("```")[0].replace("'dc1': 3", "'datacenter1': 1")
    made = set(re.findall(r"CREATE ROLE (\w+)", lines))
    assert made == set(at.roles) - {cassandra.ADMIN}
    with cassandra.session(at, cassandra.ADMIN) as one:
        for line in lines.splitlines():
            if line and not line.startswith(("CREATE ROLE", "--")):  # roles are there
                one.execute(re.sub(r"gridseal(_log)?\b", r"mine\1", line).partition(";")[0])


def first_start(at: CassandraAt, admin: Config, folder: Path) -> None:
    """Of roles on a Cassandra of one's own, with the heads row: the sequencer's to make."""
    passwords = make_folder(folder / "passwords")
    config = Config(cassandra=replace(admin.cassandra, passwords=str(passwords)))
    for login in ("reader", "writer"):  # as a storer
        copyfile(at.roles[login].password_file, passwords / login)
    with pytest.raises(Stop, match=r"cassandra-refuses: .*passwords/sequencer"):
        making.begin(folder / "chart", config, SystemClock())
    copyfile(at.roles["sequencer"].password_file, passwords / "sequencer")
    made = making.begin(folder / "chart", config, SystemClock())
    with closing(open_heads(made.outside, made.folder)) as row:
        row.swap(FIRST, replace(FIRST, version=1, size=1, root=Digest(bytes(32))))
    with closing(open_heads(made.outside, made.folder, read_only=True)) as row:
        assert row.read().size == 1
        with pytest.raises(Stop, match="cassandra-refuses"):
            row.swap(row.read(), replace(FIRST, version=2, size=2))
    made.folder.unlock()


def lets_consumers_read(
    data: Path, file: Path, kafka: KafkaAt, capsys: pytest.CaptureFixture[str]
) -> None:
    """By compose's command where Kafka's administrator is, and at a Kafka of one's own."""
    access = admin_access(kafka)
    add = ["client", "add", "acme", "--scope", "readings.read", "--all-devices", "--kafka"]
    capsys.readouterr()
    assert cli.main([*add, "--data", str(data)]) == 0
    acme = json.loads(capsys.readouterr().out)["kafka"]
    every = ["--config", str(file), "--reader", "you", "--all-devices"]
    assert own_servers.main(every) == 0
    you = json.loads(capsys.readouterr().out)
    assert you["topics"] == acme["topics"] == ["bal.checkpoints.v1", "bal.readings.v1"]
    for one in (acme["principal"], you["principal"]):
        assert rights_of(access, one) == {*you["topics"], one, f"{one}:*"}
    assert own_servers.main(["--config", str(file), "--reader", "you", "--from", "3"]) == 0
    assert json.loads(capsys.readouterr().out)["topics"] == [
        "bal.checkpoints.v1", "bal.readings.v1.you",
    ]  # fmt: skip
    assert "bal.readings.v1" not in rights_of(access, "aggregator.you")
    assert own_servers.main(["--config", str(file), "--no-reader", "you"]) == 0
    assert rights_of(access, "aggregator.you") == set()


def test_it_is_set_up_and_takes_a_reading(
    data: Path, tmp_path: Path, begin: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets = tmp_path / "secrets"
    names = {
        "GRIDSEAL_ISSUER": "https://gridseal.example",
        "GRIDSEAL_MQTT_URL": "mqtts://meters.example:8883",
        "GRIDSEAL_HEADS": "cassandra",
    }
    config, _ = init.wanted(names)
    init.settle(data, secrets, config, partitions=PARTITIONS, within_s=60)
    handed = {role: sorted(path.name for path in (secrets / role).rglob("*"))
              for role in init.ROLES}  # fmt: skip
    for login, who in (("writer", "storer"), ("sequencer", "sequencer")):
        assert {role for role, names in handed.items() if login in names} == {who}
    assert {role for role, names in handed.items() if "mosquitto" in names} == {"collector"}
    keys = {(secrets / role / "kafka" / "key.pem").read_bytes() for role in init.ROLES}
    assert len(keys) == len(init.ROLES)
    assert not any(
        "ca.key" in name or "admin" in name for names in handed.values() for name in names
    )

    servers = read(data)
    assert servers.kafka is not None
    assert servers.cassandra is not None
    found = load(secrets / "storer" / "gridseal.toml")
    by_hand(servers.cassandra)
    admin = administrators(servers.kafka, servers.cassandra, found)
    file = tmp_path / "admin.toml"
    file.write_text(toml(admin))
    assert own_servers.make(load(file), PARTITIONS) == found.kafka.topic
    first_start(servers.cassandra, admin, tmp_path)

    mqtt = kept_ports({}, ("mqtt",), set())["mqtt"]
    for probe in begin(secrets, f"127.0.0.1:{mqtt}"):
        wait_for(lambda probe=probe: is_ready(probe))
    files = tmp_path / "head-end"
    enrol = ["device", "enrol", "head-end", "--subjects", "any", "--data", str(data)]
    assert cli.main([*enrol, "--out", str(files)]) == 0
    assert json.loads((files / "client.json").read_text())["mqtt"] == names["GRIDSEAL_MQTT_URL"]
    context = client_context(files / "ca.crt", files / "device.crt", files / "device.key")
    with (
        socket.create_connection(("127.0.0.1", mqtt), 20) as plain,
        context.wrap_socket(plain, server_hostname="meters.example"),
    ):
        pass  # its certificate names it so
    device = Device(files)  # at Mosquitto, whose accounts the collector keeps
    try:
        device.send(cim(("m-1", "2026-01-15T10:00:00Z", "1.5")))
        [accepted] = device.wait("accepted", 1)
        [certified] = device.wait("certified", 1)
        assert accepted["message"] == certified["message"]
    finally:
        device.close()
    assert not (data / "log" / "heads.db").exists()
    lets_consumers_read(data, file, servers.kafka, capsys)
