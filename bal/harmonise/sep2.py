"""IEEE 2030.5 MirrorUsagePoint, MirrorMeterReading, DER: from what a message says to records.

As everywhere: what is unambiguous is taken, what has no meaning here or lacks a part becomes an
`event` that keeps the texts as sent, what can't be placed on the time axis is refused, and one bad
reading never costs another. docs/spec/ieee-2030-5.md has the rules.
"""

import re
from collections.abc import Iterator

from bal.errors import Rejected
from bal.harmonise import record, sep2_der_table, sep2_plan, sep2_type, sep2_xml
from bal.harmonise.names import CommitParts, MeterNames, Resolve
from bal.harmonise.parts import cut, origins
from bal.harmonise.plans import noting
from bal.harmonise.record import Meant, Origin
from bal.harmonise.report import Report, Spot
from bal.harmonise.sep2_der import Resource
from bal.harmonise.sep2_reading import CLAUSE, Readings
from bal.harmonise.sep2_xml import Node
from bal.model import Draft, Harmonised, Subject

CLAUSE_DEVICE = "IEEE 2030.5-2018 deviceLFDI"
CLAUSE_MRID = "IEEE 2030.5-2018 mRIDType"

LFDI_AUTHORITY, LFDI_TYPE = "ieee2030.5", "lfdi"

_SPACE = " \t\r\n"
_LFDI = re.compile(r"[0-9A-Fa-f]{40}")
_MRID = re.compile(r"(?:[0-9A-Fa-f]{2}){1,16}")

_IDENTIFIED = frozenset({"mRID", "description", "version"})
_CONTAINERS = frozenset(
    {"MirrorUsagePointList", "MirrorUsagePoint", "MirrorMeterReadingList", "MirrorMeterReading",
     "MirrorReadingSet"}
)  # fmt: skip
_KNOWN = {  # element → the elements that the standard has in it
    "MirrorUsagePointList": frozenset({"MirrorUsagePoint"}),
    "MirrorUsagePoint": _IDENTIFIED
    | {"roleFlags", "serviceCategoryKind", "status", "deviceLFDI", "MirrorMeterReading",
       "postRate"},
    "MirrorMeterReadingList": frozenset({"MirrorMeterReading"}),
    "MirrorMeterReading": _IDENTIFIED
    | {"lastUpdateTime", "MirrorReadingSet", "nextUpdateTime", "Reading", "ReadingType"},
    "MirrorReadingSet": _IDENTIFIED | {"timePeriod", "Reading"},
    "Reading": frozenset(
        {"consumptionBlock", "qualityFlags", "timePeriod", "touTier", "value", "localID"}
    ),
    "ReadingType": frozenset(sep2_type.MEMBERS)
    | {"calorificValue", "conversionFactor", "maxNumberOfIntervals", "numberOfConsumptionBlocks",
       "numberOfTouTiers", "supplyLimit", "tieredConsumptionBlocks"},
    "timePeriod": frozenset({"duration", "start"}),
    **sep2_der_table.known(),
}  # fmt: skip


def harmonise(
    raw: bytes,
    *,
    resolve: Resolve,
    platform: Subject,
    sender: Subject,
    commit_parts: CommitParts,
    received_us: int | None = None,
    spots: list[Spot] | None = None,
) -> Harmonised:
    """Records, parts and findings of one message; see `bal.harmonise.harmonise`."""
    found = None if spots is not None else _by_plan(raw, resolve, commit_parts)
    if found is not None:
        return found
    document = sep2_xml.read(raw)
    devices = _devices(document.root)
    if not devices:
        raise Rejected(
            "no-meter-reading",
            "the message is none of the resources of IEEE 2030.5 that are taken here",
            field="MirrorMeterReading",
            line=document.root.line,
            clause=CLAUSE,
        )
    report = Report(raw, spots=spots)
    _tell(document, report)
    subjects = [_subject(one, resolve, report) for one in devices]
    parts, whose = origins(
        raw, devices, subjects, platform=platform, sender=sender, commit_parts=commit_parts
    )
    drafts: list[Draft] = []
    for one, origin in zip(devices, whose, strict=True):
        if origin is None:
            continue
        if one.name in sep2_der_table.MEMBERS:
            former = document.namespace == sep2_xml.NAMESPACE_2013
            drafts += Resource(one, report, origin, received_us, edition_2013=former).take()
        else:
            drafts += Readings(one, report, origin).take()
    return Harmonised(parts, drafts, report.findings, report.refused)


def _by_plan(raw: bytes, resolve: Resolve, commit_parts: CommitParts) -> Harmonised | None:
    """The message by the plan of those like it; None where there is none, or anything to say."""
    read = sep2_plan.read(raw, _plans)
    if read is None:
        return None
    try:
        subject = resolve(read.names)
    except Rejected:
        return None
    parts, [commitment] = cut(raw, [(0, len(raw), subject)], subject, commit_parts)
    origin = Origin(subject, commitment.hex())
    drafts = [record.reading(slot, origin, value, rank) for slot, value, rank in read.readings]
    return Harmonised(parts, drafts)


def _learn(raw: bytes) -> tuple[MeterNames, list[Meant]] | None:
    """What a message of one device means; None where anything else is to be said about it."""
    document = sep2_xml.read(raw)
    report = Report(raw)
    _tell(document, report)
    names: list[MeterNames] = []
    devices = _devices(document.root)
    if len(devices) != 1 or devices[0].name in sep2_der_table.MEMBERS:
        return None
    if _subject(devices[0], noting(names), report) is None:
        return None
    readings = Readings(devices[0], report, Origin(noting([])(names[0]), ""))
    drafts = readings.take()
    if report.findings or report.refused or len(readings.meant) != len(drafts):
        return None
    return names[0], readings.meant


_plans = sep2_plan.plans(_learn)


def _devices(root: Node) -> list[Node]:
    """The elements that speak of one device each."""
    if root.name == "MirrorUsagePointList":
        return root.all("MirrorUsagePoint")
    return [root] if root.name in _CONTAINERS or root.name in sep2_der_table.MEMBERS else []


def _tell(document: sep2_xml.Document, report: Report) -> None:
    """What is doubtful about the message as a whole."""
    root = document.root
    if document.namespace == sep2_xml.NAMESPACE_2013:
        report.doubt(
            "namespace-2013",
            "the namespace is that of IEEE 2030.5-2013; read as the edition of 2018",
            root.line,
            field="xmlns",
            clause=sep2_xml.CLAUSE_NAMESPACE,
        )
    unknown = sep2_xml.unmapped([root], _KNOWN)
    for node in [*unknown.values(), *document.foreign]:
        if node.name in _KNOWN:  # a name of the standard's: no text quotes what was sent
            text = f"an element that the standard has not in {node.name} is kept as evidence only"
            report.doubt("element-not-mapped", text, node.line, field=node.name, clause=CLAUSE)
    malformed: set[str] = set()
    for node in _within(root):
        texts = node.texts("mRID")
        good = all(_MRID.fullmatch(text.strip(_SPACE)) is not None for text in texts)
        if not good and node.name not in malformed:
            malformed.add(node.name)
            report.doubt(
                "mrid-malformed",
                "an mRID is not 1 to 16 pairs of hexadecimal digits",
                node.line,
                field=f"{node.name}/mRID",
                clause=CLAUSE_MRID,
            )


def _within(node: Node) -> Iterator[Node]:
    """The elements that have an mRID."""
    if node.name in _CONTAINERS:
        yield node
        for child in node.children:
            yield from _within(child)


def _subject(node: Node, resolve: Resolve, report: Report) -> Subject | None:
    """Whose the readings are; None, and one refusal for all of them, where nobody's."""
    try:
        return resolve(_names(node))
    except Rejected as error:
        named = "deviceLFDI" if node.all("deviceLFDI") else node.name
        refusal = Rejected(error.code, error.text, field=named, clause=error.clause)
        report.refuse(refusal, node.line, field=named, clause=CLAUSE_DEVICE)
        return None


def _names(node: Node) -> MeterNames:
    """The device's LFDI; none where the message names no device, and so means its sender."""
    sent = node.texts("deviceLFDI") if node.name == "MirrorUsagePoint" else []
    if not sent:
        return MeterNames(None, ())
    if len(sent) > 1:
        raise Rejected("meter-ambiguous", f"{len(sent)} deviceLFDI elements")
    text = sent[0].strip(_SPACE)
    if _LFDI.fullmatch(text) is None:
        raise Rejected("name-invalid", "an LFDI is 40 hexadecimal digits")
    return MeterNames(None, ((LFDI_AUTHORITY, LFDI_TYPE, text.upper()),))
