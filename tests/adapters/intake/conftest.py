"""A CA for all tests of the intake, and a served platform for each."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # intake_support is also run as a program

from intake_support import Pki, running

from infra.servers import stack
from tests.servers_fixture import start


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("intake") / "keys")


@pytest.fixture
def run(keys, tmp_path):
    with running(keys, tmp_path / "journal.db") as it:
        yield it


@pytest.fixture
def broker_folder(tmp_path):
    """A data folder; the Mosquitto that a test starts in it is stopped behind it."""
    data = tmp_path / "data"
    data.mkdir()
    yield data
    stack.down(data, ("mosquitto",), lambda *_: None)


@pytest.fixture
def at(broker_folder):
    """A Mosquitto of this test's own: a broker has one collector."""
    if shutil.which("mosquitto_pub") is None:
        pytest.skip("mosquitto_pub can't be had: install the system's package mosquitto-clients")
    return start(broker_folder, "mosquitto").mosquitto
