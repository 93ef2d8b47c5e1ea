"""Readouts of smart meter gateways (VDE AR 2418-6 UsagePoint, MeterReading): values to records.

A dialect of ESPI.

As everywhere: what is unambiguous is taken, what has no meaning here or lacks a part becomes an
`event` that keeps the texts as sent, what can't be placed on the time axis is refused, and one bad
reading never costs another. docs/spec/vde-ar-2418-6.md has the rules.
"""

from typing import NamedTuple

from bal.errors import Rejected
from bal.harmonise import espi_type, espi_xml, xml_tree
from bal.harmonise.names import CommitParts, MeterNames, Resolve, check_names
from bal.harmonise.parts import origins
from bal.harmonise.report import Report, Spot
from bal.harmonise.vde2418_reading import CLAUSE, Lists
from bal.harmonise.xml_tree import Document, Node
from bal.model import Draft, Harmonised, Subject

NAMESPACE = "http://vde.de/AR_2418-6.xsd"
CLAUSE_NAMESPACE = "VDE AR 2418-6 XML schema, targetNamespace"
CLAUSE_METER = "VDE AR 2418-6 Meter, UsagePoint"

AUTHORITY, METER, USAGE_POINT = "vde2418", "meter", "usage-point"

_SPACE = " \t\r\n"
_READ = frozenset({NAMESPACE, espi_xml.NAMESPACE})
_PERIOD = frozenset({"duration", "start"})
_KNOWN = {  # element → the elements that the schema has in it
    "UsagePoints": frozenset({"UsagePoint"}),
    "UsagePoint": frozenset(
        {"AnalysisProfile", "Certificate", "Customer", "InvoicingParty", "LogEntry",
         "MathOperation", "MeterReading", "roleFlags", "ServiceCategory", "SMGW", "status",
         "tariffName", "usagePointId"}
    ),
    "MeterReading": frozenset(
        {"CO2Indicator", "IntervalBlock", "Meter", "meterReadingId", "ReadingType"}
    ),
    "Meter": frozenset({"meterId", "publicKey"}),
    "ReadingType": frozenset(espi_type.MEMBERS)
    | {*espi_type.RATIOS, "converterFactor", "currency", "defaultQuality", "description",
       "measurementPeriod", "obisCode", "qualifiedLogicalName", "scaler"},
    "IntervalBlock": frozenset({"interval", "IntervalReading"}),
    "IntervalReading": frozenset(
        {"certId", "consumptionTier", "cost", "cpp", "meterSig", "ReadingQuality", "signature",
         "statusFNN", "statusPTB", "targetTime", "timePeriod", "tou", "value"}
    ),
    "interval": _PERIOD,
    "timePeriod": _PERIOD,
}  # fmt: skip


class _Piece(NamedTuple):
    """A MeterReading; the first and last of a UsagePoint reach to its ends, whose bytes name the
    customer."""

    node: Node
    point_ids: list[str]  # texts of the UsagePoint's usagePointId
    start: int
    end: int


def harmonise(
    raw: bytes,
    *,
    resolve: Resolve,
    platform: Subject,
    sender: Subject,
    commit_parts: CommitParts,
    spots: list[Spot] | None = None,
) -> Harmonised:
    """Records, parts and findings of one message; see `bal.harmonise.harmonise`."""
    document = xml_tree.read(raw, _judge)
    pieces = [piece for point in _points(document.root) for piece in _pieces(point)]
    if not pieces:
        raise Rejected(
            "no-meter-reading",
            "the message has no MeterReading in a UsagePoint",
            field="MeterReading",
            line=document.root.line,
            clause=CLAUSE,
        )
    report = Report(raw, spots=spots)
    _tell(document, report)
    subjects = [_subject(piece, resolve, report) for piece in pieces]
    parts, whose = origins(
        raw, pieces, subjects, platform=platform, sender=sender, commit_parts=commit_parts
    )
    drafts: list[Draft] = []
    for piece, origin in zip(pieces, whose, strict=True):
        if origin is not None:
            meter_id = "".join(_meter_ids(piece.node)).strip(_SPACE)
            drafts += Lists(piece.node, meter_id, report, origin).take()
    return Harmonised(parts, drafts, report.findings, report.refused)


def _judge(namespace: str, root: str | None, line: int) -> bool:
    if root is None and namespace != NAMESPACE:
        raise Rejected(
            "namespace-unknown",
            f"the root is not in {NAMESPACE}",
            field="xmlns",
            line=line,
            clause=CLAUSE_NAMESPACE,
        )
    return namespace in _READ


def _points(root: Node) -> list[Node]:
    if root.name == "UsagePoints":
        return root.all("UsagePoint")
    return [root] if root.name == "UsagePoint" else []


def _pieces(point: Node) -> list[_Piece]:
    several, ids = point.all("MeterReading"), point.texts("usagePointId")
    starts = [point.start, *(node.start for node in several[1:])]
    ends = [*(node.start for node in several[1:]), point.end]
    bounds = zip(several, starts, ends, strict=True) if several else ()
    return [_Piece(node, ids, start, end) for node, start, end in bounds]


def _tell(document: Document, report: Report) -> None:
    """What is doubtful about the message as a whole."""
    unknown = xml_tree.unmapped([document.root], _KNOWN)
    for node in [*unknown.values(), *document.foreign]:
        if node.name in _KNOWN:  # a name of the schema's: no text quotes what was sent
            text = f"an element that the schema has not in {node.name} is kept as evidence only"
            report.doubt("element-not-mapped", text, node.line, field=node.name, clause=CLAUSE)


def _meter_ids(node: Node) -> list[str]:
    return [text for meter in node.all("Meter") for text in meter.texts("meterId")]


def _subject(piece: _Piece, resolve: Resolve, report: Report) -> Subject | None:
    """Whose the readings are; None, and one refusal for all of them, where nobody's."""
    try:
        return resolve(_names(piece))
    except Rejected as error:
        refusal = Rejected(error.code, error.text, field="Meter", clause=error.clause)
        report.refuse(refusal, piece.node.line, field="Meter", clause=CLAUSE_METER)
        return None


def _names(piece: _Piece) -> MeterNames:
    """The meter's id; the usage point's where no Meter is named; none where there is neither."""
    meters, points = _meter_ids(piece.node), piece.point_ids
    if len(meters) > 1 or (not meters and len(points) > 1):
        raise Rejected("meter-ambiguous", f"{len(meters or points)} names of one device")
    if meters:  # DIN 43863-5 has capital letters; the digits of its other form are hexadecimal
        return check_names(None, ((AUTHORITY, METER, meters[0].strip(_SPACE).upper()),))
    if points:
        return check_names(None, ((AUTHORITY, USAGE_POINT, points[0].strip(_SPACE)),))
    return MeterNames(None, ())
