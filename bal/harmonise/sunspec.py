"""SunSpec's information models as JSON: from registers to records (docs/spec/sunspec.md)."""

from collections.abc import Mapping, Sequence
from typing import Any

from bal.errors import Rejected
from bal.harmonise import der, der_json, record, sunspec_json, sunspec_value
from bal.harmonise.der_json import Item
from bal.harmonise.instant import Instant
from bal.harmonise.names import CommitParts, MeterNames, Resolve, check_names
from bal.harmonise.parts import origins
from bal.harmonise.quality import quality
from bal.harmonise.quantity import decimal_text
from bal.harmonise.record import Origin
from bal.harmonise.report import Report, Spot
from bal.harmonise.sunspec_json import Sent
from bal.harmonise.sunspec_table import COMMON, Point
from bal.model import Draft, Finding, Harmonised, Severity, Subject

CLAUSE = "gridseal/sunspec/v1"
CLAUSE_MODEL = "SunSpec Information Model Reference"

SERIAL_TYPE = "serialNumber"
NAMES_TOLD_MAX = 12  # points that one finding lists

_NOT_ALLOWED = "subject-not-allowed"


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
    items = der_json.read(raw, constants=True)
    if not items:
        raise Rejected("no-reading", "the message is an empty array", line=1, clause=CLAUSE)
    report = Report(raw, spots=spots)
    devices = [_Device(item, report) for item in items]
    # a sender may leave it open which device it means only where it means one
    one_device = len({device.serial for device in devices}) == 1
    subjects = [device.subject(resolve, one_device=one_device) for device in devices]
    parts, whose = origins(
        raw, items, subjects, platform=platform, sender=sender, commit_parts=commit_parts
    )
    drafts: list[Draft] = []
    for device, origin in zip(devices, whose, strict=True):
        if origin is not None:
            drafts += device.take(origin)
    return Harmonised(parts, drafts, report.findings, report.refused)


class _Device:
    """One object of the message: the models of one device at one time."""

    def __init__(self, item: Item, report: Report) -> None:
        self._item = item
        self._report = report
        self._line = report.line(item.start)
        self._models: list[Sent] = []
        self._wrong: Rejected | None = None
        self.serial = ("", "")  # manufacturer and number
        try:
            if not isinstance(item.value, dict):
                raise Rejected("member-type", "not an object of models")
            self._models = sunspec_json.models(item.value, item.pointer)
            self.serial = sunspec_json.serial(self._models)
        except Rejected as error:
            self._wrong = error

    def subject(self, resolve: Resolve, *, one_device: bool) -> Subject | None:
        """Whose the readings are; None, and one refusal for all of them, where nobody's.

        one_device: the message has one serial number, so that it may be its sender's own.
        """
        try:
            if self._wrong is not None:
                raise self._wrong
            return self._resolved(resolve, one_device=one_device)
        except Rejected as error:
            self._refuse(error, self._item.pointer)
            return None

    def _resolved(self, resolve: Resolve, *, one_device: bool) -> Subject:
        maker, number = self.serial
        if "device" in self._item.value or not number:
            return resolve(der.device_names(self._item.value))
        names = check_names(None, ((maker, SERIAL_TYPE, number),))
        try:
            return resolve(names)
        except Rejected as error:
            if error.code != _NOT_ALLOWED or not one_device:
                raise
        found = resolve(MeterNames(None, ()))
        text = "the sender may not speak for this serial number; taken as the sender's own"
        self._tell("device-is-sender", text, self._item.pointer, "info")
        return found

    def take(self, origin: Origin) -> list[Draft]:
        """The records of all models; what is wrong with a point costs no other."""
        value = self._item.value
        if sunspec_json.unknown(value):
            text = "an unknown member is kept as evidence only"
            self._tell("member-unknown", text, self._item.pointer)
        drafts: list[Draft] = []
        taken: set[tuple[str, int]] = set()
        measured = [one for one in self._models if one.number != COMMON]
        for sent in measured:
            if sent.model() is None:
                text = "the model is not mapped here; kept as evidence only"
                self._tell("model-unmapped", text, sent.pointer)
                continue
            try:
                at, told = self._time(sent)
            except Rejected as error:
                self._refuse(error, sent.pointer if sent.time is not None else self._item.pointer)
                continue
            drafts += _Model(self, sent, at, told, origin, taken=taken).take()
        if not measured:
            nothing = Rejected("no-reading", "no model with values in it", field="models")
            self._refuse(nothing, self._item.pointer)
        return drafts

    def _time(self, sent: Sent) -> tuple[Instant, list[Finding]]:
        name, value = sunspec_json.time_of(self._item.value)
        if sent.time is not None:
            value = sent.time
        if value is None:
            raise Rejected(
                "time-missing", "neither the device nor the model has a time", field=name
            )
        try:
            at = sunspec_value.instant(value)
        except Rejected as error:
            error.field = name
            raise
        if not at.cut:
            return at, []
        text = "finer than a microsecond; the rest is cut off"
        return at, [self._tell("time-cut", text, sent.pointer)]

    def _refuse(self, error: Rejected, pointer: str) -> None:
        field = f"{pointer}/{error.field}" if error.field else pointer
        named = Rejected(error.code, error.text, field=field, clause=error.clause)
        self._report.refuse(named, self._line, field=field, clause=CLAUSE)

    def took(self, pointer: str) -> None:
        """The next record is of this point."""
        self._report.took(pointer)

    def refuse_point(self, error: Rejected, pointer: str) -> None:
        """A point of one of its models can't be read."""
        named = Rejected(error.code, error.text, field=pointer, clause=error.clause)
        self._report.refuse(named, self._line, field=pointer, clause=CLAUSE_MODEL)

    def _tell(self, code: str, text: str, pointer: str, severity: Severity = "warning") -> Finding:
        return self.tell(code, text, pointer, CLAUSE, severity)

    def tell(
        self, code: str, text: str, pointer: str, clause: str, severity: Severity = "warning"
    ) -> Finding:
        """Something doubtful about what is taken."""
        return self._report.doubt(
            code, text, self._line, field=pointer, clause=clause, severity=severity
        )


class _Model:
    """The records of one model."""

    def __init__(
        self,
        device: _Device,
        sent: Sent,
        at: Instant,
        told: list[Finding],
        origin: Origin,
        *,
        taken: set[tuple[str, int]],
    ) -> None:
        """taken: registers and times that other models of the device have."""
        self._device = device
        self._sent = sent
        self._at = at
        self._told = told
        self._origin = origin
        self._taken = taken
        self._clause = f"{CLAUSE_MODEL}, model {sent.number}"
        self._absent: list[str] = []
        self._again: list[str] = []
        self._drafts: list[Draft] = []

    def take(self) -> list[Draft]:
        """All of them; and once a model what is not taken of it."""
        model, sent = self._sent.model(), self._sent
        assert model is not None
        self._points(sent.points, model.points, sent.pointer, "")
        instances = sent.group()
        numbers = _numbers(instances)
        for place, instance in enumerate(instances):
            pointer = f"{sent.pointer}/{model.group}/{place}"
            if isinstance(instance, dict):
                self._points(instance, model.of_group, pointer, numbers[place])
            else:
                self._device.refuse_point(Rejected("member-type", "not an object"), pointer)
        if sent.unknown():
            text = "a point that the model has not got is kept as evidence only"
            self._device.tell("member-unknown", text, sent.pointer, self._clause)
        self._tell_of(
            self._absent, "point-not-implemented", "not implemented by the device", "info"
        )
        text = "given before by another model of the device, which counts"
        self._tell_of(self._again, "register-repeated", text, "warning")
        return self._drafts

    def _tell_of(self, names: list[str], code: str, text: str, severity: Severity) -> None:
        if names:
            several = sorted(set(names))
            more = len(several) - NAMES_TOLD_MAX
            listed = ", ".join(several[:NAMES_TOLD_MAX]) + (f" and {more} more" if more > 0 else "")
            pointer = self._sent.pointer
            self._device.tell(code, f"{text}: {listed}", pointer, self._clause, severity)

    def _points(
        self, values: Mapping[str, Any], known: Mapping[str, Point], pointer: str, number: str
    ) -> None:
        for name, value in values.items():
            point = known.get(name)
            if point is None:
                continue
            before = len(self._drafts)
            try:
                self._point(name, point, value, values, number)
                if len(self._drafts) > before:
                    self._device.took(f"{pointer}/{name}")
            except Rejected as error:
                self._device.refuse_point(error, f"{pointer}/{name}")

    def _point(
        self, name: str, point: Point, value: Any, values: Mapping[str, Any], number: str
    ) -> None:
        held = sunspec_value.held(value, point.type)
        if held is None:
            self._absent.append(name)
            return
        if point.quantity is None:
            self._state(name, point, int(held), value, number)
            return
        power: int | None = 0
        if point.scale:
            said = values.get(point.scale, self._sent.points.get(point.scale))
            power = sunspec_value.scale(said)
        if power is None:
            self._incomplete(name, point, value, number)
            return
        register = point.register.replace("#", number)
        if (register, self._at.us) in self._taken:
            self._again.append(name)
            return
        text = decimal_text(held, power + point.shift)
        codes = quality(())
        shape = record.shape("telemetry", register, "", point.quantity, codes.json)
        slot = record.slot(shape, self._at, self._at)
        told = record.findings_text(self._told)
        self._drafts.append(record.reading(slot, self._origin, text, codes.rank, told))
        self._taken.add((register, self._at.us))

    def _state(self, name: str, point: Point, held: int, value: str, number: str) -> None:
        if point.words is None:
            if held or not point.type.startswith("bitfield"):  # of its maker's bits none is set
                self._event("state", name, number, {"value": [value]}, [])
            return
        words, whole = point.words.of(held)
        kept = {"value": [value]}
        text = "a code, or a bit of it, that the model has no symbol for; kept as sent"
        doubts = [] if whole else [("state-unknown", text)]
        self._event("state" if words else "unmapped", name, number, kept, doubts, words=words)

    def _incomplete(self, name: str, point: Point, value: str, number: str) -> None:
        factor = self._sent.points.get(point.scale)
        kept = {"value": [value], **({"scaleFactor": [factor]} if isinstance(factor, str) else {})}
        text = f"its scale factor {point.scale} is absent, or not from -10 to 10"
        self._event("incomplete", name, number, kept, [("scale-factor-missing", text)])

    def _event(
        self,
        event: str,
        name: str,
        number: str,
        texts: Mapping[str, list[str]],
        doubts: list[tuple[str, str]],
        *,
        words: Sequence[str] = (),
    ) -> None:
        kept = {"measurand": [name]} | {key: [str(one) for one in of] for key, of in texts.items()}
        record.check_verbatim(kept)
        model = self._sent.model()
        group = f"{model.group}.{number}." if model is not None and number else ""
        told = [
            self._device.tell(code, text, f"{self._sent.pointer}/{name}", self._clause)
            for code, text in doubts
        ]
        draft = record.event(
            event,
            self._origin,
            notation=f"sunspec.{self._sent.number}.{group}{name}",
            verbatim=kept,
            quality=quality(()),
            begin=self._at,
            end=self._at,
            findings=[*told, *self._told],
            means=words,
        )
        self._drafts.append(draft)


def _numbers(instances: list[Any]) -> list[str]:
    """Of the instances of a group: their own ID where each has another, else their place from 1."""
    found: list[str] = []
    for instance in instances:
        said = instance.get("ID") if isinstance(instance, dict) else None
        try:
            held = sunspec_value.held(said, "uint16")
        except Rejected:
            held = None
        found.append(held or "")
    if "" in found or len(set(found)) != len(found):
        return [str(place) for place in range(1, len(instances) + 1)]
    return found
