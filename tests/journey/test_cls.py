"""Signed readings of a gateway, to certified records that say who signed; by the outside alone."""

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from field import cls_writer
from tests.journey.conftest import Running
from tests.journey.test_one_reading import connect, wait_for
from tests.unit.harmonise.cls_pki import GATEWAY, Holder, issue

REGISTER = "0.0.0.1.1.1.12.0.0.0.0.0.0.0.0.0.72.0"
NOW = datetime.now(UTC).replace(microsecond=0)
LIFE = {"begin": NOW - timedelta(days=1), "end": NOW + timedelta(days=1)}


def signed(meter: str, value: str, signer: Holder, *above: Holder) -> bytes:
    reading = {"obis": "1-0:1.8.0*255", "time": "2026-01-15T10:15:00Z", "value": value,
               "unit": "Wh", "status": {"ptb": "0"}}  # fmt: skip
    content = cls_writer.content(GATEWAY, {f"{meter}1": [reading], f"{meter}2": [reading]})
    chain = [one.certificate for one in (signer, *above)]
    return cls_writer.message(content, chain, signer.key, NOW)


def test_trust_is_of_the_log_and_who_signed_is_in_the_record(
    platform: Running, tmp_path: Path
) -> None:
    root = issue("SM-Root", ca=True, **LIFE)
    sub = root.issue("Sub-CA", ca=True, **LIFE)
    gateway = sub.issue(f"{GATEWAY}.SMGW", **LIFE)
    files = platform.enrol("smgw-1", "--subjects", "any", "--group", "smgw")
    caller = platform.client("dso", "messages.write readings.read", "--all-devices")
    got: dict[str, dict[str, Any]] = {}
    client = connect(files, "smgw-1", platform.mqtt_at, got)

    def send(raw: bytes, kind: str = "certified") -> dict[str, Any]:
        got.clear()
        client.publish("in/smgw-1/cls", raw, qos=1).wait_for_publish(10)
        wait_for(lambda: kind in got)
        assert got[kind]["message"] == sha256(raw).hexdigest()
        return got[kind]

    def codes(raw: bytes) -> list[str]:
        return [one["code"] for one in send(raw)["refused"]]

    assert codes(signed("A", "1", gateway, sub)) == ["cms-signer-unknown"]
    (tmp_path / "ca").mkdir()
    (tmp_path / "ca" / "root.pem").write_bytes(root.certificate.public_bytes(Encoding.PEM))
    said = platform.cli("trust", "--data", platform.data, "--anchors", tmp_path / "ca")
    assert said == "trusted CAs: 1; revocation lists: 0\n"
    summary = send(signed("A", "2", gateway, sub))
    assert (summary["refused"], summary["findings"]) == ([], [])
    assert codes(signed("A", "3", issue(GATEWAY, **LIFE))) == ["cms-signer-unknown"]
    assert send(b"no CMS", "refused")["code"] == "cms-malformed"
    answer = caller.request("POST", "/v1/messages?format=cls", content=signed("A", "4", gateway,
                                                                              sub))  # fmt: skip
    assert answer.status_code == 200, answer.text
    revoked = tmp_path / "sub.crl"
    revoked.write_bytes(sub.crl(gateway.certificate.serial_number, at=NOW - timedelta(hours=1)))
    platform.cli("trust", "--data", platform.data, "--anchors", tmp_path / "ca", "--crls", revoked)
    assert codes(signed("A", "5", gateway, sub)) == ["cms-signer-revoked"]
    shown = platform.cli("trust", "--data", platform.data, "--json").splitlines()
    assert [json.loads(line)["kind"] for line in shown] == ["ca", "crl"]
    client.disconnect()
    client.loop_stop()
    found = [one["record"] for one in caller.readings(register=REGISTER, versions="all")]
    assert sorted(one["value"] for one in found) == ["2", "2", "4", "4"]
    fingerprint = sha256(gateway.der).hexdigest()
    assert {one["attested"]["by"] for one in found} == {fingerprint}
    platform.stop()
    platform.cli("fsck", "--data", platform.data)
    platform.cli("replay", "--data", platform.data)  # by the trust of each message's place
    platform.start()
    shown = platform.cli("trust", "--data", platform.data, "--json").splitlines()
    assert len(shown) == 2  # it is in the log
