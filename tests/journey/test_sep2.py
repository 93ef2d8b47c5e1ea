"""IEEE 2030.5 from a DER gateway to a certified, replayable reading, by the outside alone."""

import json
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from field.sep2_writer import NAMESPACE, Mirrored, mirror_meter_reading
from tests.journey.conftest import Caller, Running
from tests.journey.test_one_reading import connect, wait_for

BEGIN = datetime(2026, 1, 15, 10, tzinfo=UTC)
REGISTER = "0.0.2.4.19.1.12.0.0.0.0.0.0.0.0.0.72.0"


@pytest.fixture(scope="module")
def caller(platform: Running) -> Caller:
    return platform.client("aggregator", "messages.write readings.read", "--all-devices")


def lfdi(certificate: Path) -> str:
    """IEEE 2030.5: the first 160 bits of the certificate's SHA-256."""
    return x509.load_pem_x509_certificate(certificate.read_bytes()).fingerprint(SHA256())[:20].hex()


def usage_point(named: str, value: str = "1234") -> bytes:
    """The simulator's message inside a MirrorUsagePoint that names the device."""
    inner = mirror_meter_reading(Mirrored("pv-1", BEGIN, 900, [1234])).decode().split("?>\n", 1)[1]
    inner = inner.replace(f' xmlns="{NAMESPACE}"', "").replace("1234", value)
    return (
        f'<MirrorUsagePoint xmlns="{NAMESPACE}"><mRID>06</mRID><roleFlags>49</roleFlags>'
        f"<serviceCategoryKind>0</serviceCategoryKind><status>1</status>"
        f"<deviceLFDI>{named}</deviceLFDI>{inner}</MirrorUsagePoint>"
    ).encode()


def test_by_mqtt_it_ends_as_a_certified_reading(platform: Running, caller: Caller) -> None:
    files = platform.enrol("inverter-1")
    got: dict[str, dict[str, Any]] = {}
    client = connect(files, "inverter-1", platform.mqtt_at, got)
    plain = mirror_meter_reading(Mirrored("inverter-1", BEGIN, 900, [1234]))
    for raw in (plain, usage_point(lfdi(files / "device.crt"))):
        got.clear()
        client.publish("in/inverter-1/sep2", raw, qos=1).wait_for_publish(10)
        wait_for(lambda: "certified" in got)
        assert got["certified"]["message"] == sha256(raw).hexdigest()
        assert (got["certified"]["count"], got["certified"]["refused"]) == (1, [])
        assert got["certified"]["receipt"].startswith("c2sp.org/tlog-proof@v1\n")
    got.clear()
    client.publish("in/inverter-1/sep2", usage_point("00" * 20), qos=1).wait_for_publish(10)
    wait_for(lambda: "certified" in got)
    assert [one["code"] for one in got["certified"]["refused"]] == ["subject-not-allowed"]
    got.clear()
    client.publish("in/inverter-1/sep2", b"<!DOCTYPE a><a/>", qos=1)
    wait_for(lambda: "refused" in got)
    assert got["refused"]["code"] == "dtd-forbidden"
    client.disconnect()
    client.loop_stop()
    items = [i["record"] for i in caller.readings(register=REGISTER, versions="all")]
    assert [(one["kind"], one["value"], one["unit"]) for one in items] == [
        ("reading", "1234", "Wh"), ("reading", "1234", "Wh"),
    ]  # fmt: skip
    assert len({one["device"] for one in items}) == 1
    assert {(one["begin"], one["end"]) for one in items} == {
        ("2026-01-15T10:00:00Z", "2026-01-15T10:15:00Z")
    }


def test_by_rest(platform: Running, caller: Caller, tmp_path: Path) -> None:
    raw = usage_point("AB" * 20, "77")
    answer = caller.request("POST", "/v1/messages?format=sep2", content=raw)
    assert answer.status_code == 200, answer.text
    [item] = [i for i in caller.readings(register=REGISTER) if i["record"]["value"] == "77"]
    file = tmp_path / "r.tlog-proof"
    file.write_text(caller.request("GET", item["receipt"]).text)
    told = platform.cli("verify", file, "--log-key", platform.ready["log_key"], "--json")
    assert json.loads(told)["verdicts"]["authentic"]["code"] == "authentic"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (usage_point("AB" * 20).replace(b"urn:ieee", b"urn:iee"), "namespace-unknown"),
        (usage_point("AB" * 20).replace(NAMESPACE.encode(), b""), "namespace-unknown"),
        (usage_point("AB" * 20, "NaN"), "value-not-integer"),
        (usage_point("AB" * 19), "name-invalid"),
    ],
)
def test_bad_input_gets_a_clear_error(caller: Caller, raw: bytes, code: str) -> None:
    answer = caller.request("POST", "/v1/messages?format=sep2", content=raw)
    assert answer.status_code == 422, answer.text
    assert code in answer.text
    assert "AB" * 19 not in answer.text


def test_replay_makes_the_same_entries(platform: Running) -> None:
    platform.check()
