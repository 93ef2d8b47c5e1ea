"""Records are RDF in the shape of SAREF, SAREF4GRID and SARGON (docs/spec/record.md)."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pyshacl
import pytest
import rdflib
from rdflib import RDF, XSD, BNode, Graph, Literal, Namespace, URIRef

from bal.harmonise import quantity, record
from bal.harmonise.instant import parse
from bal.harmonise.phasors import FURTHER, MEASURANDS, window_record
from bal.harmonise.quality import quality
from bal.harmonise.reading_type import _QUANTITIES
from bal.model import Digest, Harmonised, Rank, Subject

# rdflib's own JSON-LD reader uses what rdflib deprecates
pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated")

Take = Callable[..., Harmonised]
ONTOLOGY = Path(__file__).resolve().parents[3] / "ontology"
BASE = "https://gridseal.invalid/id/" + "ab" * 32
SAREF = Namespace("https://saref.etsi.org/core/")
S4GRID = Namespace("https://saref.etsi.org/saref4grid/")
SARGON = Namespace("https://sargon-n5geh.netlify.app/ontology/1.0/classes/")
TIME = Namespace("http://www.w3.org/2006/time#")
OWN = Namespace("https://gridseal.invalid/ontology/v1#")
UNIT = Namespace("http://qudt.org/vocab/unit/")
DEFINED_IN = {
    str(SAREF): "saref-core-v4.1.1.rdf",
    str(S4GRID): "saref4grid-v2.1.1.rdf",
    "https://sargon-n5geh.netlify.app/ontology/1.0/": "sargon-1.0.ttl",
    str(UNIT): "qudt-units-all.ttl",
    str(TIME): "harvest-time.ttl",
}
KWH = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"
CIM = f"""<MeterReadings><MeterReading><Meter><Names><name>M1</name></Names></Meter>
<Readings><timeStamp>2026-01-15T10:15:00Z</timeStamp><value>0.2105</value><ReadingType ref="{KWH}"/>
</Readings><Readings><timeStamp>2026-01-15T10:15:00Z</timeStamp><value>7</value>
<ReadingType ref="0.0.0.1.1.1.12.0.0.0.0.0.0.0.0.3.72.0"/></Readings>
<Readings><timeStamp>2026-01-15T10:30:00Z</timeStamp><value>7</value><ReadingType ref="own: a/b#c"/>
</Readings><Readings><timeStamp>2026-01-15T10:45:00Z</timeStamp><ReadingType ref="{KWH}"/>
<ReadingQualities><ReadingQualityType ref="2.5.259"/></ReadingQualities></Readings>
<Readings><timeStamp>2026-01-15T10:45:00Z</timeStamp><timeStamp>2026-01-15T11:45:00Z</timeStamp>
</Readings><EndDeviceEvents><createdDateTime>2026-01-15T10:07:30Z</createdDateTime>
<EndDeviceEventType ref="3.26.0.85"/></EndDeviceEvents></MeterReading></MeterReadings>""".encode()

SEP2 = b"""<MirrorMeterReading xmlns="urn:ieee:std:2030.5:ns"><MirrorReadingSet>
<timePeriod><duration>900</duration><start>1768471200</start></timePeriod>
<Reading><value>210</value></Reading></MirrorReadingSet><Reading><value>7</value><timePeriod>
<duration>0</duration><start>1768471200</start></timePeriod><touTier>x</touTier></Reading>
<Reading><value>7</value><timePeriod><duration>0</duration><start>1768471200</start></timePeriod>
</Reading><Reading><timePeriod><duration>9</duration><start>1768471200</start></timePeriod>
</Reading><ReadingType><accumulationBehaviour>4</accumulationBehaviour><uom>72</uom></ReadingType>
</MirrorMeterReading>"""
STATUS = b"""<DERStatus xmlns="urn:ieee:std:2030.5:ns">
<inverterStatus><dateTime>1768471200</dateTime>
<value>4</value></inverterStatus><stateOfChargeStatus><dateTime>1768471200</dateTime>
<value>7050</value></stateOfChargeStatus></DERStatus>"""


@cache
def context() -> Any:
    return json.loads((ONTOLOGY / "context-v1.jsonld").read_text())


@cache
def shapes(path: Path) -> Graph:
    return Graph().parse(path)


@pytest.fixture(autouse=True)
def _lexical_forms_as_certified(monkeypatch: pytest.MonkeyPatch) -> None:
    """rdflib would write other decimals than those that were certified."""
    monkeypatch.setattr(rdflib, "NORMALIZE_LITERALS", False)


def graph(data: bytes, base: str = BASE) -> Graph:
    found = Graph().parse(data=data, format="json-ld", context=context(), publicID=base)
    assert not any(isinstance(term, BNode) for triple in found for term in triple)
    conforms, _, text = pyshacl.validate(found, shacl_graph=shapes(ONTOLOGY / "shapes.ttl"))
    assert conforms, text
    return found


def test_a_reading_over_an_interval(take: Take) -> None:
    """SAREF saref:Observation, saref:UnitOfMeasure, saref:PropertyValue; in a unit of QUDT."""
    draft = take(CIM).records[0]
    device = URIRef(f"https://gridseal.invalid/id/{draft.subject.pseudonym}")
    here, prop = URIRef(BASE), URIRef(f"{device}#{draft.register}")

    def node(name: str) -> URIRef:
        return URIRef(f"{BASE}#{name}")

    skos = Namespace("http://www.w3.org/2004/02/skos/core#")
    assert set(graph(draft.record)) == {
        (here, RDF.type, SAREF.Observation),
        (here, SAREF.madeBy, device),
        (device, RDF.type, S4GRID.GridMeter),
        (device, RDF.type, SARGON.Power_meter),
        (here, SAREF.observes, prop),
        (prop, RDF.type, SAREF.Property),
        (prop, RDF.type, S4GRID.EnergyAndPowerProperty),  # SAREF4GRID s4grid:EnergyAndPowerProperty
        (prop, skos.broader, S4GRID.ActiveEnergy),
        (prop, skos.notation, Literal(KWH)),
        (here, SAREF.hasResult, node("value")),
        (node("value"), RDF.type, SAREF.PropertyValue),
        (node("value"), SAREF.hasValue, Literal("210.5", datatype=XSD.decimal)),
        (node("value"), SAREF.isMeasuredIn, UNIT["W-HR"]),
        (UNIT["W-HR"], RDF.type, SAREF.UnitOfMeasure),
        (here, SAREF.hasPhenomenonTime, node("interval")),
        (node("interval"), RDF.type, TIME.ProperInterval),
        (node("interval"), TIME.hasBeginning, node("begin")),
        (node("begin"), RDF.type, TIME.Instant),  # OWL-Time time:Instant, time:inXSDDateTimeStamp
        (node("begin"), TIME.inXSDDateTimeStamp, stamp("2026-01-15T10:00:00Z")),
        (node("interval"), TIME.hasEnd, node("end")),
        (node("end"), RDF.type, TIME.Instant),
        (node("end"), TIME.inXSDDateTimeStamp, stamp("2026-01-15T10:15:00Z")),
        (here, OWN.kind, Literal("reading")),
        (here, OWN.quality, Literal("0.0.0")),
        (here, OWN.evidence, Literal(json.loads(draft.record)["evidence"])),
    }


def stamp(text: str) -> Literal:
    return Literal(text, datatype=XSD.dateTimeStamp)


def test_every_kind_has_its_shape(take: Take) -> None:
    drafts = take(CIM).records
    kinds = ["reading", "reading", "event", "reading", "event", "event"]
    assert [draft.kind for draft in drafts] == kinds
    found = [graph(draft.record) for draft in drafts]
    here = URIRef(BASE)
    moment = Literal("2026-01-15T10:15:00Z", datatype=XSD.dateTime)
    assert (here, SAREF.hasTimestamp, moment) in found[1]
    assert (here, RDF.type, SAREF.ProcedureExecution) in found[2]
    device = drafts[2].subject.pseudonym
    # RFC 3986 §3.5: what a fragment may not hold is escaped
    quoted = URIRef(f"https://gridseal.invalid/id/{device}#own%3A%20a%2Fb%23c")
    assert (here, SAREF.observes, quoted) in found[2]
    for one in found[2:]:
        assert (None, SAREF.hasResult, None) not in one
        assert (here, RDF.type, SAREF.ProcedureExecution) in one


def test_ieee_2030_5_has_the_same_shapes(take: Take) -> None:
    drafts = [*take(SEP2, "sep2").records, *take(STATUS, "sep2").records]
    kinds = ["reading", "event", "telemetry", "event", "event", "telemetry"]
    assert [draft.kind for draft in drafts] == kinds
    for draft in drafts:
        found = graph(draft.record)
        has_result = (URIRef(BASE), SAREF.hasResult, None) in found
        assert has_result == (draft.kind != "event")


@pytest.mark.parametrize(
    "damage",
    [
        (b'"hasValue":"210.5"', b'"hasValue":"210.50"'),
        (b'"hasValue":"210.5",', b""),
        (b"qunit:W-HR", b"s4grid:W-HR"),
        (b'"type":"UnitOfMeasure"', b'"type":"Property"'),
        (b'"type":"ProperInterval"', b'"type":"Instant"'),
        (b'"type":"Observation"', b'"type":"Observation","hasTimestamp":"2026-01-15T10:15:00Z"'),
        (b'"id":"#end",', b""),
        (b'"id":"","kind"', b'"id":"_:x","kind"'),
        (b"10:15:00Z", b"10:15:00+00:00"),
    ],
)
def test_the_shapes_tell_a_record_that_is_none(take: Take, damage: tuple[bytes, bytes]) -> None:
    good = take(CIM).records[0].record
    assert damage[0] in good
    with pytest.raises(AssertionError):
        graph(good.replace(*damage))


def window(subject: Callable[[str], Subject]) -> bytes:
    """A second of phasor frames of every measurand."""
    channels = [(f"Süd {measurand}", measurand, "A") for measurand in MEASURANDS | FURTHER]
    begin_us = parse("2026-01-15T10:00:00Z").us
    root, evidence = Digest(bytes(32)), Digest(bytes(range(32)))
    device = subject("device").pseudonym
    return window_record(
        device, begin_us, channels, frames=49, rate=50, root=root, evidence=evidence
    )


def test_a_window_of_phasors(subject: Callable[[str], Subject]) -> None:
    """Typed in SAREF and in SARGON, with its channels: the form of examples/pmu_frame.ttl."""
    found = graph(window(subject))
    here, device = (
        URIRef(BASE),
        URIRef(f"https://gridseal.invalid/id/{subject('device').pseudonym}"),
    )
    # SAREF saref:ProcedureExecution; its channels SARGON sgnc:Channel and SAREF saref:Property
    assert {(here, RDF.type, SAREF.ProcedureExecution), (here, SAREF.madeBy, device)} <= set(found)
    assert {(device, RDF.type, SAREF.Meter), (device, RDF.type, SARGON.PMU)} <= set(found)
    objects = Namespace("https://sargon-n5geh.netlify.app/ontology/1.0/object_properties/")
    channels = set(found.objects(device, objects.has_channel))
    assert channels == set(found.objects(here, SAREF.observes))
    assert len(channels) == len(MEASURANDS | FURTHER)
    # SARGON sgnc:Maqnitute, sgnc:Angle, sgnc:Frequency, sgnc:Rocf
    typed = {kind for channel in channels for kind in found.objects(channel, RDF.type)}
    assert {SARGON[name] for name in ("Maqnitute", "Angle", "Frequency", "Rocf")} <= typed
    for channel in channels:
        assert (channel, RDF.type, SARGON.Channel) in found
        assert (channel, RDF.type, SAREF.Property) in found
    counted = [(OWN.frames, "49"), (OWN.missing, "1")]
    for name, count in counted:
        assert (here, name, Literal(count, datatype=XSD.nonNegativeInteger)) in found


@pytest.mark.parametrize(
    "damage",
    [
        (b'"PMU"', b'"Power_meter"'),
        (b'"root":"00', b'"root":"0x'),
        (b'"frames":"49",', b""),
        (b'"Channel",', b""),
        (b'"sample_rate":"50",', b""),
        (
            b'"type":"ProcedureExecution"',
            b'"hasTimestamp":"2026-01-15T10:00:00Z","type":"ProcedureExecution"',
        ),
    ],
)
def test_the_shapes_tell_a_window_that_is_none(
    subject: Callable[[str], Subject], damage: tuple[bytes, bytes]
) -> None:
    good = window(subject)
    assert damage[0] in good
    with pytest.raises(AssertionError):
        graph(good.replace(*damage))


def all_records(subject: Callable[[str], Subject]) -> list[bytes]:
    """One record of each quantity, kind and time form that there is."""
    origin = record.Origin(subject("device"), "cd" * 32)
    begin, end = parse("2026-01-15T10:00:00Z"), parse("2026-01-15T10:15:00Z")
    quantities = [one for one in vars(quantity).values() if isinstance(one, quantity.Quantity)]
    assert set(_QUANTITIES.values()) <= set(quantities)
    drafts = [
        record.reading(
            record.slot(record.shape(kind, "r", "n", what, quality(()).json), start, end),
            origin,
            "-0.25",
            Rank.MEASURED,
        )
        for what in quantities
        for kind in ("reading", "telemetry")
        for start in (begin, end)
    ]
    return [*(draft.record for draft in drafts), window(subject)]


def test_every_term_is_defined_and_the_published_shapes_hold(
    take: Take, subject: Callable[[str], Subject], shared_data: Path
) -> None:
    ontologies = shared_data / "ontologies"
    published = shapes(ontologies / "examples" / "shapes.ttl")
    everything = Graph()
    sent = [take(CIM), take(SEP2, "sep2"), take(STATUS, "sep2")]
    drafts = [draft for found in sent for draft in found.records]
    records = [*all_records(subject), *(draft.record for draft in drafts)]
    for number, data in enumerate(records):
        everything += graph(data, f"https://gridseal.invalid/id/{number:064x}")
    conforms, _, text = pyshacl.validate(everything, shacl_graph=published)
    assert conforms, text
    everything += Graph().parse(ONTOLOGY / "alignment.ttl")
    used = {str(term) for triple in everything for term in triple if isinstance(term, URIRef)}
    for namespace, file in DEFINED_IN.items():
        defined = {str(term) for term in Graph().parse(ontologies / file).subjects()}
        terms = {term for term in used if term.startswith(namespace)}
        assert terms
        assert terms <= defined, terms - defined


def test_the_context_names_no_member_that_a_node_repeats() -> None:
    """It would say everything twice, the second time wrongly."""
    repeated = {"begin", "end", "time", "value", "unit", "device", "register"}
    assert repeated.isdisjoint(context()["@context"])
    assert "@vocab" not in context()["@context"]
