"""The bytes of what derive says: findings and estimates, in RFC 8785 form (docs/spec/vee.md)."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from bal import jcs
from bal.derive.vee_estimate import Estimate
from bal.derive.vee_found import Found, told
from bal.derive.vee_rules import VERSION
from bal.times import rfc3339

FINDING = "finding"  # kind of record
OPEN, RESOLVED = "open", "resolved"

# IEC 61968-9 annex D, system.category.index: system 3 is meter data management; category 0 valid,
# 6 validation failed, 8 estimated; index 0 is the category as such
QUALITY = {OPEN: "3.6.0", RESOLVED: "3.0.0"}
QUALITY_ESTIMATED = "3.8.0"

_RECORD_V = "1"
_KEPT = ("hasResult", "kind", "madeBy", "observes", "register", "type", "unit", "v")


def finding_record(
    device: str, slot: tuple[str, int, int], found: Sequence[Found], supersedes: int | None
) -> bytes:
    """What is found of a register in [begin, end), or at an instant where they are equal.

    slot: register, begin, end; found: all of that time, in any order; none says that what was found
    before is no longer so. supersedes: log index of the version before.
    """
    register, begin_us, end_us = slot
    state = OPEN if found else RESOLVED
    ordered = sorted(found, key=lambda one: (one.code, one.text))
    record: dict[str, Any] = {
        "device": device,
        "event": state,
        "id": "",
        "kind": FINDING,
        "observes": {"id": f"{device}#{quote(register, safe='')}", "type": ["Property"]},
        "quality": [QUALITY[state]],
        "register": register,
        "rows": _indexes(index for one in found for index in one.rows),
        "rules": VERSION,
        "v": _RECORD_V,
    }
    if ordered:
        record["findings"] = [
            {
                "clause": one.clause,
                "code": one.code,
                "field": "",
                "id": f"#finding-{number}",
                "line": "",
                "severity": one.severity,
                "text": one.text,
            }
            for number, one in enumerate(ordered, 1)
        ]
    return _encoded(record, begin_us, end_us, supersedes)


def estimate_record(template: bytes, one: Estimate, supersedes: int | None) -> bytes:
    """A reading of the same register as `template`, a record with a value, and by which rule.

    Raises KeyError where the template is no reading with a value.
    """
    given = jcs.decode(template)
    record = {name: given[name] for name in _KEPT}
    value = told(one.milli)
    record |= {
        "derived": {"id": "#derived", "rule": one.rule},
        "device": given["device"],
        "hasResult": {**given["hasResult"], "hasValue": value},
        "id": "",
        "quality": [QUALITY_ESTIMATED],
        "rows": _indexes(one.rows),
        "rules": VERSION,
        "value": value,
    }
    return _encoded(record, one.begin_us, one.end_us, supersedes)


def superseded_by(record: bytes) -> int | None:
    """Log index of the version that a record of derive's says it takes the place of."""
    text = jcs.decode(record).get("supersedes")
    return int(text) if isinstance(text, str) else None


def _encoded(record: dict[str, Any], begin_us: int, end_us: int, supersedes: int | None) -> bytes:
    if supersedes is not None:
        record["supersedes"] = str(supersedes)
    begin, end = rfc3339(begin_us), rfc3339(end_us)
    if begin_us == end_us:
        record |= {"hasTimestamp": end, "time": end}
    else:
        interval = {
            "hasBeginning": {"id": "#begin", "inXSDDateTimeStamp": begin, "type": "Instant"},
            "hasEnd": {"id": "#end", "inXSDDateTimeStamp": end, "type": "Instant"},
            "id": "#interval",
            "type": "ProperInterval",
        }
        record |= {"begin": begin, "end": end, "hasPhenomenonTime": interval}
    return jcs.encode(record)


def _indexes(found: Any) -> list[str]:
    return [str(index) for index in sorted(set(found))]
