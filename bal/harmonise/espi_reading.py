"""The readings of IntervalBlocks, and the summaries, of ESPI as records."""

from collections.abc import Iterator
from typing import NamedTuple

from bal.errors import Rejected
from bal.harmonise import espi_type, record, sep2_period
from bal.harmonise.espi_feed import SUMMARIES
from bal.harmonise.espi_time import CLAUSE_PERIOD, DAY_S, BlockPlaces, LocalTime, interval
from bal.harmonise.espi_type import EspiType
from bal.harmonise.quality import Quality, quality
from bal.harmonise.quantity import decimal_text
from bal.harmonise.reading_type_why import unmapped
from bal.harmonise.record import Origin
from bal.harmonise.report import Report
from bal.harmonise.sep2_period import Period
from bal.harmonise.xml_tree import Node
from bal.model import Draft, Finding

CLAUSE = "NAESB REQ.21 ESPI IntervalBlock"
CLAUSE_READING = "NAESB REQ.21 ESPI IntervalReading"
CLAUSE_READING_TYPE = "NAESB REQ.21 ESPI ReadingType"
CLAUSE_SUMMARY = "NAESB REQ.21 ESPI UsageSummary, ElectricPowerQualitySummary"
CLAUSE_QUALITY = "NAESB REQ.21 ESPI QualityOfReading"

LINE_ITEMS_MAX = 32  # of a bill, in one event

_ONCE = ("value", "timePeriod", "cost", "tou", "cpp", "consumptionTier")
_KEPT = ("value", "cost", "tou", "cpp", "consumptionTier")  # in `verbatim`
_LINE_ITEMS = "costAdditionalDetailLastPeriod"
_PERIODS = ("billingPeriod", "summaryInterval")  # of a summary

_NO_CODE = "the service is not electricity"

_Doubts = list[tuple[str, str]]  # code and text of what is doubtful about one reading

_PLACES = {  # code → field, clause, where it is not the reading as a whole
    "reading-type-unmapped": ("ReadingType", CLAUSE_READING_TYPE),
    "reading-type-missing": ("ReadingType", CLAUSE_READING_TYPE),
    "value-missing": ("value", CLAUSE_READING),
    "quality-malformed": ("ReadingQuality", CLAUSE_QUALITY),
    "interval-length-differs": ("timePeriod", CLAUSE_PERIOD),
    "interval-ambiguous": ("timePeriod", CLAUSE_PERIOD),
    "interval-empty": ("timePeriod", CLAUSE_PERIOD),
}


class Context:
    """What the links of a feed say about the IntervalBlocks of one MeterReading."""

    def __init__(self, types: list[Node], *, electric: bool, local: LocalTime | None) -> None:
        """types: the ReadingTypes that it leads to: one, if all is well.

        electric: the UsagePoint is of electricity.
        """
        self.types = types
        self.electric = electric
        self.local = local
        self.type = types[0] if len(types) == 1 else None
        self.sent = None if self.type is None else espi_type.sent_type(self.type)
        self.quality = [] if self.type is None else self.type.texts("defaultQuality")
        self.kept = list(_flat(types))  # in `verbatim`


class _Read(NamedTuple):
    """One reading, as far as it can be read."""

    node: Node
    sent: EspiType | None
    period: Period
    codes: Quality
    unlisted: bool  # a quality that ESPI has not


class Blocks:
    """The records of the IntervalBlocks of one entry."""

    def __init__(self, of: Context, report: Report, origin: Origin) -> None:
        self._of = of
        self._report = report
        self._origin = origin

    def take(self, block: Node) -> list[Draft]:
        """Its readings, in order; what is wrong with the others goes to the report."""
        drafts: list[Draft] = []
        sent = self._of.sent
        places = BlockPlaces(block, 0 if sent is None else sent.shared.length_s)
        several = block.all("IntervalReading")
        for reading in several:
            try:
                drafts.append(self._draft(reading, places))
                self._report.took(reading.line)
            except Rejected as error:
                self._report.refuse(
                    error, reading.line, field="IntervalReading", clause=CLAUSE_READING
                )
        if not several:
            nothing = Rejected("no-reading", "no IntervalReading in it")
            self._report.refuse(nothing, block.line, field="IntervalBlock", clause=CLAUSE)
        return drafts

    def _draft(self, reading: Node, places: BlockPlaces) -> Draft:
        one = self._read(reading, places)
        lacks = self._lacks(one)
        if lacks:
            return self._event("incomplete", one, lacks)
        mapped = None
        if one.sent is not None and (one.sent.shared.commodity or self._of.electric):
            mapped = espi_type.mapped(one.sent, one.period.seconds())
        if one.sent is None or mapped is None:
            sent = one.sent
            code = None if sent is None else espi_type.notation(sent, one.period.seconds())
            doubts = [("reading-type-unmapped", unmapped(code, _NO_CODE))]
            return self._event("unmapped", one, doubts)
        value = espi_type.int48(reading.texts("value")[0], CLAUSE_READING)
        period = self._as_meant(one.period, one.sent)
        shape = record.shape(
            "reading", mapped.register, mapped.notation, mapped.quantity, one.codes.json
        )
        slot = record.slot(shape, period.begin, period.end)
        told = record.findings_text(self._told(reading, _doubts(one, period)))
        text = decimal_text(value, mapped.multiplier)
        return record.reading(slot, self._origin, text, one.codes.rank, told)

    def _read(self, reading: Node, places: BlockPlaces) -> _Read:
        sent, of_type = self._of.sent, self._of.type
        if of_type is not None and any(reading.all(name) for name in espi_type.OF_READING):
            sent = espi_type.sent_type(of_type, reading)
        codes, unlisted = self._quality(reading)
        return _Read(reading, sent, places.period(reading), codes, unlisted)

    def _quality(self, reading: Node) -> tuple[Quality, bool]:
        """Its codes, else the ReadingType's defaultQuality; and whether one is not ESPI's."""
        sent = [text for one in reading.all("ReadingQuality") for text in one.texts("quality")]
        sent = sent or self._of.quality
        found = [espi_type.quality_code(text) for text in sent]
        try:
            codes = quality(tuple(code for code, _ in found))
        except Rejected as error:
            error.field, error.clause = "ReadingQuality", CLAUSE_QUALITY
            raise
        return codes, not all(listed for _, listed in found)

    def _lacks(self, one: _Read) -> _Doubts:
        """What makes the reading incomplete."""
        doubts = [
            ("reading-ambiguous", f"{name} stands {len(several)} times in one reading")
            for name in _ONCE
            if len(several := one.node.all(name)) > 1
        ]
        if len(self._of.types) > 1:
            text = "its MeterReading's links lead to several ReadingTypes"
            doubts.append(("reading-ambiguous", text))
        if not one.node.all("value"):
            doubts.append(("value-missing", "the reading has no value"))
        if not self._of.types:
            text = "its MeterReading's links lead to no ReadingType in this message"
            doubts.append(("reading-type-missing", text))
        if not one.period.sure and one.period.doubt is not None:
            doubts.append(one.period.doubt)
        return doubts

    def _as_meant(self, period: Period, sent: EspiType) -> Period:
        """The period as the ReadingType has it; a day that the clock changes is as long as sent."""
        meant = sep2_period.as_meant(period, sent.shared)
        length_s, local = sent.shared.length_s, self._of.local
        if meant.doubt is not None and meant.doubt[0] == "interval-length-differs":
            whole_days = local is not None and length_s % DAY_S == 0
            if local is not None and whole_days and local.local_seconds(meant) == length_s:
                return meant._replace(doubt=None)
        return meant

    def _event(self, name: str, one: _Read, doubts: _Doubts) -> Draft:
        kept = {member: one.node.texts(member) for member in _KEPT}
        kept["quality"] = [
            text for each in one.node.all("ReadingQuality") for text in each.texts("quality")
        ]
        for node in one.node.all("timePeriod"):
            for bound in ("start", "duration"):
                kept.setdefault(bound, []).extend(node.texts(bound))
        kept["readingType"] = self._of.kept
        kept = {member: texts for member, texts in kept.items() if texts}
        record.check_verbatim(kept)
        notation = "" if one.sent is None else espi_type.notation(one.sent, one.period.seconds())
        return record.event(
            name,
            self._origin,
            notation=notation,
            verbatim=kept,
            quality=one.codes,
            begin=one.period.begin,
            end=one.period.end,
            findings=self._told(one.node, [*doubts, *_doubts(one, one.period)]),
        )

    def _told(self, reading: Node, doubts: _Doubts) -> list[Finding]:
        """Only once nothing can be refused any more: a refused reading has no findings."""
        found: list[Finding] = []
        for code, text in doubts:
            element, clause = _PLACES.get(code, ("IntervalReading", CLAUSE_READING))
            found.append(self._report.doubt(code, text, reading.line, field=element, clause=clause))
        return found


def _doubts(one: _Read, period: Period) -> _Doubts:
    doubts = [period.doubt] if period.sure and period.doubt is not None else []
    if one.unlisted:
        doubts.append(("quality-malformed", "a ReadingQuality is none of ESPI's; kept as sent"))
    return doubts


def summary(node: Node, report: Report, origin: Origin) -> Draft | None:
    """A summary as an event: a bill's or a counter of disturbances, not what was measured when.

    None where it is refused: it has no period and no time.
    """
    assert node.name in SUMMARIES
    try:
        draft = _summary(node, report, origin)
    except Rejected as error:
        report.refuse(error, node.line, field=node.name, clause=CLAUSE_SUMMARY)
        return None
    report.took(node.line)
    return draft


def _summary(node: Node, report: Report, origin: Origin) -> Draft:
    periods = [interval(one) for name in _PERIODS for one in node.all(name)]
    if not periods:
        times = node.texts("statusTimeStamp")
        if not times:
            raise sep2_period.missing("statusTimeStamp")
        at = sep2_period.instant(times[0], "statusTimeStamp")
        periods = [Period(at, at)]
    kept: dict[str, list[str]] = {}
    for member in node.children:
        text = " ".join(_flat([member])) if member.children else member.text
        kept.setdefault(member.name, []).append(text)
    told: list[Finding] = []
    if len(kept.get(_LINE_ITEMS, ())) > LINE_ITEMS_MAX:
        del kept[_LINE_ITEMS]
        text = f"more than {LINE_ITEMS_MAX} items of a bill are kept as evidence only"
        told.append(
            report.doubt(
                "element-not-mapped", text, node.line, field=_LINE_ITEMS, clause=CLAUSE_SUMMARY
            )
        )
    record.check_verbatim(kept)
    found = [espi_type.quality_code(text)[0] for text in node.texts("qualityOfReading")]
    return record.event(
        "summary",
        origin,
        notation=node.name,
        verbatim=kept,
        quality=quality(tuple(found)),
        begin=min(one.begin for one in periods),
        end=max(one.end for one in periods),
        findings=told,
    )


def _flat(nodes: list[Node], above: str = "") -> Iterator[str]:
    """What stands in elements, `<path>=<text>` each."""
    for node in nodes:
        for child in node.children:
            if child.children:
                yield from _flat([child], f"{above}{child.name}/")
            else:
                yield f"{above}{child.name}={child.text}"
