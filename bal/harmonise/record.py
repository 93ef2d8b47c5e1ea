"""The exact bytes of a record (docs/spec/record.md), in RFC 8785 form.

A reading's bytes are pieced together from text that is fixed for its register and quality, which
is forty times faster than encoding an object; `tests/unit/harmonise/test_record.py` holds them
against `bal.jcs`. Whatever is not fixed is either of a safe alphabet (pseudonym, hex, decimal,
time) or goes through the encoder. Rare records (events, missing values) are encoded as objects.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
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


@dataclass(frozen=True, slots=True)
class Origin:
    """What all records of one part of a message share."""

    subject: Subject
    evidence: str  # hex commitment to the part


@dataclass(frozen=True, slots=True)
class Shape:
    """The text of a reading that stays the same from device to device and slot to slot.

    In RFC 8785 order, split where `device`, `value`, or a time comes in.
    """

    kind: str
    register: str
    result: str
    instant: tuple[str, str]
    made_by: str
    observes: str
    quality: str
    tail: str


@lru_cache(maxsize=4096)
def shape(kind: str, register: str, notation: str, quantity: Quantity, quality: str) -> Shape:
    """The fixed text of readings of one register.

    kind: reading or telemetry; register: characters that need no escape; notation: the
    identifier as sent, "" for none; quality: the codes as a JSON array in RFC 8785 form.
    """
    unit = {"id": f"qunit:{quantity.qudt}", "type": "UnitOfMeasure"}
    observed = _property(quantity, notation)
    broader = observed.pop("broader", None)
    before_id = f'"broader":{_text(broader)},' if broader else ""
    return Shape(
        kind=kind,
        register=register,
        result=f'","id":"#value","isMeasuredIn":{_text(unit)},"type":"PropertyValue"}},',
        instant=('"hasTimestamp":"', '",'),
        made_by=f'"id":"","kind":"{kind}","madeBy":{{"id":"',
        observes=f'",{_inside({"type": _DEVICE_TYPES[kind]})}}},"observes":{{{before_id}"id":"',
        quality=f'#{_fragment(register)}",{_inside(observed)}}},'
        f'"quality":{quality},"register":{_text(register)},',
        tail=f'"type":"Observation","unit":{_text(quantity.unit)},"v":"{VERSION}","value":"',
    )


def instant_reading(
    at: Shape, origin: Origin, value: str, *, time: Instant, rank: Rank, findings: str
) -> Draft:
    """A value that holds at one instant; `findings` as `findings_text` gives them."""
    device = origin.subject.pseudonym
    moment = time.text
    text = (
        f'{{"device":"{device}","evidence":"{origin.evidence}",{findings}'
        f'"hasResult":{{"hasValue":"{value}{at.result}{at.instant[0]}{moment}{at.instant[1]}'
        f"{at.made_by}{device}{at.observes}{device}{at.quality}"
        f'"time":"{moment}",{at.tail}{value}"}}'
    )
    us = time.us
    return Draft(origin.subject, at.kind, at.register, us, us, rank, text.encode())


def interval_reading(
    over: Shape,
    origin: Origin,
    value: str,
    *,
    begin: Instant,
    end: Instant,
    rank: Rank,
    findings: str,
) -> Draft:
    """A value that covers [begin, end); `begin` lies before `end`."""
    device = origin.subject.pseudonym
    first, last = begin.text, end.text
    text = (
        f'{{"begin":"{first}","device":"{device}","end":"{last}","evidence":"{origin.evidence}",'
        f'{findings}"hasPhenomenonTime":{{"hasBeginning":{{"id":"#begin","inXSDDateTimeStamp":'
        f'"{first}","type":"Instant"}},"hasEnd":{{"id":"#end","inXSDDateTimeStamp":"{last}",'
        f'"type":"Instant"}},"id":"#interval","type":"ProperInterval"}},'
        f'"hasResult":{{"hasValue":"{value}{over.result}'
        f"{over.made_by}{device}{over.observes}{device}{over.quality}"
        f'{over.tail}{value}"}}'
    )
    return Draft(origin.subject, over.kind, over.register, begin.us, end.us, rank, text.encode())


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
        raise Rejected("text-not-unicode", "a text holds a lone surrogate", clause="RFC 8259 §8.2")


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
) -> Draft:
    """What could not be given a meaning, kept word for word.

    name: unmapped or incomplete; notation: the one identifier as sent, "" where there is none or
    more than one; verbatim: member → texts as sent, which `check_verbatim` has passed.
    """
    register = notation if _REGISTER.fullmatch(notation) is not None else ""
    members: dict[str, object] = {
        "event": name,
        "kind": "event",
        "quality": list(quality.codes),
        "verbatim": {"id": "#verbatim", **{name: list(texts) for name, texts in verbatim.items()}},
    }
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
        # not an Observation: SAREF's Observation has a result
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
