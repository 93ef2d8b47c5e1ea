"""Frames in SOGNO's published shape; three phases from one, numbers without exponents."""

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from field.pmu_writer import Frame, batches, frames_message

TIME = datetime(2026, 1, 15, 11, 7, 0, 20_000, tzinfo=UTC)
FRAME = Frame(TIME, complex(230, 0), complex(0, -0.0000001), 50.00012)


def test_a_frame() -> None:
    (frame,) = json.loads(frames_message("pmu-1", "BUS", "TRAFO", [FRAME]))
    assert (frame["device"], frame["timestamp"]) == ("pmu-1", "2026-01-15T11:07:00.020000+00:00")
    found = {(r["component"], r["measurand"], r["phase"]): r["data"] for r in frame["readings"]}
    assert len(found) == len(frame["readings"]) == 13
    assert found["BUS", "frequency", "A"] == 50.00012
    assert [found["BUS", "voltmagnitude", phase] for phase in "ABC"] == [230] * 3
    assert found["BUS", "voltangle", "A"] == 0
    assert found["BUS", "voltangle", "B"] == pytest.approx(-2 * math.pi / 3, abs=1e-6)
    assert found["BUS", "voltangle", "C"] == pytest.approx(2 * math.pi / 3, abs=1e-6)


def test_numbers_are_plain() -> None:
    raw = frames_message("pmu-1", "BUS", "TRAFO", [FRAME])
    numbers: list[str] = []
    json.loads(raw, parse_float=lambda text: numbers.append(text) or text)
    assert numbers
    assert not [
        text for text in numbers if "e" in text.lower() or (text.strip("-0.") == "" and "-" in text)
    ]


def test_members_are_those_of_the_published_example(shared_data: Path) -> None:
    text = (shared_data / "pmu_json" / "sogno_sogno_input.json").read_text()
    body = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    published = json.loads(body)
    (frame,) = json.loads(frames_message("pmu-1", "BUS", "TRAFO", [FRAME]))
    assert frame.keys() == published.keys()
    assert frame["readings"][0].keys() == published["readings"][0].keys()
    assert {reading["measurand"] for reading in frame["readings"]} <= {
        part.strip(' "[]') for part in text.split("measurand: ")[1].split("\n")[0].split(",")
    }


def test_batches_keep_the_order() -> None:
    frames = [Frame(TIME + timedelta(milliseconds=20 * n), 1, 1, 50) for n in range(60)]
    cut = list(batches(frames, 25))
    assert [len(batch) for batch in cut] == [25, 25, 10]
    assert [frame for batch in cut for frame in batch] == frames
