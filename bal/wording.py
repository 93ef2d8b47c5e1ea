"""Registers, qualities and times in words that a meter engineer would use."""

import re

from bal import quality_words
from bal.errors import Rejected
from bal.harmonise import der_words, obis, reading_type
from bal.harmonise.phasors import FURTHER, MEASURANDS
from bal.harmonise.reading_type_tables import PREFIXES
from bal.harmonise.reading_type_words import sentence
from bal.model import Rank
from bal.times import rfc3339

DAY_US = 86_400_000_000
_MINUTE_US = 60_000_000

_READING_TYPE = re.compile(r"-?[0-9]+(?:\.-?[0-9]+){5,}")
_MEASURAND = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:\.[A-Z]{1,3})?")
_PHASES = {
    "A": "phase A", "B": "phase B", "C": "phase C", "N": "neutral", "AB": "phase A to B",
    "BC": "phase B to C", "CA": "phase C to A", "AN": "phase A to neutral",
    "BN": "phase B to neutral", "CN": "phase C to neutral", "ABC": "all three phases",
    "zero": "zero sequence", "positive": "positive sequence", "negative": "negative sequence",
    "unstated": "phase not stated", "none": "of no phase",
}  # fmt: skip
_SOGNO = {  # what its format adds to the words of C37.118
    "voltmagnitude": "voltage, magnitude (RMS, to ground)",
    "currmagnitude": "current, magnitude (RMS)",
    "voltangle": "voltage, angle",
    "currangle": "current, angle",
}
_CHANNELS = {
    "voltmagnitude": "voltage phasor, magnitude",
    "voltangle": "voltage phasor, angle",
    "currmagnitude": "current phasor, magnitude",
    "currangle": "current phasor, angle",
    "activepower": "active power",
    "reactivepower": "reactive power",
    "apparentpower": "apparent power",
    "frequency": "frequency",
    "rocof": "rate of change of frequency",
    "analog": "analog value",
    "digital": "digital status word",
}

_ASSUMED = ("0.0.0",)

_DEVICES = {  # authority and type, as formats without names of their own have them
    ("ieee2030.5", "lfdi"): "LFDI",
    ("vde2418", "meter"): "meter",  # meterId
    ("vde2418", "usage-point"): "usage point",
    ("espi", "usage-point"): "UsagePoint",
}


def device(authority: str, kind: str, name: str) -> str:
    """What a device is called by, in the words of the format that names it so."""
    if authority == "c37.118":  # IEEE C37.118.2 §6.4: STN and IDCODE
        return f"station {name}, IDCODE {kind}" if name != kind else f"IDCODE {kind}"
    if kind == "serialNumber":  # of SunSpec's common model; the authority is its Mn
        return f"{authority}, serial number {name}" if authority else f"serial number {name}"
    known = _DEVICES.get((authority, kind))
    if known is not None:
        return f"{known} {name}"
    more = [f"type {kind}"] if kind else []
    more += [f"authority {authority}"] if authority else []
    return f"name {name}" + (f" ({', '.join(more)})" if more else "")


def register(code: str, base: str = "", unit: str = "") -> str:
    """What an identifier means. code: a ReadingType, an OBIS code, or a measurand with its phase.

    base: the ReadingType that values are in `unit` by, where `code` is another as sent.
    """
    if _READING_TYPE.fullmatch(code):
        decoded = reading_type.decode(code)
        named = obis.of_reading_type(code) if decoded is not None else None
        in_obis = f"; OBIS {named.text.removesuffix('*255')}" if named is not None else ""
        if base == code:  # also one of 19 fields, whose values are in the base unit, too
            base = ".".join([*code.split(".")[:-3], "0", *code.split(".")[-2:]])
        if decoded is None or not base or base == code:
            return sentence(code) + in_obis
        power = decoded.multiplier
        prefix = PREFIXES.get(power)
        scaled = f"10^{power} {unit}" if prefix is None else f"{prefix}{unit}"
        if unit == "1":  # thousandths of a power factor have no prefix
            scaled = f"10^{power}"
        return f"{sentence(base)}{in_obis}; sent in {scaled}"
    words = der_words.register(code) or _by_obis(code, base)
    if words is not None:
        return words
    if not _MEASURAND.fullmatch(code):
        return "a register"
    name, _, phase = code.partition(".")
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower()
    return ", ".join(filter(None, (words, _PHASES.get(phase, phase))))


def _by_obis(code: str, base: str) -> str | None:
    """What an OBIS code counts, by the ReadingType `base` where it is one."""
    if ":" not in code:  # a name of three parts could be read as a reduced code
        return None
    try:
        known = base if _READING_TYPE.fullmatch(base) else obis.reading_type(obis.parse(code))
    except Rejected:
        return None
    return sentence(known) if known is not None else None


def channel(
    component: str, measurand: str, phase: str, *, is_sogno: bool = False
) -> tuple[str, str]:
    """What a channel of a phasor frame is, and its unit; is_sogno: by the words of that format."""
    known = MEASURANDS.get(measurand) or FURTHER.get(measurand)
    what = (_SOGNO.get(measurand, "") if is_sogno else "") or _CHANNELS.get(measurand, measurand)
    words = [what] if phase == "none" else [what, _PHASES.get(phase, phase)]
    # C37.118 has one frequency a PMU, without a name of its own
    words += [] if component in {"FREQ", "DFREQ"} and phase == "none" else [f"at {component}"]
    return ", ".join(words), known.unit if known else ""


def quality(codes: tuple[str, ...], rank: Rank) -> str:
    """Quality codes in words; those that are of no known form as sent."""
    if codes == _ASSUMED or not codes:
        return "assumed good" if codes else ""
    words = dict.fromkeys(map(quality_words.words, codes))
    told = "; ".join(words)
    counts = {Rank.ESTIMATED: "estimated", Rank.CORRECTED: "edited", Rank.MISSING: "missing"}
    word = counts.get(rank, "")
    return told if word in told else f"{told}; counts as {word}"


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
