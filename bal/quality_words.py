"""Quality codes of IEC 61968-9 annex D, `system.category.index`, in words.

The numbers of indexes are those that public head-ends print; one that is in no table here keeps
its number.
"""

import re

_SYSTEMS = {
    0: "",
    1: "the meter",
    2: "the communication network",
    3: "the meter data management",
    4: "another system",
    5: "an outside system",
}
_ACTS = frozenset({0, 7, 8, 10, 11, 12})  # categories of what a system did; of others it tells
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
_INDEXES = {
    (0, 1): "validated",
    (1, 1): "battery low",
    (1, 3): "sensor failure",
    (1, 4): "watchdog",
    (1, 5): "parity error",
    (1, 6): "CRC error",
    (1, 7): "RAM checksum error",
    (1, 8): "ROM checksum error",
    (1, 9): "clock error",
    (2, 1): "too many outages",
    (2, 2): "power quality counter",
    (2, 3): "service disconnected or switched",
    (2, 32): "power failure",
    (3, 1): "cover opened",
    (3, 2): "logical disconnect",
    (3, 4): "reverse rotation",
    (4, 1): "overflow",
    (4, 2): "partial interval",
    (4, 3): "long interval",
    (4, 4): "skipped interval",
    (4, 5): "test data",
    (4, 6): "configuration changed",
    (4, 7): "not recording",
    (4, 8): "reset occurred",
    (4, 9): "clock changed",
    (4, 10): "load control occurred",
    (4, 16): "daylight saving time in effect",
    (4, 64): "clock set forward",
    (4, 128): "clock set backward",
    (4, 129): "failed attempt to read",
    (4, 130): "read by the customer",
    (4, 131): "read by hand",
    (4, 259): "change of daylight saving time",
    (5, 256): "outside the expected range",
    (5, 257): "error code",
    (5, 258): "suspect",
    (5, 259): "known to be missing",
    (6, 1): "failed validation: no usage",
    (6, 2): "failed validation: usage on an inactive meter",
    (6, 3): "failed validation: usage above the maximum",
    (6, 4): "failed validation: usage below the minimum",
    (6, 5): "failed validation: usage above the maximum percentage",
    (6, 6): "failed validation: usage below the minimum percentage",
    (6, 9): "failed validation: sum of tariffs",
    (7, 1): "edited: added",
    (7, 3): "edited: rejected",
    (10, 1): "questionable, accepted",
    (11, 1): "inferred",
}
_CODE = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,5})")


def words(code: str) -> str:
    """One code in words; as sent where it is of no known form."""
    match = _CODE.fullmatch(code)
    if match is None:
        return code
    system, category, index = map(int, match.groups())
    what = _INDEXES.get((category, index), "")
    if not what:
        what = _CATEGORIES.get(category, "")
        if not what:
            return f"quality {code}"
        what = f"{what} (index {index})" if index else what
    who = _SYSTEMS.get(system, f"system {system}")
    if not who:
        return what
    return f"{what} by {who}" if category in _ACTS else f"{what}, says {who}"
