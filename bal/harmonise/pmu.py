"""Frames of phasor measurement units in SOGNO's published JSON (docs/spec/pmu.md).

A stream says the same again and again, but for its numbers: what one message of it was found to
mean is kept as a `Plan` (pmu_plan.py), and those to come are read by it at a seventh of the price.
Whatever is unusual is read here, reading by reading.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from bal.errors import Rejected
from bal.harmonise import der_json, pmu_plan
from bal.harmonise.der_json import Constant, Item, Number
from bal.harmonise.instant import Instant
from bal.harmonise.names import CommitParts, MeterNames, Resolve, check_names
from bal.harmonise.parts import cut
from bal.harmonise.phasors import MEASURANDS, PHASES, readings_form
from bal.harmonise.pmu_number import exact
from bal.harmonise.pmu_plan import Shape
from bal.harmonise.pmu_time import instant, instants
from bal.harmonise.reading_json import string
from bal.harmonise.report import Report, Spot
from bal.model import Channel, Finding, Harmonised, PhasorFrame, Severity, Subject

CLAUSE = "gridseal/pmu/v1"
READINGS_MAX = 256  # of a frame
DUPLICATE = "frame-duplicate"  # no refusal: the window has the frame

_FRAME_MEMBERS = frozenset({"device", "timestamp", "readings"})
_READING_MEMBERS = frozenset({"component", "measurand", "phase", "data"})


def harmonise(
    raw: bytes,
    *,
    resolve: Resolve,
    platform: Subject,
    sender: Subject,
    commit_parts: CommitParts,
    spots: list[Spot] | None = None,
) -> Harmonised:
    """Frames, parts and findings of one message; see `bal.harmonise.harmonise`."""
    found = None if spots is not None else _by_plan(raw, resolve, commit_parts)
    if found is not None:
        return found
    reading = _Reading(resolve, Report(raw, spots=spots))
    items = der_json.read(raw, constants=True)
    if not items:
        raise Rejected("no-reading", "the message is an empty array", line=1, clause=CLAUSE)
    frames = [reading.frame(item) for item in items]
    spans = [
        (item.start, item.end, sender if frame is None else frame.subject)
        for item, frame in zip(items, frames, strict=True)
    ]
    parts, commitments = cut(raw, spans, platform, commit_parts)
    made: list[PhasorFrame] = []
    for number, (frame, commitment) in enumerate(zip(frames, commitments, strict=True)):
        if frame is not None and frame.values:
            of, at = shape(frame.channels), frame.at
            data = of.frame(frame.values, at.text)
            made.append(PhasorFrame(frame.subject, at.us, data, of.channels, commitment, number))
    return Harmonised(parts, [], reading.report.findings, reading.report.refused, made)


@lru_cache(maxsize=4096)
def shape(channels: tuple[Channel, ...]) -> Shape:
    """The fixed text of frames with these channels, in RFC 8785 form."""
    text = f'{{"readings":{readings_form(channels)},"time":"%s"}}'
    return Shape(channels, text)


def whereabouts(raw: bytes, numbers: Mapping[int, object]) -> dict[int, tuple[str, int]]:
    """JSON pointer and line of some elements of a message that `harmonise` has read."""
    report = Report(raw)
    return {
        number: (item.pointer, report.line(item.start))
        for number, item in enumerate(der_json.read(raw, constants=True))
        if number in numbers
    }


def turned_away(raw: bytes, why: Mapping[int, tuple[str, str]]) -> Iterator[Finding]:
    """What windows had against frames of a message. why: number of the element → code, text."""
    places = whereabouts(raw, why) if why else {}
    for number, (code, text) in why.items():
        pointer, line = places[number]
        severity: Severity = "info" if code == DUPLICATE else "refused"
        yield Finding(code, severity, text, pointer, line, CLAUSE)


@dataclass(slots=True)
class _Frame:
    """One element as far as it could be read."""

    subject: Subject
    at: Instant
    channels: tuple[Channel, ...]
    values: tuple[str, ...]


def _by_plan(raw: bytes, resolve: Resolve, commit_parts: CommitParts) -> Harmonised | None:
    """The message by the plan of those like it; None where there is none, or anything to say."""
    read = pmu_plan.read(raw, _plans)
    if read is None:
        return None
    try:
        subjects = {device: resolve(_names(device)) for device in dict.fromkeys(read.devices)}
        times = instants(read.times)
    except Rejected:
        return None
    owners = {subject.pseudonym for subject in subjects.values()}
    if len(owners) > 1:
        return None  # each element is a part of its own: their places are needed
    subject = subjects[read.devices[0]]
    from_part = commit_parts([subject], [raw])
    parts, [commitment] = cut(raw, [(0, len(raw), subject)], subject, lambda *_: from_part)
    frames: list[PhasorFrame] = []
    at, values = 0, read.values
    for number, (of, time) in enumerate(zip(read.shapes, times, strict=True)):
        end = at + of.size
        data = of.frame(values[at:end], time.text)
        frames.append(PhasorFrame(subject, time.us, data, of.channels, commitment, number))
        at = end
    found = Harmonised(parts, frames=frames)
    for number, time in enumerate(times):
        if time.cut:
            report = Report(raw)
            pointer, line = whereabouts(raw, {number: None})[number]
            _cut(report, f"{pointer}/timestamp", line)
            found.findings += report.findings
            break
    return found


def _shapes(items: list[Any], times: int) -> list[tuple[str, Shape]] | None:
    """Device and shape of each element of a message whose numbers are 0, 1, 2 … and times T0, …

    None where a plan can't be made of it: something is missing, refused or doubtful.
    """
    found: list[tuple[str, Shape]] = []
    values = 0
    for number, value in enumerate(items):
        if not isinstance(value, dict) or value.keys() != _FRAME_MEMBERS:
            return None
        device, readings = value["device"], value["readings"]
        if value["timestamp"] != f"T{number}" or not isinstance(readings, list):
            return None
        channels: dict[Channel, None] = {}
        for reading in readings:
            try:
                channel = _channel(reading, {})
            except Rejected:
                return None
            data = reading["data"]
            if len(reading) != len(_READING_MEMBERS) or not isinstance(data, Number):
                return None
            if data != str(values) or channel in channels:
                return None
            channels[channel] = None
            values += 1
        if not 0 < len(channels) <= READINGS_MAX or type(device) is not str:
            return None
        found.append((device, shape(tuple(channels))))
    return found if len(found) == times else None


_plans = pmu_plan.plans(_shapes)


@dataclass(slots=True)
class _Reading:
    """Reads one message element by element, and notes what is wrong with each."""

    resolve: Resolve
    report: Report
    _subjects: dict[str, Subject] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)  # findings are told once a message

    def frame(self, item: Item) -> _Frame | None:
        """The element's frame; None, and one refusal of it all, where nobody's or of no time."""
        line = self.report.line(item.start)
        value = item.value
        try:
            if not isinstance(value, dict):
                raise Rejected("member-type", "not an object of device, timestamp and readings")
            readings = value.get("readings")
            if not isinstance(readings, list) or not readings:
                raise Rejected("no-reading", "not an array of readings", field="readings")
            if len(readings) > READINGS_MAX:
                raise Rejected("too-many-readings", f"over {READINGS_MAX}", field="readings")
            subject = self._subject(string(value, "device"))
            at = _time(string(value, "timestamp"))
        except Rejected as error:
            self._refuse(error, item.pointer, line)
            return None
        if not value.keys() <= _FRAME_MEMBERS:
            self._unknown(item.pointer, line)
        channels: dict[Channel, str] = {}
        for number, reading in enumerate(readings):
            pointer = f"{item.pointer}/readings/{number}"
            try:
                channel = _channel(reading, channels)
                channels[channel] = _value(reading)
            except Rejected as error:
                self._refuse(error, pointer, line)
                continue
            self.report.took(pointer)
            if not reading.keys() <= _READING_MEMBERS:
                self._unknown(pointer, line)
        if channels and at.cut and "time-cut" not in self._told:
            self._told.add("time-cut")
            _cut(self.report, f"{item.pointer}/timestamp", line)
        return _Frame(subject, at, tuple(channels), tuple(channels.values()))

    def _subject(self, device: str) -> Subject:
        found = self._subjects.get(device)
        if found is None:
            found = self._subjects[device] = self.resolve(_names(device))
        return found

    def _refuse(self, error: Rejected, pointer: str, line: int) -> None:
        named = f"{pointer}/{error.field}" if error.field else pointer
        refused = Rejected(error.code, error.text, field=named, clause=error.clause)
        self.report.refuse(refused, line, field=named, clause=CLAUSE)

    def _unknown(self, pointer: str, line: int) -> None:
        if "member-unknown" not in self._told:
            self._told.add("member-unknown")
            text = "an unknown member is kept as evidence only"
            self.report.doubt("member-unknown", text, line, field=pointer, clause=CLAUSE)


def _cut(report: Report, pointer: str, line: int) -> None:
    text = "times finer than a microsecond; the rest is cut off"
    report.doubt("time-cut", text, line, field=pointer, clause=CLAUSE)


def _names(device: str) -> MeterNames:
    return check_names(None, (("", "", device.strip()),))


def _time(text: str) -> Instant:
    try:
        return instant(text)
    except Rejected as error:
        error.field = "timestamp"
        raise


def _channel(reading: Any, others: Mapping[Channel, object]) -> Channel:
    """What a reading is of; raises Rejected."""
    if not isinstance(reading, dict):
        raise Rejected("member-type", "a reading is not an object")
    component, measurand, phase = (
        string(reading, name) for name in ("component", "measurand", "phase")
    )
    if "data" not in reading:
        raise Rejected("member-missing", "a reading has no data", field="data")
    if measurand not in MEASURANDS:
        raise Rejected("measurand-unknown", "not one of the published list", field="measurand")
    if phase not in PHASES:
        raise Rejected("phase-unknown", "the phase is not A, B or C", field="phase")
    try:
        check_names(None, (("", "", component),))
    except Rejected as error:
        error.field = "component"
        raise
    channel = component, measurand, phase
    if channel in others:
        raise Rejected("channel-repeated", "the frame has this channel already")
    return channel


def _value(reading: Mapping[str, Any]) -> str:
    data = reading["data"]
    if not isinstance(data, Number | Constant):
        raise Rejected("member-type", "data is not a number", field="data")
    try:
        return exact(data)
    except Rejected as error:
        error.field = "data"
        raise
