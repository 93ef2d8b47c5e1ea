"""What a message means, told to its author: the platform's guard and mapper, without a platform.

Whatever a message names is taken as its sender's, under subjects that are made up on the spot. What
only a platform knows (who may speak for whom, what was sent before) is not judged here.
"""

import re
from base64 import urlsafe_b64encode
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import count
from typing import Any

from bal import jcs
from bal.collect.guard import DEFAULT_LIMITS, Limits, guard
from bal.errors import Rejected
from bal.harmonise import (
    FORMATS,
    MeterNames,
    Spot,
    espi_words,
    event_type,
    harmonise,
    vde2418_status,
)
from bal.harmonise.c37118_words import doubts
from bal.inspected import NOBODY, Device, Inspected, Place, Seen
from bal.json_lines import lines, nearest, with_those_around
from bal.model import Digest, Draft, Finding, Harmonised, PhasorFrame, Pseudonym, Rank, Subject
from bal.recognition import Known, recognise, uncommented
from bal.wording import channel, quality, register

_Standing = tuple[int | None, str]  # line and pointer of a value
_BITS = re.compile(r"(?:gateway|meter): [^;)]+")


def inspect(
    raw: bytes, form: str, limits: Limits = DEFAULT_LIMITS, received_us: int | None = None
) -> Inspected:
    """What `raw` means as a message of format `form`. Never raises for bad input.

    received_us: when it would be, for what has no time of its own.
    """
    told = Inspected(form)
    subjects = _Subjects()
    numbers = count()
    spots: list[Spot] = []

    def commit_parts(of: Sequence[Subject], _: Sequence[bytes]) -> list[Digest]:
        # a number of its own for each part, so that a record leads back to it
        return [Digest(next(numbers).to_bytes(32, "big")) for _ in of]

    try:
        guard(raw, form, limits)
        found = harmonise(
            raw,
            form,
            resolve=subjects.resolve,
            platform=_made_up("platform"),
            sender=subjects.resolve(NOBODY),
            commit_parts=commit_parts,
            received_us=received_us,
            trust=None,  # whom a platform trusts nobody knows here
            spots=spots,
        )
    except Rejected as error:
        told.whole = True
        told.refused.append(_of(error))
        return told
    except Exception as error:  # noqa: BLE001 - as the platform: a defect refuses the message
        text = f"this can't be read: a defect of Gridseal's ({type(error).__name__})"
        told.whole = True
        told.refused.append(_of(Rejected("mapper-failed", text, field="message")))
        return told
    known = _json_lines(raw, found, spots)
    told.findings = [_pointed(one, known) for one in found.findings]
    told.refused = [_pointed(one, known) for one in found.refused]
    _tell(found, raw, subjects, told, [_stands(one, known) for one in spots])
    return told


def guess(raw: bytes, limits: Limits = DEFAULT_LIMITS, received_us: int | None = None) -> Inspected:
    """`inspect` in the format that its root names, else in which most of `raw` has a meaning."""
    known = recognise(raw)
    if known is not None and known.form:
        return inspect(raw, known.form, limits, received_us)
    if known is None and (without := uncommented(raw)) is not None:
        return _commented(without[1], guess(without[0], limits, received_us))
    found = [inspect(raw, form, limits, received_us) for form in FORMATS]
    best = max(found, key=lambda one: _fit(raw, one))
    if best.taken or not (known or _is_of_none(raw, best)):
        return best
    return _of_no_format(known or Known("", "nothing that is known here"))


def _is_of_none(raw: bytes, told: Inspected) -> bool:
    """Whether nothing at all speaks for the best guess."""
    first = raw.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    return told.whole and first not in {b"<", b"{", b"["}


def _of_no_format(known: Known) -> Inspected:
    error = Rejected("format-unknown", f"no known format: it is {known.what}", field="message")
    return Inspected("", refused=[_of(error)], whole=True, known=known.what, do=known.do)


def _commented(comments: int, told: Inspected) -> Inspected:
    """What JSON behind `#` lines would be without them; as it is, nothing of it is taken."""
    if not told.form:
        return told
    rest = "what follows is refused too" if told.whole else f"what follows is of {told.form}"
    kept = (
        f"{rest}, with {told.values} value{'' if told.values == 1 else 's'} to take"
        if told.taken
        else rest
    )
    lines = "1 line begins" if comments == 1 else f"{comments} lines begin"
    error = Rejected(
        "json-malformed",
        f"JSON has no comments, and {lines} with #; {kept}",
        field="message",
        line=1,
        clause="RFC 8259 §2",
    )
    do = "Take the lines with # out; nothing else is needed." if told.taken else ""
    return Inspected(told.form, [], [], [_of(error), *told.refused], whole=True, do=do)


# Of messages of which nothing is taken: words that stand in those of one format.
_WORDS = {
    "c37118": (b"\xaa\x31", b"\xaa\x32", b"\xaa\x52"),
    "cim": (b"MeterReading", b"IntervalBlock", b"ReadingType"),
    "sep2": (b"2030.5", b"Mirror", b"DERStatus", b"DERCapability", b"deviceLFDI"),
    "sunspec": (b'"models"', b'"ID"', b'_SF"', b'"SN"'),
    "der": (b'"measurand"', b'"readings"', b'"unit"'),
    "pmu": (b'"measurand"', b'"readings"', b'"component"', b'"timestamp"'),
}


_FIRST = {  # what its messages begin with
    **dict.fromkeys(("cim", "espi", "sep2", "vde2418"), (b"<",)),
    **dict.fromkeys(("der", "pmu", "sunspec"), (b"{", b"[")),
    "c37118": (b"\xaa",),
    "cls": (b"0",),  # a SEQUENCE
}


def _fit(raw: bytes, told: Inspected) -> tuple[int, ...]:
    """The higher, the more likely is it that a message is of the format it was read as."""
    codes = {one.code for one in told.refused}
    first = raw.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    return (
        told.values,
        told.taken,
        -told.whole,
        first in _FIRST.get(told.form, ()),
        -("namespace-unknown" in codes),
        sum(word in raw for word in _WORDS.get(told.form, ())),
        -len(told.refused),
    )


def _of(error: Rejected) -> Finding:
    return Finding(error.code, "refused", error.text, error.field, error.line, error.clause)


class _Subjects:
    """Takes every name: what shares one is one device."""

    def __init__(self) -> None:
        self._known: dict[str, Subject] = {}  # by identity
        self.names: dict[Pseudonym, MeterNames] = {}

    def resolve(self, names: MeterNames) -> Subject:
        """The subject of these names, made up where none of them was seen yet."""
        identities = names.identities() or ("",)
        known = (self._known[one] for one in identities if one in self._known)
        subject = next(known, None) or _made_up(f"device {identities[0]}")
        before = self.names.get(subject.pseudonym, NOBODY)
        more = tuple(one for one in names.names if one not in before.names)
        self.names[subject.pseudonym] = MeterNames(
            before.mrid or names.mrid, (*before.names, *more)
        )
        for one in identities:
            self._known.setdefault(one, subject)
        return subject


def _made_up(name: str) -> Subject:
    digest = sha256(name.encode("utf-8", "replace")).digest()
    pseudonym = urlsafe_b64encode(digest).decode().rstrip("=")
    return Subject(Pseudonym(pseudonym), digest, "inspected", "inspected/0")


def _json_lines(raw: bytes, found: Harmonised, spots: Sequence[Spot]) -> dict[str, int]:
    """The lines of what findings and values point to, where the message is a text of JSON."""
    fields = {one.field for one in (*found.findings, *found.refused)}
    pointers = {one for one in (*fields, *spots) if isinstance(one, str) and one.startswith("/")}
    if not pointers or not is_text(raw):
        return {}
    return lines(raw.decode(), with_those_around(pointers))


def _pointed(one: Finding, known: dict[str, int]) -> Finding:
    """With the line of the member at fault; a receipt has that of its device's object."""
    if not one.field.startswith("/"):
        return one
    line = nearest(one.field, known)
    return one if line is None else replace(one, line=line)


def _stands(spot: Spot, known: dict[str, int]) -> _Standing:
    return (nearest(spot, known), spot) if isinstance(spot, str) else (spot, "")


def _tell(
    found: Harmonised,
    raw: bytes,
    subjects: _Subjects,
    told: Inspected,
    standings: Sequence[_Standing],
) -> None:
    """Records and frames by device, in the order of the message.

    standings: where each value stands, in the same order.
    """
    feeds = _line_feeds(raw)
    parts = found.parts if is_text(raw) else ()
    places = {
        part.commitment: Place(
            bisect_left(feeds, part.start) + 1, bisect_left(feeds, part.end - 1) + 1
        )
        for part in parts
    }
    devices: dict[Pseudonym, Device] = {}

    def device(subject: Subject) -> Device:
        name = subject.pseudonym
        if name not in devices:
            devices[name] = Device(subjects.names.get(name, NOBODY))
        return devices[name]

    seen = [(one.subject, _seen(one, places, told.form)) for one in found.records]
    for frame in found.frames:
        seen += [(frame.subject, one) for one in _of_frame(frame, places.get(frame.evidence))]
    for (subject, one), (line, pointer) in zip(seen, standings, strict=True):
        device(subject).seen.append(replace(one, line=line, pointer=pointer))
    told.devices = list(devices.values())


def is_text(raw: bytes) -> bool:
    """Whether it has lines that a person may look at."""
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in raw


def _line_feeds(raw: bytes) -> list[int]:
    ends: list[int] = []
    at = raw.find(b"\n")
    while at >= 0:
        ends.append(at)
        at = raw.find(b"\n", at + 1)
    return ends


def _in_espi(codes: Sequence[str], rank: Rank) -> tuple[str, ...]:
    """Nothing where the schema of ESPI says no more than IEC 61968-9."""
    if not any(code in espi_words.WORDS for code in codes):
        return ()
    return tuple(espi_words.WORDS.get(code) or quality((code,), rank) for code in codes)


def _in_ptb(codes: Sequence[str]) -> tuple[str, ...]:
    """The gateway's status, and what else is said of the reading."""
    status = vde2418_status.stated_by(codes)
    if status is None:
        return ()
    others = (code for code in codes if code not in vde2418_status.CODES[status])
    told = (quality((code,), Rank.MEASURED).partition(" by the meter")[0] for code in others)
    return (f"PTB status {status}: {vde2418_status.WORDS[status]}", *told)


def _in_own_words(form: str, codes: Sequence[str], rank: Rank) -> tuple[str, ...]:
    """A quality as its format has it; nothing where that says no more than IEC 61968-9."""
    if form == "espi":
        return _in_espi(codes, rank)
    return _in_ptb(codes) if form == "vde2418" else ()


def _seen(draft: Draft, places: dict[Digest, Place], form: str) -> Seen:
    said = jcs.decode(draft.record)
    observes = said.get("observes")
    notation = said.get("notation") or (
        observes.get("notation", "") if isinstance(observes, dict) else ""
    )
    unit = said.get("unit", "")
    code = notation or draft.register
    findings = said.get("findings", ())
    bits = " ".join(
        one["text"] for one in findings if one["code"] in {"status-bits", "status-differs"}
    )
    why = tuple(_BITS.findall(bits))
    qualities = tuple(said.get("quality", ()))
    evidence = bytes.fromhex(said["evidence"]) if "evidence" in said else b""
    return Seen(
        kind=draft.kind,
        code=code,
        meaning=_meaning(said, code, draft.register),
        begin_us=draft.begin_us,
        end_us=draft.end_us,
        value=said.get("value", ""),
        unit=unit,
        quality=qualities,
        rank=draft.rank,
        verbatim=tuple(_texts(said.get("verbatim"))),
        findings=tuple(one["code"] for one in findings),
        place=places.get(Digest(evidence)),
        why=why,
        words=() if why else _in_own_words(form, qualities, draft.rank),
    )


def _meaning(said: Mapping[str, Any], code: str, base: str) -> str:
    if said.get("kind") != "event":
        return register(code, base, said.get("unit", ""))
    if said.get("event") == "state":
        words = ", ".join(said.get("means", ["as its maker defines it"]))
        return f"{register(code)}: {words}"
    if said.get("event") == "occurrence":
        return ", ".join(said.get("means", ()))
    event = str(said.get("event", "event"))
    what = {"unmapped": "has no meaning here", "incomplete": "incomplete"}.get(event, event)
    if event_type.is_code(code):
        return f"{event_type.sentence(code)}; {what}, kept as sent"
    if event == "unmapped" and ":" in code:
        return f"an OBIS code; {what}, kept as sent"  # its finding says more
    return f"{register(code) if code else 'a reading'}; {what}, kept as sent"


def _texts(verbatim: object) -> Iterator[tuple[str, str]]:
    for name, texts in verbatim.items() if isinstance(verbatim, dict) else ():
        if isinstance(texts, list):
            yield from ((name, str(text)) for text in texts)


def _of_frame(frame: PhasorFrame, place: Place | None) -> Iterator[Seen]:
    """Each channel of a frame by itself."""
    said = frame.quality if frame.quality != ("0.0.0",) else ()
    decoded = jcs.decode(frame.data)
    is_sogno = "stat" not in decoded
    why = () if is_sogno else doubts(int(decoded["stat"], 16), int(decoded["timeQuality"], 16))
    for one in decoded["readings"]:
        what, unit = channel(one["component"], one["measurand"], one["phase"], is_sogno=is_sogno)
        code = f"{one['measurand']}.{one['phase']}.{one['component']}"
        yield Seen(
            "phasors", code, what, frame.time_us, frame.time_us, one["data"], unit,
            said, Rank.MEASURED, (), (), place, why,
        )  # fmt: skip
