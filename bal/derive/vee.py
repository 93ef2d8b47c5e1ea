"""VEE, validation and estimation: what a device's day leads to beside its slots (docs/spec/vee.md).

`derive_day` is a function of the rows below a prefix of the log, the zone's rules and the limits:
what the same rows, in any order, lead to again is the same bytes. What it said of the day before is
among the rows, so that it says a thing once, and takes it back by a further version.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from bal.derive.vee_checks import (
    check_clock,
    check_clock_change,
    check_missing,
    check_negative,
    check_overlap,
    check_range,
    check_repeated,
    check_spike,
)
from bal.derive.vee_day import Day, Span, is_own
from bal.derive.vee_estimate import Estimate, LikeDay, estimates
from bal.derive.vee_found import Found, at_most
from bal.derive.vee_record import FINDING, estimate_record, finding_record, superseded_by
from bal.derive.vee_register_checks import (
    check_instants,
    check_phases,
    check_sum,
    found_in_registers,
)
from bal.derive.vee_rules import VeeRules
from bal.model import Pseudonym, Rank, StoredRecord

READING = "reading"

CHECKS = (
    check_range,
    check_negative,
    check_spike,
    check_missing,
    check_repeated,
    check_overlap,
    check_clock,
    check_clock_change,
    check_sum,
)

Slot = tuple[str, int, int]  # register, begin, end


class Derived(NamedTuple):
    """A record that derive makes, before it has a place in the log."""

    device: Pseudonym
    kind: str  # finding, or reading of an estimate
    register: str
    begin_us: int
    end_us: int
    rank: Rank
    record: bytes  # RFC 8785


def findings_of(day: Day, rules: VeeRules) -> dict[Slot, list[Found]]:
    """All that the checks find, by register and time."""
    found: list[tuple[str, Found]] = []
    for series in day.series:
        for check in CHECKS:
            some = at_most(check(series, rules), rules.findings_max)
            found += [(series.register, one) for one in some]
    for more in (
        check_phases(day, rules),
        found_in_registers(day.counts, rules),
        check_instants(day),
    ):
        for register in dict.fromkeys(register for register, _ in more):
            some = at_most([one for at, one in more if at == register], rules.findings_max)
            found += [(register, one) for one in some]
    by_slot: dict[Slot, list[Found]] = {}
    for register, one in found:
        by_slot.setdefault((register, one.begin_us, one.end_us), []).append(one)
    return by_slot


def derive_day(
    device: Pseudonym,
    rows: Sequence[StoredRecord],
    day: Day,
    rules: VeeRules,
    *,
    like: Mapping[str, Sequence[LikeDay]],
    templates: Mapping[str, bytes],
) -> tuple[list[Derived], list[Derived]]:
    """New findings and estimates of one device on one local day, each in order of slot.

    rows: the device's, of every kind, of the day and of the one before where it is needed
    (`vee_day.needs_earlier`); day: `vee_day.day_of` them; like: by register the same weekdays of
    the four weeks before, where they are needed (`vee_estimate.needs_like_days`); templates: by
    register a reading with a value, as `templates_of` has it, where the rows have none.
    """
    findings = _findings(device, day, rows, rules)
    found: list[Derived] = []
    own: dict[str, bytes] | None = None
    for series in day.series:
        wanted = estimates(series, like.get(series.register, ()), rules)
        if wanted:
            own = templates_of(rows) if own is None else own
            template = own.get(series.register, templates.get(series.register))
            if template is not None:
                found += _estimates(device, series.register, template, wanted, rows)
    return findings, found


def templates_of(rows: Iterable[StoredRecord]) -> dict[str, bytes]:
    """By register the first reading over an interval that has a value: its estimates look alike."""
    first: dict[str, StoredRecord] = {}
    for row in rows:
        if row.kind == READING and row.begin_us < row.end_us and not is_own(row):
            before = first.get(row.register)
            if (before is None or row.index < before.index) and b'"hasResult":' in row.record:
                first[row.register] = row
    return {register: row.record for register, row in first.items()}


def _findings(
    device: Pseudonym, day: Day, rows: Sequence[StoredRecord], rules: VeeRules
) -> list[Derived]:
    now = findings_of(day, rules)
    before = _newest(row for row in rows if row.kind == FINDING and _is_of(row, day.span))
    found: list[Derived] = []
    for slot in sorted(now.keys() | before.keys()):
        last = before.get(slot)
        again = None if last is None else superseded_by(last.record)
        if last is not None and finding_record(device, slot, now.get(slot, ()), again) == (
            last.record
        ):
            continue
        index = None if last is None else last.index
        record = finding_record(device, slot, now.get(slot, ()), index)
        found.append(Derived(device, FINDING, *slot, Rank.MEASURED, record))
    return found


def _is_of(row: StoredRecord, span: Span) -> bool:
    """Whether a finding is of this day: an instant at its end is, one at its begin is not."""
    if row.begin_us == row.end_us:
        return span.begin_us < row.end_us <= span.end_us
    return span.begin_us <= row.begin_us < span.end_us


def _estimates(
    device: Pseudonym,
    register: str,
    template: bytes,
    wanted: Sequence[Estimate],
    rows: Sequence[StoredRecord],
) -> list[Derived]:
    before = _newest(row for row in rows if row.register == register and is_own(row))
    found: list[Derived] = []
    for one in wanted:
        slot = register, one.begin_us, one.end_us
        last = before.get(slot)
        again = None if last is None else superseded_by(last.record)
        if last is not None and estimate_record(template, one, again) == last.record:
            continue
        record = estimate_record(template, one, None if last is None else last.index)
        found.append(Derived(device, READING, *slot, Rank.ESTIMATED, record))
    return found


def _newest(rows: Iterable[StoredRecord]) -> dict[Slot, StoredRecord]:
    found: dict[Slot, StoredRecord] = {}
    for row in rows:
        slot = row.register, row.begin_us, row.end_us
        if slot not in found or found[slot].index < row.index:
            found[slot] = row
    return found
