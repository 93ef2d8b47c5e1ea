"""A platform whose heads row is in Cassandra: it is killed, audited, and stays what it was."""

import sys
from pathlib import Path

from infra.cassandra_schema import LOG, migrate
from infra.data_folder import DataFolder
from infra.heads_row import FIRST
from infra.outside import open_heads, read
from infra.servers.connect import CassandraAt
from tests.journey.conftest import Running, cim

PORTS = Path(__file__).resolve().parents[1] / "adapters" / "ports"


def test_a_heads_row_in_cassandra(cassandra_server: CassandraAt, tmp_path: Path) -> None:
    sys.path[:0] = [str(PORTS)]
    from cassandra_support import address, configured

    migrate(address(cassandra_server, "migrator"), "customer")
    migrate(address(cassandra_server, "migrator", LOG), "log")
    config = "[anchor]\ninterval_s = 1\n" + configured(cassandra_server)
    running = Running(tmp_path, config)
    try:
        running.start()
        caller = running.client("dso", "messages.write readings.read", "--all-devices")
        for quarter in ("00", "15"):
            end = f"2026-01-15T10:{quarter}:00Z"
            raw = cim(("m-1", end, "1"), ("m-2", end, "2"))
            answer = caller.request("POST", "/v1/messages?format=cim", content=raw)
            assert answer.status_code == 200, answer.text
            running.kill()
            running.start()
        assert len(caller.readings()) == 4
        running.check()  # beside it
        assert running.stop() == 0
        running.check()
        folder = DataFolder(running.data)
        assert not (folder.log / "heads.db").exists()
        row = open_heads(read(folder), folder, read_only=True)
        assert row.read().size > FIRST.size
        row.close()

        other = tmp_path / "other.toml"
        other.write_text(config.replace("heads = true", "heads = false"))
        words = ("up", "--data", running.data, "--config", other, "--http", "127.0.0.1:0")
        assert running.refused(*words).startswith("gridseal: stores-differ: ")
    finally:
        if running.process is not None:
            running.kill()
