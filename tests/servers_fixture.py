"""The real servers, once a test session and shared by its workers; started when first asked for.

A test takes `kafka_server`, `cassandra_server`, `mosquitto_server`, `anvil`, `ganache`, or
`servers` for all of them. Topics, keyspaces, devices and aggregators are shared: name your own.
A machine that can't have one skips aloud; one that is there and does not start fails.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.servers import process
from infra.servers.connect import CassandraAt, ChainAt, KafkaAt, MosquittoAt, Servers, read
from infra.servers.place import NAMES

REPOSITORY = Path(__file__).resolve().parent.parent
CACHE = REPOSITORY / ".cache"
_CANT_HAVE = {"servers-missing", "servers-fetch"}  # not installed, or not to be fetched
_LOOK_S = 0.5


def start(data: Path, *names: str) -> Servers:
    """Start these in `data` unless they run; skips or fails as said above."""
    from infra.servers import stack  # imported late: most sessions need none of their clients

    for seen in stack.up(data, names, CACHE, lambda *_: None):
        if seen.code in _CANT_HAVE:
            pytest.skip(f"the server {seen.name} can't be had: {seen.state}")
        assert seen.is_up, f"{seen.name}: {seen.state}"
    return read(data)


@pytest.fixture(scope="session")
def servers_folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder that all workers of this session share; what runs there ends with the session."""
    base, session = tmp_path_factory.getbasetemp(), os.getpid()
    if hasattr(request.config, "workerinput"):  # one of xdist's: the session is its parent
        base, session = base.parent, os.getppid()
    data = base / "servers-of-this-session"
    try:
        data.mkdir()
    except FileExistsError:
        return data
    subprocess.Popen(
        [sys.executable, "-m", "tests.servers_fixture", str(data), str(session)],
        cwd=REPOSITORY,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
    ).returncode = 0  # not waited for: it outlives this process by seconds
    return data


@pytest.fixture(scope="session")
def servers(servers_folder: Path) -> Servers:
    """All of them."""
    return start(servers_folder, *NAMES)


@pytest.fixture(scope="session")
def kafka_server(servers_folder: Path) -> KafkaAt:
    found = start(servers_folder, "kafka").kafka
    assert found is not None
    return found


@pytest.fixture(scope="session")
def cassandra_server(servers_folder: Path) -> CassandraAt:
    found = start(servers_folder, "cassandra").cassandra
    assert found is not None
    return found


@pytest.fixture(scope="session")
def mosquitto_server(servers_folder: Path) -> MosquittoAt:
    found = start(servers_folder, "mosquitto").mosquitto
    assert found is not None
    return found


@pytest.fixture(scope="session")
def anvil(servers_folder: Path) -> ChainAt:
    return start(servers_folder, "anvil").chains["anvil"]


@pytest.fixture(scope="session")
def ganache(servers_folder: Path) -> ChainAt:
    return start(servers_folder, "ganache").chains["ganache"]


def guard(data: Path, session: int) -> None:
    """Stop what runs in `data` once the test session ended, even if it was killed."""
    from infra.servers import stack

    child = process.of_pid(session)
    while child is not None and process.running(child):
        time.sleep(_LOOK_S)
    stack.down(data, NAMES, lambda *_: None)
    for folder in data.glob("servers/*/data"):  # logs and settings stay, to look into
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    guard(Path(sys.argv[1]), int(sys.argv[2]))
