"""STAT and the time quality in words (IEEE C37.118.2 §6.2.2, §6.3, tables 3, 4, 7)."""

from functools import lru_cache

from bal.c37118.data import (
    BY_ARRIVAL,
    CONFIG_CHANGE,
    DATA_ERROR,
    MODIFIED,
    TIME_UNKNOWN,
    TRIGGER,
    UNSYNCHRONISED,
)
from bal.c37118.frame import CLOCK_FAILED, LEAP_DELETE, LEAP_OCCURRED, LEAP_PENDING

_ERRORS = (
    "",
    "PMU error",
    "test mode, or data absent: not to be used",
    "PMU error: not to be used",
)
_PMU_ERRORS = (
    "", "below 100 ns", "below 1 µs", "below 10 µs", "below 100 µs", "below 1 ms", "below 10 ms",
    "over 10 ms or unknown",
)  # fmt: skip
_UNLOCKED = ("", "10 s or more", "100 s or more", "1000 s or more")
_REASONS = {
    0: "manual", 1: "magnitude low", 2: "magnitude high", 3: "phase angle difference",
    4: "frequency high or low", 5: "df/dt high", 7: "digital",
}  # fmt: skip
_MESSAGE_ERRORS = {
    1: "1 ns", 2: "10 ns", 3: "100 ns", 4: "1 µs", 5: "10 µs", 6: "100 µs", 7: "1 ms", 8: "10 ms",
    9: "100 ms", 10: "1 s", 11: "10 s",
}  # fmt: skip
_REASON, _UNLOCKED_BITS = 0xF, 0x30
_TIME_QUALITY_MAX = 8  # as bal/harmonise/c37118_channels.py: above it a value is questionable
CLOCK_FAILS = "clock failed"


@lru_cache(maxsize=4096)
def doubts(stat: int, time_quality: int) -> tuple[str, ...]:
    """Why values are questionable: what docs/spec/c37118.md has under Quality."""
    found = [_ERRORS[(stat & DATA_ERROR) >> 14]]
    found += ["not synchronised"] if stat & UNSYNCHRONISED else []
    found += ["sorted by arrival"] if stat & BY_ARRIVAL else []
    if stat & TIME_UNKNOWN == TIME_UNKNOWN:
        found.append("time error over 10 ms or unknown")
    if time_quality & 0xF > _TIME_QUALITY_MAX:
        found.append(_message_time(time_quality))
    return tuple(dict.fromkeys(filter(None, found)))


def stat_words(stat: int) -> tuple[str, ...]:
    """All that STAT says."""
    found = [_ERRORS[(stat & DATA_ERROR) >> 14] or "good"]
    found.append("not synchronised" if stat & UNSYNCHRONISED else "synchronised")
    found += ["sorted by arrival"] if stat & BY_ARRIVAL else []
    if stat & TRIGGER:
        reason = stat & _REASON
        found.append(f"trigger: {_REASONS.get(reason, f'reason {reason}')}")
    found += ["the configuration will change"] if stat & CONFIG_CHANGE else []
    found += ["data modified"] if stat & MODIFIED else []
    error = _PMU_ERRORS[(stat & TIME_UNKNOWN) >> 6]
    found += [f"time error {error}"] if error else []
    unlocked = _UNLOCKED[(stat & _UNLOCKED_BITS) >> 4]
    found += [f"unlocked for {unlocked}"] if unlocked else []
    return tuple(found)


def time_words(time_quality: int) -> tuple[str, ...]:
    """All that FRACSEC's first byte says."""
    found = [_message_time(time_quality)]
    direction = "deleted" if time_quality & LEAP_DELETE else "added"
    if time_quality & LEAP_PENDING:
        found.append(f"a leap second will be {direction}")
    if time_quality & LEAP_OCCURRED:
        found.append(f"a leap second was {direction}")
    return tuple(found)


def _message_time(time_quality: int) -> str:
    code = time_quality & 0xF
    if code == 0:
        return "clock locked to UTC"
    if code == CLOCK_FAILED:
        return CLOCK_FAILS
    within = _MESSAGE_ERRORS.get(code)
    return f"time within {within} of UTC" if within else f"time quality {code}, which is reserved"
