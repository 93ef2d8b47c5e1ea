"""The status of a reading of a smart meter gateway: PTB's 0 to 4, and the status word of FNN.

VDE AR 2418-6 statusPTB is in words in its schema (PTB-A 50.8). The bits of VDE AR 2418-6 statusFNN
are not in it; they are taken from the source of TRuDI, the display software for smart meter
gateways, and docs/spec/vde-ar-2418-6.md says which of its versions has them. A bit that is in none
is kept as sent, and told.
"""

import re
from collections.abc import Collection
from typing import NamedTuple

NO_ERROR, WARNING, TEMPORARY, CRITICAL, FATAL = range(5)
INVALID = frozenset({CRITICAL, FATAL})  # the value can't even stand in for a measured one

CODES = {  # statusPTB → ReadingQualityType, system 1: the end device's own judgement
    NO_ERROR: ("1.0.0",),
    WARNING: ("1.0.0", "1.1.0"),
    TEMPORARY: ("1.5.258", "1.8.0"),  # suspect; may be used as a substitute value
    CRITICAL: ("1.5.258",),
    FATAL: ("1.1.0", "1.5.258"),
}
WORDS = {  # statusPTB → what PTB-A 50.8 says of it
    NO_ERROR: "no error",
    WARNING: "warning, no action needed, the value is valid",
    TEMPORARY: "temporary error, marked invalid, may be used as a substitute value",
    CRITICAL: "temporary error, the value is invalid and no substitute",
    FATAL: "fatal error, this value and all later ones are invalid",
}
_BY_CODES = (FATAL, TEMPORARY, WARNING, CRITICAL, NO_ERROR)  # whose codes hold another's, first
QUESTIONABLE = "1.10.0"
STATUS_BITS = "status-bits"  # code of the finding that names them
_TAMPERED, _CLOCK_ERROR, _DIAGNOSTICS = "1.3.0", "1.1.9", "1.1.0"


class Bit(NamedTuple):
    """One bit of a half of the status word."""

    name: str  # as the source has it
    code: str = ""  # ReadingQualityType that says the same; "" where there is none
    status: int = NO_ERROR  # statusPTB that it comes to


GATEWAY = {  # the word of the gateway, the first eight digits
    0x2: Bit("Transparency_Bit"),
    0x100: Bit("Fatal_Error", _DIAGNOSTICS, FATAL),
    0x200: Bit("Systemtime_Invalid", _CLOCK_ERROR, CRITICAL),
    0x1000: Bit("PTB_Warning", _DIAGNOSTICS, WARNING),
    0x2000: Bit("PTB_Temp_Error_signed_invalid", "", TEMPORARY),
    0x4000: Bit("PTB_Temp_Error_is_invalid", "", CRITICAL),
    0x8000: Bit("Error_Status_according_to_OMS", _DIAGNOSTICS),
    0x10000: Bit("Threshold_Marker"),
    0x20000: Bit("Identification_Meter_Status_Word_OMS"),
}
METER = {  # the word of the meter, the last eight digits
    0x100: Bit("Start_Up"),
    0x200: Bit("Magnetically_Influenced", _TAMPERED),
    0x400: Bit("Manipulation_KD_PS", _TAMPERED),
    0x800: Bit("Sum_Energiedirection_neg"),
    0x1000: Bit("Energiedirection_L1_neg"),
    0x2000: Bit("Energiedirection_L2_neg"),
    0x4000: Bit("Energiedirection_L3_neg"),
    0x8000: Bit("PhaseSequenz_RotatingField_Not_L1_L2_L3", _DIAGNOSTICS),  # how it is wired
    0x10000: Bit("BackStop_Active"),
    0x20000: Bit("Fatal_Error", _DIAGNOSTICS, FATAL),
    0x40000: Bit("Lead_Voltage_L1_existent"),
    0x80000: Bit("Lead_Voltage_L2_existent"),
    0x100000: Bit("Lead_Voltage_L3_existent"),
}
_WORDS = {  # where the name is not enough
    "Systemtime_Invalid": "system time invalid",
    "PTB_Temp_Error_signed_invalid": "temporary error: no value in the window of receipt",
    "PTB_Temp_Error_is_invalid": "critical temporary error",
    "PTB_Warning": "warning",
    "Error_Status_according_to_OMS": "error status by OMS",
    "Manipulation_KD_PS": "mechanical interference",
    "PhaseSequenz_RotatingField_Not_L1_L2_L3": "phase sequence is not L1, L2, L3",
}
_GATEWAY_MARK, _GATEWAY_MARKS = 0x05, 0xFD  # the identification, and the bits that it stands in
_METER_MARK, _METER_MARKS = 0x04, 0xFF
_METER_IS_OMS = 0x20000

_SPACE = " \t\r\n"
_HEX = re.compile("[0-9A-Fa-f]{1,16}")
_DIGITS = 16
_PTB = re.compile("[0-4]")


class Word(NamedTuple):
    """A status word of FNN, understood."""

    status: int  # the statusPTB that its bits come to
    codes: frozenset[str]
    tampered: bool
    unknown: bool  # it has bits that no source has a word for
    says: str  # its bits that are no mere state, in words: of the gateway, of the meter


class Status(NamedTuple):
    """What a reading's statuses say together."""

    counts: int | None  # statusPTB that the reading is taken by; None where none is understood
    codes: tuple[str, ...]
    doubts: tuple[tuple[str, str], ...]  # code and text


def word(text: str) -> Word | None:
    """The status word that `text` is; None where it is none, or could be read in two ways.

    FNN sends the least significant bit first, so A000000020000000 is gateway 0x00000005 and meter
    0x00000004; others send 0000000500000004. The identification in the low byte tells which.
    """
    digits = text.strip(_SPACE)
    if _HEX.fullmatch(digits) is None:
        return None
    sent = int(digits, 16)
    halves = [(sent >> 32, sent & 0xFFFFFFFF)]
    if len(digits) == _DIGITS:  # a shorter one lacks its leading zeros
        halves.append((_reversed(halves[0][0]), _reversed(halves[0][1])))
    found = [(gateway, meter) for gateway, meter in halves if _identified(gateway, meter)]
    return _word(*found[0]) if len(found) == 1 else None


def _identified(gateway: int, meter: int) -> bool:
    if gateway & _GATEWAY_MARKS != _GATEWAY_MARK:
        return False
    return bool(gateway & _METER_IS_OMS) or meter & _METER_MARKS == _METER_MARK


def _reversed(half: int) -> int:
    return int(f"{half:032b}"[::-1], 2)


def _word(gateway: int, meter: int) -> Word:
    oms = bool(gateway & _METER_IS_OMS)  # the meter's word is then not one of FNN
    bits = [bit for mask, bit in GATEWAY.items() if gateway & mask]
    says = [_in_words("gateway", bits)]
    unknown = gateway & ~(sum(GATEWAY) | _GATEWAY_MARKS)
    if oms:
        unknown |= meter
    else:
        of_meter = [bit for mask, bit in METER.items() if meter & mask]
        says.append(_in_words("meter", of_meter))
        bits += of_meter
        unknown |= meter & ~(sum(METER) | _METER_MARKS)
    codes = frozenset(bit.code for bit in bits if bit.code)
    status = max((bit.status for bit in bits), default=NO_ERROR)
    return Word(status, codes, _TAMPERED in codes, unknown != 0, "; ".join(filter(None, says)))


def _in_words(of: str, bits: list[Bit]) -> str:
    words = [
        _WORDS.get(bit.name, bit.name.replace("_", " ").lower())
        for bit in bits
        if bit.code or bit.status
    ]
    return f"{of}: {', '.join(words)}" if words else ""


def read(ptb: str | None, fnn: str | None) -> Status:
    """What both statuses of a reading say; None for one that is not sent.

    statusPTB counts where both are sent, as TRuDI has it; where they differ that is told, and the
    value is questionable.
    """
    codes: set[str] = set()
    doubts: list[tuple[str, str]] = []
    stated, said = _stated(ptb), word(fnn) if fnn is not None else None
    if ptb is None and fnn is None:
        doubts.append(("status-missing", "the reading has neither statusPTB nor statusFNN"))
    if ptb is not None and stated is None:
        codes.add(f"ptb:{ptb.strip(_SPACE)}")
        doubts.append(("quality-malformed", "statusPTB is none of 0 to 4; kept as sent"))
    if fnn is not None and (said is None or said.unknown):
        codes.add(f"fnn:{fnn.strip(_SPACE)}")
        text = "has bits that no public source has a word for" if said else "is not understood"
        doubts.append(("state-unknown", f"statusFNN {text}; kept as sent"))
    if stated is not None:
        codes.update(CODES[stated])
    if said is not None:
        codes |= said.codes
        if stated is None:
            codes.update(CODES[said.status])
            if said.tampered:  # versions of TRuDI take it for no error, a temporary, a critical one
                codes.add(QUESTIONABLE)
        elif stated != said.status:
            codes.add(QUESTIONABLE)
            text = f"statusPTB is {stated}, which counts; statusFNN comes to {said.status}"
            doubts.append(("status-differs", f"{text} ({said.says or 'no error'})"))
        if said.says and (stated is None or stated == said.status):
            doubts.append((STATUS_BITS, f"statusFNN says {said.says}"))
    counts = stated if stated is not None or said is None else said.status
    return Status(counts, tuple(sorted(codes)), tuple(doubts))


def stated_by(codes: Collection[str]) -> int | None:
    """The statusPTB that a reading without bits in words has `codes` by; None for none."""
    return next((one for one in _BY_CODES if set(CODES[one]) <= set(codes)), None)


def _stated(ptb: str | None) -> int | None:
    text = "" if ptb is None else ptb.strip(_SPACE)
    return int(text) if _PTB.fullmatch(text) is not None else None
