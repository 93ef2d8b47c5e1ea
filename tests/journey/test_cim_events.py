"""What a meter reports, from a head-end to a certified event, by the outside alone."""

import json
from pathlib import Path

import pytest

from tests.journey.conftest import Caller, Running

OUTAGE = b"""<EventMessage xmlns="http://iec.ch/TC57/2011/schema/message">
<Header><Verb>created</Verb><Noun>EndDeviceEvents</Noun></Header><Payload>
<EndDeviceEvents xmlns="http://iec.ch/TC57/2011/EndDeviceEvents#"><EndDeviceEvent>
<createdDateTime>2026-01-15T10:07:30+01:00</createdDateTime><reason>supply lost</reason>
<Assets><mRID>meter-00017</mRID></Assets><EndDeviceEventType ref="3.26.0.85"/></EndDeviceEvent>
<EndDeviceEvent><createdDateTime>yesterday</createdDateTime>
<Assets><mRID>meter-00018</mRID></Assets><EndDeviceEventType ref="3.26.0.216"/></EndDeviceEvent>
</EndDeviceEvents></Payload></EventMessage>"""


@pytest.fixture(scope="module")
def caller(platform: Running) -> Caller:
    return platform.client("head-end", "messages.write readings.read", "--all-devices")


def test_an_outage_ends_as_a_certified_event(
    platform: Running, caller: Caller, tmp_path: Path
) -> None:
    answer = caller.request("POST", "/v1/messages?format=cim", content=OUTAGE)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert [(one["code"], one["line"]) for one in told["refused"]] == [("time-malformed", "6")]
    [item] = caller.readings(kind="event", register="3.26.0.85")
    assert item["record"]["means"] == ["electricity meter: power, failed"]
    assert item["record"]["time"] == "2026-01-15T09:07:30Z"
    assert "meter-00017" not in json.dumps(item)
    file = tmp_path / "e.tlog-proof"
    file.write_text(caller.request("GET", item["receipt"]).text)
    verdict = platform.cli("verify", file, "--log-key", platform.ready["log_key"], "--json")
    assert json.loads(verdict)["verdicts"]["authentic"]["code"] == "authentic"


def test_readings_taken_back_are_refused(caller: Caller) -> None:
    raw = OUTAGE.replace(b"created<", b"deleted<", 1)
    answer = caller.request("POST", "/v1/messages?format=cim", content=raw)
    codes = [answer.json().get("code"), *(one["code"] for one in answer.json().get("refused", []))]
    assert "verb-not-taken" in codes


def test_replay_makes_the_same_entries(platform: Running) -> None:
    platform.check()
