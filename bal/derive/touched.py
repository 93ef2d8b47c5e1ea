"""Which dates new records belong to: what must be looked at again once a day is over."""

from collections.abc import Iterable

from bal.derive.local_day import date_at, day_number


def touched_dates(rows: Iterable[tuple[int, int, int]], zones: Iterable[str]) -> dict[str, int]:
    """The highest index of a record by local date, in whichever of the zones.

    rows: begin_us, end_us and index of records over an interval. A date too many costs a look at
    it, one too few a day that is not closed. What begins in 1969 by local time has no date here.
    """
    newest: dict[int, int] = {}
    for begin_us, end_us, index in rows:
        if begin_us < end_us:
            newest[begin_us] = max(index, newest.get(begin_us, -1))
    found: dict[str, int] = {}
    for zone in zones:
        for begin_us, index in newest.items():
            day = date_at(begin_us, zone)
            if day_number(day) >= 0:
                text = day.isoformat()
                found[text] = max(index, found.get(text, -1))
    return found
