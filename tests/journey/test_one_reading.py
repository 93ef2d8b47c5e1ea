"""One reading, from the meter to a stranger's verifier, by the outside interface alone."""

import json
import ssl
from hashlib import sha256
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest

from tests.journey.conftest import Caller, Running, cim

END, BEGIN = "2026-01-15T11:00:00+01:00", "2026-01-15T09:45:00Z"
SCOPES = "messages.write readings.read devices.read"


@pytest.fixture(scope="module")
def caller(platform: Running) -> Caller:
    return platform.client("dso", SCOPES, "--all-devices")


def post(caller: Caller, raw: bytes, form: str = "cim") -> Any:
    return caller.request("POST", f"/v1/messages?format={form}", content=raw)


def test_the_ready_line_says_where_everything_is(platform: Running) -> None:
    assert set(platform.ready) == {
        "http", "mqtt", "rpc", "chain_id", "chain_kind", "contract", "origin", "log_key",
        "intake_key", "ca",
    }  # fmt: skip
    assert platform.ready["rpc"] == platform.ready["http"] + "/rpc"
    assert platform.ready["log_key"].startswith(platform.ready["origin"] + "+")


def test_a_reading_by_rest_is_certified_read_and_verified(
    platform: Running, caller: Caller, tmp_path: Path
) -> None:
    raw = cim(("rest-1", END, "1.234"))
    answer = post(caller, raw)
    assert answer.status_code == 200, answer.text
    summary = answer.json()
    assert summary["message"] == sha256(raw).hexdigest()
    assert summary["refused"] == []
    item = next(i for i in caller.readings() if i["index"] in range(summary["first_index"], 10**9))
    record = item["record"]
    assert (record["value"], record["unit"]) == ("1234", "Wh")
    assert (record["begin"], record["end"]) == (BEGIN, "2026-01-15T10:00:00Z")
    assert record["device"] in {d["device"] for d in caller.get("/v1/devices")["items"]}
    platform_anchors(platform, item["index"])
    receipt = caller.request("GET", item["receipt"])
    assert receipt.headers["content-type"].startswith("text/plain")
    file, policy = tmp_path / "r.tlog-proof", tmp_path / "policy"
    file.write_text(receipt.text)
    policy.write_text(platform.cli("policy", "--data", platform.data))
    ca = ("--ca", platform.ready["ca"])
    told = platform.cli("verify", file, "--policy", policy, *ca, "--json", code=2)
    verdicts = json.loads(told)["verdicts"]
    assert verdicts["authentic"]["code"] == "authentic"
    assert verdicts["anchored"]["code"] == "own-chain"
    accepted = platform.cli("verify", file, "--policy", policy, *ca, "--accept-own-chain", "--json")
    assert json.loads(accepted)["exit"] == 0
    alone = platform.cli(
        "verify", file, "--rpc", platform.ready["rpc"], "--contract", platform.ready["contract"],
        "--log-key", platform.ready["log_key"], *ca, "--accept-own-chain", "--json",
    )  # fmt: skip
    assert json.loads(alone)["exit"] == 0


def platform_anchors(platform: Running, index: int) -> None:
    """Have the newest checkpoint anchored now."""
    from infra.control import call

    anchored = call(platform.data, "anchor")
    assert int(anchored["size"]) > index


def test_the_same_message_again_gets_the_first_ones_summary(caller: Caller) -> None:
    raw = cim(("rest-2", END, "0.5"))
    first, second = post(caller, raw).json(), post(caller, raw).json()
    assert (first["first_index"], first["count"], first["batch"]) == (
        second["first_index"], second["count"], second["batch"],
    )  # fmt: skip
    evidence = [i["record"]["evidence"] for i in caller.readings()]
    assert len(evidence) == len(set(evidence))


def test_good_readings_are_kept_beside_bad_ones(caller: Caller) -> None:
    before = len(caller.readings())
    raw = cim(("mix-1", END, "1"), ("mix-2", END, "NaN"), ("mix-3", "2026-01-15T11:00:00", "1"))
    answer = post(caller, raw)
    assert answer.status_code == 200
    codes = {found["code"] for found in answer.json()["refused"]}
    assert codes == {"value-not-decimal", "time-without-offset"}
    assert all(set(found) == {"code", "severity", "field", "line", "clause", "text"}
               for found in answer.json()["refused"])  # fmt: skip
    assert len(caller.readings()) == before + 1


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"<!DOCTYPE a><a/>", 422, "dtd-forbidden"),
        (b"", 422, "message-empty"),
        (b"<a>", 422, "xml-malformed"),
        (b"\xff\xfe<\0a\0/\0>\0", 422, "not-utf8"),
        (b"<a>" * 300 + b"</a>" * 300, 422, "depth-exceeded"),
        (b" " * (4 * 1024 * 1024 + 1), 413, "message-too-large"),
        (cim(("bad-1", END, "1e400")), 422, "value-not-decimal"),
    ],
)
def test_bad_input_gets_a_clear_error_and_costs_nothing_else(
    caller: Caller, raw: bytes, status: int, code: str
) -> None:
    answer = post(caller, raw)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert code in answer.text


def test_no_group_no_row(platform: Running, caller: Caller) -> None:
    nobody = platform.client("nobody", "readings.read devices.read")
    post(caller, cim(("nobodys-1", END, "1")))
    index = caller.readings()[0]["index"]
    assert nobody.readings() == []
    assert nobody.get("/v1/devices")["items"] == []
    assert nobody.request("GET", f"/v1/receipts/{index}").status_code == 404
    assert caller.request("GET", f"/v1/receipts/{index}").status_code == 200
    assert caller.request("GET", "/v1/receipts/0").status_code == 404  # entry 0 is public


def test_a_group_sees_its_own_devices_only(platform: Running, caller: Caller) -> None:
    north = platform.client("north", SCOPES, "--group", "north")
    south = platform.client("south", SCOPES, "--group", "south")
    summary = post(north, cim(("north-1", END, "1"))).json()
    assert len(north.readings()) == 1
    assert south.readings() == []
    assert summary["count"] >= 1
    refused = post(south, cim(("north-1", END, "2")))
    assert refused.status_code == 422
    assert "subject-not-allowed" in refused.text


@pytest.mark.filterwarnings("ignore::DeprecationWarning:rdflib")
def test_json_ld_is_rdf(caller: Caller) -> None:
    import rdflib

    answer = caller.request(
        "GET", "/v1/readings", headers={"Accept": "application/ld+json"}, params={"limit": 5}
    )
    graph = rdflib.Graph().parse(data=answer.text, format="json-ld")
    found = list(
        graph.subjects(rdflib.RDF.type, rdflib.URIRef("https://saref.etsi.org/core/Observation"))
    )
    assert len(found) >= 1


def test_a_single_reading_by_mqtt_carries_its_receipt(platform: Running, tmp_path: Path) -> None:
    files = platform.enrol("solo")
    got: dict[str, dict[str, Any]] = {}
    client = connect(files, "solo", platform.mqtt_at, got)
    raw = cim(("solo", END, "0.75"))
    client.publish("in/solo/cim", raw, qos=1).wait_for_publish(10)
    wait_for(lambda: "certified" in got)
    client.disconnect()
    client.loop_stop()
    assert got["accepted"]["note"].startswith("gridseal/accepted/v1\n" + platform.ready["origin"])
    assert got["certified"]["count"] == 1
    file = tmp_path / "solo.tlog-proof"
    file.write_text(got["certified"]["receipt"])
    told = platform.cli("verify", file, "--log-key", platform.ready["log_key"], "--json")
    assert json.loads(told)["verdicts"]["authentic"]["code"] == "authentic"


def test_revocation_closes_the_session_and_nothing_more_is_taken(platform: Running) -> None:
    files = platform.enrol("gone")
    got: dict[str, dict[str, Any]] = {}
    client = connect(files, "gone", platform.mqtt_at, got)
    told = platform.cli("device", "revoke", "gone", "--data", platform.data)
    assert "1 open sessions" in told
    wait_for(lambda: not client.is_connected())
    client.loop_stop()
    listed = platform.cli("device", "list", "--data", platform.data, "--json")
    states = [json.loads(line) for line in listed.splitlines()]
    assert [s["state"] for s in states if s["sender"] == "gone"] == ["revoked"]


def test_everything_agrees_afterwards(platform: Running) -> None:
    platform.check()


def connect(files: Path, name: str, address: str, got: dict[str, dict[str, Any]]) -> mqtt.Client:
    made = ssl.create_default_context(cafile=files / "ca.crt")
    made.load_cert_chain(files / "device.crt", files / "device.key")
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
    client.tls_set_context(made)
    client.username_pw_set(name, (files / "password").read_text())
    subscribed: list[bool] = []

    def keep(_: Any, __: Any, message: mqtt.MQTTMessage) -> None:
        receipt = json.loads(message.payload)
        got[receipt["type"]] = receipt

    client.on_message = keep
    client.on_subscribe = lambda *_: subscribed.append(True)
    client.on_connect = lambda c, *_: c.subscribe(f"receipts/{name}", qos=1)
    host, port = address.split(":")
    client.connect(host, int(port))
    client.loop_start()
    wait_for(lambda: bool(subscribed))
    return client


def wait_for(condition: Any, timeout_s: float = 15) -> None:
    import time

    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
