"""The readings of one device in IEEE 2030.5 as records."""

from typing import NamedTuple

from bal.errors import Rejected
from bal.harmonise import record, sep2_period, sep2_type
from bal.harmonise.quality import Quality, quality
from bal.harmonise.quantity import decimal_text
from bal.harmonise.reading_type_why import unmapped
from bal.harmonise.record import Meant, Origin
from bal.harmonise.report import Report
from bal.harmonise.sep2_period import Period, SetPlaces
from bal.harmonise.sep2_type import SentType
from bal.harmonise.sep2_xml import Node
from bal.model import Draft, Finding

CLAUSE = "IEEE 2030.5-2018 MirrorMeterReading"
CLAUSE_READING = "IEEE 2030.5-2018 ReadingBase"
CLAUSE_READING_TYPE = "IEEE 2030.5-2018 ReadingType"

INT48_MAX = 1 << 47  # the schema's Int48 reaches from -2^47 to 2^47, both included

_SPACE = " \t\r\n"
_ONCE = ("value", "timePeriod", "qualityFlags", "touTier", "consumptionBlock", "localID")
_KEPT = ("value", "localID", "qualityFlags", "touTier", "consumptionBlock")  # in `verbatim`

_NO_CODE = "the service is not electricity, or its rolling block has no code"

_Doubts = list[tuple[str, str]]  # code and text of what is doubtful about one reading

_PLACES = {  # code → field, clause, where it is not the reading as a whole
    "reading-type-unmapped": ("ReadingType", CLAUSE_READING_TYPE),
    "reading-type-missing": ("ReadingType", CLAUSE),
    "value-missing": ("value", CLAUSE_READING),
    "quality-malformed": ("qualityFlags", CLAUSE_READING),
    "interval-length-differs": ("timePeriod", CLAUSE_READING),
    "interval-ambiguous": ("timePeriod", CLAUSE_READING),
    "interval-empty": ("timePeriod", CLAUSE_READING),
    "time-from-update": ("lastUpdateTime", CLAUSE),
}


class Readings:
    """The records of one device's part of a message."""

    def __init__(self, node: Node, report: Report, origin: Origin) -> None:
        """node: what `bal.harmonise.sep2` found to speak of one device."""
        self._node = node
        self._report = report
        self._origin = origin
        self.meant: list[Meant] = []  # what `take` took that is no event
        kinds = node.texts("serviceCategoryKind")
        self._electric = all(kind.strip(_SPACE) == "0" for kind in kinds)  # ServiceKind

    def take(self) -> list[Draft]:
        """All of them, in order; what is wrong with the others goes to the report."""
        drafts: list[Draft] = []
        found = False
        for meter_reading in _meter_readings(self._node):
            found = self._take(meter_reading, drafts) or found
        if not found:
            error = Rejected("no-reading", "no Reading in it")
            self._report.refuse(error, self._node.line, field=self._node.name, clause=CLAUSE)
        return drafts

    def _take(self, meter_reading: Node, drafts: list[Draft]) -> bool:
        """True where there is any reading, good or bad."""
        of = _MeterReading(meter_reading, electric=self._electric)
        found = False
        for child in meter_reading.children:
            if child.name == "MirrorReadingSet":
                places = SetPlaces(child, of.sent)
                found = bool(child.all("Reading")) or found
                for reading in child.all("Reading"):
                    self._keep(of, reading, places, drafts)
            elif child.name == "Reading":
                found = True
                self._keep(of, child, None, drafts)
        return found

    def _keep(
        self, of: "_MeterReading", node: Node, within: SetPlaces | None, drafts: list[Draft]
    ) -> None:
        try:
            drafts.append(self._draft(of, node, within))
            self._report.took(node.line)
        except Rejected as error:
            self._report.refuse(error, node.line, field="Reading", clause=CLAUSE_READING)

    def _draft(self, of: "_MeterReading", node: Node, within: SetPlaces | None) -> Draft:
        one = _read(of, node, within)
        lacks = _lacks(one)
        if lacks:
            return self._event("incomplete", one, lacks)
        mapped = of.mapped(one.sent, one.period)
        if one.sent is None or mapped is None:
            sent = None if one.sent is None else one.sent._replace(multiplier=0)  # any will do
            code = None if sent is None else sep2_type.notation(sent, one.period.seconds())
            doubts = [("reading-type-unmapped", unmapped(code, _NO_CODE))]
            return self._event("unmapped", one, doubts)
        value = sep2_type.integer(
            node.texts("value")[0], -INT48_MAX, INT48_MAX, field="value", clause=CLAUSE_READING
        )
        period = sep2_period.as_meant(one.period, one.sent)
        kind = "reading" if period.begin.us < period.end.us else "telemetry"
        codes = one.codes
        shape = record.shape(kind, mapped.register, mapped.notation, mapped.quantity, codes.json)
        slot = record.slot(shape, period.begin, period.end)
        told = record.findings_text(self._told(node, _doubts(period, codes)))
        text = decimal_text(value, mapped.multiplier)
        self.meant.append(
            Meant(shape, period.begin, period.end, value, mapped.multiplier, codes.rank)
        )
        return record.reading(slot, self._origin, text, codes.rank, told)

    def _event(self, name: str, one: "_Read", doubts: _Doubts) -> Draft:
        period = one.period
        kept = {member: one.node.texts(member) for member in _KEPT}
        for node in one.node.all("timePeriod"):
            for bound in ("start", "duration"):
                kept.setdefault(bound, []).extend(node.texts(bound))
        if not one.node.all("timePeriod"):
            kept["lastUpdateTime"] = one.of.node.texts("lastUpdateTime")
        kept["readingType"] = [
            f"{member.name}={member.text}" for each in one.of.types for member in each.children
        ]
        kept = {member: texts for member, texts in kept.items() if texts}
        record.check_verbatim(kept)
        return record.event(
            name,
            self._origin,
            notation="" if one.sent is None else sep2_type.notation(one.sent, period.seconds()),
            verbatim=kept,
            quality=one.codes,
            begin=period.begin,
            end=period.end,
            findings=self._told(one.node, [*doubts, *_doubts(period, one.codes)]),
        )

    def _told(self, reading: Node, doubts: _Doubts) -> list[Finding]:
        """Only once nothing can be refused any more: a refused reading has no findings."""
        found: list[Finding] = []
        for code, text in doubts:
            element, clause = _PLACES.get(code, ("Reading", CLAUSE_READING))
            found.append(self._report.doubt(code, text, reading.line, field=element, clause=clause))
        return found


class _MeterReading:
    """What the readings of one MirrorMeterReading share."""

    def __init__(self, node: Node, *, electric: bool) -> None:
        self.node = node
        self.types = node.all("ReadingType")
        first = self.types[0] if self.types else None
        self.members = {name: first.texts(name) if first else [] for name in sep2_type.MEMBERS}
        self.sent = sep2_type.sent_type(self.members) if len(self.types) == 1 else None
        self._electric = electric

    def mapped(self, sent: SentType | None, period: Period) -> sep2_type.MappedType | None:
        """None where the reading type is malformed or has no meaning here."""
        if sent is None or (sent.commodity == 0 and not self._electric):
            return None  # of another service, the commodity not applicable: not of electricity
        return sep2_type.mapped(sent, period.seconds())


def _meter_readings(node: Node) -> list[Node]:
    if node.name == "MirrorReadingSet":
        # as it is posted below a MirrorMeterReading that the server has: without a ReadingType
        return [Node("MirrorMeterReading", node.line, node.start, node.end, "", [node])]
    return [node] if node.name == "MirrorMeterReading" else node.all("MirrorMeterReading")


def _period(of: _MeterReading, reading: Node, within: SetPlaces | None) -> Period:
    several = reading.all("timePeriod")
    if len(several) > 1:  # the event spans them
        periods = [sep2_period.interval(one) for one in several]
        return Period(min(one.begin for one in periods), max(one.end for one in periods))
    if within is None:
        return sep2_period.of_single(of.node, reading, of.sent)
    return within.period(reading)


class _Read(NamedTuple):
    """One reading, as far as it can be read."""

    of: _MeterReading
    node: Node
    sent: SentType | None
    period: Period
    codes: Quality


def _read(of: _MeterReading, node: Node, within: SetPlaces | None) -> _Read:
    tiers = node.texts("touTier"), node.texts("consumptionBlock")
    sent = of.sent
    if sent is not None and any(tiers):
        sent = sep2_type.sent_type(of.members, *tiers)
    return _Read(of, node, sent, _period(of, node, within), _quality(node))


def _lacks(one: _Read) -> _Doubts:
    """What makes the reading incomplete."""
    doubts = [
        ("reading-ambiguous", f"{name} stands {len(several)} times in one reading")
        for name in _ONCE
        if len(several := one.node.all(name)) > 1
    ]
    if len(one.of.types) > 1:
        doubts.append(("reading-ambiguous", f"ReadingType stands {len(one.of.types)} times"))
    if not one.node.all("value"):
        doubts.append(("value-missing", "the reading has no value"))
    if not one.of.types:
        text = "the MirrorMeterReading has no ReadingType, and none is remembered from another"
        doubts.append(("reading-type-missing", text))
    if not one.period.sure and one.period.doubt is not None:
        doubts.append(one.period.doubt)
    return doubts


def _doubts(period: Period, codes: Quality) -> _Doubts:
    doubts = [period.doubt] if period.sure and period.doubt is not None else []
    if codes.malformed:
        text = "qualityFlags has bits that the standard reserves, or is no HexBinary16"
        doubts.append(("quality-malformed", text))
    return doubts


def _quality(reading: Node) -> Quality:
    """The codes for qualityFlags, of all where several stand.

    Raises Rejected("quality-malformed") for one that could not be kept verbatim.
    """
    flags = reading.texts("qualityFlags")
    try:
        return quality(tuple(code for one in flags for code in sep2_type.quality_codes(one)))
    except Rejected as error:
        error.field = "qualityFlags"
        error.clause = CLAUSE_READING
        raise
