"""Rows of a meter for the tests of VEE: quarter-hours, hours, and registers that count them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from bal.derive.fold import series_days
from bal.derive.vee import Derived, derive_day, findings_of
from bal.derive.vee_day import Day, Series, Span, day_of, span_of
from bal.derive.vee_estimate import LikeDay, like_day
from bal.derive.vee_rules import VeeRules
from bal.harmonise.instant import parse
from bal.harmonise.quality import quality
from bal.harmonise.reading_type import decode
from bal.harmonise.record import Origin, reading, shape, slot
from bal.model import Pseudonym, Rank, StoredRecord, Subject
from bal.times import rfc3339

QUARTERS = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0"  # forward active energy
NET_QUARTERS = "0.0.2.4.4.1.12.0.0.0.0.0.0.0.0.0.72.0"
REGISTER = "0.0.0.1.1.1.12.0.0.0.0.0.0.0.0.0.72.0"  # bulkQuantity of the same
POWER_FACTOR = "0.0.0.12.0.1.38.0.0.0.0.0.0.0.0.0.65.0"
QUARTER_US, HOUR_US, DAY_US = 900_000_000, 3_600_000_000, 86_400_000_000
DEVICE = Pseudonym("A" * 43)
RULES = VeeRules()
DAY = date(2026, 1, 15)  # a Thursday
UTC_DAY = span_of(DAY, "UTC")


def a_row(
    index: int,
    begin_us: int,
    value: str,
    *,
    end_us: int | None = None,
    register: str = QUARTERS,
    codes: tuple[str, ...] = (),
) -> StoredRecord:
    """As harmonise makes them. end_us: a quarter-hour later, unless it is told."""
    end_us = begin_us + QUARTER_US if end_us is None else end_us
    decoded = decode(register)
    assert decoded is not None
    good = quality(codes)
    origin = Origin(Subject(DEVICE, bytes(32), "g", "g/0"), f"{index:064x}")
    at = slot(
        shape("reading", register, register, decoded.quantity, good.json),
        parse(rfc3339(begin_us)),
        parse(rfc3339(end_us)),
    )
    draft = reading(at, origin, value, good.rank)
    return StoredRecord(
        DEVICE, end_us, "reading", register, begin_us, index, draft.rank, b"\x01", 2026,
        draft.record, "g/0",
    )  # fmt: skip


def a_register(index: int, time_us: int, value: str, register: str = REGISTER) -> StoredRecord:
    """What a register shows at an instant."""
    return a_row(index, time_us, value, end_us=time_us, register=register)


def quarters(
    values: Sequence[str | None],
    *,
    span: Span = UTC_DAY,
    first: int = 0,
    register: str = QUARTERS,
    offset_us: int = 0,
) -> list[StoredRecord]:
    """One row for each value that is not None, from the day's begin on."""
    return [
        a_row(first + n, span.begin_us + n * QUARTER_US + offset_us, value, register=register)
        for n, value in enumerate(values)
        if value is not None
    ]


def count(span: Span) -> int:
    """Quarter-hours of a local day."""
    return (span.end_us - span.begin_us) // QUARTER_US


def the_day(rows: Iterable[StoredRecord], span: Span = UTC_DAY, **known: int) -> Day:
    """As derive sees it."""
    return day_of(rows, span, known)


def series(rows: Iterable[StoredRecord], span: Span = UTC_DAY) -> Series:
    """The series of quarter-hours among them."""
    found = [one for one in the_day(rows, span).series if one.register == QUARTERS]
    assert len(found) == 1
    return found[0]


def codes(rows: Iterable[StoredRecord], span: Span = UTC_DAY, rules: VeeRules = RULES) -> list[str]:
    """All that is found in a day, but for missing slots."""
    found = [one.code for some in findings_of(the_day(rows, span), rules).values() for one in some]
    return sorted(code for code in found if code != "slot-missing")


def weeks_before(
    values: Mapping[int, Sequence[str | None]], day: date = DAY, zone: str = "UTC"
) -> list[LikeDay]:
    """The like days; values by how many weeks before."""
    found = []
    for weeks, some in values.items():
        span = span_of(day - timedelta(weeks=weeks), zone)
        rows = quarters(some, span=span, first=1000 * weeks)
        folded = series_days(rows, span.begin_us, span.end_us, {})
        found += [like_day(one, span) for one in folded]
    return found


def derived(
    rows: Sequence[StoredRecord],
    span: Span = UTC_DAY,
    rules: VeeRules = RULES,
    like: Sequence[LikeDay] = (),
    **known: Any,
) -> tuple[list[Derived], list[Derived]]:
    """As the close of a day derives."""
    day = day_of(rows, span, known)
    return derive_day(DEVICE, rows, day, rules, like={QUARTERS: like}, templates={})


def stored(made: Iterable[Derived], first: int) -> list[StoredRecord]:
    """As the customer database has them after the close."""
    return [
        StoredRecord(
            one.device, one.end_us, one.kind, one.register, one.begin_us, index, one.rank,
            b"\x01", 2026, one.record, "g/0",
        )
        for index, one in enumerate(made, first)
    ]  # fmt: skip


def estimated(rows: Iterable[Derived]) -> list[Rank]:
    """The ranks of them."""
    return [one.rank for one in rows]
