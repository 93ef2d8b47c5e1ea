"""What the values of one PMU's data are, made once a configuration (docs/spec/c37118.md)."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from bal.c37118.config import (
    FLOAT_ANALOGS,
    FLOAT_FREQUENCY,
    FLOAT_PHASORS,
    NEGATIVE,
    PHASE_A,
    PHASE_B,
    PHASE_C,
    POLAR,
    POSITIVE,
    ZERO,
    Analog,
    Config,
    Phasor,
    Pmu,
)
from bal.c37118.data import (
    ABSENT,
    BY_ARRIVAL,
    DATA_ERROR,
    MODIFIED,
    PMU_ERROR,
    TIME_UNKNOWN,
    UNSYNCHRONISED,
)
from bal.c37118.frame import CFG_3
from bal.errors import Rejected
from bal.harmonise import c37118_value as value
from bal.harmonise.names import NAME_LENGTH_MAX, MeterNames, check_names
from bal.harmonise.phasors import readings_form
from bal.model import Channel

AUTHORITY = "c37.118"
UNSTATED, NO_PHASE = "unstated", "none"

VALID, QUESTIONABLE, DERIVED = "1.0.0", "1.10.0", "1.11.0"
_TIME_QUALITY_MAX = 8  # 10 ms: above it frames of a usual rate could stand in each other's place

_PHASES = {
    PHASE_A: "A", PHASE_B: "B", PHASE_C: "C",
    ZERO: "zero", POSITIVE: "positive", NEGATIVE: "negative",
}  # fmt: skip

Texts = list[str | None]
_One = Callable[[Any], str | None]
_Two = Callable[[Any, Any], value.Pair]


def names_of(pmu: Pmu) -> MeterNames:
    """Who a PMU is: its IDCODE together with its station's name; either alone is not unique.

    Raises Rejected("name-invalid").
    """
    idcode = str(pmu.idcode)
    return check_names(None, ((AUTHORITY, idcode, pmu.station or idcode),))


@lru_cache(maxsize=4096)
def qualities(stat: int, time_quality: int) -> tuple[str, ...]:
    """The codes of STAT and of FRACSEC's time quality, sorted (IEEE C37.118.2 §6.3, tables 4, 7).

    Whether the values may be used at all is not asked here.
    """
    doubtful = (
        stat & DATA_ERROR == PMU_ERROR
        or stat & (UNSYNCHRONISED | BY_ARRIVAL)
        or stat & TIME_UNKNOWN == TIME_UNKNOWN
        or time_quality & 0xF > _TIME_QUALITY_MAX
    )
    found = [QUESTIONABLE] if doubtful else []
    found += [DERIVED] if stat & MODIFIED else []
    return tuple(found) or (VALID,)


class Channels:
    """The channels of one PMU, and how its values become texts."""

    def __init__(self, config: Config, pmu: Pmu) -> None:
        self.pmu = pmu
        self._is_third = config.kind == CFG_3
        self._names: set[str] = set()
        made: list[Channel] = []
        for n, phasor in enumerate(pmu.phasors, 1):
            kind = "curr" if phasor.is_current else "volt"
            phase, name = _PHASES.get(phasor.component, UNSTATED), self._name(phasor.name, n)
            made.append((name, f"{kind}magnitude", phase))
            made.append((name, f"{kind}angle", phase))
        made.append(("FREQ", "frequency", NO_PHASE))
        made.append(("DFREQ", "rocof", NO_PHASE))
        for n, analog in enumerate(pmu.analogs, 1):
            made.append((self._name(analog.name, n), "analog", NO_PHASE))
        made += [(f"DIGITAL {n}", "digital", NO_PHASE) for n in range(1, len(pmu.digitals) + 1)]
        self.channels = tuple(made)
        self.form = readings_form(self.channels)
        self._phasors = [self._phasor(one) for one in pmu.phasors]
        self._analogs = [self._analog(one) for one in pmu.analogs]
        self._all_float = pmu.format & 15 == POLAR | FLOAT_PHASORS | FLOAT_ANALOGS | FLOAT_FREQUENCY
        self._digitals_at = pmu.channels + 1 - len(pmu.digitals)

    def texts(self, values: Sequence[Any]) -> Texts:
        """The values as decimals, in order of the channels. values: STAT, and what follows it."""
        digitals_at = self._digitals_at
        if self._all_float:
            found = list(map(value.text32, values[1:digitals_at]))
            if None in found:
                for at in range(0, 2 * len(self._phasors), 2):
                    if found[at] is None or found[at + 1] is None:
                        found[at] = found[at + 1] = None
        else:
            found, at = [], 1
            for two in self._phasors:
                found += two(values[at], values[at + 1])
                at += 2
            found += self._frequency(values[at], values[at + 1])
            found += [one(sent) for one, sent in zip(self._analogs, values[at + 2 :], strict=False)]
        return found + list(map(str, values[digitals_at:]))

    def _name(self, sent: str, place: int) -> str:
        """The channel's name; with its place where it is empty, no name, or another one's too."""
        name = sent
        try:
            check_names(None, (("", "", sent),))
        except Rejected:
            name = ""
        if not name or name in self._names or len(name) > NAME_LENGTH_MAX:
            name = f"{name} #{place}".strip()
            while name in self._names:
                name += "'"
        self._names.add(name)
        return name

    def _phasor(self, phasor: Phasor) -> _Two:
        form = self.pmu.format
        if form & FLOAT_PHASORS:  # in V or A: no scale applies (PHUNIT)
            return value.float_polar if form & POLAR else value.float_rectangular
        if self._is_third:
            made = value.fixed_polar_3 if form & POLAR else value.fixed_rectangular_3
            return made(phasor.scale, phasor.angle_rad)
        made_2 = value.fixed_polar_2 if form & POLAR else value.fixed_rectangular_2
        return made_2(phasor.factor)

    def _analog(self, analog: Analog) -> _One:
        if self.pmu.format & FLOAT_ANALOGS:
            return value.text32
        if self._is_third:
            return value.linear(analog.scale, analog.offset)
        return _integer  # the scale of configuration 2 is of the user's own meaning (table 9)

    def _frequency(self, frequency: Any, rate: Any) -> Texts:
        if self.pmu.format & FLOAT_FREQUENCY:
            return [value.text32(frequency), value.text32(rate)]
        nominal_mhz = self.pmu.nominal_hz * 1_000  # mHz off the nominal; 10^-2 Hz/s
        return [
            None if frequency == ABSENT else value.scaled(nominal_mhz + frequency, 3),
            None if rate == ABSENT else value.scaled(rate, 2),
        ]


def _integer(sent: int) -> str | None:
    return None if sent == ABSENT else str(sent)
