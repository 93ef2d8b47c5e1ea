"""Kafka, Cassandra and Mosquitto die under load: nothing with a receipt is lost, all goes on."""

import signal
from collections.abc import Iterator
from hashlib import sha256

import pytest

from infra.servers import process
from tests.journey.conftest import Running, cim
from tests.journey.test_local_profile import SCOPES, Device, wait_for
from tests.servers_fixture import start

pytestmark = [pytest.mark.xdist_group("servers"), pytest.mark.slow]

SERVERS = ("kafka", "cassandra", "mosquitto")


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A platform with servers of its own, which a test may kill."""
    folder = tmp_path_factory.mktemp("dying")
    start(folder / "data", *SERVERS)
    platform = Running(folder, profile="local")
    try:
        platform.start()
        yield platform
    finally:
        if platform.process is not None:
            platform.kill()
        platform.cli("servers", "down", "--data", platform.data, "--only", ",".join(SERVERS))


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_is_killed_and_comes_back(local: Running, server: str) -> None:
    made = local.enrol(f"head-{server}", "--subjects", "any", "--group", "north", "--bulk")
    device, first = Device(made), 100 * SERVERS.index(server)
    try:
        sent = send(device, first)
        device.wait("certified", 10)
        child = process.found(local.data / "servers" / server)
        assert child is not None
        process.send(child, signal.SIGKILL)
        if server != "mosquitto":  # else nothing can be sent
            sent |= send(device, first + 10)
        start(local.data, *SERVERS)
        sent |= send(device, first + 20)
        wait_for(lambda: {r["message"] for r in device.receipts if r["type"] == "certified"}
                 >= {r["message"] for r in device.receipts if r["type"] == "accepted"})  # fmt: skip
        device.wait("certified", 20)
    finally:
        device.close()
    assert local.process is not None
    assert local.process.poll() is None, local.tail()
    caller = local.client(f"dso-{server}", SCOPES, "--all-devices")
    promised = {sent[r["message"]] for r in device.receipts if r["type"] == "certified"}
    assert len(promised) >= 20
    assert promised <= {item["record"]["value"] for item in caller.readings(limit=100)}
    local.check()


def send(device: Device, number: int) -> dict[str, str]:
    """Ten messages of one reading each; the value of each in Wh, by message."""
    sent = {}
    for kwh in range(number + 1, number + 11):
        raw = cim((device.name, f"2026-01-{1 + kwh % 28:02}T{kwh % 24:02}:00:00Z", str(kwh)))
        device.send(raw)
        sent[sha256(raw).hexdigest()] = str(1000 * kwh)
    return sent
