"""Telemetry of distributed energy resources as JSON (docs/spec/der-telemetry.md)."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from bal.errors import Rejected
from bal.harmonise import der_json, der_plan, record
from bal.harmonise import quantity as q
from bal.harmonise.der_json import Item, Number
from bal.harmonise.instant import Instant
from bal.harmonise.names import CommitParts, MeterNames, Resolve, check_names
from bal.harmonise.parts import origins
from bal.harmonise.plans import noting
from bal.harmonise.quality import Quality, quality
from bal.harmonise.quantity import Quantity, decimal_text
from bal.harmonise.reading_json import string, times
from bal.harmonise.record import Meant, Origin
from bal.harmonise.report import Report, Spot
from bal.model import Draft, Finding, Harmonised, Subject

CLAUSE = "gridseal/der-telemetry/v1"

MEASURANDS: dict[str, tuple[Quantity, ...]] = {
    "activePower": (q.ACTIVE_POWER,),
    "reactivePower": (q.REACTIVE_POWER,),
    "apparentPower": (q.APPARENT_POWER,),
    "activeEnergyImport": (q.ACTIVE_ENERGY,),
    "activeEnergyExport": (q.ACTIVE_ENERGY,),
    "reactiveEnergyImport": (q.REACTIVE_ENERGY,),
    "reactiveEnergyExport": (q.REACTIVE_ENERGY,),
    "stateOfCharge": (q.STATE_OF_CHARGE,),
    "voltage": (q.VOLTAGE,),
    "current": (q.CURRENT,),
    "frequency": (q.FREQUENCY,),
    "powerFactor": (q.POWER_FACTOR,),
    "phaseAngle": (q.ANGLE_DEG, q.ANGLE_RAD),
    "temperature": (q.TEMPERATURE_C, q.TEMPERATURE_K),
}

UNITS: dict[str, tuple[str, int]] = {  # as sent → base unit, power of ten
    **{f"{prefix}W": ("W", power) for prefix, power in (("", 0), ("k", 3), ("M", 6))},
    **{f"{prefix}var": ("var", power) for prefix, power in (("", 0), ("k", 3), ("M", 6))},
    **{f"{prefix}VA": ("VA", power) for prefix, power in (("", 0), ("k", 3), ("M", 6))},
    **{f"{prefix}Wh": ("Wh", power) for prefix, power in (("", 0), ("k", 3), ("M", 6))},
    **{f"{prefix}varh": ("varh", power) for prefix, power in (("", 0), ("k", 3), ("M", 6))},
    **{f"{prefix}V": ("V", power) for prefix, power in (("m", -3), ("", 0), ("k", 3))},
    **{f"{prefix}A": ("A", power) for prefix, power in (("m", -3), ("", 0), ("k", 3))},
    **{f"{prefix}Hz": ("Hz", power) for prefix, power in (("m", -3), ("", 0))},
    **{unit: (unit, 0) for unit in ("%", "1", "deg", "rad", "degC", "K")},
    "°": ("deg", 0),
    "°C": ("degC", 0),
}

PHASES = frozenset({"A", "B", "C", "N", "AB", "BC", "CA", "AN", "BN", "CN", "ABC"})

_ITEM_MEMBERS = frozenset({"device", "readings"})
_READING_MEMBERS = frozenset(
    {"time", "begin", "end", "measurand", "value", "unit", "phase", "quality"}
)
_DEVICE_MEMBERS = frozenset({"mRID", "name", "type", "authority"})


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
    if spots is None:
        found = _by_plan(raw, resolve=resolve, platform=platform, commit_parts=commit_parts)
        if found is not None:
            return found
    items = der_json.read(raw)
    if not items:
        raise Rejected("no-reading", "the message is an empty array", line=1, clause=CLAUSE)
    report = Report(raw, spots=spots)
    subjects = [_subject(item, resolve, report) for item in items]
    parts, whose = origins(
        raw, items, subjects, platform=platform, sender=sender, commit_parts=commit_parts
    )
    drafts: list[Draft] = []
    for item, origin in zip(items, whose, strict=True):
        if origin is not None:
            place = _Place(report, report.line(item.start), f"{item.pointer}/readings")
            drafts += _drafts(item.value["readings"], origin, place)
    return Harmonised(parts, drafts, report.findings, report.refused)


def _by_plan(
    raw: bytes, *, resolve: Resolve, platform: Subject, commit_parts: CommitParts
) -> Harmonised | None:
    """The message by the plan of those like it; None where there is none, or anything to say."""
    read = der_plan.read(raw, _plans)
    if read is None:
        return None
    try:
        subjects = [resolve(item.names) for item in read]
    except Rejected:
        return None
    parts, whose = origins(
        raw, read, subjects, platform=platform, sender=platform, commit_parts=commit_parts
    )
    drafts = [
        record.reading(slot, origin, value, rank)
        for item, origin in zip(read, whose, strict=True)
        if origin is not None
        for slot, value, rank in item.readings
    ]
    return Harmonised(parts, drafts)


def _learn(raw: bytes) -> list[tuple[Item, MeterNames, list[Meant]]] | None:
    """What each element of a message means; None where anything else is to be said about one."""
    report = Report(raw)
    found: list[tuple[Item, MeterNames, list[Meant]]] = []
    names: list[MeterNames] = []
    for item in der_json.read(raw):
        if _subject(item, noting(names), report) is None:
            return None
        meant: list[Meant] = []
        for reading in item.value["readings"]:
            said = _said(reading)
            _doubts(reading, said, _Place(report, 0, ""))
            if said.measurand not in MEASURANDS:
                return None
            meant.append(_meant(said))
        found.append((item, names[-1], meant))
    return None if report.findings or report.refused or not found else found


_plans = der_plan.plans(_learn)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the message a finding stands: a pointer (RFC 6901 §3), and the object's line."""

    report: Report
    line: int
    pointer: str

    def below(self, member: object) -> "_Place":
        return _Place(self.report, self.line, f"{self.pointer}/{member}")

    def unknown(self) -> Finding:
        # its name is not quoted: nobody knows what it may hold
        return self.doubt("member-unknown", "an unknown member is kept as evidence only")

    def doubt(self, code: str, text: str) -> Finding:
        return self.report.doubt(code, text, self.line, field=self.pointer, clause=CLAUSE)

    def refuse(self, error: Rejected) -> None:
        pointer = f"{self.pointer}/{error.field}" if error.field else self.pointer
        named = Rejected(error.code, error.text, field=pointer, clause=error.clause)
        self.report.refuse(named, self.line, field=pointer, clause=CLAUSE)


def _subject(item: Item, resolve: Resolve, report: Report) -> Subject | None:
    """Whose the readings are; None, and one refusal for all of them, where nobody's."""
    try:
        value = item.value
        if not isinstance(value, dict):
            raise Rejected("member-type", "not an object of device and readings")
        if not isinstance(value.get("readings"), list) or not value["readings"]:
            raise Rejected("no-reading", "readings is not an array of readings", field="readings")
        names = device_names(value)
        subject = resolve(names)
        if not value.keys() <= _ITEM_MEMBERS:
            _Place(report, report.line(item.start), item.pointer).unknown()
    except Rejected as error:
        _Place(report, report.line(item.start), item.pointer).refuse(error)
        return None
    else:
        return subject


def device_names(value: dict[str, Any]) -> MeterNames:
    """Absent: the sender itself. A string is a name without type and authority."""
    if "device" not in value:
        return MeterNames(None, ())
    device = value["device"]
    if isinstance(device, str) and not isinstance(device, Number):
        return check_names(None, (("", "", device.strip()),))
    if not isinstance(device, dict) or not device.keys() <= _DEVICE_MEMBERS:
        raise Rejected(
            "member-type", "device is neither a string nor an object of names", field="device"
        )
    texts = {name: string(device, name).strip() for name in device}
    names: tuple[tuple[str, str, str], ...] = ()
    if "name" in texts:
        names = ((texts.get("authority", ""), texts.get("type", ""), texts["name"]),)
    if not names and "mRID" not in texts:
        raise Rejected("meter-unnamed", "device has neither mRID nor name", field="device")
    return check_names(texts.get("mRID"), names)


def _drafts(readings: list[Any], origin: Origin, place: _Place) -> list[Draft]:
    drafts: list[Draft] = []
    for number, reading in enumerate(readings):
        here = place.below(number)
        try:
            drafts.append(_draft(reading, origin, here))
            here.report.took(here.pointer)
        except Rejected as error:
            here.refuse(error)
    return drafts


class _Said(NamedTuple):
    """One reading as far as it can be read."""

    begin: Instant
    end: Instant
    measurand: str
    unit: str
    phase: str
    quality: Quality
    value: str  # as sent


def _said(reading: Any) -> _Said:
    """Raises Rejected."""
    if not isinstance(reading, dict):
        raise Rejected("member-type", "a reading is not an object")
    begin, end = times(reading)
    measurand = string(reading, "measurand")
    unit = string(reading, "unit")
    phase = string(reading, "phase") if "phase" in reading else ""
    codes = quality(_qualities(reading))
    sent = reading.get("value")
    if not isinstance(sent, str):
        raise Rejected("member-type", "the value is neither string nor number", field="value")
    return _Said(begin, end, measurand, unit, phase, codes, str(sent))


def _meant(said: _Said) -> Meant:
    """What a reading of a known measurand means. Raises Rejected; of its value it says nothing."""
    if said.phase and said.phase not in PHASES:
        raise Rejected("phase-unknown", "the phase is not in the list", field="phase")
    quantity, shift = _unit(said.measurand, said.unit)
    register = f"{said.measurand}.{said.phase}" if said.phase else said.measurand
    shape = record.shape("telemetry", register, "", quantity, said.quality.json)
    return Meant(shape, said.begin, said.end, said.value, shift, said.quality.rank)


def _doubts(reading: dict[str, Any], said: _Said, place: _Place) -> list[Finding]:
    """Only once nothing can be refused any more: a refused reading has no findings."""
    doubts: list[Finding] = []
    if not reading.keys() <= _READING_MEMBERS:
        doubts.append(place.unknown())
    if said.quality.malformed:
        doubts.append(
            place.below("quality").doubt("quality-malformed", "not system.category.index")
        )
    if said.begin.cut or said.end.cut:
        doubts.append(place.doubt("time-cut", "finer than a microsecond; the rest is cut off"))
    return doubts


def _draft(reading: Any, origin: Origin, place: _Place) -> Draft:
    said = _said(reading)
    if said.measurand not in MEASURANDS:
        return _unmapped(reading, said, origin, place)
    meant = _meant(said)
    value = decimal_text(meant.value, meant.shift)
    told = record.findings_text(_doubts(reading, said, place))
    slot = record.slot(meant.shape, meant.begin, meant.end)
    return record.reading(slot, origin, value, meant.rank, told)


def _unmapped(reading: dict[str, Any], said: _Said, origin: Origin, place: _Place) -> Draft:
    texts = {"measurand": [said.measurand], "unit": [said.unit], "value": [said.value]}
    for name in ("time", "begin", "end", "phase"):
        texts |= {name: [reading[name]]} if name in reading else {}
    record.check_verbatim(texts)
    unmapped = place.below("measurand").doubt(
        "measurand-unmapped", "the measurand has no meaning here; kept verbatim"
    )
    return record.event(
        "unmapped",
        origin,
        verbatim=texts,
        notation=said.measurand,
        quality=said.quality,
        begin=said.begin,
        end=said.end,
        findings=[unmapped, *_doubts(reading, said, place)],
    )


def _unit(measurand: str, unit: str) -> tuple[Quantity, int]:
    base, shift = UNITS.get(unit, ("", 0))
    for quantity in MEASURANDS[measurand]:
        if quantity.unit == base:
            return quantity, shift
    raise Rejected("unit-mismatch", "the unit is not one of the measurand's", field="unit")


def _qualities(reading: dict[str, Any]) -> tuple[str, ...]:
    sent = reading.get("quality", [])
    codes = sent if isinstance(sent, list) else [sent]
    if any(not isinstance(code, str) or isinstance(code, Number) for code in codes):
        raise Rejected("member-type", "a quality code is not a string", field="quality")
    return tuple(codes)
