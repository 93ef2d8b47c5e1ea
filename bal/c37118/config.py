"""Configuration frames 1, 2 and 3 (IEEE C37.118.2 §6.4): what data consist of."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from struct import Struct, error, unpack_from

from bal.c37118.frame import CFG_1, CFG_2, CFG_3, HEAD_SIZE, KINDS, head
from bal.errors import Rejected

CLAUSE = "IEEE C37.118.2-2011 §6.4"
PMUS_MAX = 1_024  # of one stream; a configuration 2 of 65,535 bytes has room for 2,183
CHANNELS_MAX = 1_024  # of one PMU
NAME_SIZE = 16  # of configuration 1 and 2; of configuration 3 up to 255
BITS = 16  # of a digital status word

# Bits of FORMAT (IEEE C37.118.2 table 9).
POLAR, FLOAT_PHASORS, FLOAT_ANALOGS, FLOAT_FREQUENCY = 1, 2, 4, 8

# Bits 2-0 of PHSCALE's third byte (IEEE C37.118.2 table 11).
ZERO, POSITIVE, NEGATIVE, _, PHASE_A, PHASE_B, PHASE_C = range(7)
NO_COMPONENT = -1  # configuration 1 and 2 don't say

# CONT_IDX (IEEE C37.118.2 table 10).
ONLY, FIRST, LAST = 0, 1, 0xFFFF
FRAGMENTS_MAX = 64

_PHSCALE = Struct(">HBBff")
_ANSCALE = Struct(">ff")
_PLACE = Struct(">fffBii")
_COUNTS = Struct(">HHHH")


@dataclass(frozen=True, slots=True)
class Phasor:
    """One phasor channel."""

    name: str
    is_current: bool = False
    factor: int = 0  # 10^-5 V or A a bit; of configuration 1 and 2
    component: int = NO_COMPONENT  # ZERO … PHASE_C
    scale: float = 1.0  # of configuration 3: V or A a bit
    angle_rad: float = 0.0  # of configuration 3: to be taken off the angle
    modified: int = 0  # of configuration 3: what was done to it, 16 bits
    user: int = 0


@dataclass(frozen=True, slots=True)
class Analog:
    """One analog value."""

    name: str
    kind: int = 0  # 0 point on wave, 1 RMS, 2 peak; of configuration 1 and 2
    factor: int = 0  # signed, 24 bits, of the user's own meaning; of configuration 1 and 2
    scale: float = 1.0  # of configuration 3
    offset: float = 0.0  # of configuration 3


@dataclass(frozen=True, slots=True)
class Digital:
    """One digital status word."""

    names: tuple[str, ...]  # of its 16 bits, the lowest first
    normal: int = 0  # the bits of a normal state
    valid: int = 0  # the bits that are in use


@dataclass(frozen=True, slots=True)
class Pmu:
    """One PMU of a stream."""

    station: str
    idcode: int  # of the PMU itself; the stream has its own
    format: int
    phasors: tuple[Phasor, ...] = ()
    analogs: tuple[Analog, ...] = ()
    digitals: tuple[Digital, ...] = ()
    fnom: int = 0  # bit 0: 50 Hz, else 60 Hz
    changes: int = 0  # CFGCNT
    global_id: bytes = bytes(16)  # from here on: of configuration 3
    latitude_deg: float = inf
    longitude_deg: float = inf
    elevation_m: float = inf
    service: str = "M"
    window_us: int = 0
    delay_us: int = 0

    @property
    def nominal_hz(self) -> int:
        """50 or 60."""
        return 50 if self.fnom & 1 else 60

    @property
    def channels(self) -> int:
        """Values of a frame; a phasor is two."""
        return 2 * len(self.phasors) + 2 + len(self.analogs) + len(self.digitals)


@dataclass(frozen=True, slots=True)
class Config:
    """What a stream's data frames consist of."""

    kind: int  # CFG_1, CFG_2 or CFG_3
    idcode: int  # of the stream
    time_base: int  # FRACSEC counts 1 / time_base of a second
    pmus: tuple[Pmu, ...]
    rate: int  # DATA_RATE: above 0 frames a second, below 0 seconds a frame
    soc: int = 0
    fracsec: int = 0
    version: int = 1

    @property
    def period_us(self) -> int:
        """From one frame to the next; 0 where DATA_RATE is 0."""
        if self.rate > 0:
            return 1_000_000 // self.rate
        return -self.rate * 1_000_000


class Fragments:
    """Puts together the fragments of a configuration 3 as they come (CONT_IDX)."""

    def __init__(self) -> None:
        self._frames: list[bytes] = []

    def add(self, frame: bytes) -> tuple[bytes, ...]:
        """The whole configuration's frames once `frame` was its last; else none.

        frame: whole, of kind CFG_3. Raises Rejected("config-incomplete") where one before it is
        missing; then the next first fragment begins anew.
        """
        if len(frame) < HEAD_SIZE + 4:
            self._frames.clear()
            raise Rejected("config-malformed", "there is no CONT_IDX", clause=CLAUSE)
        [index] = unpack_from(">H", frame, HEAD_SIZE)
        if index in {ONLY, FIRST}:
            self._frames = [frame]
            return (frame,) if index == ONLY else ()
        known, self._frames = self._frames, []
        if not known or len(known) >= FRAGMENTS_MAX or index not in {len(known) + 1, LAST}:
            text = f"CONT_IDX is {index} after {len(known)} fragments"
            raise Rejected("config-incomplete", text, clause=CLAUSE)
        if index == LAST:
            return (*known, frame)
        self._frames = [*known, frame]
        return ()


def read_config(frames: Sequence[bytes]) -> Config:
    """The configuration in one frame, or in all fragments of one configuration 3.

    Raises Rejected: what `bal.c37118.frame.head` raises, or config-malformed, which says what.
    """
    first = head(frames[0])
    if first.kind not in {CFG_1, CFG_2, CFG_3}:
        text = f"a {KINDS[first.kind]} frame is no configuration"
        raise Rejected("config-malformed", text, clause=CLAUSE)
    if first.kind == CFG_3:
        others = [head(frame) for frame in frames[1:]]
        if any((one.kind, one.idcode) != (CFG_3, first.idcode) for one in others):
            text = "its fragments are not of one stream"
            raise Rejected("config-incomplete", text, clause=CLAUSE)
        body = b"".join(frame[HEAD_SIZE + 2 : -2] for frame in frames)
    else:
        body = frames[0][HEAD_SIZE:-2]
    reader = _Reader(body)
    [time_base, count] = reader.take(">IH")
    time_base &= 0xFFFFFF  # bits 31-24 are reserved
    if time_base == 0:
        raise Rejected("config-malformed", "TIME_BASE is 0", clause=CLAUSE)
    if not 0 < count <= PMUS_MAX:
        text = f"NUM_PMU is {count}; 1 to {PMUS_MAX} are taken"
        raise Rejected("config-malformed", text, clause=CLAUSE)
    one = reader.pmu_3 if first.kind == CFG_3 else reader.pmu_2
    pmus = []
    for number in range(1, count + 1):
        reader.where = f"PMU {number} of {count}"
        pmus.append(one())
    reader.where = "DATA_RATE"
    [rate] = reader.take(">h")
    if reader.at != len(body):
        text = f"{len(body) - reader.at} bytes are left behind DATA_RATE"
        raise Rejected("config-malformed", text, clause=CLAUSE)
    fracsec = first.time_quality << 24 | first.fraction
    return Config(
        first.kind, first.idcode, time_base, tuple(pmus), rate, first.soc, fracsec, first.version
    )


class _Reader:
    """Reads a body from front to back; where it ends too early, Rejected says within what."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.at = 0
        self.where = "TIME_BASE and NUM_PMU"

    def take(self, form: str | Struct) -> tuple[int, ...]:
        """The next values."""
        layout = Struct(form) if isinstance(form, str) else form
        try:
            found = layout.unpack_from(self._body, self.at)
        except error:
            raise self._ends() from None
        self.at += layout.size
        return found

    def pmu_2(self) -> Pmu:
        """A PMU of configuration 1 or 2 (IEEE C37.118.2 table 8)."""
        station = self._name()
        [idcode] = self.take(">H")
        form, phasors, analogs, digitals = self._counts()
        names = [self._name() for _ in range(phasors + analogs + BITS * digitals)]
        made_phasors = []
        for name in names[:phasors]:
            [unit] = self.take(">I")
            made_phasors.append(Phasor(name, unit >> 24 != 0, unit & 0xFFFFFF))
        made_analogs = []
        for name in names[phasors : phasors + analogs]:
            [unit] = self.take(">I")
            factor = unit & 0xFFFFFF
            made_analogs.append(Analog(name, unit >> 24, factor - (factor >> 23 << 24)))
        made_digitals = self._digitals(names[phasors + analogs :])
        fnom, changes = self.take(">HH")
        return Pmu(
            station, idcode, form, tuple(made_phasors), tuple(made_analogs), made_digitals, fnom,
            changes,
        )  # fmt: skip

    def pmu_3(self) -> Pmu:
        """A PMU of configuration 3 (IEEE C37.118.2 table 10)."""
        station = self._name_3()
        [idcode] = self.take(">H")
        global_id = self._bytes(16)
        form, phasors, analogs, digitals = self._counts()
        names = [self._name_3() for _ in range(phasors + analogs + BITS * digitals)]
        made_phasors = []
        for name in names[:phasors]:
            modified, kind, user, scale, angle = self.take(_PHSCALE)
            component, is_current = kind & 7, kind & 8 != 0
            made_phasors.append(
                Phasor(name, is_current, 0, component, scale, angle, modified, user)
            )
        made_analogs = []
        for name in names[phasors : phasors + analogs]:
            scale, offset = self.take(_ANSCALE)
            made_analogs.append(Analog(name, 0, 0, scale, offset))
        made_digitals = self._digitals(names[phasors + analogs :])
        latitude, longitude, elevation, service, window_us, delay_us = self.take(_PLACE)
        fnom, changes = self.take(">HH")
        return Pmu(
            station, idcode, form, tuple(made_phasors), tuple(made_analogs), made_digitals, fnom,
            changes, global_id, latitude, longitude, elevation, chr(service), window_us, delay_us,
        )  # fmt: skip

    def _counts(self) -> tuple[int, ...]:
        """FORMAT, PHNMR, ANNMR, DGNMR."""
        found = self.take(_COUNTS)
        _, phasors, analogs, digitals = found
        if 2 * phasors + 2 + analogs + digitals > CHANNELS_MAX:
            text = f"{self.where} has more than {CHANNELS_MAX} values"
            raise Rejected("config-malformed", text, clause=CLAUSE)
        return found

    def _digitals(self, names: Sequence[str]) -> tuple[Digital, ...]:
        made = []
        for at in range(0, len(names), BITS):
            normal, valid = self.take(">HH")
            made.append(Digital(tuple(names[at : at + BITS]), normal, valid))
        return tuple(made)

    def _name(self) -> str:
        return _text(self._bytes(NAME_SIZE))

    def _name_3(self) -> str:
        [size] = self.take(">B")
        return _text(self._bytes(size))

    def _bytes(self, size: int) -> bytes:
        found = self._body[self.at : self.at + size]
        if len(found) < size:
            raise self._ends()
        self.at += size
        return found

    def _ends(self) -> Rejected:
        text = f"the configuration ends within {self.where}"
        return Rejected("config-malformed", text, clause=CLAUSE)


def _text(name: bytes) -> str:
    """ASCII by the standard, UTF-8 since configuration 3; where it is neither, ISO 8859-1."""
    try:
        text = name.decode()
    except UnicodeDecodeError:
        text = name.decode("latin1")
    return text.strip(" \0")
