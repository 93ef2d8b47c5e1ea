"""What Green Button and smart meter gateways send is RDF of the same shapes as all records."""

from collections.abc import Callable

import pytest
from rdflib import URIRef

from bal.model import Harmonised
from tests.unit.harmonise import test_espi as espi
from tests.unit.harmonise import test_rdf as rdf
from tests.unit.harmonise import test_vde2418 as vde
from tests.unit.harmonise.message_kit import xml

# rdflib's own JSON-LD reader uses what rdflib deprecates
pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated")

Take = Callable[..., Harmonised]
FEED = espi.feed(
    espi.point(), espi.meter_reading(), espi.of_type(),
    espi.block(
        espi.reading(xml("ReadingQuality", quality=14), espi.period()),
        xml("IntervalReading", espi.period()),
    ),
    espi.entry(espi.resource("UsageSummary", espi.period(name="billingPeriod")), "x", up="UP/1/US"),
)  # fmt: skip
READOUT = vde.readout(
    vde.point(
        vde.list_of(vde.reading(), vde.reading(ptb=4), vde.reading(ptb=2, statusFNN="x")),
        vde.list_of(vde.reading(), device="TAF-2-ID"),
    )
)


@pytest.mark.parametrize(
    ("raw", "form", "kinds"),
    [
        (FEED, "espi", ["reading", "event", "event"]),
        (READOUT, "vde2418", ["reading", "event", "reading", "reading"]),
    ],
)
def test_every_record_has_its_shape(take: Take, raw: bytes, form: str, kinds: list[str]) -> None:
    found = take(raw, form)
    assert [draft.kind for draft in found.records] == kinds
    for draft in found.records:
        graph = rdf.graph(draft.record)
        has_result = (URIRef(rdf.BASE), rdf.SAREF.hasResult, None) in graph
        assert has_result == (draft.kind != "event")
