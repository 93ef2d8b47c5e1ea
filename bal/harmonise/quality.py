"""The codes of IEC 61968-9 annex D, ReadingQualityType, and the rank that follows from them."""

import re
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from bal.errors import Rejected
from bal.model import Rank

QUALITIES_MAX = 32
CODE_LENGTH_MAX = 32  # characters

# IEC 61968-11 ReadingQuality: each reading is assumed good unless a quality states otherwise.
# 0.0.0: system not applicable, category 0 valid, index 0 data valid.
ASSUMED_VALID = "0.0.0"

_CODE = re.compile(r"[0-9]{1,3}\.([0-9]{1,3})\.([0-9]{1,5})")
_PRINTABLE = re.compile(r"[!-~]+")
_EDITED, _ESTIMATED, _PROJECTED = 7, 8, 12  # categories
_KNOWN_MISSING = (5, 259)  # category reasonability, index known missing read
_SPACE = " \t\r\n"


@dataclass(frozen=True, slots=True)
class Quality:
    """The codes of one reading and what they say about its place among versions."""

    codes: tuple[str, ...]  # verbatim, a sorted set, never empty
    json: str  # the codes as a JSON array
    rank: Rank
    stated_missing: bool  # known missing read: there is no value, and that is said on purpose
    malformed: int  # how many codes are not of the form system.category.index


def quality(sent: tuple[str, ...]) -> Quality:
    """The quality of a reading whose codes were `sent`, in any order.

    Rank: known missing read is MISSING; category 8 estimated, and 12 projected, is ESTIMATED;
    7 edited is CORRECTED; else MEASURED. Where both 7 and 8 stand the value is an estimate that
    was put in by hand: it must not displace a measurement, so ESTIMATED wins.
    Raises Rejected("quality-malformed") for a code that could not be kept verbatim.
    """
    codes = tuple(sorted({code.strip(_SPACE) for code in sent})) or (ASSUMED_VALID,)
    if len(codes) > QUALITIES_MAX:
        raise _malformed(f"more than {QUALITIES_MAX} quality codes")
    if max(map(len, codes)) > CODE_LENGTH_MAX:
        raise _malformed(f"a quality code is longer than {CODE_LENGTH_MAX} characters")
    return _quality(codes)


@lru_cache(maxsize=1024)
def _quality(codes: tuple[str, ...]) -> Quality:
    categories: set[int] = set()
    malformed, missing = 0, False
    for code in codes:
        match = _CODE.fullmatch(code)
        if match is not None:
            categories.add(int(match[1]))
            missing = missing or (int(match[1]), int(match[2])) == _KNOWN_MISSING
        elif _PRINTABLE.fullmatch(code) is None:
            raise _malformed("a quality code is empty or not printable ASCII")
        else:
            malformed += 1
    if missing:
        rank = Rank.MISSING
    elif categories & {_ESTIMATED, _PROJECTED}:
        rank = Rank.ESTIMATED
    else:
        rank = Rank.CORRECTED if _EDITED in categories else Rank.MEASURED
    return Quality(codes, msgspec.json.encode(codes).decode(), rank, missing, malformed)


def _malformed(what: str) -> Rejected:
    return Rejected(
        "quality-malformed",
        what,
        field="ReadingQualities",
        clause="IEC 61968-9 ReadingQualityType",
    )
