"""Telemetry of distributed energy resources as JSON (docs/spec/der-telemetry.md)."""

from dataclasses import dataclass
from typing import Any

from bal.errors import Rejected
from bal.harmonise import der_json, record
from bal.harmonise import quantity as q
from bal.harmonise.der_json import Item, Number
from bal.harmonise.instant import Instant, parse
from bal.harmonise.names import CommitParts, MeterNames, Resolve, check_names
from bal.harmonise.parts import origins
from bal.harmonise.quality import quality
from bal.harmonise.quantity import Quantity, decimal_text
from bal.harmonise.record import Origin
from bal.harmonise.report import Report
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
    raw: bytes, *, resolve: Resolve, platform: Subject, sender: Subject, commit_parts: CommitParts
) -> Harmonised:
    """Records, parts and findings of one message; see `bal.harmonise.harmonise`."""
    items = der_json.read(raw)
    if not items:
        raise Rejected("no-reading", "the message is an empty array", line=1, clause=CLAUSE)
    report = Report(raw)
    subjects = [_subject(item, resolve, report) for item in items]
    parts, found = origins(
        raw, items, subjects, platform=platform, sender=sender, commit_parts=commit_parts
    )
    drafts: list[Draft] = []
    for item, origin in zip(items, found, strict=True):
        if origin is not None:
            place = _Place(report, report.line(item.start), f"{item.pointer}/readings")
            drafts += _drafts(item.value["readings"], origin, place)
    return Harmonised(parts, drafts, report.findings, report.refused)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the message a finding stands: RFC 6901 pointer, and the line of the object."""

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
        names = _names(value)
        subject = resolve(names)
        if not value.keys() <= _ITEM_MEMBERS:
            _Place(report, report.line(item.start), item.pointer).unknown()
    except Rejected as error:
        _Place(report, report.line(item.start), item.pointer).refuse(error)
        return None
    else:
        return subject


def _names(value: dict[str, Any]) -> MeterNames:
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
    texts = {name: _string(device, name).strip() for name in device}
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
        except Rejected as error:
            here.refuse(error)
    return drafts


def _draft(reading: Any, origin: Origin, place: _Place) -> Draft:
    if not isinstance(reading, dict):
        raise Rejected("member-type", "a reading is not an object")
    begin, end = _times(reading)
    measurand = _string(reading, "measurand")
    unit = _string(reading, "unit")
    phase = _string(reading, "phase") if "phase" in reading else ""
    codes = quality(_qualities(reading))
    sent = reading.get("value")
    if not isinstance(sent, str):
        raise Rejected("member-type", "the value is neither string nor number", field="value")
    doubts: list[Finding] = []

    def doubt() -> list[Finding]:
        """Only once nothing can be refused any more: a refused reading has no findings."""
        if not reading.keys() <= _READING_MEMBERS:
            doubts.append(place.unknown())
        if codes.malformed:
            doubts.append(
                place.below("quality").doubt("quality-malformed", "not system.category.index")
            )
        if begin.cut or end.cut:
            doubts.append(place.doubt("time-cut", "finer than a microsecond; the rest is cut off"))
        return doubts

    if measurand not in MEASURANDS:
        texts = {"measurand": [measurand], "unit": [unit], "value": [str(sent)]}
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
            notation=measurand,
            quality=codes,
            begin=begin,
            end=end,
            findings=[unmapped, *doubt()],
        )
    if phase and phase not in PHASES:
        raise Rejected("phase-unknown", "the phase is not in the list", field="phase")
    quantity, shift = _unit(measurand, unit)
    value = decimal_text(sent, shift)
    register = f"{measurand}.{phase}" if phase else measurand
    shape = record.shape("telemetry", register, "", quantity, codes.json)
    slot = record.slot(shape, begin, end)
    return record.reading(slot, origin, value, codes.rank, record.findings_text(doubt()))


def _times(reading: dict[str, Any]) -> tuple[Instant, Instant]:
    """`time`, or `begin` and `end`; not both."""
    if "time" in reading and not {"begin", "end"} & reading.keys():
        instant = parse(_string(reading, "time"))
        return instant, instant
    if "time" in reading or not {"begin", "end"} <= reading.keys():
        raise Rejected("time-missing", "a reading has either time, or begin and end", field="time")
    begin, end = (parse(_string(reading, name)) for name in ("begin", "end"))
    if begin.us >= end.us:
        raise Rejected(
            "interval-reversed", "the interval does not end after it begins", field="end"
        )
    return begin, end


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


def _string(members: dict[str, Any], name: str) -> str:
    text = members.get(name)
    if not isinstance(text, str) or isinstance(text, Number):
        code = "member-type" if name in members else "member-missing"
        raise Rejected(code, "a member is absent or not a string", field=name)
    return text
