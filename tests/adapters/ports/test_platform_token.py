"""The log's key in a PKCS#11 token: what it signs verifies as ever, and no other key goes on."""

import json
from pathlib import Path

from test_pkcs11_signer import Token, token  # noqa: F401 - a fixture

from tests.journey.conftest import Running, cim

SCOPES = "messages.write readings.read devices.read"


def test_a_platform_whose_log_key_is_in_a_token(tmp_path: Path, token: Token) -> None:  # noqa: F811
    token.make_key("gridseal-log")
    config = (
        f'[signer]\nmodule = "{token.library}"\ntoken = "{token.name}"\nlabel = "gridseal-log"\n'
        f'pin_file = "{token.pin_file}"\n'
    )
    platform = Running(tmp_path, config + "[anchor]\ninterval_s = 1\n")
    platform.start()
    try:
        caller = platform.client("dso", SCOPES, "--all-devices")
        raw = cim(("m-1", "2026-01-15T10:00:00Z", "1"))
        summary = caller.request("POST", "/v1/messages?format=cim", content=raw).json()
        file, policy = tmp_path / "one.tlog-proof", tmp_path / "policy"
        index = summary["first_index"] + 1  # behind the new device's record
        file.write_text(caller.request("GET", f"/v1/receipts/{index}").text)
        policy.write_text(platform.cli("policy", "--data", platform.data))
        told = json.loads(platform.cli(
            "verify", file, "--policy", policy, "--ca", platform.ready["ca"], "--json", code=2
        ))  # fmt: skip
        assert told["verdicts"]["authentic"]["code"] == "authentic"
        assert not (platform.data / "keys" / "log").exists()
    finally:
        assert platform.stop() == 0
    platform.check()
    in_a_file = ("up", "--data", platform.data, "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0")
    assert platform.refused(*in_a_file).startswith("gridseal: log-key-differs: ")
