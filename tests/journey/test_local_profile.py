"""The platform on the real servers: Mosquitto and REST in, Kafka, Cassandra, Anvil; verified."""

import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import paho.mqtt.client as mqtt
import pytest
from confluent_kafka import Consumer
from paho.mqtt.enums import CallbackAPIVersion

from infra.servers.connect import Servers
from tests.adapters.test_metrics import at, read
from tests.journey.conftest import Caller, Running, cim

pytestmark = pytest.mark.xdist_group("kafka")  # one feed at a time on the session's broker

SCOPES = "messages.write readings.read devices.read"
PATIENCE_S = 60


class Device:
    """A sender at the broker, by a client that is not ours."""

    def __init__(self, files: Path) -> None:
        told = json.loads((files / "client.json").read_text())
        self.name: str = told["name"]
        self.receipts: list[dict[str, Any]] = []
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=self.name, protocol=mqtt.MQTTv5
        )
        context = ssl.create_default_context(cafile=files / "ca.crt")
        context.load_cert_chain(files / "device.crt", files / "device.key")
        self._client.tls_set_context(context)
        self._client.username_pw_set(self.name, (files / "password").read_text())
        self._client.on_connect = lambda client, *_: client.subscribe(told["topic_receipts"], qos=1)
        self._client.on_message = lambda _, __, m: self.receipts.append(json.loads(m.payload))
        host, port = told["broker"].removeprefix("mqtts://").split(":")
        self._client.connect(host, int(port))
        self._client.loop_start()

    def send(self, raw: bytes) -> None:
        wait_for(self._client.is_connected)
        self._client.publish(f"in/{self.name}/cim", raw, qos=1).wait_for_publish(PATIENCE_S)

    def wait(self, type_: str, count: int) -> list[dict[str, Any]]:
        """So many receipts of a type."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            found = [receipt for receipt in self.receipts if receipt["type"] == type_]
            if len(found) >= count:
                return found
            time.sleep(0.05)
        raise AssertionError(f"{count} {type_} receipts were expected: {self.receipts}")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture(scope="module")
def local(
    servers: Servers, servers_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """A platform on the session's servers, whose data folder it shares."""
    assert servers.kafka is not None
    platform = Running(tmp_path_factory.mktemp("local"), profile="local", data=servers_folder)
    platform.start()
    yield platform
    if platform.process is not None:
        platform.kill()


def consumed(kafka: dict[str, Any], topic: str, count: int) -> list[tuple[dict[str, bytes], bytes]]:
    """Headers and value of so many records, read as an aggregator would."""
    consumer = Consumer({
        "bootstrap.servers": kafka["bootstrap"], "security.protocol": "ssl",
        "ssl.ca.location": kafka["ca"], "ssl.certificate.location": kafka["certificate"],
        "ssl.key.location": kafka["key"], "group.id": kafka["principal"],
        "auto.offset.reset": "earliest",
    })  # fmt: skip
    consumer.subscribe([topic])
    found: list[tuple[dict[str, bytes], bytes]] = []
    until = time.monotonic() + PATIENCE_S
    try:
        while len(found) < count and time.monotonic() < until:
            message = consumer.poll(1.0)
            if message is not None and message.error() is None:
                headers = cast("dict[str, bytes]", dict(message.headers() or []))
                found.append((headers, message.value() or b""))
    finally:
        consumer.close()
    assert len(found) >= count, found
    return found


def test_a_reading_goes_all_the_way(local: Running, tmp_path: Path) -> None:
    dso = json.loads(local.cli(
        "client", "add", "dso", "--scope", SCOPES, "--all-devices", "--kafka", "--data", local.data
    ))  # fmt: skip
    caller = local.caller(dso["client_id"], dso["client_secret"])
    files = local.enrol("head-end", "--subjects", "any", "--group", "north", "--bulk")
    device = Device(files)
    try:
        device.send(
            cim(("m-1", "2026-01-15T10:00:00Z", "1.5"), ("m-2", "2026-01-15T10:00:00Z", "2"))
        )
        [accepted] = device.wait("accepted", 1)
        [certified] = device.wait("certified", 1)
        assert accepted["message"] == certified["message"]
        assert certified["refused"] == []

        items = caller.readings()
        assert sorted(item["record"]["value"] for item in items) == ["1500", "2000"]
        file, policy = tmp_path / "one.tlog-proof", tmp_path / "policy"
        wait_for(lambda: caller.readings()[0]["state"] != "included")
        file.write_text(caller.request("GET", items[0]["receipt"]).text)
        policy.write_text(local.cli("policy", "--data", local.data))
        told = json.loads(local.cli(
            "verify", file, "--policy", policy, "--ca", local.ready["ca"],
            "--accept-own-chain", "--json",
        ))  # fmt: skip
        assert told["verdicts"]["authentic"]["code"] == "authentic"

        feed = consumed(dso["kafka"], "bal.readings.v1", 2)
        mine = {headers["index"].decode(): value for headers, value in feed}
        for item in items:
            assert json.loads(mine[str(item["index"])]) == item["record"]
        wait_for(lambda: all_is_fed(caller))

        local.kill()  # what has a receipt is there again
        local.start()
        device.send(cim(("m-1", "2026-01-15T10:15:00Z", "3")))
        device.wait("certified", 2)
        assert len(caller.readings()) == 3
        local.check()
    finally:
        device.close()
    assert local.stop() == 0
    local.check()
    local.start()


def all_is_fed(caller: Caller) -> bool:
    """Whether consumers have all that anybody is shown, as the platform tells it."""
    said = read(caller.http.get("/metrics").text)
    assert at(said, "unsettled_blocks") == 0, "two readings are no block"
    return at(said, "fed_entries") == at(said, "log_entries") > 0


def test_a_client_without_the_group_gets_nothing(local: Running) -> None:
    south = json.loads(local.cli(
        "client", "add", "south", "--scope", SCOPES, "--group", "south", "--kafka",
        "--data", local.data,
    ))  # fmt: skip
    assert south["kafka"]["topics"] != ["bal.readings.v1"]
    assert "bal.readings.v1" not in south["kafka"]["topics"]
    assert local.caller(south["client_id"], south["client_secret"]).readings() == []


def wait_for(done: Any) -> None:
    """Until it is so."""
    until = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < until, "it did not come to be"
        time.sleep(0.2)


def test_bus_and_rows_stay_where_they_are(local: Running, tmp_path: Path) -> None:
    assert local.stop() == 0
    embedded = ("up", "--data", local.data, "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0")
    assert local.refused(*embedded).startswith("gridseal: stores-differ: ")
    heads = tmp_path / "heads.toml"
    heads.write_text("[cassandra]\nheads = true\n")
    elsewhere = (*embedded, "--profile", "local", "--config", heads)
    assert local.refused(*elsewhere).startswith("gridseal: stores-differ: ")
    local.start()


def test_a_backup_of_it_runs_without_any_server(local: Running, tmp_path: Path) -> None:
    """What was accepted is in it, though the bus and the rows were on servers; a drill, too."""
    caller = local.client("backed-up", SCOPES, "--all-devices")
    raw = cim(("b-1", "2026-01-16T10:00:00Z", "1.5"), ("b-2", "2026-01-16T10:00:00Z", "2"))
    answer = caller.request("POST", "/v1/messages?format=cim", content=raw)
    assert answer.status_code == 200, answer.text
    files = local.enrol("spooling", "--subjects", "any", "--group", "north", "--bulk")
    device = Device(files)
    device.send(cim(("b-1", "2026-01-16T10:15:00Z", "3")))
    device.wait("accepted", 1)
    words = ("backup", "--data", local.data, "--to")
    local.cli(*words, tmp_path / "b.tar")  # while it runs, right behind the accepted note
    device.close()
    before = {(one["index"], json.dumps(one["record"])) for one in caller.readings()}
    assert local.stop() == 0
    local.cli(*words, tmp_path / "lean.tar", "--without-rows")
    done = json.loads(local.cli("drill", "--data", local.data, "--json", code=None))
    assert done["clean"] is True
    missed = [row for row in done["attacks"] if not row["caught"] and row["made"]]
    assert missed == []
    for name in ("b", "lean"):
        after = Running(tmp_path, data=tmp_path / name)
        local.cli("restore", tmp_path / f"{name}.tar", "--data", after.data)
        after.start()
        again = after.caller(*caller.auth)
        try:
            wait_for(lambda again=again: len(again.readings()) >= len(before))
            found = {(one["index"], json.dumps(one["record"])) for one in again.readings()}
            assert {record for _, record in found} == {record for _, record in before}
            after.check()
            assert after.stop() == 0
            after.check()
        finally:
            if after.process is not None:
                after.kill()
    local.start()
