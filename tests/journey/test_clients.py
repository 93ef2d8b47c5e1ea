"""Clients of the gateway as the operator sees them: added, listed, withdrawn."""

import json
from typing import Any

from tests.journey.conftest import Running, cim
from tests.journey.test_first_errors import told

END = "2026-01-15T11:00:00+01:00"
SCOPES = "messages.write readings.read"


def clients(platform: Running) -> dict[str, dict[str, Any]]:
    listed = platform.cli("client", "list", "--data", platform.data, "--json")
    return {client["name"]: client for client in map(json.loads, listed.splitlines())}


def test_a_withdrawn_client_is_out_at_once_with_the_tokens_it_has(platform: Running) -> None:
    caller = platform.client("dso", SCOPES, "--group", "north")
    made = caller.request("POST", "/v1/messages?format=cim", content=cim(("m-1", END, "1")))
    assert made.status_code == 200
    platform.cli("client", "revoke", "dso", "--data", platform.data)
    for method, path in (("GET", "/v1/readings"), ("POST", "/v1/messages?format=cim")):
        answer = caller.request(method, path)
        assert (answer.status_code, answer.json()["type"].rsplit(":")[-1]) == (401, "invalid-token")
    form = {"grant_type": "client_credentials"}
    asked = caller.http.post("/oauth/token", data=form, auth=caller.auth)
    assert (asked.status_code, asked.json()["error"]) == (401, "invalid_client")
    again = platform.client("dso", "readings.read", "--group", "north")
    assert again.auth != caller.auth
    assert [item["record"]["value"] for item in again.readings()] == ["1000"]


def test_clients_are_listed_without_their_secrets(platform: Running) -> None:
    first = platform.client("all", "readings.read", "--all-devices").auth[0]
    second = platform.client("none", "devices.read").auth[0]
    platform.cli("client", "revoke", second, "--data", platform.data)
    listed = clients(platform)
    assert listed["all"] == {
        "client_id": first, "name": "all", "scopes": ["readings.read"], "groups": None,
        "state": "active",
    }  # fmt: skip
    assert (listed["none"]["groups"], listed["none"]["state"]) == ([], "revoked")
    plain = platform.cli("client", "list", "--data", platform.data).splitlines()
    assert f"{first}\tall\treadings.read\t(every device)\tactive" in plain
    assert f"{second}\tnone\tdevices.read\t(no device)\trevoked" in plain


def test_a_name_in_use_and_a_name_that_is_nobodys(platform: Running) -> None:
    platform.client("twice", "readings.read")
    add = ("client", "add", "twice", "--scope", "readings.read", "--data", platform.data)
    text = "gridseal: name-taken: twice is a client; revoke it first\n"
    assert told(*add) == (1, text)
    revoke = ("client", "revoke", "nobody", "--data", platform.data)
    assert told(*revoke) == (1, "gridseal: name-unknown: no active client is named nobody\n")


def test_a_sender_that_is_no_device_is_listed(platform: Running) -> None:
    platform.enrol("headend", "--subjects", "any", "--group", "lv3")
    platform.cli("device", "revoke", "headend", "--data", platform.data)
    listed = platform.cli("device", "list", "--data", platform.data, "--json")
    (line,) = [d for d in map(json.loads, listed.splitlines()) if d["sender"] == "headend"]
    assert line.pop("device")
    assert line == {
        "identity": "name:gridseal/sender/headend", "group": "lv3", "zone": "UTC",
        "kind": "sender", "sender": "headend", "state": "revoked",
    }  # fmt: skip


def test_everything_agrees_afterwards(platform: Running) -> None:
    platform.check()
