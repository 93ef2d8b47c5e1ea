"""JSON Merge Patch (RFC 7396) between objects without null: exact both ways.

A view of a record (Turtle, CIM) says most of it in words of its own; the patch is what is left.
"""

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]


def patch(part: Mapping[str, Any], whole: Mapping[str, Any]) -> Json:
    """The patch that `merge` takes from `part` to `whole`, neither of which holds a null."""
    found: Json = {name: None for name in part if name not in whole}
    for name, value in whole.items():
        if name not in part:
            found[name] = value
        elif part[name] != value:
            before = part[name]
            both = isinstance(before, dict) and isinstance(value, dict)
            found[name] = patch(before, value) if both else value
    return found


def merge(part: Mapping[str, Any], changes: Mapping[str, Any]) -> Json:
    """`part` with `changes` applied (RFC 7396 §2); neither is altered."""
    found = dict(part)
    for name, value in changes.items():
        if value is None:
            found.pop(name, None)
        elif isinstance(value, dict):
            before = found.get(name)
            found[name] = merge(before if isinstance(before, dict) else {}, value)
        else:
            found[name] = value
    return found
