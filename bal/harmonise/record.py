"""The exact bytes of a record (docs/spec/record.md), in RFC 8785 form.

A reading's bytes are pieced together from text that is fixed for its register and quality, which
is forty times faster than encoding an object; `tests/unit/harmonise/test_record.py` holds them
against `bal.jcs`. Whatever is not fixed is either of a safe alphabet (pseudonym, hex, decimal,
time) or goes through the encoder. Rare records (events, missing values) are encoded as objects.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

from bal import jcs
from bal.errors import Rejected
from bal.harmonise.instant import Instant
from bal.harmonise.quality import Quality
from bal.harmonise.quantity import Quantity
from bal.harmonise.reading_type import ReadingType
from bal.model import Draft, Finding, Rank, Subject

VERSION = "1"
TEXT_LENGTH_MAX = 1024  # characters of one verbatim text
TEXTS_MAX = 64  # verbatim texts of one event

_SURROGATE = re.compile("[\ud800-\udfff]")
_REGISTER = re.compile(r"[!-~]{1,128}")

_DEVICE_TYPES = {
    "reading": ["GridMeter", "Power_meter"],
    "telemetry": ["Device"],
    "event": ["Device"],
}


class Origin(NamedTuple):
    """What all records of one part of a message share."""

    subject: Subject
    evidence: str  # commitment to the part, 64 hex digits


class Shape(NamedTuple):
    """The text of a reading that is the same from device to device and slot to slot."""

    kind: str
    register: str
    result: str  # from behind hasValue to the end of hasResult
    made_by: str  # up to the device in madeBy
    observes: str  # from there up to the device in observes
    quality: str  # from there to the end of register
    tail: str  # from type up to the value


class Slot(NamedTuple):
    """The text of a reading that is the same from device to device at one time."""

    kind: str
    register: str
    begin_us: int
    end_us: int
    start: str  # up to the device
    evidence: str  # from there up to the evidence
    value: str  # from findings up to hasValue
    made_by: str
    observes: str
    quality: str  # from behind observes' device up to the value


class Meant(NamedTuple):
    """What a message says of one register at one time, whichever device it is of."""

    shape: Shape
    begin: Instant
    end: Instant
    value: str  # as sent
    shift: int  # the power of ten to the base unit
    rank: Rank


@lru_cache(maxsize=4096)
def shape(kind: str, register: str, notation: str, quantity: Quantity, quality: str) -> Shape:
    """The fixed text of readings of one register.

    kind: reading or telemetry; notation: the identifier as sent, "" for none; quality: the codes
    as a JSON array in RFC 8785 form.
    """
    # SAREF saref:UnitOfMeasure, saref:PropertyValue; the unit itself is QUDT's
    unit = {"id": f"qunit:{quantity.qudt}", "type": "UnitOfMeasure"}
    observed = _property(quantity, notation)
    broader = observed.pop("broader", None)
    before_id = f'"broader":{_text(broader)},' if broader else ""
    return Shape(
        kind=kind,
        register=register,
        result=f'","id":"#value","isMeasuredIn":{_text(unit)},"type":"PropertyValue"}},',
        made_by=f'"id":"","kind":"{kind}","madeBy":{{"id":"',
        observes=f'",{_inside({"type": _DEVICE_TYPES[kind]})}}},"observes":{{{before_id}"id":"',
        quality=f'#{_fragment(register)}",{_inside(observed)}}},'
        f'"quality":{quality},"register":{_text(register)},',
        tail=f'"type":"Observation","unit":{_text(quantity.unit)},"v":"{VERSION}","value":"',
    )


@lru_cache(maxsize=1024)  # a quarter-hour's messages of one reading each share it
def slot(of: Shape, begin: Instant, end: Instant) -> Slot:
    """The fixed text of readings of one register over [begin, end), or at `end` if equal."""
    if begin.us == end.us:
        return Slot(
            kind=of.kind,
            register=of.register,
            begin_us=end.us,
            end_us=end.us,
            start='{"device":"',
            evidence='","evidence":"',
            value='"hasResult":{"hasValue":"',
            made_by=f'{of.result}"hasTimestamp":"{end.text}",{of.made_by}',
            observes=of.observes,
            quality=f'{of.quality}"time":"{end.text}",{of.tail}',
        )
    return Slot(
        kind=of.kind,
        register=of.register,
        begin_us=begin.us,
        end_us=end.us,
        start=f'{{"begin":"{begin.text}","device":"',
        evidence=f'","end":"{end.text}","evidence":"',
        value=f'"hasPhenomenonTime":{_text(_interval(begin, end))},"hasResult":{{"hasValue":"',
        made_by=f"{of.result}{of.made_by}",
        observes=of.observes,
        quality=f"{of.quality}{of.tail}",
    )


def reading(at: Slot, origin: Origin, value: str, rank: Rank, findings: str = "") -> Draft:
    """One value of one device. value: a normalised decimal; findings: see `findings_text`."""
    kind, register, begin_us, end_us, start, evidence, result, made_by, observes, quality = at
    subject, commitment = origin
    device = subject.pseudonym
    text = (
        f'{start}{device}{evidence}{commitment}",{findings}{result}{value}{made_by}{device}'
        f'{observes}{device}{quality}{value}"}}'
    )
    return Draft(subject, kind, register, begin_us, end_us, rank, text.encode())


def findings_text(findings: Sequence[Finding]) -> str:
    """The member `findings` with its comma, as it stands in a record; "" for none."""
    return f'"findings":{_text(_findings(findings))},' if findings else ""


def missing(
    origin: Origin,
    decoded: ReadingType,
    *,
    quality: Quality,
    begin: Instant,
    end: Instant,
    findings: Sequence[Finding],
) -> Draft:
    """A reading of which its sender says that the value is missing: a record without a value."""
    register = decoded.register
    members: dict[str, object] = {
        "kind": "reading",
        "observes": {
            "id": f"{origin.subject.pseudonym}#{_fragment(register)}",
            **_property(decoded.quantity, decoded.notation),
        },
        "quality": list(quality.codes),
        "register": register,
    }
    record = _without_result(origin, members, begin, end, findings)
    return Draft(origin.subject, "reading", register, begin.us, end.us, Rank.MISSING, record)


def check_verbatim(verbatim: Mapping[str, Sequence[str]]) -> None:
    """Raises Rejected where the texts are too many, too long or have no UTF-8 form."""
    texts = [text for sent in verbatim.values() for text in sent]
    if len(texts) > TEXTS_MAX or any(len(text) > TEXT_LENGTH_MAX for text in texts):
        raise Rejected(
            "text-too-long",
            f"more than {TEXTS_MAX} texts, or one of more than {TEXT_LENGTH_MAX} characters",
        )
    if any(_SURROGATE.search(text) is not None for text in texts):
        raise Rejected("not-unicode", "a text holds a lone surrogate", clause="RFC 8259 §8.2")


def event(
    name: str,
    origin: Origin,
    *,
    notation: str,
    verbatim: Mapping[str, Sequence[str]],
    quality: Quality,
    begin: Instant,
    end: Instant,
    findings: Sequence[Finding],
    means: Sequence[str] = (),
) -> Draft:
    """What is no value, or could not be given a meaning, kept word for word.

    name: state, unmapped or incomplete; notation: the one identifier as sent, "" where there is
    none or more than one; verbatim: member → texts as sent, which `check_verbatim` has passed;
    means: the standard's words for a state's code.
    """
    register = notation if _REGISTER.fullmatch(notation) is not None else ""
    members: dict[str, object] = {
        "event": name,
        "kind": "event",
        "quality": list(quality.codes),
        "verbatim": {"id": "#verbatim", **{name: list(texts) for name, texts in verbatim.items()}},
    }
    if means:
        members["means"] = list(means)
    if register:
        members["register"] = register
    if notation:
        members["notation"] = notation
        members["observes"] = {
            "id": f"{origin.subject.pseudonym}#{_fragment(notation)}",
            "notation": notation,
            "type": ["Property"],
        }
    record = _without_result(origin, members, begin, end, findings)
    return Draft(origin.subject, "event", register, begin.us, end.us, quality.rank, record)


def _without_result(
    origin: Origin,
    members: Mapping[str, object],
    begin: Instant,
    end: Instant,
    findings: Sequence[Finding],
) -> bytes:
    device = origin.subject.pseudonym
    record: dict[str, object] = {
        **members,
        "device": device,
        "evidence": origin.evidence,
        "id": "",
        "madeBy": {"id": device, "type": _DEVICE_TYPES[str(members["kind"])]},
        # SAREF saref:ProcedureExecution; saref:Observation is one that has a result
        "type": "ProcedureExecution",
        "v": VERSION,
    }
    if findings:
        record["findings"] = _findings(findings)
    if begin.us == end.us:
        record |= {"hasTimestamp": end.text, "time": end.text}
    else:
        record |= {"begin": begin.text, "end": end.text, "hasPhenomenonTime": _interval(begin, end)}
    return jcs.encode(record)


def _property(quantity: Quantity, notation: str) -> dict[str, object]:
    """The node of the observed property, but for its id."""
    node: dict[str, object] = {"type": list(quantity.types)}
    if quantity.broader:
        node["broader"] = f"s4grid:{quantity.broader}"
    if notation:
        node["notation"] = notation
    return node


def _interval(begin: Instant, end: Instant) -> dict[str, object]:
    def node(name: str, at: Instant) -> dict[str, str]:
        # OWL-Time time:Instant, time:inXSDDateTimeStamp
        return {"id": name, "inXSDDateTimeStamp": at.text, "type": "Instant"}

    return {
        "hasBeginning": node("#begin", begin),
        "hasEnd": node("#end", end),
        "id": "#interval",
        "type": "ProperInterval",
    }


def _findings(findings: Sequence[Finding]) -> list[dict[str, str]]:
    return [
        {**finding.as_json(), "id": f"#finding-{number}"}
        for number, finding in enumerate(findings, 1)
    ]


def _fragment(register: str) -> str:
    """The register as an IRI fragment (RFC 3986 §3.5)."""
    return quote(register, safe="")


def _text(value: object) -> str:
    return jcs.encode(value).decode()


def _inside(value: dict[str, object]) -> str:
    return _text(value)[1:-1]
