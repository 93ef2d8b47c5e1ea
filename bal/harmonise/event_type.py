"""The code of an IEC 61968-9 EndDeviceEventType, annex E: four numbers that say what happened.

type.domain.subdomain.eventOrAction: which device, in which of its functions, on which part of
that, what. Any combination is a code; a number that is in no table is called unknown.
"""

import re
from typing import NamedTuple

from bal.harmonise import event_type_tables as tables

CODE_LENGTH_MAX = 32  # characters
NAMES = ("type", "domain", "subdomain", "eventOrAction")

_TABLES = {
    "type": tables.TYPES,
    "domain": tables.DOMAINS,
    "subdomain": tables.SUBDOMAINS,
    "eventOrAction": tables.EVENTS_OR_ACTIONS,
}
_CODE = re.compile(r"(?:0|[1-9][0-9]{0,4})(?:\.(?:0|[1-9][0-9]{0,4})){3}")
_NOT_APPLICABLE = "not applicable"


class Field(NamedTuple):
    """One field of an EndDeviceEventType code."""

    name: str  # IEC 61968-9's, or EndDeviceEventType for a text that is no code
    code: str  # as sent
    meaning: str


def is_code(text: str) -> bool:
    """Whether a text is four numbers between dots."""
    return len(text) <= CODE_LENGTH_MAX and _CODE.fullmatch(text) is not None


def is_known(text: str) -> bool:
    """Whether it is a code, and each of its numbers is in its table."""
    return is_code(text) and all(_words(*one) for one in zip(NAMES, text.split("."), strict=True))


def describe(code: str) -> list[Field]:
    """What each field of a code means; of a text that is no code one field that says so."""
    if not is_code(code):
        why = "no EndDeviceEventType code: that is 4 numbers between dots"
        return [Field("EndDeviceEventType", code, why)]
    return [
        Field(name, text, _words(name, text) or f"unknown {name} {text}")
        for name, text in zip(NAMES, code.split("."), strict=True)
    ]


def sentence(code: str) -> str:
    """The code in one line: `electricity meter: power, voltage of phase A, sag started`."""
    fields = describe(code)
    if len(fields) < len(NAMES):
        return fields[0].meaning
    device, *what = (field.meaning for field in fields)
    told = ", ".join(words for words in what if words != _NOT_APPLICABLE) or "nothing said"
    return told if device == _NOT_APPLICABLE else f"{device}: {told}"


def _words(name: str, text: str) -> str:
    """ "" where the number is in no table."""
    return _TABLES[name].get(int(text), "")
