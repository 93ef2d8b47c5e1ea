"""Roles on the real servers: Kafka between them, rows in Cassandra, devices at Mosquitto."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from infra.servers import stack
from tests.adapters.test_metrics import read
from tests.journey.conftest import REPOSITORY, cim
from tests.journey.roles_platform import PROCESSES, RolesRunning
from tests.journey.test_local_profile import SCOPES, Device, consumed, wait_for
from tests.journey.test_roles import check_ends
from tests.servers_fixture import start

pytestmark = [pytest.mark.xdist_group("kafka"), pytest.mark.slow]

SERVERS = ("kafka", "cassandra", "mosquitto", "anvil")
FED = ("gridseal_fed_entries", frozenset[tuple[str, str]]())


@pytest.fixture(scope="module")
def roles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RolesRunning]:
    """Servers of its own: the topics of roles and of `gridseal up` can't be at one Kafka."""
    data = tmp_path_factory.mktemp("roles") / "data"
    data.mkdir()
    session = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    subprocess.Popen(
        [sys.executable, "-m", "tests.servers_fixture", str(data), str(session)],
        cwd=REPOSITORY,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
    ).returncode = 0  # not waited for: it outlives this process by seconds
    start(data, *SERVERS)
    platform = RolesRunning(tmp_path_factory.mktemp("logs"), profile="local", data=data)
    try:
        platform.start()
        yield platform
    finally:
        platform.kill()
        stack.down(data, SERVERS, lambda *_: None)


def test_a_reading_goes_all_the_way(roles: RolesRunning, tmp_path: Path) -> None:
    dso = json.loads(roles.cli(
        "client", "add", "dso", "--scope", SCOPES, "--all-devices", "--kafka", "--data", roles.data
    ))  # fmt: skip
    caller = roles.caller(dso["client_id"], dso["client_secret"])
    files = roles.enrol("head-end", "--subjects", "any", "--group", "north", "--bulk")
    device = Device(files)
    try:
        device.send(
            cim(("m-1", "2026-01-15T10:00:00Z", "1.5"), ("m-2", "2026-01-15T10:00:00Z", "2"))
        )
        [accepted] = device.wait("accepted", 1)
        [certified] = device.wait("certified", 1)
        assert accepted["message"] == certified["message"]
        assert f"batch {certified['batch']}\n" in accepted["note"]
        items = caller.readings()
        assert sorted(item["record"]["value"] for item in items) == ["1500", "2000"]
        _verified(roles, caller.request("GET", items[0]["receipt"]).text, tmp_path)
        feed = consumed(dso["kafka"], "bal.readings.v1", 2)
        mine = {headers["index"].decode(): value for headers, value in feed}
        for item in items:
            assert json.loads(mine[str(item["index"])]) == item["record"]
        wait_for(lambda: fed(roles) > items[-1]["index"])
        for count, name in enumerate(PROCESSES, start=2):  # what has a receipt is there again
            end = f"2026-01-15T{count:02d}:15:00Z"
            device.send(cim(("m-1", end, str(count))))
            roles.kill_one(name)
            roles.begin(name)
            roles.wait_ready(name)
            device.wait("certified", count)
        wait_for(lambda: len(caller.readings()) == 2 + len(PROCESSES))
        told = roles.cli("doctor", "--data", roles.data, "--config", roles._config, code=None)
        assert "Kafka answers" in told
        assert "Cassandra answers" in told
        device.send(cim(("m-1", "2026-01-16T00:15:00Z", "5")))
        device.wait("accepted", 2 + len(PROCESSES))
        roles.cli("backup", "--data", roles.data, "--to", tmp_path / "b.tar")
        wait_for(lambda: len(caller.readings()) == 3 + len(PROCESSES))
        before = [one["record"] for one in caller.readings()]
    finally:
        device.close()
    check_ends(roles)
    roles.check()
    roles.cli("backup", "--data", roles.data, "--to", tmp_path / "lean.tar", "--without-rows")
    drilled = json.loads(roles.cli("drill", "--data", roles.data, "--json", code=None))
    assert drilled["clean"] is True
    assert [row for row in drilled["attacks"] if row["made"] and not row["caught"]] == []
    roles.cli("restore", tmp_path / "lean.tar", "--data", tmp_path / "lean")
    for audit in ("fsck", "replay"):
        roles.cli(audit, "--data", tmp_path / "lean")
    _goes_on_without_servers(tmp_path, caller.auth, before)


def fed(roles: RolesRunning) -> float:
    """Entries that consumers have, as the one storer that feeds tells it; 0 until it does."""
    every = [
        read(httpx.get(f"{roles.told[name]['status']}/metrics").text)
        for name in ("storer", "storer-2")
    ]
    told = [one[FED] for one in every if FED in one]
    assert len(told) <= 1
    return max(told, default=0.0)


def _goes_on_without_servers(folder: Path, auth: tuple[str, str], before: list[object]) -> None:
    """What was accepted is certified by the successor, where the backup came first."""
    after = RolesRunning(folder, data=folder / "data")
    after.cli("restore", folder / "b.tar", "--data", after.data)
    after.check()
    try:
        after.start()
        again = after.caller(*auth)
        wait_for(lambda: len(again.readings()) >= len(before))
        assert [one["record"] for one in again.readings()] == before
        check_ends(after)
        after.check()
    finally:
        after.kill()


def _verified(roles: RolesRunning, receipt: str, folder: Path) -> None:
    file, policy = folder / "one.tlog-proof", folder / "policy"
    file.write_text(receipt)
    policy.write_text(roles.cli("policy", "--data", roles.data))
    told = json.loads(roles.cli(
        "verify", file, "--policy", policy, "--ca", roles.ready["ca"], "--accept-own-chain",
        "--json", code=None,
    ))  # fmt: skip
    assert told["verdicts"]["authentic"]["code"] == "authentic"
