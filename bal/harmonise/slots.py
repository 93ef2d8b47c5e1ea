"""What the readings of one message say together: a slot that stands in it twice, a time ahead."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import msgspec

from bal.harmonise.report import Spot
from bal.model import Draft, Finding, Harmonised
from bal.times import rfc3339

AHEAD_MAX_S = 86_400  # a reading may end so long after its receipt: forecasts of a day, zone errors
_KINDS = frozenset({"reading", "telemetry"})
_Key = tuple[str, str, str, int, int, int]  # device, kind, register, begin, end, rank


class _Record(msgspec.Struct):
    evidence: str
    value: str | None = None


_record = msgspec.json.Decoder(_Record)


def tell(
    found: Harmonised, raw: bytes, received_us: int | None, spots: Sequence[Spot] | None = None
) -> None:
    """Adds to the findings of a message what its records say together.

    slot-values-differ: of each record, where one device has several values of one register, time
    and rank (of another rank it is a correction, or a value instead of an estimate; see
    bal/derive/vee_checks.py); the same value twice is no doubt. time-ahead: once, where readings
    end more than AHEAD_MAX_S after the message was accepted, if that is known.
    spots: where each record's value stands, for people who look at the message; else a finding has
    the line of the evidence.
    """
    records = found.records
    if received_us is not None and records:
        _tell_ahead(found, received_us + AHEAD_MAX_S * 1_000_000, spots)
    if len({draft.subject.pseudonym for draft in records}) == len(records):
        return  # one of each device, as a head-end sends them
    if len(set(map(_key, records))) < len(records):
        _tell_twice(found, raw, spots)


def _key(draft: Draft) -> _Key:
    return (
        draft.subject.pseudonym, draft.kind, draft.register, draft.begin_us, draft.end_us,
        draft.rank,
    )  # fmt: skip


def _tell_ahead(found: Harmonised, latest_us: int, spots: Sequence[Spot] | None) -> None:
    if max(draft.end_us for draft in found.records) <= latest_us:
        return
    ends = [draft.end_us for draft in found.records if draft.end_us > latest_us]
    ahead = f"more than {AHEAD_MAX_S // 3600} h after the message was received"
    at = rfc3339(max(ends))
    text = (
        f"1 reading or event ends {ahead}, at {at}; it is taken"
        if len(ends) == 1
        else f"{len(ends)} readings or events end {ahead}, the last one at {at}; they are taken"
    )
    finding = Finding("time-ahead", "warning", text, "timeStamp")
    if spots:
        last = max(zip(found.records, spots, strict=True), key=lambda one: one[0].end_us)
        finding = _at(finding, last[1])
    found.findings.append(finding)


def _at(finding: Finding, spot: Spot) -> Finding:
    """With the line of a value, or the pointer to it."""
    return replace(finding, field=spot) if isinstance(spot, str) else replace(finding, line=spot)


def _tell_twice(found: Harmonised, raw: bytes, spots: Sequence[Spot] | None) -> None:
    slots: dict[_Key, list[int]] = {}
    for number, draft in enumerate(found.records):
        if draft.kind in _KINDS:
            slots.setdefault(_key(draft), []).append(number)
    starts = {part.commitment.hex(): part.start for part in found.parts}
    for several in slots.values():
        if len(several) < 2:
            continue
        said = [_record.decode(found.records[number].record) for number in several]
        values = [one.value for one in said if one.value is not None]
        if len(set(values)) < 2:
            continue
        text = _differ(found.records[several[0]], values)
        for number, one in zip(several, said, strict=True):
            start = starts.get(one.evidence, 0)
            line = raw.count(b"\n", 0, start) + 1 if start else None
            finding = Finding("slot-values-differ", "warning", text, "value", line)
            found.findings.append(_at(finding, spots[number]) if spots else finding)


def _differ(draft: Draft, values: Iterable[str]) -> str:
    begin, end = rfc3339(draft.begin_us), rfc3339(draft.end_us)
    when = end if begin == end else f"{begin} to {end}"
    told = list(values)
    listed = ", ".join(told[:8])
    return f"{len(told)} values of one register for {when}: {listed}; the last counts"
