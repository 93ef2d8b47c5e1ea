"""Metrics as Prometheus' own parser reads them; the ports that take the time stay what they are."""

from datetime import date
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bal.closing import ClosedDay, Made
from bal.errors import Unavailable
from bal.model import Digest, Pseudonym
from bal.ports import BookEntry, Intake
from infra.announcer import CertifiedMessage
from infra.metrics import MEANINGS, MeasuredBus, MeasuredLog, Metrics
from tests.journey.small_platform import Small, cim

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(text: str) -> Samples:
    """Every sample by name and labels; the parser refuses what is no exposition format."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def at(samples: Samples, name: str, **labels: str) -> float:
    return samples[f"gridseal_{name}", frozenset(labels.items())]


def test_names_are_those_of_the_table() -> None:
    """docs/operations.md has each metric, and no other."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text()
    told = {line.split("`")[1].split("{")[0] for line in page.splitlines()
            if line.startswith("| `gridseal_")}  # fmt: skip
    metrics = Metrics()
    metrics.observe(lambda: dict.fromkeys(MEANINGS.keys() - {"alarm"}, 1.0), lambda: ["disk-low"])
    found = {family.name for family in text_string_to_metric_families(metrics.text())}
    kinds = {f.name: f.type for f in text_string_to_metric_families(metrics.text())}
    found = {name + "_total" if kinds[name] == "counter" else name for name in found}
    assert told == found


def test_an_alarm_stands_while_it_does() -> None:
    metrics, alarms = Metrics(), ["disk-low"]
    metrics.observe(dict, lambda: alarms)
    assert at(read(metrics.text()), "alarm", code="disk-low") == 1
    alarms.clear()
    assert ("gridseal_alarm", frozenset({("code", "disk-low")})) not in read(metrics.text())


def certified(*findings: str, refused: tuple[str, ...] = ()) -> CertifiedMessage:
    summary: dict[str, object] = {
        "findings": [{"code": code} for code in findings],
        "refused": [{"code": code} for code in refused],
    }
    return CertifiedMessage("headend", "00" * 32, summary)


def test_findings_by_code() -> None:
    metrics = Metrics()
    metrics.note_certified(
        [certified(), certified("time-cut", "time-cut", refused=("no-reading",))]
    )
    said = read(metrics.text())
    assert at(said, "certified_messages_total") == 2
    assert at(said, "findings_total", code="time-cut", severity="warning") == 2
    assert at(said, "findings_total", code="no-reading", severity="refused") == 1


def closed(day: int, *states: bytes) -> ClosedDay:
    """A close that makes one device-day for each, with slots in these states."""
    made = []
    for number, slots in enumerate(states):
        data = bytes(93) + b"".join(bytes([state]) + bytes(17) for state in slots)
        entry = BookEntry(
            bytes([number]) * 32, Pseudonym("p"), "r", 900, 1, Digest(b""), b"", number
        )
        made.append(Made(entry, 0, 0, "s", data))
    none = Digest(bytes(32))
    return ClosedDay(1, date(2026, 1, day), 1, 5_000_000, len(made), none, none, made)


def test_gaps_of_the_newest_close() -> None:
    metrics = Metrics()
    metrics.observe(dict, list)
    assert ("gridseal_last_close_slots", frozenset()) not in read(metrics.text())
    metrics.note_closed(closed(1, bytes([2, 0, 0, 1]), bytes([0, 0, 0, 0])))
    said = read(metrics.text())
    assert (at(said, "last_close_slots"), at(said, "last_close_missing_slots")) == (8, 6)
    metrics.note_closed(closed(1, bytes([2, 2, 0, 1])))  # late data: one device-day changed
    assert at(read(metrics.text()), "last_close_missing_slots") == 5
    metrics.note_closed(closed(2, bytes([0, 3])))
    said = read(metrics.text())
    assert (at(said, "last_close_device_days"), at(said, "last_close_missing_slots")) == (1, 1)
    assert at(said, "last_close_timestamp_seconds") == 5


def test_a_bus_that_is_measured_is_a_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small, metrics = Small(tmp_path), Metrics()
    bus = MeasuredBus(small.stores.bus, metrics)
    assert (bus.epoch, bus.end()) == (small.stores.bus.epoch, 0)
    assert bus.append([Intake("h", "cim", 1, b"12"), Intake("h", "pmu", 1, b"345")]) == [0, 1]
    assert [message.raw for message in bus.read(0, 9)] == [b"12", b"345"]
    said = read(metrics.text())
    assert at(said, "intake_accepted_bytes_total", format="pmu") == 3
    assert at(said, "bus_append_seconds_count") == 1

    def full(_: object) -> list[int]:
        raise Unavailable("full")

    monkeypatch.setattr(small.stores.bus, "append", full)
    with pytest.raises(Unavailable):
        bus.append([Intake("h", "cim", 1, b"12")])
    assert at(read(metrics.text()), "intake_accepted_messages_total", format="cim") == 1
    small.release()


def test_a_log_that_is_measured_is_a_log(tmp_path: Path) -> None:
    small, metrics = Small(tmp_path), Metrics()
    small.sequencer._store = MeasuredLog(small.stores.log, metrics)
    small.start()
    small.enrol("headend")
    small.take("headend", cim(1, range(3)))
    small.close()
    said = read(metrics.text())
    assert at(said, "log_stage_seconds_count") == at(said, "log_commit_seconds_count") > 0
    assert at(said, "log_swap_seconds_sum") < at(said, "log_commit_seconds_sum")
