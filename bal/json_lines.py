"""The lines on which values of a JSON text stand, by their pointers (RFC 6901).

For people who look at a message: no parser of JSON tells them.
"""

import json
import re
from collections.abc import Collection

_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:\n]|[^\s\[\]{},:"]+')


def lines(text: str, wanted: Collection[str]) -> dict[str, int]:
    """From 1, of those pointers that lead to something; `text` is known to be JSON."""
    found: dict[str, int] = {}
    line = 1
    inside: list[str] = []  # [ or {
    path: list[str] = []
    is_name = False  # the next string is a member's
    for piece in _TOKENS.findall(text):
        if piece == "\n":
            line += 1
        elif piece == ",":
            is_name = inside[-1] == "{"
            if not is_name:
                path[-1] = str(int(path[-1]) + 1)
        elif piece in {"]", "}"}:
            inside.pop()
            path.pop()
            is_name = False
        elif is_name:
            path[-1] = json.loads(piece).replace("~", "~0").replace("/", "~1")
            is_name = False
        elif piece != ":":
            pointer = "".join([f"/{part}" for part in path])
            if pointer in wanted:
                found.setdefault(pointer, line)
            if piece in {"[", "{"}:
                inside.append(piece)
                path.append("0")
                is_name = piece == "{"
    return found


def nearest(pointer: str, known: dict[str, int]) -> int | None:
    """The line of what a pointer leads to, or of the innermost known value around it."""
    while pointer not in known:
        if not pointer:
            return None
        pointer = pointer.rpartition("/")[0]
    return known[pointer]


def with_those_around(pointers: Collection[str]) -> set[str]:
    """These pointers and those of all values around theirs."""
    found: set[str] = set()
    for pointer in pointers:
        at = pointer
        while at not in found:
            found.add(at)
            at = at.rpartition("/")[0]
    return found
