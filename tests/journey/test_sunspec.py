"""An inverter's registers and ratings to certified, replayable records, by the outside alone."""

import json
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as mqtt
import pytest

from tests.journey.conftest import Caller, Running
from tests.journey.test_one_reading import connect, wait_for

CAPABILITY = (
    b'<DERCapability xmlns="urn:ieee:std:2030.5:ns"><modesSupported>01900260</modesSupported>'
    b"<rtgMaxW><multiplier>2</multiplier><value>50</value></rtgMaxW><type>4</type></DERCapability>"
)


def registers(serial: str, power: object = 998, factor: object = 1) -> bytes:
    """What an inverter's registers hold, as SunSpec's own tools write it."""
    common = {"ID": 1, "L": 66, "Mn": "Sunny Works", "Md": "Roof 10", "SN": serial}
    inverter = {"ID": 103, "W": power, "W_SF": factor, "A": 65535, "A_SF": -1, "St": 4}
    said = {"timestamp": "2026-01-15T10:15:00Z", "models": [common, inverter]}
    return json.dumps(said).encode()


@pytest.fixture(scope="module")
def caller(platform: Running) -> Caller:
    return platform.client("aggregator", "messages.write readings.read", "--all-devices")


Publish = Callable[[str, bytes], dict[str, Any]]


@pytest.fixture
def publish(platform: Running) -> Publish:
    """Sends one message of the inverter's and gives back what it is told of it."""
    files = platform.enrol("inverter-1")
    got: dict[str, dict[str, Any]] = {}
    client: mqtt.Client = connect(files, "inverter-1", platform.mqtt_at, got)

    def send(form: str, raw: bytes) -> dict[str, Any]:
        got.clear()
        client.publish(f"in/inverter-1/{form}", raw, qos=1)
        wait_for(lambda: "certified" in got or "refused" in got)
        return got.get("certified") or got["refused"]

    return send


def test_by_mqtt_an_inverter_speaks_of_itself(
    platform: Running, caller: Caller, publish: Publish
) -> None:
    told = publish("sunspec", registers("9999abcd"))
    assert (told["count"], told["refused"]) == (2, [])
    codes = [one["code"] for one in told["findings"]]
    assert codes == ["device-is-sender", "point-not-implemented"]
    rated = publish("sep2", CAPABILITY)
    assert (rated["count"], [one["code"] for one in rated["findings"]]) == (3, ["time-of-receipt"])
    [power] = [item["record"] for item in caller.readings(register="activePower")]
    assert (power["value"], power["unit"]) == ("9980", "W")
    assert power["time"] == "2026-01-15T10:15:00Z"
    [most] = [item["record"] for item in caller.readings(register="rtgMaxW")]
    assert (most["value"], most["unit"], most["device"]) == ("5000", "W", power["device"])
    [state] = [item["record"] for item in caller.readings(register="sunspec.103.St")]
    assert state["means"] == ["tracking the maximum power point"]
    page = caller.request("GET", "/v1/readings?register=rtgMaxW", headers={"Accept": "text/turtle"})
    assert page.status_code == 200, page.text
    assert "unit:W" in page.text or "qunit:W" in page.text
    bad = publish("sunspec", b'{"models":[],"models":[]}')
    assert bad["code"] == "json-duplicate-key"


def test_by_rest_a_gateway_speaks_for_those_it_names(caller: Caller) -> None:
    both = b"[" + registers("A1") + b"," + registers("A2", 7) + b"]"
    answer = caller.request("POST", "/v1/messages?format=sunspec", content=both)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["refused"] == []
    found = [item["record"] for item in caller.readings(register="activePower")]
    assert {one["value"] for one in found} >= {"9980", "70"}
    assert "A1" not in json.dumps(found)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (registers("B", "many"), "value-not-decimal"),
        (registers("B", 98.5), "value-not-integer"),
        (b"[]", "no-reading"),
        (b"{", "json-malformed"),
    ],
)
def test_bad_input_gets_a_clear_error(caller: Caller, raw: bytes, code: str) -> None:
    answer = caller.request("POST", "/v1/messages?format=sunspec", content=raw)
    told = answer.text
    assert code in told, (answer.status_code, told)
    assert "many" not in told


def test_replay_makes_the_same_entries(platform: Running) -> None:
    platform.check()
