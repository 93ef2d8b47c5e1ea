"""Records as N-Quads: what is filled in is what is written out, and what others read of JSON-LD."""

import json
from typing import Any

import pytest
import rdflib
from hypothesis import given, settings
from hypothesis import strategies as st
from rdflib import Dataset, URIRef

from bal.errors import Stop
from bal.provide.nquads import _WORDS, Writer
from bal.provide.rdf import Viewed, json_ld
from bal.provide.rdf_context import BASE_IRI
from bal.provide.turtle_in import records_of_turtle
from bal.registry import DEVICE_TYPES, device_record
from tests.unit.provide.messages import page_of, pages
from tests.unit.provide.test_metadata_graph import device
from tests.unit.provide.test_phasor_views import PAGE as WINDOWS
from tests.unit.provide.test_rdf import CONTEXT, EVERY_KIND, by_commitment, map_json

pytestmark = [  # rdflib's own readers use what rdflib deprecates
    pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated"),
    pytest.mark.filterwarnings("ignore:Dataset.default_context is deprecated"),
]
WRITER = Writer(CONTEXT)  # one for all: what it remembers of one record must not show in another


@pytest.fixture(autouse=True)
def _lexical_forms_as_certified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rdflib, "NORMALIZE_LITERALS", False)


def of_n_quads(data: bytes) -> set[Any]:
    """(subject, property, value, graph) as another library reads them."""
    return {
        (*map_json((s, p, o)), g)
        for s, p, o, g in Dataset().parse(data=data, format="nquads").quads()
    }


def of_json_ld(page: list[Viewed]) -> set[Any]:
    """The same of the JSON-LD of each record alone."""
    return {
        (*map_json(triple), URIRef(BASE_IRI + one.commitment))
        for one in page
        for triple in rdflib.Graph().parse(data=json_ld([one], CONTEXT), format="json-ld")
    }


@settings(max_examples=40, deadline=None)
@given(pages)
def test_another_library_reads_the_same_of_our_json_ld(page: list[Viewed]) -> None:
    assert of_n_quads(WRITER.page(page)) == of_json_ld(page)


DEVICES = [
    Viewed(f"{n:064x}", n, device_record(device("d", kind=kind)))
    for n, kind in enumerate(DEVICE_TYPES)
]


@pytest.mark.parametrize(
    "page", [EVERY_KIND, WINDOWS, DEVICES], ids=["every kind", "phasors", "devices"]
)
def test_of_every_kind(page: list[Viewed]) -> None:
    """RDF 1.1 N-Quads, as another library reads them."""
    assert of_n_quads(WRITER.page(page)) == of_json_ld(page)
    assert {json.loads(one.record)["kind"] for one in page}


@settings(max_examples=150, deadline=None)
@given(pages)
def test_what_is_filled_in_is_what_is_written_out(page: list[Viewed]) -> None:
    for _ in range(2):  # the second time nothing is new
        assert WRITER.page(page) == b"".join(map(WRITER.written_out, page))


@settings(max_examples=50, deadline=None)
@given(pages, st.booleans())
def test_without_the_graph_it_is_turtle_and_leads_back(page: list[Viewed], anew: bool) -> None:
    lines = WRITER.page(page).decode().split("\n")[:-1]
    triples = "\n".join(line[: line.rindex(" <")] + " ." for line in lines)
    with pytest.MonkeyPatch.context() as setting:  # whatever rdflib does with others' literals
        setting.setattr(rdflib, "NORMALIZE_LITERALS", anew)
        assert records_of_turtle(triples.encode(), CONTEXT) == by_commitment(page)


KWH = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"


def reading(value: str, device: str = "M1", at: str = "2026-01-15T10:15:00Z") -> list[Viewed]:
    raw = (
        f"<MeterReadings><MeterReading><Meter><Names><name>{device}</name></Names></Meter>"
        f"<Readings><timeStamp>{at}</timeStamp><value>{value}</value>"
        f'<ReadingType ref="{KWH}"/></Readings></MeterReading></MeterReadings>'
    )
    return page_of([(raw.encode(), "cim")])


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["0", "2026", "2.026", "1", "-1", "72", "0.0", _WORDS["value"]]),
    st.sampled_from(["M1", "M2", "%s", "\u00e4 b"]),
)
def test_no_word_is_taken_for_another(value: str, device: str) -> None:
    page = reading(value[:39], device)
    for writer in (WRITER, Writer(CONTEXT)):
        assert writer.page(page) == b"".join(map(writer.written_out, page))
    [one] = page
    assert one.record.count(b'"value":"') == 1


@pytest.mark.parametrize("first", ["1", "0", "2", "1768471200"])
def test_what_a_record_says_besides_does_not_follow_the_value_of_the_first(first: str) -> None:
    raw = b'{"timestamp": "2026-01-15T10:15:00Z", "models": [{"ID": 201, "A": %b, "A_SF": 0}]}'
    writer = Writer(CONTEXT)
    for value in (first, "7", "1"):  # `"v":"1"` stands in all of them
        for page in (page_of([(raw % value.encode(), "sunspec")]), reading(value)):
            assert writer.page(page) == b"".join(map(writer.written_out, page))


def test_a_record_of_no_length_is_no_guess() -> None:
    begin, other = "2026-01-15T10:00:00Z", "2026-01-15T10:07:00Z"
    [one] = reading("5")
    writer = Writer(CONTEXT)
    for raw in (one.record.replace(begin.encode(), b"2026-01-15T10:15:00Z"), one.record,
                one.record.replace(begin.encode(), other.encode())):  # fmt: skip
        viewed = Viewed(one.commitment, 3, raw)
        assert writer.record(viewed) == writer.written_out(viewed)


def test_a_record_with_a_stand_in_in_it_is_written_out() -> None:
    [one] = reading("1")
    for name in ("device", "evidence"):
        record = json.loads(one.record)
        changed = one.record.replace(record[name].encode(), _WORDS[name].encode())
        odd = Viewed(one.commitment, 3, changed)
        assert Writer(CONTEXT).record(odd) == Writer(CONTEXT).written_out(odd)


def test_what_is_no_record_stops() -> None:
    for record in (b"[]", b"{", b"\xff", b'{"id":"a b","kind":"x","type":"Observation"}'):
        with pytest.raises(Stop, match="record-unreadable"):
            Writer(CONTEXT).page([Viewed("ab" * 32, 0, record)])
