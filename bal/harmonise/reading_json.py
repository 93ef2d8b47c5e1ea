"""What readings in JSON have in common: members that are texts, and a time or an interval.

Of our own formats (docs/spec/der-telemetry.md, docs/spec/cls.md), and of LOCO-PMU's.
"""

from collections.abc import Mapping
from typing import Any

from bal.errors import Rejected
from bal.harmonise.der_json import Constant, Number
from bal.harmonise.instant import Instant, parse


def string(members: Mapping[str, Any], name: str) -> str:
    """A member that must be a text. Raises Rejected: member-missing, member-type."""
    text = members.get(name)
    if not isinstance(text, str) or isinstance(text, Number | Constant):
        code = "member-type" if name in members else "member-missing"
        raise Rejected(code, "a member is absent or not a string", field=name)
    return text


def times(reading: Mapping[str, Any]) -> tuple[Instant, Instant]:
    """`time`, twice, or `begin` and `end`; not both.

    Raises Rejected: time-missing, interval-reversed, or what `string` and `parse` do.
    """
    if "time" in reading and not {"begin", "end"} & reading.keys():
        instant = _instant(reading, "time")
        return instant, instant
    if "time" in reading or not {"begin", "end"} <= reading.keys():
        raise Rejected("time-missing", "a reading has either time, or begin and end", field="time")
    begin, end = (_instant(reading, name) for name in ("begin", "end"))
    if begin.us >= end.us:
        text = "the interval does not end after it begins"
        raise Rejected("interval-reversed", text, field="end")
    return begin, end


def _instant(reading: Mapping[str, Any], name: str) -> Instant:
    try:
        return parse(string(reading, name))
    except Rejected as error:
        error.field = name  # and not that of CIM
        raise
