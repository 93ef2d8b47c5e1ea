"""What tests of several formats share: elements to write messages with, and what came of them."""

from typing import Any

from bal import jcs
from bal.model import Harmonised


def xml(name: str, *inside: str, **members: object) -> str:
    """An element with an element for each member, then what is `inside`."""
    plain = "".join(f"<{key}>{value}</{key}>" for key, value in members.items())
    return f"<{name}>{plain}{''.join(inside)}</{name}>"


def records(found: Harmonised) -> list[dict[str, Any]]:
    """The records, read."""
    return [jcs.decode(draft.record) for draft in found.records]


def codes(found: Harmonised) -> list[str]:
    """Codes of what is doubtful."""
    return [one.code for one in found.findings]


def refused(found: Harmonised) -> list[str]:
    """Codes of what was refused."""
    return [one.code for one in found.refused]


def told(found: Harmonised) -> tuple[list[str], list[str]]:
    """Codes of what was refused, and of what is doubtful."""
    return refused(found), codes(found)
