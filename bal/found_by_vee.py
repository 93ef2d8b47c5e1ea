"""What the closes of days found (docs/spec/vee.md), as the list of findings has it.

A function of the records that a close made, its number and its time; docs/spec/rest.md.
"""

from collections.abc import Iterable
from typing import cast

import msgspec

from bal.closing import DERIVED
from bal.found import About, StoredFinding, VeeFindings
from bal.model import Finding, Severity, StoredRecord
from bal.times import rfc3339

_KIND = "finding"


class _Said(msgspec.Struct):
    code: str
    severity: str
    text: str
    clause: str


class _Record(msgspec.Struct):
    findings: list[_Said] = []
    supersedes: str | None = None


_record = msgspec.json.Decoder(_Record)


def found_by_vee(rows: Iterable[StoredRecord], *, k: int, closed_us: int) -> VeeFindings:
    """Each finding of the k-th close with the place of its record in the log.

    rows: all that the close made; closed_us: the time in its public record.
    """
    items: list[StoredFinding] = []
    replaced: dict[int, int] = {}
    for row in rows:
        if row.kind != _KIND:
            continue
        record = _record.decode(row.record)
        if record.supersedes is not None:
            replaced[int(record.supersedes)] = row.index
        about = About(row.register, rfc3339(row.begin_us), rfc3339(row.end_us))
        group = row.shard.rpartition("/")[0]  # `group/<ordinal>`
        for number, said in enumerate(record.findings):
            severity = cast("Severity", said.severity)
            finding = Finding(said.code, severity, said.text, clause=said.clause)
            place = (row.index, 0, k - 1, number, DERIVED)
            items.append(
                StoredFinding(place, 1, closed_us, "", "", row.device, group, finding, about)
            )
    return VeeFindings(items, replaced)
