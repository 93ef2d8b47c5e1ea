"""Readouts of smart meter gateways and Green Button feeds to certified readings, by the outside."""

from hashlib import sha256
from typing import Any

import pytest

from tests.journey.conftest import Caller, Running
from tests.journey.test_one_reading import connect, wait_for
from tests.unit.harmonise import test_espi as espi
from tests.unit.harmonise import test_vde2418 as vde

METER = "1EMH0012345678"
SUMMATION = "0.0.0.9.1.1.12.0.0.0.0.1.0.0.0.0.72.0"


@pytest.fixture(scope="module")
def caller(platform: Running) -> Caller:
    return platform.client("aggregator", "messages.write readings.read", "--all-devices")


def readout(meter: str, *readings: str) -> bytes:
    """TAF 7's own list of a meter, and tariff 1 of TAF 2 that the gateway counts for it."""
    own = vde.list_of(*readings, meter=meter, device=meter)
    tariff = vde.list_of(vde.reading(value=50), meter=meter, obis="0100010801FF", device="TAF-2")
    return vde.readout(vde.point(own, tariff))


def test_a_gateways_readout_by_mqtt(platform: Running, caller: Caller) -> None:
    files = platform.enrol(METER)
    got: dict[str, dict[str, Any]] = {}
    client = connect(files, METER, platform.mqtt_at, got)
    later = vde.reading(start="2026-01-15T11:15:00+01:00", value=639118)
    broken = vde.reading(start="2026-01-15T11:30:00+01:00", ptb=4)
    raw = readout(METER, vde.reading(), later, broken)
    client.publish(f"in/{METER}/vde2418", raw, qos=1).wait_for_publish(10)
    wait_for(lambda: "certified" in got)
    summary = got["certified"]
    assert summary["message"] == sha256(raw).hexdigest()
    assert (summary["count"], summary["refused"]) == (4, [])
    assert [one["code"] for one in summary["findings"]] == ["value-invalid"]
    got.clear()
    client.publish(f"in/{METER}/vde2418", readout("1EMH0087654321", later), qos=1)
    wait_for(lambda: "certified" in got)
    assert {one["code"] for one in got["certified"]["refused"]} == {"subject-not-allowed"}
    client.disconnect()
    client.loop_stop()
    items = [one["record"] for one in caller.readings(register=vde.OWN)]
    assert [(one["time"], one["value"], one["unit"]) for one in items] == [
        ("2026-01-15T10:00:00Z", "63910.8", "Wh"), ("2026-01-15T10:15:00Z", "63911.8", "Wh"),
    ]  # fmt: skip
    [tariff] = [one["record"] for one in caller.readings(register=SUMMATION)]
    assert (tariff["value"], tariff["device"]) == ("5", items[0]["device"])


def test_a_green_button_feed_by_rest(caller: Caller) -> None:
    lost = espi.block(espi.reading(espi.period(), value=1), up="nowhere")
    raw = espi.feed(
        espi.point(), espi.meter_reading(), espi.of_type(), lost,
        espi.block(espi.reading(espi.period(), value=282, cost=974)),
    )  # fmt: skip
    answer = caller.request("POST", "/v1/messages?format=espi", content=raw)
    assert answer.status_code == 200, answer.text
    assert [one["code"] for one in answer.json()["refused"]] == ["link-broken"]
    [item] = [one["record"] for one in caller.readings(register=espi.REGISTER)]
    assert (item["begin"], item["value"]) == ("2026-01-15T10:00:00Z", "282")


@pytest.mark.parametrize(
    ("form", "raw", "code"),
    [
        ("espi", b"<feed/>", "namespace-unknown"),
        ("vde2418", b"<!DOCTYPE a><a/>", "dtd-forbidden"),
        ("vde2418", readout("M" * 300, vde.reading()), "name-invalid"),
    ],
)
def test_bad_input_gets_a_clear_error(caller: Caller, form: str, raw: bytes, code: str) -> None:
    answer = caller.request("POST", f"/v1/messages?format={form}", content=raw)
    assert answer.status_code == 422, answer.text
    assert code in answer.text


def test_replay_makes_the_same_entries(platform: Running) -> None:
    platform.check()
