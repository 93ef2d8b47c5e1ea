"""A vault that is lost comes back from its own copy."""

import shutil
from pathlib import Path

from tests.journey.conftest import Running, cim


def test_a_vault_that_is_lost_comes_back_and_all_can_be_opened(
    running: Running, tmp_path: Path
) -> None:
    caller = running.client("dso", "messages.write readings.read", "--all-devices")
    raw = cim(("0001", "2026-01-15T10:00:00Z", "0.1"))
    caller.request("POST", "/v1/messages?format=cim", content=raw)
    key = tmp_path / "key"
    key.write_bytes(b"correct horse battery\n")
    file = tmp_path / "vault.copy"
    words = ("--passphrase-file", key, "--data", running.data)
    said = running.cli("vault", "backup", "--to", file, *words)
    assert "subjects" in said
    assert file.stat().st_mode & 0o777 == 0o600
    assert b"0001" not in file.read_bytes()
    names = ("device", "list", "--why", "a test", "--json", "--data", running.data)
    before = running.cli(*names)
    assert "0001" in before
    assert "exists already" in running.refused("vault", "backup", "--to", file, *words)
    assert running.stop() == 0
    assert "move it away" in running.refused("vault", "restore", file, *words)
    shutil.rmtree(running.data / "vault")
    for _ in range(2):  # nothing is begun anew
        said = running.refused("up", "--data", running.data, "--http", "127.0.0.1:0")
        assert "vault-lost" in said
        assert "gridseal vault restore" in said
    assert "is back" in running.cli("vault", "restore", file, *words)
    running.start()
    assert running.cli(*names) == before
    caller.forget()
    assert len(caller.readings()) == 1
    running.stop()
    running.check()
