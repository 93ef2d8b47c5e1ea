"""Certificates that should not open a server, and a folder of servers that a test may break."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.certificates import create_ca, issue_device
from infra.servers import stack
from infra.servers.connect import Identity
from infra.servers.place import NAMES
from infra.system_clock import SystemClock


@pytest.fixture
def foreign(tmp_path: Path) -> Identity:
    """A client certificate of another authority, with a name that opens everything here."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    certificate, key = issue_device(create_ca(folder, SystemClock()), "admin", SystemClock())
    (folder / "admin.crt").write_bytes(certificate)
    (folder / "admin.key").write_bytes(key)
    return Identity(folder / "admin.crt", folder / "admin.key")


@pytest.fixture
def own_folder(tmp_path: Path) -> Iterator[Path]:
    """A data folder; what a test starts in it is stopped behind it."""
    data = tmp_path / "data"
    data.mkdir()
    yield data
    stack.down(data, NAMES, lambda *_: None)
