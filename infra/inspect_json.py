"""What `gridseal inspect --json` prints of a file (docs/inspect.md)."""

from collections.abc import Mapping
from typing import Any

from bal.inspected import Device, Inspected, Seen, names_of, quality_of
from bal.model import Finding, Rank
from bal.times import rfc3339


def as_json(
    name: str, told: Inspected, advice: Mapping[str, str], *, guessed: bool
) -> dict[str, Any]:
    """All of it, as one object."""
    return {
        "file": name,
        "format": told.form,
        "guessed": guessed,
        "taken": told.taken,
        "devices": [_device(one) for one in told.devices],
        "findings": [_finding(one, advice) for one in told.findings],
        "refused": [_finding(one, advice) for one in told.refused],
    }


def _finding(one: Finding, advice: Mapping[str, str]) -> dict[str, str]:
    return {**one.as_json(), "advice": advice.get(one.code, "")}


def _device(device: Device) -> dict[str, Any]:
    names = [
        {"authority": authority, "type": kind, "name": name}
        for authority, kind, name in device.names.names
    ]
    return {
        "mRID": device.names.mrid or "",
        "names": names,
        "in_words": names_of(device),
        "readings": [_seen(one) for one in device.seen],
    }


def _seen(one: Seen) -> dict[str, Any]:
    if one.begin_us == one.end_us:
        when = {"time": rfc3339(one.end_us)}
    else:
        when = {"begin": rfc3339(one.begin_us), "end": rfc3339(one.end_us)}
    result = {"value": one.value, "unit": one.unit} if one.value else {}
    verbatim: dict[str, list[str]] = {}
    for member, text in one.verbatim:
        verbatim.setdefault(member, []).append(text)
    return {
        "kind": one.kind,
        "code": one.code,
        "meaning": one.meaning,
        **when,
        **result,
        "quality": list(one.quality),
        "quality_in_words": quality_of(one),
        "rank": Rank(one.rank).name.lower(),
        **({"verbatim": verbatim} if verbatim else {}),
        "findings": list(one.findings),
        **({"line": one.line} if one.line is not None else {}),
        **({"pointer": one.pointer} if one.pointer else {}),
        "lines": [one.place.first, one.place.last] if one.place else [],
    }
