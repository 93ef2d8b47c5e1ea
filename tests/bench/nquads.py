"""Certified readings as N-Quads, beside what an RDF library needs for the same lines."""

import json
import time
from hashlib import sha256
from importlib.resources import files

from rdflib import Dataset

from bal.provide.nquads import Writer
from bal.provide.rdf import Viewed
from bal.provide.rdf_context import read_context
from tests.unit.harmonise.conftest import take_message

METERS = 1_000  # readings of a page
TURNS = 5
KWH = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"


def page() -> list[Viewed]:
    """A quarter of an hour of as many meters."""
    readings = "".join(
        f"<MeterReading><Meter><Names><name>M{meter}</name></Names></Meter><Readings><timeStamp>"
        f"2026-01-15T10:15:00Z</timeStamp><value>0.{meter}</value>"
        f'<ReadingType ref="{KWH}"/></Readings></MeterReading>'
        for meter in range(METERS)
    )
    raw = f"<MeterReadings>{readings}</MeterReadings>".encode()
    records = [draft.record for draft in take_message(raw, "cim").records]
    assert len(records) == METERS
    return [Viewed(sha256(one).hexdigest(), number, one) for number, one in enumerate(records)]


def main() -> tuple[float, float]:
    """Readings a second: by the platform's writer, and by rdflib's from its own graph."""
    context = json.loads(files("ontology").joinpath("context-v1.jsonld").read_text())["@context"]
    readings, writer = page(), Writer(read_context(json.dumps(context).encode()))
    best_s, data = 1e9, b""
    for _ in range(TURNS):
        began_s = time.perf_counter()
        data = writer.page(readings)
        best_s = min(best_s, time.perf_counter() - began_s)
    graph = Dataset().parse(data=data, format="nquads")
    began_s = time.perf_counter()
    graph.serialize(format="nquads")
    return METERS / best_s, METERS / (time.perf_counter() - began_s)


if __name__ == "__main__":
    print(main())  # beside the table, for whoever works on the writer
