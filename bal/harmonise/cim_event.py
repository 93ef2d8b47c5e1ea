"""IEC 61968-9 EndDeviceEvents: what a device reports that is no value.

They stand in a MeterReading, as EndDeviceEvents, or in a message of their own, as EndDeviceEvent.
Each becomes one `event` record: the code in words, and every text as sent but for those that name
the device or a person.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from lxml import etree

from bal.errors import Rejected
from bal.harmonise import event_type, record
from bal.harmonise.cim_around import Around
from bal.harmonise.cim_doubts import time_doubts
from bal.harmonise.cim_tree import Name, local_names, named, reference, text
from bal.harmonise.instant import Instant, parse_loose
from bal.harmonise.quality import quality
from bal.harmonise.record import Origin
from bal.harmonise.report import Report
from bal.model import Draft, Finding

CLAUSE = "IEC 61968-9 EndDeviceEvents"
CLAUSE_TYPE = "IEC 61968-9 annex E EndDeviceEventType"
NAME_LENGTH_MIN = 4  # characters; a shorter name of a device stands in other texts by chance

_DEVICE = ("Meter", "EndDevice", "Assets")  # elements that name the device, the first kind counts
_TYPE, _TIME = "endDeviceEventType", "createdDateTime"
_ONCE = ("mRID", _TIME, "issuerID", "issuerTrackingID", "severity", "reason", "type")
_WITHIN = {  # element with texts of its own → those, and the member each becomes
    "EndDeviceEventDetails": {"name": "detailName", "value": "detailValue"},
    "status": {
        "dateTime": "statusDateTime",
        "value": "statusValue",
        "reason": "statusReason",
        "remark": "statusRemark",
    },
}
_QUALITY = quality(())  # an event has none of its own
_SPACE = " \t\r\n"


class SentEvent(NamedTuple):
    """One event; texts as sent."""

    line: int  # of its start tag, from 1
    texts: tuple[tuple[str, tuple[str, ...]], ...]  # member of `verbatim` → texts, never empty
    further: int  # elements that no record carries


class NamedDevice(NamedTuple):
    """How an event of a message of its own names its device."""

    named_by: str  # the element; "" where there is none
    elements: int  # how many of these there are
    mrid: str | None
    names: tuple[Name, ...]


def read(element: etree._Element) -> SentEvent:
    """One EndDeviceEvent, or EndDeviceEvents of a MeterReading."""
    texts: dict[str, list[str]] = {}
    further = 0
    for child in element:
        name = local_names[child.tag]
        if name in _ONCE:
            texts.setdefault(name, []).append(child.text or "")
        elif name == "EndDeviceEventType":
            texts.setdefault(_TYPE, []).extend(reference(child).texts)
        elif name in _WITHIN:
            for part, member in _WITHIN[name].items():
                texts.setdefault(member, []).append(text(child, part) or "")
        elif name not in {*_DEVICE, "UsagePoint"}:
            further += 1
    found = tuple((member, tuple(said)) for member, said in texts.items() if any(said))
    return SentEvent(element.sourceline or 1, found, further)


def device(element: etree._Element) -> NamedDevice:
    """Whose an EndDeviceEvent is: its device's, or where there is none its UsagePoint's."""
    for name in (*_DEVICE, "UsagePoint"):
        found = [child for child in element if local_names[child.tag] == name]
        if found:
            return NamedDevice(name, len(found), *named(found[0]))
    return NamedDevice("", 0, None, ())


def _instant(text: str) -> Instant:
    try:
        return parse_loose(text)
    except Rejected as error:
        raise Rejected(error.code, error.text, field=_TIME, clause=error.clause) from None


class Events:
    """Makes the records of one message's events."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def drafts(
        self, sent: Iterable[SentEvent], origin: Origin, names: Sequence[str], around: Around
    ) -> Iterator[Draft]:
        """The record of each event that has a time; the others are refused.

        names: what the device is called, which no record may say.
        """
        for one in sent:
            try:
                draft = self._draft(one, origin, names, around)
            except Rejected as error:
                self._report.refuse(error, one.line, field="EndDeviceEvent", clause=CLAUSE)
                continue
            self._report.took(one.line)
            yield draft

    def _draft(
        self, sent: SentEvent, origin: Origin, names: Sequence[str], around: Around
    ) -> Draft:
        kept, withheld = _withhold(sent.texts, names)
        record.check_verbatim(kept)
        if _TIME not in kept:
            raise Rejected("time-missing", "the event has no createdDateTime", field=_TIME)
        times = [_instant(one) for one in kept[_TIME]]
        codes = [around.code(one).strip(_SPACE) for one in kept.get(_TYPE, ())]
        doubled = [name for name in (_TIME, _TYPE) if len(kept.get(name, ())) > 1]
        doubts = [
            ("reading-ambiguous", f"{name} stands several times in one event", name)
            for name in doubled
        ]
        if not codes or not any(codes):
            doubts.append(("event-type-missing", "the event has no EndDeviceEventType", _TYPE))
        means = "" if doubts else _means(codes[0][: event_type.CODE_LENGTH_MAX + 1])
        if not doubts and not means:
            why = "a number of the code is in no table here"
            if not event_type.is_code(codes[0]):
                why = "the type is not of the form type.domain.subdomain.eventOrAction"
            doubts.append(("event-type-unmapped", why, _TYPE))
            name = "unmapped"
        else:
            name = "occurrence" if means else "incomplete"
        doubts += [(one.code, one.text, _TIME) for one in time_doubts(*times)]
        if sent.further or withheld:
            told = f"{sent.further} further elements and {withheld} texts that name the device"
            kept_only = f"{told} are kept as evidence only"
            doubts.append(("element-not-mapped", kept_only, "EndDeviceEvent"))
        return record.event(
            name,
            origin,
            notation=codes[0] if len(codes) == 1 else "",
            verbatim=kept,
            quality=_QUALITY,
            begin=min(times),
            end=max(times),
            findings=self._findings(doubts, sent.line),
            means=(means,) if means else (),
        )

    def _findings(self, doubts: Sequence[tuple[str, str, str]], line: int) -> list[Finding]:
        return [
            self._report.doubt(
                code, said, line, field=name, clause=CLAUSE_TYPE if name == _TYPE else CLAUSE
            )
            for code, said, name in doubts
        ]


@lru_cache(maxsize=1024)
def _means(code: str) -> str:
    """A code in words; "" where it is none, or a number of it is not known."""
    return event_type.sentence(code) if event_type.is_known(code) else ""


def _withhold(
    texts: Sequence[tuple[str, tuple[str, ...]]], names: Sequence[str]
) -> tuple[dict[str, list[str]], int]:
    """The texts without those in which a name of the device stands, and how many these are."""
    long = [name for name in names if len(name) >= NAME_LENGTH_MIN]
    withheld = 0
    kept: dict[str, list[str]] = {}
    for member, said in texts:
        hidden = [] if member in {_TYPE, _TIME, "statusDateTime"} else long
        shown = ["" if any(name in one for name in hidden) else one for one in said]
        withheld += sum(one != other for one, other in zip(said, shown, strict=True))
        kept[member] = shown
    return kept, withheld
