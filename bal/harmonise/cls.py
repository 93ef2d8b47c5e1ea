"""Readings of a smart meter gateway as signed JSON (docs/spec/cls.md), in the manner of TR-03109.

BSI TR-03109-5's own schema of CLS messages is not public: this one is ours. The signature is that
of the gateway, over all of it; a message whose signature does not hold is refused whole.
"""

from typing import Any, NamedTuple

from bal import cms, jcs
from bal.errors import Rejected
from bal.harmonise import cms_signature, der_json, obis, reading_type, record, vde2418_status
from bal.harmonise.cms_signature import Signer
from bal.harmonise.der_json import Item, Number
from bal.harmonise.instant import Instant
from bal.harmonise.names import CommitParts, MeterNames, Resolve, check_names
from bal.harmonise.parts import origins
from bal.harmonise.quality import Quality, quality
from bal.harmonise.quantity import decimal_text
from bal.harmonise.reading_json import string, times
from bal.harmonise.reading_type import ReadingType
from bal.harmonise.record import Origin
from bal.harmonise.report import Report, Spot
from bal.harmonise.vde2418_status import INVALID, TEMPORARY, Status
from bal.model import Draft, Finding, Harmonised, Subject
from bal.times import rfc3339
from bal.trust import Trust

VERSION = "gridseal/cls/v1"
CLAUSE = VERSION
SCALER_MAX = 12  # powers of ten, either way
SIGNED_AHEAD_US_MAX = 600 * 1_000_000

_US_PER_S = 1_000_000
_ITEM_MEMBERS = frozenset({"type", "gateway", "meter", "readings"})
_READING_MEMBERS = frozenset(
    {"obis", "time", "begin", "end", "value", "scaler", "unit", "status", "quality"}
)
_STATUS_MEMBERS = frozenset({"ptb", "fnn"})
_SUFFIX = ".SMGW"  # behind the gateway's number in its certificate's common name


class _Piece(NamedTuple):
    """One meter's object, raw[start:end]."""

    start: int
    end: int


def harmonise(
    raw: bytes,
    *,
    resolve: Resolve,
    platform: Subject,
    sender: Subject,
    commit_parts: CommitParts,
    received_us: int | None,
    trust: Trust | None,
    spots: list[Spot] | None = None,
) -> Harmonised:
    """Records, parts and findings of one message; see `bal.harmonise.harmonise`.

    trust: None judges no chain of certificates: that is for people who look at a message.
    """
    if received_us is None and trust is not None:
        raise Rejected("cms-signer-unknown", "nobody says when it was received", clause=CLAUSE)
    signed = cms.read(raw)
    signer = cms_signature.check(raw, signed, trust, received_us or 0)
    content = raw[signed.start : signed.end]
    items = der_json.read(content)
    if not items:
        raise Rejected("no-reading", "the message is an empty array", line=1, clause=CLAUSE)
    report = Report(content, spots=spots)
    for item in items:
        _check_gateway(item, signer)
    if trust is None:
        text = "whether the signer is trusted only a platform knows"
        report.doubt("cms-chain-unjudged", text, 1, clause="RFC 5280 §6.1", severity="info")
    elif received_us is not None:
        _doubt_signature(signer, received_us, report)
    subjects = [_subject(item, resolve, report) for item in items]
    pieces = [_Piece(signed.start + item.start, signed.start + item.end) for item in items]
    parts, whose = origins(
        raw, pieces, subjects, platform=platform, sender=sender, commit_parts=commit_parts
    )
    drafts: list[Draft] = []
    for item, origin in zip(items, whose, strict=True):
        if origin is not None:
            meter = _Meter(item, origin, report)
            drafts += meter.drafts()
    attested = _attested(signer)
    for draft in drafts:
        draft.record = attested + draft.record[1:]
    verdict = f"cms:{signer.fingerprint}"
    return Harmonised(parts, drafts, report.findings, report.refused, signature=verdict)


def _attested(signer: Signer) -> bytes:
    """The beginning of every record of the message: `attested` sorts before all other members.

    A gateway's name and its certificate's number are an identity: they stay in the evidence. The
    fingerprint says nothing to whoever does not have the certificate.
    """
    said = {
        "by": signer.fingerprint,
        "id": "#attested",
        "signed": rfc3339(signer.signed_us),
        "trust": signer.anchor,
    }
    return b'{"attested":' + jcs.encode(said) + b","


def _check_gateway(item: Item, signer: Signer) -> None:
    """All of a message is of the gateway that signed it. Raises Rejected."""
    value = item.value
    if not isinstance(value, dict) or value.get("type") != VERSION:
        text = f"not an object of type {VERSION}"
        raise Rejected("member-type", text, field=f"{item.pointer}/type", clause=CLAUSE)
    gateway = value.get("gateway")
    named = signer.name.upper()
    if not isinstance(gateway, str) or isinstance(gateway, Number) or not gateway:
        field = f"{item.pointer}/gateway"
        raise Rejected("member-type", "the gateway is no text", field=field, clause=CLAUSE)
    number = gateway.upper()
    if named not in {number, number + _SUFFIX} and not named.startswith(f"{number}{_SUFFIX}."):
        text = "the message is of another gateway than its signer"
        raise Rejected("cms-signer-other", text, field=f"{item.pointer}/gateway", clause=CLAUSE)


def _doubt_signature(signer: Signer, received_us: int, report: Report) -> None:
    if signer.signed_us > received_us + SIGNED_AHEAD_US_MAX:
        text = "the signing-time is more than ten minutes after the receipt"
        report.doubt("cms-signed-ahead", text, 1, field="signingTime", clause="RFC 5652 §11.3")
    if signer.crl_old:
        text = "the revocation list of a CA of the signer's was due to be replaced before"
        report.doubt("cms-crl-old", text, 1, clause="RFC 5280 §5.1.2.5")


def _subject(item: Item, resolve: Resolve, report: Report) -> Subject | None:
    """Whose the readings are; None, and one refusal for all of them, where nobody's."""
    value = item.value
    try:
        if not isinstance(value.get("readings"), list) or not value["readings"]:
            raise Rejected("no-reading", "readings is not an array of readings", field="readings")
        names = MeterNames(None, ())
        if "meter" in value:
            names = check_names(None, (("", "", string(value, "meter").strip()),))
        return resolve(names)
    except Rejected as error:
        field = f"{item.pointer}/{error.field}" if error.field else item.pointer
        named = Rejected(error.code, error.text, field=field, clause=error.clause)
        report.refuse(named, report.line(item.start), field=field, clause=CLAUSE)
        return None


class _Said(NamedTuple):
    """One reading as far as it can be read."""

    obis: str
    begin: Instant
    end: Instant
    value: str
    scaler: int
    unit: str
    status: Status | None
    quality: Quality


class _Meter:
    """The readings of one meter."""

    def __init__(self, item: Item, origin: Origin, report: Report) -> None:
        self._item, self._origin, self._report = item, origin, report
        self._line = report.line(item.start)

    def drafts(self) -> list[Draft]:
        """Their records; what is wrong with one costs no other."""
        found: list[Draft] = []
        if not self._item.value.keys() <= _ITEM_MEMBERS:
            self._doubt(self._item.pointer, *_UNKNOWN)
        for number, reading in enumerate(self._item.value["readings"]):
            pointer = f"{self._item.pointer}/readings/{number}"
            try:
                found.append(self._draft(reading, pointer))
                self._report.took(pointer)
            except Rejected as error:
                field = f"{pointer}/{error.field}" if error.field else pointer
                named = Rejected(error.code, error.text, field=field, clause=error.clause)
                self._report.refuse(named, self._line, field=field, clause=CLAUSE)
        return found

    def _draft(self, reading: Any, pointer: str) -> Draft:
        said = _said(reading)
        doubts: list[tuple[str, str]] = []
        if not reading.keys() <= _READING_MEMBERS:
            doubts.append(_UNKNOWN)
        if said.begin.cut or said.end.cut:
            doubts.append(("time-cut", "finer than a microsecond; the rest is cut off"))
        if said.status is not None:
            doubts += said.status.doubts
        of = _type(said)
        if of is None:
            why = ("obis-unmapped", "the OBIS code has no meaning here; kept verbatim")
            return self._event("unmapped", said, pointer, [why, *doubts])
        if of.quantity.unit != said.unit:
            text = f"the unit is not {of.quantity.unit}, in which the OBIS code's register is"
            raise Rejected("unit-mismatch", text, field="unit")
        if said.quality.stated_missing:
            return record.missing(
                self._origin,
                of,
                quality=said.quality,
                begin=said.begin,
                end=said.end,
                findings=self._told(pointer, doubts),
            )
        if said.status is not None and said.status.counts in INVALID:
            text = "by its status the value is invalid and stands for nothing"
            return self._event("invalid", said, pointer, [("value-invalid", text), *doubts])
        if said.status is not None and said.status.counts == TEMPORARY:
            text = "the status says that the value is no measured one; taken as a substitute value"
            doubts.append(("value-substitute", text))
        value = decimal_text(said.value, said.scaler)
        shape = record.shape("reading", of.register, said.obis, of.quantity, said.quality.json)
        told = record.findings_text(self._told(pointer, doubts))
        slot = record.slot(shape, said.begin, said.end)
        return record.reading(slot, self._origin, value, said.quality.rank, told)

    def _event(self, name: str, said: _Said, pointer: str, doubts: list[tuple[str, str]]) -> Draft:
        texts = {
            "obis": [said.obis],
            "scaler": [str(said.scaler)],
            "unit": [said.unit],
            "value": [said.value],
        }
        record.check_verbatim(texts)
        return record.event(
            name,
            self._origin,
            notation=said.obis,
            verbatim=texts,
            quality=said.quality,
            begin=said.begin,
            end=said.end,
            findings=self._told(pointer, doubts),
        )

    def _told(self, pointer: str, doubts: list[tuple[str, str]]) -> list[Finding]:
        """Only once nothing can be refused any more: a refused reading has no findings."""
        return [self._doubt(pointer, code, text) for code, text in doubts]

    def _doubt(self, pointer: str, code: str, text: str) -> Finding:
        return self._report.doubt(code, text, self._line, field=pointer, clause=CLAUSE)


_UNKNOWN = ("member-unknown", "an unknown member is kept as evidence only")


def _said(reading: Any) -> _Said:
    """Raises Rejected."""
    if not isinstance(reading, dict):
        raise Rejected("member-type", "a reading is not an object")
    begin, end = times(reading)
    status = _status(reading)
    codes = [*_qualities(reading), *(status.codes if status is not None else ())]
    judged = quality(tuple(codes))
    value = reading.get("value", "" if judged.stated_missing else None)
    if not isinstance(value, str):
        code = "member-type" if "value" in reading else "member-missing"
        raise Rejected(code, "the value is neither string nor number", field="value")
    return _Said(
        obis.parse(string(reading, "obis")).text,
        begin,
        end,
        str(value),
        _scaler(reading),
        string(reading, "unit"),
        status,
        judged,
    )


def _type(said: _Said) -> ReadingType | None:
    """What the register is, by its OBIS code and the length of the interval."""
    interval_s, rest_us = divmod(said.end.us - said.begin.us, _US_PER_S)
    if rest_us:
        return None
    code = obis.reading_type(obis.parse(said.obis), interval_s or None)
    found = None if code is None else reading_type.decode(code)
    if found is None or (found.at_instant and interval_s):
        return None
    return found


def _scaler(reading: dict[str, Any]) -> int:
    sent = reading.get("scaler", Number("0"))
    if not isinstance(sent, Number):
        raise Rejected("member-type", "the scaler is no number", field="scaler")
    digits = sent.removeprefix("-")
    if len(digits) > 2 or not digits.isdecimal() or int(digits) > SCALER_MAX:
        text = f"the scaler is no whole number from -{SCALER_MAX} to {SCALER_MAX}"
        raise Rejected("scaler-invalid", text, field="scaler")
    return int(sent)


def _status(reading: dict[str, Any]) -> Status | None:
    if "status" not in reading:
        return None
    sent = reading["status"]
    if not isinstance(sent, dict) or not sent or not sent.keys() <= _STATUS_MEMBERS:
        raise Rejected("member-type", "the status is no object of ptb and fnn", field="status")
    ptb, fnn = (string(sent, name) if name in sent else None for name in ("ptb", "fnn"))
    return vde2418_status.read(ptb, fnn)


def _qualities(reading: dict[str, Any]) -> list[str]:
    sent = reading.get("quality", [])
    if not isinstance(sent, list) or any(
        not isinstance(code, str) or isinstance(code, Number) for code in sent
    ):
        raise Rejected("member-type", "the qualities are no array of texts", field="quality")
    return list(sent)
