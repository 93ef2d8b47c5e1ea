"""Green Button: from a feed of linked resources to records (NAESB REQ.21 ESPI UsagePoint).

As everywhere: what is unambiguous is taken, what has no meaning here or lacks a part becomes an
`event` that keeps the texts as sent, what can't be placed on the time axis or given to a device is
refused, and one bad reading never costs another. docs/spec/green-button.md has the rules.
"""

from bal.errors import Rejected
from bal.harmonise import espi_time, espi_type, espi_xml
from bal.harmonise.espi_feed import SUMMARIES, Entry, Links, entries
from bal.harmonise.espi_reading import CLAUSE, CLAUSE_SUMMARY, Blocks, Context, summary
from bal.harmonise.espi_time import LocalTime
from bal.harmonise.names import CommitParts, MeterNames, Resolve, check_names
from bal.harmonise.parts import origins
from bal.harmonise.record import Origin
from bal.harmonise.report import Report, Spot
from bal.harmonise.xml_tree import Document, Node, unmapped
from bal.model import Draft, Harmonised, Subject

CLAUSE_LINK = "RFC 4287 §4.2.7"
CLAUSE_ID = "RFC 4287 §4.2.6"

AUTHORITY, TYPE = "espi", "usage-point"

_SPACE = " \t\r\n"
_DATA = SUMMARIES | {"IntervalBlock"}  # what is made records of
_OF_A_POINT = _DATA | {"UsagePoint", "MeterReading"}
_OF_NOBODY = frozenset({"ReadingType", "LocalTimeParameters"})  # shared by several

_PERIOD = frozenset({"duration", "start"})
_KNOWN = {  # element → the elements that the standard has in it
    "IntervalBlock": frozenset({"interval", "IntervalReading"}),
    "IntervalReading": frozenset(
        {"cost", "ReadingQuality", "timePeriod", "value", "consumptionTier", "tou", "cpp"}
    ),
    "ReadingQuality": frozenset({"quality"}),
    "interval": _PERIOD,
    "timePeriod": _PERIOD,
    "ReadingType": frozenset(espi_type.MEMBERS) | {*espi_type.RATIOS, "currency", "defaultQuality"},
    **dict.fromkeys(espi_type.RATIOS, espi_type.TERMS),
}


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
    document = espi_xml.read(raw)
    found = entries(document.root)
    if not any(one.kind in _OF_A_POINT for one in found):
        raise Rejected(
            "no-meter-reading",
            "the message has none of the resources of ESPI that are taken here",
            field="IntervalBlock",
            line=document.root.line,
            clause=CLAUSE,
        )
    report = Report(raw, spots=spots)
    _tell(document, found, report)
    feed = _Feed(found, report, resolve)
    # ReadingTypes and LocalTimeParameters are nobody's: the platform's, where several are named
    pieces = [one for one in found if one.kind not in _OF_NOBODY]
    subjects = [feed.subject(one) for one in pieces]
    parts, whose = origins(
        raw, pieces, subjects, platform=platform, sender=sender, commit_parts=commit_parts
    )
    drafts: list[Draft] = []
    for one, origin in zip(pieces, whose, strict=True):
        if origin is not None and one.kind in _DATA:
            drafts += feed.take(one, origin)
    feed.tell_idle()
    return Harmonised(parts, drafts, report.findings, report.refused)


def _tell(document: Document, found: list[Entry], report: Report) -> None:
    """What is doubtful about the message as a whole."""
    unknown = unmapped([node for one in found for node in one.resources], _KNOWN)
    for node in [*unknown.values(), *document.foreign]:
        if node.name in _KNOWN:  # a name of the standard's: no text quotes what was sent
            text = f"an element that the standard has not in {node.name} is kept as evidence only"
            report.doubt("element-not-mapped", text, node.line, field=node.name, clause=CLAUSE)
    for one in found:
        if one.resources and not one.kind:
            text = "an entry of resources of several kinds is kept as evidence only"
            report.doubt("element-not-mapped", text, one.node.line, field="entry", clause=CLAUSE)


class _Feed:
    """The entries of one message with whose they are."""

    def __init__(self, found: list[Entry], report: Report, resolve: Resolve) -> None:
        self._report = report
        self._resolve = resolve
        self._links = Links(found)
        self._points: dict[int, Entry] = {}  # by entry: the UsagePoint, or itself without Atom
        self._above: dict[int, list[Entry]] = {}  # by MeterReading or summary: UsagePoints
        self._subjects: dict[int, Subject | None] = {}  # by UsagePoint
        self._local: dict[int, LocalTime | None] = {}  # by UsagePoint
        self._contexts: dict[int, Context] = {}  # by MeterReading
        self._busy: set[int] = set()  # UsagePoints that have data, good or bad
        for one in found:
            if one.kind in _OF_A_POINT:
                self._place(one)
        self._idle = [one for one in found if one.kind == "UsagePoint"]

    def _place(self, one: Entry) -> None:
        """Find the UsagePoint; an entry of data whose links don't lead to one is refused."""
        reading = [one]
        if one.kind == "IntervalBlock" and one.linked:
            reading = self._links.meter_readings(one)
            if len(reading) != 1:
                self._lost(one, "MeterReading", len(reading))
                return
        points = reading
        if one.linked and one.kind != "UsagePoint":
            points = self._usage_points(reading[0])
        if len(points) != 1:
            self._lost(one, "UsagePoint", len(points))
            return
        self._points[id(one)] = points[0]
        if one.kind in _DATA:
            self._busy.add(id(points[0]))

    def _usage_points(self, of: Entry) -> list[Entry]:
        """Asked once: a MeterReading may have many blocks, and many links."""
        if id(of) not in self._above:
            self._above[id(of)] = self._links.usage_points(of)
        return self._above[id(of)]

    def _lost(self, one: Entry, parent: str, count: int) -> None:
        """A link that leads nowhere, or to several."""
        code = "link-ambiguous" if count else "link-broken"
        where = "to several of them" if count else f"to no {parent} in this message"
        text = f"the links of this {one.kind}, looked for its {parent}, lead {where}"
        if one.kind in _DATA:
            error = Rejected(code, text, field="link")
            self._report.refuse(error, one.node.line, field="link", clause=CLAUSE_LINK)
        else:
            self._report.doubt(code, text, one.node.line, field="link", clause=CLAUSE_LINK)

    def subject(self, one: Entry) -> Subject | None:
        """Whose an entry is; None where nobody's. Of a UsagePoint it is asked and told once."""
        point = self._points.get(id(one))
        if point is None:
            return None
        if id(point) not in self._subjects:
            self._subjects[id(point)] = self._ask(point)
        return self._subjects[id(point)]

    def _ask(self, point: Entry) -> Subject | None:
        try:
            return self._resolve(_names(point))
        except Rejected as error:
            refusal = Rejected(error.code, error.text, field="UsagePoint", clause=error.clause)
            self._report.refuse(refusal, point.node.line, field="UsagePoint", clause=CLAUSE_ID)
            return None

    def take(self, one: Entry, origin: Origin) -> list[Draft]:
        """The records of one entry."""
        if one.kind in SUMMARIES:
            found = [summary(node, self._report, origin) for node in one.resources]
            return [draft for draft in found if draft is not None]
        blocks = Blocks(self._context(one), self._report, origin)
        return [draft for node in one.resources for draft in blocks.take(node)]

    def _context(self, one: Entry) -> Context:
        if not one.linked:
            return Context([], electric=True, local=None)
        [reading] = self._links.meter_readings(one)
        found = self._contexts.get(id(reading))
        if found is None:
            entries_of = self._links.reading_types(reading)
            types = [node for entry in entries_of for node in entry.resources[:2]]
            point = self._points[id(one)]
            electric = all(_electric(node) for node in point.resources)
            found = Context(types[:2], electric=electric, local=self._local_time(point))
            self._contexts[id(reading)] = found
        return found

    def _local_time(self, point: Entry) -> LocalTime | None:
        if id(point) not in self._local:
            several = self._links.local_times(point)
            nodes = [node for entry in several for node in entry.resources]
            found = espi_time.local_time(nodes[0]) if len(nodes) == 1 else None
            if nodes and found is None:
                text = (
                    "the LocalTimeParameters are not understood; no day's length is judged by them"
                )
                self._report.doubt(
                    "local-time-malformed",
                    text,
                    nodes[0].line,
                    field="LocalTimeParameters",
                    clause=espi_time.CLAUSE_RULE,
                )
            self._local[id(point)] = found
        return self._local[id(point)]

    def tell_idle(self) -> None:
        """A UsagePoint without data: its sender should know that nothing came of it."""
        for point in self._idle:
            if id(point) not in self._busy and self._subjects.get(id(point)) is not None:
                error = Rejected("no-reading", "no IntervalBlock and no summary belongs to it")
                line = point.node.line
                self._report.refuse(error, line, field="UsagePoint", clause=CLAUSE_SUMMARY)


def _electric(point: Node) -> bool:
    """Of electricity, or of a service that is not said (ServiceKind)."""
    kinds = [text for category in point.all("ServiceCategory") for text in category.texts("kind")]
    return all(kind.strip(_SPACE) == "0" for kind in kinds)


def _names(point: Entry) -> MeterNames:
    """The UsagePoint's Atom id; none where the resource came alone, and so means its sender."""
    if not point.linked:
        return MeterNames(None, ())
    if not point.ids:
        raise Rejected("meter-unnamed", "the entry of the UsagePoint has no id")
    if len(point.ids) > 1:
        raise Rejected("meter-ambiguous", f"the entry of the UsagePoint has {len(point.ids)} ids")
    return check_names(None, ((AUTHORITY, TYPE, point.ids[0]),))
