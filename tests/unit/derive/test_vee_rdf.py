"""What derive says is RDF in the shapes of the other records, and each view leads back to it."""

import json
from functools import cache
from pathlib import Path

import pyshacl
import pytest
from rdflib import Graph

from bal.derive.vee import Derived
from bal.harmonise.quality import quality
from bal.model import StoredRecord
from bal.provide.cim_out import meter_readings, records_of_cim
from bal.provide.rdf import Viewed, json_ld, records_of_json_ld, turtle
from bal.provide.rdf_context import read_context
from bal.provide.readings import page_json
from bal.provide.turtle_in import records_of_turtle
from tests.unit.derive.vee_kit import (
    DAY_US,
    QUARTER_US,
    UTC_DAY,
    a_register,
    a_row,
    derived,
    quarters,
    stored,
)

pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated")
ONTOLOGY = Path(__file__).resolve().parents[3] / "ontology"
DOCUMENT = json.loads((ONTOLOGY / "context-v1.jsonld").read_text())["@context"]
CONTEXT = read_context(json.dumps(DOCUMENT).encode())
BEGIN = UTC_DAY.begin_us


@cache
def made() -> list[StoredRecord]:
    """Findings of an interval and of an instant, open and resolved, and estimates."""
    rows = quarters([*["100"] * 10, None, None, *["100"] * 84])
    rows += [a_register(200, BEGIN, "5000"), a_register(201, BEGIN + DAY_US, "4999")]
    first = stored(_all(derived(rows)), 500)
    late = [a_row(600 + n, BEGIN + (10 + n) * QUARTER_US, "9000") for n in range(2)]
    return first + stored(_all(derived([*rows, *first, *late])), 700)


def _all(found: tuple[list[Derived], list[Derived]]) -> list[Derived]:
    return [one for some in found for one in some]


def page() -> list[Viewed]:
    return [Viewed(f"{row.index:064x}", row.index, row.record) for row in made()]


def test_there_is_one_of_each() -> None:
    assert sorted({(row.kind, row.begin_us == row.end_us) for row in made()}) == [
        ("finding", False),
        ("finding", True),
        ("reading", False),
    ]
    assert sum(b'"event":"resolved"' in row.record for row in made()) == 1


def test_the_rank_is_what_the_quality_says() -> None:
    for row in made():
        codes = ("3.8.0",) if row.kind == "reading" else ("3.6.0",)
        assert quality(codes).rank == row.rank


def test_it_fits_the_shapes() -> None:
    found = Graph().parse(data=turtle(page(), CONTEXT), format="turtle")
    conforms, _, text = pyshacl.validate(found, shacl_graph=Graph().parse(ONTOLOGY / "shapes.ttl"))
    assert conforms, text


def test_turtle_and_json_ld_lead_back_to_the_same_bytes() -> None:
    assert records_of_turtle(turtle(page(), CONTEXT), CONTEXT) == page()
    assert records_of_json_ld(json_ld(page(), CONTEXT), CONTEXT) == page()


def test_cim_leads_back_to_the_same_bytes() -> None:
    assert sorted(records_of_cim(meter_readings(page())), key=lambda one: one.commitment) == page()


def test_a_page_of_json_has_the_findings() -> None:
    text = page_json(made(), ["included"] * len(made()), None, 999).decode()
    assert '"code":"slot-missing"' in text
