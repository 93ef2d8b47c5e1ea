"""Whose signatures on messages are believed: certification authorities, and what they took back.

The operator hands both over by a command (`gridseal trust`); they are a record of the log, so that
every message is judged by those of its place in the log, today and in a replay. What the bytes
mean is in bal/trust_check.py, which few processes need.
"""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import NamedTuple


class Trust(NamedTuple):
    """Certificates of CAs and their revocation lists, DER, each sorted and without doubles."""

    anchors: tuple[bytes, ...] = ()
    crls: tuple[bytes, ...] = ()


NO_TRUST = Trust()


def as_texts(parts: Sequence[bytes]) -> list[str]:
    """Each as base64, as commands and records have it."""
    return [b64encode(part).decode() for part in parts]


def of_texts(anchors: Sequence[str], crls: Sequence[str]) -> Trust:
    """Trust of a record that `as_texts` wrote. Raises ValueError."""
    return Trust(
        tuple(b64decode(text, validate=True) for text in anchors),
        tuple(b64decode(text, validate=True) for text in crls),
    )
