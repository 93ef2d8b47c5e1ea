"""Registers, qualities and times in words that a meter engineer would use."""

import re

from bal.harmonise import reading_type
from bal.harmonise.phasors import MEASURANDS
from bal.model import Rank
from bal.times import rfc3339

DAY_US = 86_400_000_000
_MINUTE_US = 60_000_000

_DIRECTIONS = {
    "none": "",
    "forward": "delivered to the customer (forward)",
    "reverse": "received from the customer (reverse)",
    "net": "net of both directions",
    "total": "total of both directions",
}
_MULTIPLIERS = {-6: "µ", -3: "m", 3: "k", 6: "M", 9: "G"}
_PHASES = {
    "A": "phase A", "B": "phase B", "C": "phase C", "N": "neutral", "AB": "phase A to B",
    "BC": "phase B to C", "CA": "phase C to A", "AN": "phase A to neutral",
    "BN": "phase B to neutral", "CN": "phase C to neutral", "ABC": "all three phases",
}  # fmt: skip
_CHANNELS = {
    "voltmagnitude": "voltage, magnitude (RMS, to ground)",
    "voltangle": "voltage, angle",
    "currmagnitude": "current, magnitude (RMS)",
    "currangle": "current, angle",
    "activepower": "active power",
    "reactivepower": "reactive power",
    "apparentpower": "apparent power",
    "frequency": "frequency",
}

# IEC 61968-9 annex D: system.category.index
_SYSTEMS = {
    0: "",
    1: "by the meter",
    2: "by the communication network",
    3: "by the meter data management",
    4: "by another system",
    5: "by an outside system",
}
_CATEGORIES = {
    0: "valid",
    1: "diagnostics flag",
    2: "power quality event",
    3: "tamper suspected",
    4: "data collection flag",
    5: "failed a reasonability check",
    6: "failed validation",
    7: "edited",
    8: "estimated",
    10: "questionable",
    11: "derived",
    12: "projected",
    13: "system flag",
}
_INDEXES = {(0, 1): "validated", (5, 259): "known to be missing"}
_ASSUMED = ("0.0.0",)
_QUALITY = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,5})")


def register(code: str) -> str:
    """What an identifier means. code: a ReadingType as sent, or a measurand with its phase."""
    decoded = reading_type.decode(code)
    if decoded is not None:
        return _reading_type(decoded)
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*(\.[A-Z]{1,3})?", code):
        return "a register"
    name, _, phase = code.partition(".")
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower()
    return ", ".join(filter(None, (words, _PHASES.get(phase, phase))))


def _reading_type(decoded: reading_type.ReadingType) -> str:
    direction = _DIRECTIONS.get(decoded.direction, decoded.direction)
    if decoded.interval_s:
        period = f"over {length(decoded.interval_s)}"
    else:
        period = "" if not decoded.at_instant else "at an instant"
    if decoded.fields != reading_type.FIELDS:
        period = "direction and period not read"
    prefix = _MULTIPLIERS.get(decoded.multiplier, f"10^{decoded.multiplier} ")
    unit = decoded.quantity.unit
    sent = f"sent in {prefix}{unit}" if decoded.multiplier else ""
    return ", ".join(filter(None, (f"{decoded.quantity.name} {direction}".strip(), period, sent)))


def channel(component: str, measurand: str, phase: str) -> tuple[str, str]:
    """What a channel of a phasor frame is, and its unit."""
    known = MEASURANDS.get(measurand)
    what = _CHANNELS.get(measurand, measurand)
    return f"{what}, {_PHASES.get(phase, phase)}, at {component}", known.unit if known else ""


def quality(codes: tuple[str, ...], rank: Rank) -> str:
    """Quality codes in words; those that are of no known form as sent."""
    if codes == _ASSUMED or not codes:
        return "assumed good" if codes else ""
    words = dict.fromkeys(map(_quality, codes))
    told = "; ".join(words)
    counts = {Rank.ESTIMATED: "estimated", Rank.CORRECTED: "edited", Rank.MISSING: "missing"}
    word = counts.get(rank, "")
    return told if word in told else f"{told}; counts as {word}"


def _quality(code: str) -> str:
    match = _QUALITY.fullmatch(code)
    if match is None:
        return f"{code} (no quality code)"
    system, category, index = map(int, match.groups())
    what = _INDEXES.get((category, index), _CATEGORIES.get(category, ""))
    if not what:
        return f"quality {code}"
    by = _SYSTEMS.get(system, f"by system {system}")
    told = what if index == 0 or (category, index) in _INDEXES else f"{what} ({index})"
    return " ".join(filter(None, (told, by)))


def length(seconds: int) -> str:
    """15 min, 1 h, 1 d, 90 s."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds % size == 0 and seconds:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def period(begin_us: int, end_us: int) -> str:
    """`2026-01-15 10:00 to 10:15`, or one instant, in UTC; the date again where it is another."""
    fine = begin_us % _MINUTE_US or end_us % _MINUTE_US
    begin, end = (_clock(at, cut=not fine) for at in (begin_us, end_us))
    if begin_us == end_us:
        return _clock(begin_us, cut=False)
    return f"{begin} to {end[11:] if end[:10] == begin[:10] else end}"


def _clock(at_us: int, *, cut: bool) -> str:
    text = rfc3339(at_us)[:-1].replace("T", " ")
    return text[:16] if cut else text
