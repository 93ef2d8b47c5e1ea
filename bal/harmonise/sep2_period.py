"""When a reading of IEEE 2030.5 holds: from epoch seconds, sets and lengths to instants."""

import re
from typing import NamedTuple

from bal.errors import Rejected
from bal.harmonise.instant import Instant, before, of_epoch
from bal.harmonise.sep2_type import UINT32_MAX, SentType, holds_at_end, holds_over_length, number
from bal.harmonise.sep2_xml import Node

CLAUSE_TIME = "IEEE 2030.5-2018 TimeType"
CLAUSE_PERIOD = "IEEE 2030.5-2018 DateTimeInterval"

_INT64 = re.compile(r"[+-]?[0-9]{1,19}")
_HEX16 = re.compile(r"(?:[0-9A-Fa-f]{2}){1,2}")
_SPACE = " \t\r\n"


class Period(NamedTuple):
    """[begin, end) of a reading; equal where it holds at an instant."""

    begin: Instant
    end: Instant
    doubt: tuple[str, str] | None = None  # code and text
    sure: bool = True  # False: the bounds are the set's, and the reading is somewhere in it

    def seconds(self) -> int:
        """Its length."""
        return (self.end.us - self.begin.us) // 1_000_000


def instant(text: str, field: str) -> Instant:
    """The instant that a TimeType names: seconds since 1970 in UTC, without leap seconds.

    Raises Rejected: time-malformed, time-out-of-range.
    """
    stripped = text.strip(_SPACE)
    if _INT64.fullmatch(stripped) is None:
        raise Rejected(
            "time-malformed", "a time is no number of seconds", field=field, clause=CLAUSE_TIME
        )
    return _epoch(int(stripped), field)


def _epoch(seconds: int, field: str) -> Instant:
    try:
        return of_epoch(seconds)
    except Rejected as error:
        error.field = field
        raise


def interval(node: Node) -> Period:
    """The period that a `timePeriod` names.

    Raises Rejected: time-missing, time-malformed, time-out-of-range.
    """
    starts, durations = node.texts("start"), node.texts("duration")
    if not starts or not durations:
        raise Rejected(
            "time-missing",
            "a timePeriod without start or without duration",
            field="timePeriod",
            line=node.line,
            clause=CLAUSE_PERIOD,
        )
    begin = instant(starts[0], "timePeriod/start")
    duration_s = number(durations[0], 0, UINT32_MAX)
    if duration_s is None:
        raise Rejected(
            "time-malformed",
            "a duration is no number of seconds from 0 to 4294967295",
            field="timePeriod/duration",
            line=node.line,
            clause=CLAUSE_PERIOD,
        )
    return Period(begin, _epoch(begin.us // 1_000_000 + duration_s, "timePeriod"))


def missing(field: str) -> Rejected:
    """A reading whose time nothing says."""
    return Rejected("time-missing", "the reading has no time", field=field)


class SetPlaces:
    """Where in a MirrorReadingSet its readings stand."""

    def __init__(self, of: Node, sent: SentType | None) -> None:
        """sent: the ReadingType; None where there is none that can be read."""
        self._of = of
        self._length_s = sent.length_s if sent is not None else 0
        without = [one for one in of.all("Reading") if not one.all("timePeriod")]
        self._count = len(without)
        self._position: dict[int, int] = {}  # place among the intervals of the set
        self._tiered = False  # readings of one period, a tier or block each
        if any(one.all("localID") for one in without):
            # "For interval data, this value SHALL increase with each interval time"
            local = {number: one for one in without if (number := _local_id(one)) is not None}
            if len(local) == self._count:
                self._position = {id(local[key]): at for at, key in enumerate(sorted(local))}
        else:  # "for block/tier readings, localID SHALL not be specified"
            tiers = {(*one.texts("touTier"), "", *one.texts("consumptionBlock")) for one in without}
            self._tiered = len(tiers) == self._count
            if len(tiers) == 1:
                self._position = {id(one): at for at, one in enumerate(without)}

    def period(self, reading: Node) -> Period:
        """Its own timePeriod; else its place among the intervals of the set; else the set's."""
        own = reading.all("timePeriod")
        if own:
            return interval(own[0])
        several = self._of.all("timePeriod")
        if not several:
            raise missing("MirrorReadingSet/timePeriod")
        whole = interval(several[0])
        at = self._position.get(id(reading))
        length_s, seconds = self._length_s, whole.seconds()
        if at is not None and length_s and self._count * length_s == seconds:
            begin_s = whole.begin.us // 1_000_000 + at * length_s
            return Period(of_epoch(begin_s), of_epoch(begin_s + length_s))
        if length_s in {0, seconds} and (self._count == 1 or self._tiered):
            return whole
        text = "nothing says which interval of its MirrorReadingSet the reading is of"
        return whole._replace(doubt=("interval-ambiguous", text), sure=False)


def _local_id(reading: Node) -> int | None:
    texts = reading.texts("localID")
    text = texts[0].strip(_SPACE) if len(texts) == 1 else ""
    return int(text, 16) if _HEX16.fullmatch(text) is not None else None


def of_single(meter_reading: Node, reading: Node, sent: SentType | None) -> Period:
    """Of a Reading that stands in no set: its timePeriod, else lastUpdateTime ends it."""
    own = reading.all("timePeriod")
    if own:
        return interval(own[0])
    updates = meter_reading.texts("lastUpdateTime")
    if not updates:
        raise missing("timePeriod")
    end = instant(updates[0], "lastUpdateTime")
    begin = end
    if sent is not None and holds_over_length(sent):
        begin = before(end, sent.length_s)
    text = "the reading has no timePeriod; its period is taken to end at lastUpdateTime"
    return Period(begin, end, ("time-from-update", text))


def as_meant(period: Period, sent: SentType) -> Period:
    """The period as the ReadingType has it: a register's state holds at the end.

    The length is said by both; where they differ the timePeriod counts, and that is told.
    """
    if holds_at_end(sent):
        return period._replace(begin=period.end)
    if period.doubt is None and period.begin.us == period.end.us:
        if holds_over_length(sent):
            return period._replace(doubt=("interval-empty", "the interval ends where it begins"))
    elif period.doubt is None and sent.length_s not in {0, period.seconds()}:
        text = f"the reading type says {sent.length_s} s, the timePeriod another length"
        return period._replace(doubt=("interval-length-differs", text))
    return period
