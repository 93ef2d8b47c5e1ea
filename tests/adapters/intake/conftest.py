"""A CA for all tests of the intake, and a served platform for each."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # intake_support is also run as a program

from intake_support import Pki, running


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("intake") / "keys")


@pytest.fixture
def run(keys, tmp_path):
    with running(keys, tmp_path / "journal.db") as it:
        yield it
