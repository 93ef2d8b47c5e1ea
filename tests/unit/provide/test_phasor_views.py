"""A window of phasor frames in every form of a page, and back to its certified bytes."""

import json
from hashlib import sha256
from pathlib import Path

import pytest

from bal.model import PHASORS, Pseudonym, Rank, StoredRecord
from bal.provide.cim_out import meter_readings, records_of_cim
from bal.provide.rdf import Viewed, json_ld, records_of_json_ld, turtle
from bal.provide.readings import page_json, viewed
from bal.provide.turtle_in import records_of_turtle
from tests.unit.provide.test_rdf import CONTEXT, by_commitment

pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated")
VECTORS = json.loads(
    (Path(__file__).resolve().parents[2] / "vectors" / "phasors.json").read_text(encoding="utf-8")
)
RECORDS = list(
    dict.fromkeys(
        record.encode()
        for stream in VECTORS["windows"]
        for message in stream["messages"]
        for record in message["records"]
    )
)
PAGE = [Viewed(sha256(one).hexdigest(), index, one) for index, one in enumerate(RECORDS)]


def test_there_and_back() -> None:
    assert records_of_turtle(turtle(PAGE, CONTEXT), CONTEXT) == by_commitment(PAGE)
    assert records_of_json_ld(json_ld(PAGE, CONTEXT), CONTEXT) == PAGE
    assert records_of_cim(meter_readings(PAGE)) == PAGE


def test_a_page_shows_the_record_without_its_frames() -> None:
    stored = RECORDS[0] + b'\n{"readings":[],"time":"x"}\n{"readings":[],"time":"y"}'
    row = StoredRecord(
        Pseudonym("P"), 1, PHASORS, "", 0, 7, Rank.MEASURED, b"\x01", 2026, stored, "g/0"
    )
    assert row.certified == RECORDS[0]
    assert [json.loads(one)["time"] for one in row.frames] == ["x", "y"]
    [item] = json.loads(page_json([row], ["included"], None, 8))["items"]
    assert item["record"] == json.loads(RECORDS[0])
    assert viewed([row], [bytes(32)]) == [Viewed(bytes(32).hex(), 7, RECORDS[0])]


def test_a_line_feed_in_other_rows_is_their_own() -> None:
    row = StoredRecord(
        Pseudonym("P"), 1, "device-day", "", 0, 7, Rank.MEASURED, b"\x02", 2026, b"a\nb", "g/0"
    )
    assert row.certified == b"a\nb"
    assert row.frames == []
