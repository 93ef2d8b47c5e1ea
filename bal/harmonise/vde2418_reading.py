"""The readings of one value list of VDE AR 2418-6 as records."""

from collections.abc import Iterator
from typing import NamedTuple

from bal.errors import Rejected
from bal.harmonise import espi_type, instant, record, vde2418_status, vde2418_type
from bal.harmonise.instant import Instant
from bal.harmonise.quality import Quality, quality
from bal.harmonise.quantity import decimal_text
from bal.harmonise.record import Origin
from bal.harmonise.report import Report
from bal.harmonise.sep2_type import UINT32_MAX, number
from bal.harmonise.vde2418_status import INVALID, TEMPORARY, Status
from bal.harmonise.vde2418_type import ListType, NotTaken
from bal.harmonise.xml_tree import Node
from bal.model import Draft, Finding, Severity

CLAUSE = "VDE AR 2418-6 MeterReading"
CLAUSE_READING = "VDE AR 2418-6 IntervalReading"
CLAUSE_READING_TYPE = "VDE AR 2418-6 ReadingType"
CLAUSE_PERIOD = "VDE AR 2418-6 DateTimeInterval"
CLAUSE_STATUS = "VDE AR 2418-6 statusPTB, statusFNN"

OFF_TARGET_MAX_S = 60  # a value captured further from its target time stands where it was captured

_US_PER_S = 1_000_000
_ONCE = ("value", "timePeriod", "targetTime", "statusPTB", "statusFNN")
_KEPT = ("value", "targetTime", "statusPTB", "statusFNN")  # in `verbatim`
_IDENTIFYING = frozenset({"qualifiedLogicalName", "description"})  # of a ReadingType: not kept

_Doubts = list[tuple[str, str]]  # code and text of what is doubtful about one reading

_PLACES = {  # code → field, clause, where it is not the reading as a whole
    "reading-type-missing": ("ReadingType", CLAUSE_READING_TYPE),
    "reading-type-unmapped": ("ReadingType", CLAUSE_READING_TYPE),
    "obis-malformed": ("obisCode", CLAUSE_READING_TYPE),
    "obis-differs": ("ReadingType", CLAUSE_READING_TYPE),
    "logical-name-missing": ("qualifiedLogicalName", CLAUSE_READING_TYPE),
    "value-missing": ("value", CLAUSE_READING),
    "interval-ambiguous": ("timePeriod", CLAUSE_PERIOD),
    "interval-empty": ("timePeriod", CLAUSE_PERIOD),
    "time-cut": ("timePeriod", CLAUSE_PERIOD),
    "captured-off-target": ("targetTime", CLAUSE_READING),
    **dict.fromkeys(
        ("quality-malformed", "state-unknown", "status-bits", "status-differs", "status-missing",
         "value-invalid", "value-substitute"),
        ("statusPTB", CLAUSE_STATUS),
    ),
}  # fmt: skip
_SEVERITIES: dict[str, Severity] = {"captured-off-target": "info", "status-bits": "info"}


class _Read(NamedTuple):
    """One reading, as far as it can be read."""

    node: Node
    begin: Instant
    end: Instant
    status: Status
    codes: Quality


class Lists:
    """The records of one MeterReading."""

    def __init__(self, node: Node, meter_id: str, report: Report, origin: Origin) -> None:
        """meter_id: "" where no Meter is named."""
        self._node = node
        self._meter_id = meter_id
        self._report = report
        self._origin = origin
        self._types = node.all("ReadingType")
        self._by_length: dict[int, ListType | NotTaken] = {}
        self._kept_type = [
            f"{member.name}={member.text}"
            for each in self._types
            for member in each.children
            if member.name not in _IDENTIFYING
        ]

    def take(self) -> list[Draft]:
        """All of them, in order; what is wrong with the others goes to the report."""
        drafts: list[Draft] = []
        found = False
        for reading in self._readings():
            found = True
            try:
                drafts.append(self._draft(reading))
                self._report.took(reading.line)
            except Rejected as error:
                self._report.refuse(
                    error, reading.line, field="IntervalReading", clause=CLAUSE_READING
                )
        if not found:
            nothing = Rejected("no-reading", "no IntervalReading in it")
            self._report.refuse(nothing, self._node.line, field="MeterReading", clause=CLAUSE)
        return drafts

    def _readings(self) -> Iterator[Node]:
        for block in self._node.all("IntervalBlock"):
            yield from block.all("IntervalReading")

    def _type(self, length_s: int) -> ListType | NotTaken:
        if length_s not in self._by_length:
            found = vde2418_type.list_type(self._types, self._meter_id, length_s)
            self._by_length[length_s] = found
        return self._by_length[length_s]

    def _draft(self, node: Node) -> Draft:
        one = _read(node)
        of = self._type((one.end.us - one.begin.us) // _US_PER_S)
        lacks = _lacks(one, of)
        if lacks:
            return self._event("incomplete", one, lacks)
        if isinstance(of, NotTaken):
            return self._event(of.event, one, [(of.code, of.text)])
        if one.status.counts in INVALID:
            text = (
                f"by its status, {one.status.counts}, the value is invalid and stands for nothing"
            )
            return self._event("invalid", one, [("value-invalid", text)], of.notation)
        value = espi_type.int48(node.texts("value")[0], CLAUSE_READING)
        begin, end, doubts = _stands(one, of)
        if one.status.counts == TEMPORARY:
            text = "the status says that the value is no measured one; taken as a substitute value"
            doubts.append(("value-substitute", text))
        shape = record.shape("reading", of.register, of.notation, of.quantity, one.codes.json)
        text = decimal_text(value, of.shift)
        told = record.findings_text(self._told(node, [*doubts, *one.status.doubts]))
        slot = record.slot(shape, begin, end)
        return record.reading(slot, self._origin, text, one.codes.rank, told)

    def _event(self, name: str, one: _Read, doubts: _Doubts, notation: str = "") -> Draft:
        kept = {member: one.node.texts(member) for member in _KEPT}
        for node in one.node.all("timePeriod"):
            for bound in ("start", "duration"):
                kept.setdefault(bound, []).extend(node.texts(bound))
        kept["readingType"] = self._kept_type
        kept = {member: texts for member, texts in kept.items() if texts}
        record.check_verbatim(kept)
        return record.event(
            name,
            self._origin,
            notation=notation,
            verbatim=kept,
            quality=one.codes,
            begin=one.begin,
            end=one.end,
            findings=self._told(one.node, [*doubts, *one.status.doubts]),
        )

    def _told(self, reading: Node, doubts: _Doubts) -> list[Finding]:
        """Only once nothing can be refused any more: a refused reading has no findings."""
        found: list[Finding] = []
        for code, text in doubts:
            element, clause = _PLACES.get(code, ("IntervalReading", CLAUSE_READING))
            severity = _SEVERITIES.get(code, "warning")
            line = reading.line
            found.append(
                self._report.doubt(
                    code, text, line, field=element, clause=clause, severity=severity
                )
            )
        return found


def _read(node: Node) -> _Read:
    periods = [_period(one) for one in node.all("timePeriod")]
    if not periods:
        raise Rejected("time-missing", "the reading has no timePeriod", field="timePeriod")
    ptb, fnn = node.texts("statusPTB"), node.texts("statusFNN")
    status = vde2418_status.read(ptb[0] if ptb else None, fnn[0] if fnn else None)
    try:
        codes = quality(status.codes)
    except Rejected as error:
        error.field, error.clause = "statusFNN", CLAUSE_STATUS
        raise
    begin, end = min(one[0] for one in periods), max(one[1] for one in periods)
    return _Read(node, begin, end, status, codes)


def _period(node: Node) -> tuple[Instant, Instant]:
    """[start, start + duration); without a duration it is an instant."""
    starts, durations = node.texts("start"), node.texts("duration")
    if not starts:
        raise Rejected("time-missing", "a timePeriod without start", field="timePeriod")
    begin = _instant(starts[0], "timePeriod/start")
    duration_s = number(durations[0], 0, UINT32_MAX) if durations else 0
    if duration_s is None:
        raise Rejected(
            "time-malformed",
            "a duration is no number of seconds from 0 to 4294967295",
            field="timePeriod/duration",
            clause=CLAUSE_PERIOD,
        )
    return begin, instant.before(begin, -duration_s)


def _instant(text: str, field: str) -> Instant:
    try:
        return instant.parse(text)
    except Rejected as error:
        error.field = field
        raise


def _lacks(one: _Read, of: ListType | NotTaken) -> _Doubts:
    """What makes the reading incomplete."""
    doubts = [
        ("reading-ambiguous", f"{name} stands {len(several)} times in one reading")
        for name in _ONCE
        if len(several := one.node.all(name)) > 1
    ]
    if not one.node.all("value"):
        doubts.append(("value-missing", "the reading has no value"))
    if isinstance(of, ListType) and of.at_instant and one.begin.us < one.end.us:
        text = "a register's value over an interval: nothing says at which end of it was read"
        doubts.append(("interval-ambiguous", text))
    return doubts


def _stands(one: _Read, of: ListType) -> tuple[Instant, Instant, _Doubts]:
    """Where the value stands on the time axis, and what is doubtful about it."""
    doubts: _Doubts = []
    begin, end = one.begin, one.end
    if begin.cut:
        doubts.append(("time-cut", "the time is finer than a microsecond; the rest is cut off"))
    if begin.us < end.us:
        return begin, end, doubts
    if not of.at_instant:
        doubts.append(("interval-empty", "a value over an interval that has no length"))
    targets = one.node.texts("targetTime")
    if targets:
        target = _instant(targets[0], "targetTime")
        off_us = begin.us - target.us
        if abs(off_us) > OFF_TARGET_MAX_S * _US_PER_S:
            text = f"captured more than {OFF_TARGET_MAX_S} s from its target time; it stands there"
            doubts.append(("captured-off-target", text))
        elif off_us:
            seconds = decimal_text(str(abs(off_us)), -6)
            when = "after" if off_us > 0 else "before"
            text = f"captured {seconds} s {when} its target time, at which it stands"
            doubts.append(("captured-off-target", text))
            begin = end = target
    return begin, end, doubts
