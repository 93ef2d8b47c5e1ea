"""IEC 61968-9 MeterReadings: from what a message says to records.

A value is taken where it is unambiguous. What has no meaning to us, or lacks a part, becomes an
`event` record that keeps the texts as sent; what can't be placed on the time axis, is no number,
or is of a device that the sender may not speak for, is refused. One bad reading never costs
another.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bal.errors import Rejected
from bal.harmonise import cim_scan, cim_xml, reading_type, record
from bal.harmonise.cim_around import Around, check
from bal.harmonise.cim_doubts import (
    CLAUSE,
    CLAUSE_READING,
    MISSED,
    NINETEEN,
    PLACES,
    Doubt,
    Doubts,
    quality_doubts,
    time_doubts,
    unmapped,
)
from bal.harmonise.cim_event import Events
from bal.harmonise.cim_tree import Name
from bal.harmonise.cim_xml import MeterReading, Said, Sent, defined
from bal.harmonise.instant import Instant, before, parse_loose
from bal.harmonise.names import NAMES_MAX, CommitParts, MeterNames, Resolve, check_names
from bal.harmonise.parts import cut
from bal.harmonise.quality import Quality, quality
from bal.harmonise.quantity import double_text
from bal.harmonise.reading_type import ReadingType
from bal.harmonise.record import Origin, Shape, Slot
from bal.harmonise.report import Report, Spot
from bal.model import Digest, Draft, Finding, Harmonised, Rank, Subject

IGNORED_MAX = 32  # elements of other names that one message tells of
NAMES_KEPT_MAX = 1 << 16
NAMES_KEPT_LENGTH_MAX = 512  # characters as sent: spaces around a name have no limit of their own

_SPACE = " \t\r\n"
_new = tuple.__new__  # makes a named tuple in half the time that its own constructor takes


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
    read = cim_scan.read(raw)
    if read is None:
        read = cim_xml.read(raw)
    if not read:
        raise Rejected(
            "no-meter-reading",
            "the message has neither a MeterReading nor an EndDeviceEvent",
            field="MeterReadings",
            clause=CLAUSE,
        )
    report = Report(raw, spots=spots)
    check(read[0].around, report)
    subjects = [_subject(one, resolve, report) for one in read]
    spans = [
        (one.start, one.end, sender if subject is None else subject)
        for one, subject in zip(read, subjects, strict=True)
    ]
    parts, commitments = cut(raw, spans, platform, commit_parts)
    readings = _Readings(report, read[0].around)
    readings.take(read, subjects, commitments)
    return Harmonised(parts, readings.drafts, report.findings, report.refused)


def _subject(one: MeterReading, resolve: Resolve, report: Report) -> Subject | None:
    """Whose the readings are; None, and one refusal for all of them, where nobody's."""
    try:
        return resolve(_names(one))
    except Rejected as error:
        report.refuse(error, report.line(one.start), field="MeterReading", clause=CLAUSE)
        return None


def _names(one: MeterReading) -> MeterNames:
    if one.elements > 1:
        raise Rejected(
            "meter-ambiguous", f"{one.elements} {one.named_by} elements", field=one.named_by
        )
    return _names_kept.get((one.mrid, one.names)) or _checked(one.mrid, one.names)


_names_kept: dict[tuple[str | None, tuple[Name, ...]], MeterNames] = {}


def _checked(sent_mrid: str | None, sent: tuple[Name, ...]) -> MeterNames:
    """The names as sent, stripped and checked; kept, as a head-end sends the same ones all day."""
    names = [
        (
            authority.strip(_SPACE) if authority else "",
            kind.strip(_SPACE) if kind else "",
            name.strip(_SPACE),
        )
        for authority, kind, name in sent
        if name is not None
    ]
    mrid = sent_mrid.strip(_SPACE) if sent_mrid else None
    if not mrid and not names:
        raise Rejected(
            "meter-unnamed",
            "neither a Meter nor, where there is no Meter, a UsagePoint is named",
            field="Meter",
        )
    checked = check_names(mrid or None, tuple(names))
    length = sum(len(text) for name in [(sent_mrid,), *sent] for text in name if text)
    if len(sent) <= NAMES_MAX and length <= NAMES_KEPT_LENGTH_MAX:
        if len(_names_kept) >= NAMES_KEPT_MAX:
            _names_kept.clear()
        _names_kept[sent_mrid, sent] = checked
    return checked


class _Kind(NamedTuple):
    """What a ReadingType and qualities come to."""

    type: ReadingType
    quality: Quality
    shape: Shape
    doubts: Doubts


class _Period(NamedTuple):
    """[begin, end) of a reading; equal where it holds at an instant."""

    begin: Instant
    end: Instant
    doubts: Doubts = ()


class _Case(NamedTuple):
    """All that a reading says but for its value; mostly the same from device to device."""

    slot: Slot
    multiplier: int
    rank: Rank
    doubts: Doubts


@dataclass(slots=True)
class _Readings:
    """The records of one message as they grow."""

    report: Report
    around: Around
    drafts: list[Draft] = field(default_factory=list)
    kinds: dict[tuple[str | None, tuple[str, ...]], _Kind | None] = field(default_factory=dict)
    cases: dict[Said, _Case] = field(default_factory=dict)
    ignored: set[str] = field(default_factory=set)  # elements that were told

    def take(
        self,
        read: Sequence[MeterReading],
        subjects: Sequence[Subject | None],
        commitments: Sequence[Digest],
    ) -> None:
        """All readings; subjects and commitments: of each MeterReading, in the same order."""
        has_events = self.around.has_events
        for one, subject, commitment in zip(read, subjects, commitments, strict=True):
            if subject is None:
                continue
            if one.ignored or one.lost or not one.sent:
                self._remark(one)
            origin = _new(Origin, (subject, commitment.hex()))
            for sent in one.sent:
                try:
                    self.drafts.append(self._draft(sent, origin))
                    if self.report.spots is not None:
                        self.report.spots.append(sent.line)
                except Rejected as error:
                    self.report.refuse(error, sent.line, field="Reading", clause=CLAUSE_READING)
            if has_events and one.events:
                names = [
                    text.strip(_SPACE) for text in (one.mrid, *(n for *_, n in one.names)) if text
                ]
                self.drafts += Events(self.report).drafts(one.events, origin, names, self.around)

    def _remark(self, one: MeterReading) -> None:
        line = self.report.line(one.start)
        for name in one.ignored:
            if name not in self.ignored and len(self.ignored) < IGNORED_MAX:
                self.ignored.add(name)
                text = f"{name} is kept as evidence only"
                self.report.doubt("element-not-mapped", text, line, field=name, clause=CLAUSE)
        for lost in one.lost:
            text = f"{lost.name} has a value, and is no reading of the standard's in that place"
            self.report.refuse(
                Rejected("value-misplaced", text, field=lost.name),
                lost.line,
                field="",
                clause=CLAUSE,
            )
        told = one.events or one.lost or "EndDeviceEvents" in one.ignored
        if not one.sent and not told:
            error = Rejected("no-reading", "a MeterReading without Readings or IntervalReadings")
            self.report.refuse(error, line, field="MeterReading", clause=CLAUSE)

    def _draft(self, sent: Sent, origin: Origin) -> Draft:
        said = sent.said
        case = self.cases.get(said)
        if case is None or sent.value is None:
            if self.around.codes:
                sent = defined(sent, self.around)
            kind = self._kind(sent.said)
            if sent.said.doubled or sent.value is None or not sent.said.notation:
                return self._incomplete(sent, origin, kind)
            if kind is None:
                doubt = unmapped(sent.said.notation)
                return self._event("unmapped", sent, origin, _period(sent.said, None), (doubt,))
            period = _period(sent.said, kind.type)
            if kind.quality.stated_missing:
                if not sent.value.strip():  # an element without text is no value, as on purpose
                    return self._incomplete(sent._replace(value=None), origin, kind)
                return self._event("incomplete", sent, origin, period, (MISSED,))
            case = self.cases[said] = _Case(
                record.slot(kind.shape, period.begin, period.end),
                kind.type.multiplier,
                kind.quality.rank,
                kind.doubts + period.doubts,
            )
        slot, multiplier, rank, doubts = case
        value = double_text(sent.value, multiplier)
        told = record.findings_text(self._doubts(sent, doubts)) if doubts else ""
        return record.reading(slot, origin, value, rank, told)

    def _kind(self, said: Said) -> _Kind | None:
        """None where the reading type is missing or has no meaning to us."""
        key = (said.notation, said.qualities)
        if key not in self.kinds:
            self.kinds[key] = _kind(said)
        return self.kinds[key]

    def _incomplete(self, sent: Sent, origin: Origin, kind: _Kind | None) -> Draft:
        """A reading that lacks a part or has one twice; or whose value is stated missing."""
        stated_missing = kind is not None and kind.quality.stated_missing
        if kind is not None and stated_missing and sent.value is None and not sent.said.doubled:
            period = _period(sent.said, kind.type)
            return record.missing(
                origin,
                kind.type,
                quality=kind.quality,
                begin=period.begin,
                end=period.end,
                findings=self._doubts(sent, kind.doubts + period.doubts),
            )
        doubled = {name: (texts, lines) for name, texts, lines in sent.said.doubled}
        texts = {name: several for name, (several, _) in doubled.items()}
        doubts = [
            Doubt(
                "reading-ambiguous",
                f"{name} stands {len(several)} times in one reading",
                name,
                lines[1],
            )
            for name, (several, lines) in doubled.items()
            if len(several) > 1 and name != _SCALE
        ]
        if texts.get(_SCALE):
            text = "a multiplier or unit stands beside the value: the ReadingType has its own"
            doubts.append(Doubt("reading-ambiguous", text, _SCALE, doubled[_SCALE][1][0]))
        if sent.value is None:
            doubts.append(Doubt("value-missing", "the reading has no value"))
        if not sent.said.notation:
            doubts.append(Doubt("reading-type-missing", "the reading has no ReadingType"))
        types = texts.get("ReadingType", _given(sent.said.notation))
        nineteen = [at for at, one in enumerate(types) if _has_19_fields(one)]
        if nineteen:
            line = doubled["ReadingType"][1][nineteen[0]] if doubled else None
            doubts.append(NINETEEN._replace(line=line))
        times = [parse_loose(time) for name in _TIMES for time in texts.get(name, ())]
        stated = _Period(min(times), max(times), time_doubts(*times)) if times else None
        period = stated or _period(sent.said, None)
        return self._event("incomplete", sent, origin, period, tuple(doubts))

    def _event(
        self, name: str, sent: Sent, origin: Origin, period: _Period, doubts: Doubts
    ) -> Draft:
        verbatim = {name: texts for name, texts, _ in sent.said.doubled} or {
            "timeStamp": _given(sent.said.time),
            "value": _given(sent.value),
            "ReadingType": _given(sent.said.notation),
            "timePeriod.start": _given(sent.said.begin),
            "timePeriod.end": _given(sent.said.end),
        }
        kept = {_MEMBERS[element]: texts for element, texts in verbatim.items() if texts}
        record.check_verbatim(kept)
        codes = quality(sent.said.qualities)
        notations = verbatim["ReadingType"]
        return record.event(
            name,
            origin,
            notation=notations[0] if len(notations) == 1 else "",
            verbatim=kept,
            quality=codes,
            begin=period.begin,
            end=period.end,
            findings=self._doubts(sent, doubts + period.doubts + quality_doubts(codes)),
        )

    def _doubts(self, sent: Sent, doubts: Doubts) -> list[Finding]:
        """Only once nothing can be refused any more: a refused reading has no findings."""
        found: list[Finding] = []
        for code, text, name, at in doubts:
            element, clause = PLACES.get(code, (name or "Reading", CLAUSE_READING))
            line = sent.line if at is None else at
            found.append(self.report.doubt(code, text, line, field=element, clause=clause))
        return found


_MEMBERS = {  # element → member of `verbatim`
    "timeStamp": "timeStamp",
    "value": "value",
    "ReadingType": "readingType",
    "timePeriod.start": "start",
    "timePeriod.end": "end",
    "multiplier": "multiplier",
}
_SCALE = "multiplier"
_TIMES = ("timeStamp", "timePeriod.start", "timePeriod.end")


def _kind(said: Said) -> _Kind | None:
    """None where the reading type is missing or has no meaning to us."""
    codes = quality(said.qualities)
    notation = (said.notation or "").strip(_SPACE)
    decoded = reading_type.decode(notation) if notation else None
    if decoded is None:
        return None
    doubts = quality_doubts(codes)
    if decoded.fields != reading_type.FIELDS:
        doubts = (NINETEEN, *doubts)
    shape = record.shape("reading", decoded.register, notation, decoded.quantity, codes.json)
    return _Kind(decoded, codes, shape, doubts)


def _period(said: Said, decoded: ReadingType | None) -> _Period:
    """When a reading holds. decoded: None where the type is not known; only stated times count.

    IEC 61968-9 IntervalReading.timeStamp is the end of its interval; a timePeriod, where it is
    given, says the period itself.
    """
    stated = said.end if said.end is not None else said.time
    if stated is None:
        raise Rejected("time-missing", "the reading has no time", field="timeStamp")
    end = parse_loose(stated)
    doubts: Doubts = ()
    length_s = decoded.interval_s if decoded is not None else None
    if said.begin is not None:
        begin = parse_loose(said.begin)
        if begin.us > end.us:
            raise Rejected(
                "interval-reversed", "the interval ends before it begins", field="timePeriod"
            )
        if begin.us == end.us:
            doubts = (Doubt("interval-empty", "the interval begins where it ends"),)
        elif length_s is not None and end.us - begin.us != length_s * 1_000_000:
            differs = f"the reading type says {length_s} s, the timePeriod another length"
            doubts = (Doubt("interval-length-differs", differs),)
    elif length_s is not None:
        begin = before(end, length_s)
    else:
        begin = end
        if decoded is not None and not decoded.at_instant:
            unknown = "neither reading type nor timePeriod says how long the interval is"
            doubts = (Doubt("interval-length-unknown", unknown),)
    return _Period(begin, end, doubts + time_doubts(begin, end))


def _has_19_fields(notation: str) -> bool:
    decoded = reading_type.decode(notation.strip(_SPACE))
    return decoded is not None and decoded.fields != reading_type.FIELDS


def _given(text: str | None) -> tuple[str, ...]:
    return () if text is None else (text,)
