"""Operation of a running platform: its metrics by Prometheus' own parser, doctor and drill."""

import json

from infra.control import call
from tests.adapters.test_metrics import at, read
from tests.journey.conftest import Running, cim


def test_a_platform_tells_of_all_that_it_does(running: Running) -> None:
    caller = running.client("dso", "messages.write", "--all-devices")
    end = "2026-01-15T11:00:00+01:00"
    good = cim(("meter-1", end, "1.5"), ("meter-2", end, "NaN"))
    assert caller.request("POST", "/v1/messages?format=cim", content=good).status_code == 200
    assert caller.request("POST", "/v1/messages?format=cim", content=b"<a").status_code == 422
    running.cli("day", "close", "2026-01-15", "--data", running.data)
    call(running.data, "anchor")
    said = read(caller.http.get("/metrics").text)
    assert at(said, "intake_accepted_messages_total", format="cim") == 1
    assert at(said, "intake_accepted_bytes_total", format="cim") == len(good)
    assert at(said, "intake_refused_messages_total", code="xml-malformed") == 1
    assert at(said, "findings_total", code="value-not-decimal", severity="refused") == 1
    assert at(said, "certified_messages_total") >= 2  # the command that added the client, too
    size = at(said, "log_entries")
    assert at(said, "visible_entries") <= at(said, "published_entries") <= size
    assert at(said, "anchored_entries") > 0
    assert at(said, "anchor_gas_used") > 50_000
    assert at(said, "anchor_age_seconds") >= 0
    assert (at(said, "closes"), at(said, "last_close_device_days")) == (1, 1)
    assert (at(said, "last_close_slots"), at(said, "last_close_missing_slots")) == (92 + 4, 95)
    assert at(said, "bus_lag_messages") == 0
    assert at(said, "disk_free_bytes") > 0
    for name in ("bus_append", "log_stage", "log_swap", "log_commit"):
        assert at(said, f"{name}_seconds_count") > 0
        assert 0 < at(said, f"{name}_seconds_sum") < 60


def test_the_doctor_beside_a_platform(running: Running) -> None:
    call(running.data, "anchor")
    said = json.loads(running.cli("doctor", "--data", running.data, "--json", code=None))
    states = {check["name"]: check["state"] for check in said["checks"]}
    states.pop("clock")  # the host's own matter
    assert set(states.values()) == {"ok"}, said
    told = {check["name"]: check["text"] for check in said["checks"]}
    assert running.ready["http"] in told["platform"]
    assert running.ready["mqtt"] in told["ports"]


def test_the_drill_beside_a_platform(running: Running) -> None:
    """Over a whole platform, its own chain included."""
    caller = running.client("dso", "messages.write", "--all-devices")
    for number in range(3):
        end = f"2026-01-15T1{number}:00:00+01:00"
        raw = cim((f"meter-{number % 2}", end, "1.5"), (f"meter-{2 + number}", end, "2.5"))
        assert caller.request("POST", "/v1/messages?format=cim", content=raw).status_code == 200
    caller.forget()
    running.cli("day", "close", "2026-01-15", "--data", running.data)
    call(running.data, "anchor")
    assert "10 of 10 attacks caught" in running.cli("drill", "--data", running.data)
    assert running.stop() == 0
    running.check()


def test_a_disk_that_is_full(running: Running) -> None:
    """Nothing is accepted; what is there is served; with room it goes on."""
    caller = running.client("dso", "messages.write readings.read", "--all-devices")
    end = "2026-01-15T11:00:00+01:00"
    post = ("POST", "/v1/messages?format=cim")
    assert caller.request(*post, content=cim(("meter-1", end, "1.5"))).status_code == 200
    assert running.stop() == 0
    config = running._config.read_text()
    running._config.write_text(config + "[limits]\ndisk_stop_bytes = 9000000000000000\n")
    running.start()
    answer = caller.request(*post, content=cim(("meter-2", end, "1.5")))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")
    health = caller.http.get("/healthz")
    assert health.status_code == 503
    assert health.json()["disk"].startswith("disk-full: ")
    said = read(caller.http.get("/metrics").text)
    assert at(said, "alarm", code="disk-full") == 1
    assert at(said, "intake_refused_messages_total", code="unavailable") == 1
    assert len(caller.readings()) == 1
    assert running.stop() == 0
    running._config.write_text(config)
    running.start()
    assert caller.request(*post, content=cim(("meter-2", end, "1.5"))).status_code == 200
