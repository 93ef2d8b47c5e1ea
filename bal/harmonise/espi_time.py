"""When a reading of ESPI holds, and how long a local day is.

NAESB REQ.21 ESPI DateTimeInterval, LocalTimeParameters, DstRuleType.
"""

import calendar
import re
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from bal.errors import Rejected
from bal.harmonise import sep2_period
from bal.harmonise.instant import of_epoch
from bal.harmonise.sep2_period import Period
from bal.harmonise.sep2_type import number
from bal.harmonise.xml_tree import Node

CLAUSE_PERIOD = "NAESB REQ.21 ESPI DateTimeInterval"
CLAUSE_RULE = "NAESB REQ.21 ESPI DstRuleType"

DAY_S = 86_400
OFFSET_MAX_S = 14 * 3_600
NO_RULE = 0xFFFFFFFF  # no daylight saving time

_SPACE = " \t\r\n"
_HEX32 = re.compile("[0-9A-Fa-f]{8}")
_US_PER_S = 1_000_000
_DAY_ZERO = date(1970, 1, 1).toordinal()
_ON_THE_DAY, _ON_OR_AFTER, _LAST = 0, 1, 7  # operators; 2 to 6 count occurrences in the month
_YEAR_MAX = 2_201  # a year more than a record may have


class Rule(NamedTuple):
    """When in a year daylight saving time starts or ends, on the local clock."""

    month: int  # 1 to 12
    operator: int
    day: int  # of the month, 0 where it does not matter
    weekday: int  # 1 is Monday, 0 where it does not matter
    second: int  # of the day


class LocalTime(NamedTuple):
    """A LocalTimeParameters."""

    standard_s: int  # offset from UTC without daylight saving time
    saving_s: int  # what is added to it then
    begins: Rule | None  # both None: there is no daylight saving time
    ends: Rule | None

    def offset_s(self, at_s: int) -> int:
        """The offset from UTC at an instant, seconds since 1970."""
        if self.begins is None or self.ends is None:
            return self.standard_s
        year = date.fromordinal(_DAY_ZERO + (at_s + self.standard_s) // DAY_S).year
        # the rule for the end is read on the clock that is still on daylight saving time
        begin = _second(self.begins, year) - self.standard_s
        end = _second(self.ends, year) - self.standard_s - self.saving_s
        saving = begin <= at_s < end if begin < end else not end <= at_s < begin
        return self.standard_s + (self.saving_s if saving else 0)

    def local_seconds(self, period: Period) -> int:
        """The length of a period by the local clock: a day is 86,400 s also when it changes."""
        begin, end = period.begin.us // _US_PER_S, period.end.us // _US_PER_S
        return end - begin + self.offset_s(end) - self.offset_s(begin)


def local_time(node: Node) -> LocalTime | None:
    """What a LocalTimeParameters says; None where it is not understood."""
    offsets = [_once(node, name) for name in ("tzOffset", "dstOffset")]
    seconds = [number(text, -OFFSET_MAX_S, OFFSET_MAX_S) for text in offsets]
    codes = [_once(node, name).strip(_SPACE) for name in ("dstStartRule", "dstEndRule")]
    if None in seconds or any(_HEX32.fullmatch(code) is None for code in codes):
        return None
    standard_s, saving_s = seconds[0] or 0, seconds[1] or 0
    bits = [int(code, 16) for code in codes]
    if NO_RULE in bits:
        return LocalTime(standard_s, saving_s, None, None)
    begins, ends = rule(bits[0]), rule(bits[1])
    if begins is None or ends is None:
        return None
    return LocalTime(standard_s, saving_s, begins, ends)


def rule(bits: int) -> Rule | None:
    """The rule in a DstRuleType; None where its fields are none.

    Bits 0-11 seconds of the hour, 12-16 hours, 17-19 day of the week, 20-24 day of the month,
    25-27 operator, 28-31 month.
    """
    seconds, hours = bits & 0xFFF, bits >> 12 & 0x1F
    weekday, day = bits >> 17 & 7, bits >> 20 & 0x1F
    operator, month = bits >> 25 & 7, bits >> 28 & 0xF
    needs_day, needs_weekday = operator <= _ON_OR_AFTER, operator >= _ON_OR_AFTER
    if not 1 <= month <= 12 or hours > 23 or seconds > 3_599:
        return None
    if (needs_day and day == 0) or (needs_weekday and weekday == 0):
        return None
    return Rule(month, operator, day, weekday, hours * 3_600 + seconds)


@lru_cache(maxsize=1024)
def _second(when: Rule, year: int) -> int:
    """Seconds from 1970 on the local clock."""
    year = min(year, _YEAR_MAX)
    last = calendar.monthrange(year, when.month)[1]
    first = date(year, when.month, 1)
    if when.operator <= _ON_OR_AFTER:
        day = first.toordinal() + min(when.day, last) - 1
        if when.operator == _ON_OR_AFTER:
            day += (when.weekday - date.fromordinal(day).isoweekday()) % 7
    else:
        to_weekday = (when.weekday - first.isoweekday()) % 7
        weeks = (last - 1 - to_weekday) // 7  # behind the first occurrence
        nth = weeks if when.operator == _LAST else min(weeks, when.operator - 2)
        day = first.toordinal() + to_weekday + 7 * nth
    return (day - _DAY_ZERO) * DAY_S + when.second


def interval(node: Node) -> Period:
    """The period that a timePeriod, interval or billingPeriod names.

    Raises Rejected: time-missing, time-malformed, time-out-of-range.
    """
    try:
        return sep2_period.interval(node)
    except Rejected as error:
        field = error.field or ""
        error.field = field.replace("timePeriod", node.name)
        error.clause = CLAUSE_PERIOD
        raise


class BlockPlaces:
    """Where in an IntervalBlock its readings stand."""

    def __init__(self, block: Node, length_s: int) -> None:
        """length_s: the ReadingType's intervalLength; 0 where there is none."""
        self._length_s = length_s
        without = [one for one in block.all("IntervalReading") if not one.all("timePeriod")]
        self._position = {id(one): at for at, one in enumerate(without)}
        self._whole: Period | Rejected = sep2_period.missing("IntervalReading/timePeriod")
        several = block.all("interval")
        if without and several:
            try:
                self._whole = interval(several[0])
            except Rejected as error:
                self._whole = error

    def period(self, reading: Node) -> Period:
        """Its own timePeriod; else its place in the block's interval; else that interval.

        Raises Rejected: time-missing, time-malformed, time-out-of-range.
        """
        own = reading.all("timePeriod")
        if len(own) == 1:
            return interval(own[0])
        if own:
            periods = [interval(one) for one in own]
            return Period(min(one.begin for one in periods), max(one.end for one in periods))
        whole = self._whole
        if isinstance(whole, Rejected):
            raise Rejected(
                whole.code, whole.text, field=whole.field, line=whole.line, clause=whole.clause
            )
        count, length_s, seconds = len(self._position), self._length_s, whole.seconds()
        if length_s and count * length_s == seconds:
            begin_s = whole.begin.us // _US_PER_S + self._position[id(reading)] * length_s
            return Period(of_epoch(begin_s), of_epoch(begin_s + length_s))
        if count == 1 and length_s in {0, seconds}:
            return whole
        text = "nothing says which interval of its IntervalBlock the reading is of"
        return whole._replace(doubt=("interval-ambiguous", text), sure=False)


def _once(node: Node, name: str) -> str:
    texts = node.texts(name)
    return texts[0] if len(texts) == 1 else ""
