"""How a message names the device that measured, and what harmonise asks of its caller about it."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import quote

from bal.errors import Rejected
from bal.model import Digest, Identity, Subject

NAME_LENGTH_MAX = 256  # characters of an mRID, or of a name with its type and authority
NAMES_MAX = 16  # Names elements of one device

# C0, DEL and C1 controls; surrogates, which have no UTF-8 form; noncharacters.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


class MeterNames(NamedTuple):
    """The names that one message gives one device; both empty where it names none."""

    mrid: str | None
    names: tuple[tuple[str, str, str], ...]  # (authority, type, name)

    def identities(self) -> tuple[Identity, ...]:
        """What the device may be known by, the strongest first: the mRID, then each name."""
        found = [Identity(f"mrid:{quote(self.mrid, safe='')}")] if self.mrid is not None else []
        found += [
            Identity("name:" + "/".join(quote(part, safe="") for part in parts))
            for parts in self.names
        ]
        return tuple(found)


Resolve = Callable[[MeterNames], Subject]
"""The subject behind names; raises Rejected where the sender may not speak for it."""

CommitParts = Callable[[Sequence[Subject], Sequence[bytes]], Sequence[Digest]]
"""The commitments, of type TYPE_PART, to parts of the raw message, each of one subject."""


def check_names(mrid: str | None, names: tuple[tuple[str, str, str], ...]) -> MeterNames:
    """The names, if each could be somebody's. Raises Rejected("name-invalid") otherwise."""
    if len(names) > NAMES_MAX:
        raise Rejected("name-invalid", f"more than {NAMES_MAX} names of one device", field="Names")
    if mrid is not None:
        _check("", "", mrid)
    for authority, kind, name in names:
        together = authority + kind + name
        # printable ASCII is the common case, and found to be so in a tenth of the time
        plain = together.isascii() and together.isprintable()
        if not (plain and name and len(together) <= NAME_LENGTH_MAX):
            _check(authority, kind, name)
    return tuple.__new__(MeterNames, (mrid, names))  # half the time of its own constructor


def _check(authority: str, kind: str, name: str) -> None:
    together = authority + kind + name
    if not name:
        raise Rejected("name-invalid", "a name is empty", field="Names")
    if len(together) > NAME_LENGTH_MAX:
        raise Rejected(
            "name-invalid", f"a name of more than {NAME_LENGTH_MAX} characters", field="Names"
        )
    if _FORBIDDEN.search(together) is not None:
        raise Rejected("name-invalid", "a name has a control character", field="Names")
