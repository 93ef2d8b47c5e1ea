"""Editing: a value that an operator puts in the place of another, with who and why.

The command is one message of the platform's own; its record is a reading of rank *corrected*, a
further version like any other (docs/spec/vee.md).
"""

import re
from collections.abc import Mapping
from typing import Any

from bal import jcs
from bal.errors import Rejected
from bal.harmonise.instant import Instant, parse
from bal.harmonise.quality import quality
from bal.harmonise.quantity import decimal_text
from bal.harmonise.reading_type import ReadingType, decode
from bal.harmonise.record import Origin, reading, shape, slot
from bal.model import Digest, Draft, Subject

# IEC 61968-9 annex D: system 3 metering data management, category 7 edited, index 0 manually
QUALITY_EDITED = "3.7.0"
TEXT_MAX = 200  # characters of who and why
MEMBERS = ("device", "register", "begin", "end", "value", "by", "why")

_PLAIN = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]+")


def check_edit(asked: Mapping[str, Any]) -> dict[str, str]:
    """The command of an edit, in the form that goes on the bus, but for its nonce.

    asked: `MEMBERS`, all texts. begin and end are equal, or begin is "", for a value at an instant;
    value: in the base unit of the register, which is an 18-field ReadingType of multiplier 0.
    Raises Rejected with the member at fault.
    """
    texts = {name: _text(name, asked.get(name, "")) for name in MEMBERS}
    decoded = _register(texts["register"])
    begin, end = _times(decoded, texts["begin"] or texts["end"], texts["end"])
    value = decimal_text(texts["value"], 0)
    for name in ("by", "why"):
        if not texts[name] or _PLAIN.fullmatch(texts[name]) is None:
            text = f"1 to {TEXT_MAX} characters, none of them a control"
            raise Rejected("parameter-invalid", text, field=name)
    times = {"begin": begin.text, "end": end.text}
    return {"command": "edit", **texts, **times, "value": value}


def edit_draft(command: Mapping[str, Any], subject: Subject, evidence: Digest) -> Draft:
    """The record of an edit. subject: the device's; evidence: commitment to the command's bytes.

    Raises Rejected as `check_edit`, KeyError where a member is missing.
    """
    texts = check_edit(command)
    decoded, good = _register(texts["register"]), quality((QUALITY_EDITED,))
    of = shape("reading", decoded.register, decoded.notation, decoded.quantity, good.json)
    at = slot(of, *_times(decoded, texts["begin"], texts["end"]))
    made = reading(at, Origin(subject, evidence.hex()), texts["value"], good.rank)
    record = jcs.decode(made.record)
    record["edit"] = {"by": texts["by"], "id": "#edit", "why": texts["why"]}
    made.record = jcs.encode(record)
    return made


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > TEXT_MAX:
        raise Rejected("parameter-invalid", f"a text of at most {TEXT_MAX} characters", field=name)
    return value


def _register(text: str) -> ReadingType:
    decoded = decode(text)
    if decoded is None or decoded.register != text:
        what = "not the register of a reading: a ReadingType of 18 fields, its multiplier 0"
        raise Rejected("parameter-invalid", what, field="register")
    return decoded


def _times(decoded: ReadingType, begin: str, end: str) -> tuple[Instant, Instant]:
    first, last = parse(begin), parse(end)
    if first.us > last.us or (first.us == last.us) != decoded.at_instant:
        what = "one instant" if decoded.at_instant else "an interval, its begin before its end"
        raise Rejected("parameter-invalid", f"the register's values are of {what}", field="begin")
    return first, last
