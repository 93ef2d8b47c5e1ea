"""One process a role: the whole way of a reading, and kill -9 of each of them under load."""

import json
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.journey.conftest import cim, ssl_context
from tests.journey.roles_platform import PROCESSES, STOP_S, RolesRunning
from tests.journey.test_kill import Meter, check_readings
from tests.restarts import Restarts

pytestmark = [pytest.mark.xdist_group("roles"), pytest.mark.slow]

SCOPES = "messages.write readings.read devices.read"
ROUNDS = 25 if os.environ.get("GRIDSEAL_SOAK") == "1" else 2  # of a kill of each process
SEED = 20261121
PATIENCE_S = 60


@pytest.fixture
def roles(tmp_path: Path) -> Iterator[RolesRunning]:
    platform = RolesRunning(tmp_path)
    platform.start()
    yield platform
    platform.kill()


def until(done: Callable[[], object], why: Callable[[], str] = lambda: "") -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, f"it did not come to be {why()}"
        time.sleep(0.05)


def test_a_reading_goes_all_the_way(roles: RolesRunning, tmp_path: Path) -> None:
    files = roles.enrol("meter-1")
    caller = roles.client("dso", SCOPES, "--all-devices")
    meter = Meter(files, "meter-1", roles.mqtt_at)
    until(lambda: len(meter.certified) >= 5, roles.tail)
    meter.stop()
    until(lambda: set(meter.certified) == set(meter.sent) == set(meter.accepted), roles.tail)
    meter.close()
    batches = {receipt["batch"] for receipt in meter.certified.values()}
    accepted = {note["note"].split("batch ")[1].split("\n")[0] for note in meter.accepted.values()}
    assert batches <= accepted  # the place that was signed for is the place in the log

    answer = caller.request(
        "POST", "/v1/messages?format=cim",
        content=cim(("other", "2026-02-01T10:00:00Z", "7.5")),
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    assert answer.json()["type"] == "certified"
    items = caller.readings()
    assert len(items) == len(meter.sent) + 1

    file, policy = tmp_path / "one.tlog-proof", tmp_path / "policy"
    until(lambda: caller.readings()[0]["state"] != "included")
    file.write_text(caller.request("GET", items[0]["receipt"]).text)
    policy.write_text(roles.cli("policy", "--data", roles.data))
    told = json.loads(roles.cli(
        "verify", file, "--policy", policy, "--ca", roles.ready["ca"], "--accept-own-chain",
        "--json",
    ))  # fmt: skip
    assert told["verdicts"]["authentic"]["code"] == "authentic"
    assert told["verdicts"]["anchored"]["code"] == "own-chain"

    close = json.loads(roles.cli("day", "close", "2026-01-15", "--data", roles.data, "--json"))
    assert (close["k"], close["date"]) == ("1", "2026-01-15")
    assert "day-not-over" in roles.refused("day", "close", "2100-01-01", "--data", roles.data)
    roles.check()  # while it runs, too
    assert json.loads(roles.cli("status", "--data", roles.data))["anchor"]["anchored_size"] > 0
    for name in PROCESSES:
        status = str(roles.told[name]["status"])
        assert httpx.get(f"{status}/health/live").status_code == 200
        assert httpx.get(f"{status}/health/ready").status_code == 200
        assert "gridseal_" in httpx.get(f"{status}/metrics").text
    check_ends(roles)
    assert roles.errors() == ""
    roles.check()


def check_ends(roles: RolesRunning) -> None:
    ended = roles.stop_all()
    assert {name: code for name, (code, _) in ended.items()} == dict.fromkeys(PROCESSES, 0)
    assert max(took_s for _, took_s in ended.values()) < STOP_S, ended


def test_a_revoked_sender_and_client_are_out_everywhere(roles: RolesRunning) -> None:
    files = roles.enrol("meter-1")
    caller = roles.client("dso", SCOPES, "--all-devices")
    meter = Meter(files, "meter-1", roles.mqtt_at)
    until(lambda: meter.certified)
    meter.stop()
    assert caller.readings()
    roles.cli("device", "revoke", "meter-1", "--data", roles.data)
    until(lambda: not meter._client.is_connected())
    meter.close()
    roles.cli("client", "revoke", "dso", "--data", roles.data)
    until(lambda: caller.request("GET", "/v1/readings").status_code == 401)


# paho drops a socket unclosed where the collector is killed in the middle of the TLS handshake
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket")
@pytest.mark.parametrize("how", ["killed", "ended"])
def test_a_role_that_is_gone_for_a_while_costs_nothing_that_has_a_receipt(
    roles: RolesRunning, how: str
) -> None:
    """Each in turn, under load; and at last all of them are killed at once."""
    end = {"killed": roles.kill_one, "ended": roles.stop_one}[how]
    chance = random.Random(SEED)
    caller = roles.client("auditor", "readings.read", "--all-devices")
    names = ["meter-1", "meter-2", "meter-3"]
    meters = [Meter(roles.enrol(name), name, roles.mqtt_at) for name in names]
    restarts = Restarts(f"one role, {how}")
    for _ in range(ROUNDS if how == "killed" else 1):
        for name in chance.sample(PROCESSES, len(PROCESSES)):
            time.sleep(chance.uniform(0.05, 1.2))
            end(name)
            time.sleep(chance.choice((0.0, 0.5)))
            restarts.time(lambda: restart(roles, name))  # noqa: B023 - called at once
    for meter in meters:
        meter.stop()
    for meter in meters:
        meter.resend(timeout_s=120)
        meter.close()
        assert set(meter.certified) == set(meter.sent), roles.tail()
    roles.kill()
    roles.start()
    caller.forget()
    items = caller.readings(versions="all", limit=10_000)
    for name, meter in zip(names, meters, strict=True):
        device = roles.device_of(name)
        check_readings(meter, [item for item in items if item["record"]["device"] == device])
    check_ends(roles)
    roles.check()
    restarts.check()


def restart(roles: RolesRunning, name: str) -> None:
    roles.begin(name)
    roles.wait_ready(name)


def test_up_and_roles_refuse_each_others_folders(tmp_path: Path, roles: RolesRunning) -> None:
    roles.stop_all()
    at = ("--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0")
    assert "stores-differ" in roles.refused("up", "--data", roles.data, *at)
    assert "stores-differ" in roles.refused(
        "run", "worker", "--data", roles.data, "--partitions", "9"
    )


def test_gateways_of_one_issuer_take_each_others_tokens(tmp_path: Path) -> None:
    config = '[anchor]\ninterval_s = 1\n[http]\nissuer = "https://gridseal.example"\n'
    platform = RolesRunning(tmp_path, config)
    platform.http_at = "127.0.0.1:0"  # each gateway's own
    names = ("collector", "worker", "sequencer", "storer", "gateway", "gateway-2")
    try:
        for name in names:
            platform.begin(name)
        for name in names:
            platform.wait_ready(name)
        caller = platform.client("dso", SCOPES, "--all-devices")
        token = caller.token()  # of the last one
        for name in ("gateway", "gateway-2"):
            told = platform.told[name]
            assert told["issuer"] == "https://gridseal.example"
            answer = httpx.get(
                f"{told['http']}/v1/readings",
                headers={"Authorization": f"Bearer {token}"},
                verify=ssl_context(told["ca"]),
            )
            assert answer.status_code == 200, answer.text
        ended = platform.stop_all()
        assert {code for code, _ in ended.values()} == {0}
    finally:
        platform.kill()
