"""docker-compose.yml without an engine: its two commands on real servers, then each role apart.

Each role enters with the files that it is handed and nothing else, as in its container; only the
addresses are of loopback, and the folder of those files has another name.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from infra import cli
from infra.certificates import client_context
from infra.config import load
from infra.deploy import init, own_servers
from infra.deploy.init import toml
from infra.servers import stack
from infra.servers.connect import read
from infra.servers.place import Entry, kept_ports
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
        # The rows' address is every role's and kept in the data folder, as is its path.
        text = text.replace(f"{init.RUN}/cassandra", f"{secrets}/storer/cassandra")
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


def test_it_is_set_up_and_takes_a_reading(data: Path, tmp_path: Path, begin: Any) -> None:
    secrets = tmp_path / "secrets"
    names = {
        "GRIDSEAL_ISSUER": "https://gridseal.example",
        "GRIDSEAL_MQTT_URL": "mqtts://meters.example:8883",
    }
    config, _ = init.wanted(names)
    init.settle(data, secrets, config, partitions=PARTITIONS, within_s=60)
    handed = {role: sorted(path.name for path in (secrets / role).rglob("*"))
              for role in init.ROLES}  # fmt: skip
    assert {role for role, names in handed.items() if "writer" in names} == {"storer"}
    assert {role for role, names in handed.items() if "mosquitto" in names} == {"collector"}
    keys = {(secrets / role / "kafka" / "key.pem").read_bytes() for role in init.ROLES}
    assert len(keys) == len(init.ROLES)
    assert not any(
        "ca.key" in name or "admin" in name for names in handed.values() for name in names
    )

    # With servers of one's own the same things are made by another command.
    servers = read(data)
    assert servers.kafka is not None
    assert servers.cassandra is not None
    admin = load(secrets / "storer" / "gridseal.toml")
    own = servers.kafka.principals["admin"]
    file = tmp_path / "admin.toml"
    text = toml(admin).replace(f"{init.RUN}/kafka/certificate.pem", str(own.certificate))
    text = text.replace(f"{init.RUN}/kafka/key.pem", str(own.key))
    text = text.replace(f"{init.RUN}/kafka/ca.pem", str(servers.kafka.ca))
    text = text.replace(f"{init.RUN}/cassandra/passwords",
                        str(servers.cassandra.roles["migrator"].password_file.parent))  # fmt: skip
    file.write_text(text.replace(str(init.RUN), str(secrets / "storer")))
    assert own_servers.make(load(file), PARTITIONS) == admin.kafka.topic

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
