"""PMUs for tests: configurations of every format, and frames of them."""

from collections.abc import Iterator
from math import pi
from struct import unpack

from hypothesis import strategies as st

from bal.c37118.config import (
    FLOAT_ANALOGS,
    FLOAT_FREQUENCY,
    FLOAT_PHASORS,
    PHASE_A,
    POLAR,
    Analog,
    Config,
    Digital,
    Phasor,
    Pmu,
)
from bal.c37118.data import Data, Layout
from bal.c37118.frame import CFG_2, CFG_3
from bal.c37118.writer import config_frames, data_frame

BEGIN_S = 1_768_471_200  # 2026-01-15T10:00:00Z
RATE = 50
TIME_BASE = 1_000_000
ALL_FLOAT = POLAR | FLOAT_PHASORS | FLOAT_ANALOGS | FLOAT_FREQUENCY


def pmu(idcode: int = 7, form: int = ALL_FLOAT, *, station: str = "North") -> Pmu:
    """Voltages of three phases, the current of one, an analog value and a digital word."""
    phasors = [
        Phasor(f"V{phase}", factor=915_527, component=PHASE_A + n, scale=9.15527)
        for n, phase in enumerate("ABC")
    ]
    phasors.append(Phasor("IA", is_current=True, factor=45_776, component=PHASE_A, scale=0.45776))
    digital = Digital(tuple(f"breaker {n}" for n in range(16)), 0, 0xFFFF)
    return Pmu(
        station, idcode, form, tuple(phasors), (Analog("tap", 1, 1),), (digital,), fnom=1
    )  # fmt: skip


def config(*pmus: Pmu, kind: int = CFG_2, idcode: int = 60, rate: int = RATE) -> Config:
    return Config(kind, idcode, TIME_BASE, pmus or (pmu(),), rate, BEGIN_S, 0)


def block(of: Pmu, number: int, stat: int = 0) -> list[float]:
    """The values of one PMU's frame, a little different from frame to frame."""
    values: list[float] = [stat]
    for n in range(len(of.phasors)):
        angle = (number % 100) / 50 * pi - pi + n / 10
        size = 230.0 + number % 7 / 8 if n < 3 else 12.5
        if of.format & FLOAT_PHASORS:
            values += [size, angle] if of.format & POLAR else [size / 2, -size / 4]
        else:
            values += [25_000 + number % 7, number % 100 * 300 - 15_000]
    values += [50.0125, -0.25] if of.format & FLOAT_FREQUENCY else [12, -25]
    values += [0.5 if of.format & FLOAT_ANALOGS else -3] * len(of.analogs)
    return values + [5] * len(of.digitals)


def frame(
    layout: Layout, number: int, *, stat: int = 0, quality: int = 0, begin_s: int = BEGIN_S
) -> bytes:
    """Frame `number` of a stream."""
    of = layout.config
    at = number * TIME_BASE // RATE
    values: list[float] = []
    for one in of.pmus:
        values += block(one, number, stat)
    soc, fraction = divmod(at, TIME_BASE)
    return data_frame(layout, Data(begin_s + soc, quality, fraction, tuple(values)))  # type: ignore[arg-type]


def messages(
    of: Config, first: int, last: int, *, size: int = 25, begin_s: int = BEGIN_S
) -> Iterator[bytes]:
    """Messages of format c37118: the configuration, and frames [first, last)."""
    layout = Layout(of)
    head = b"".join(config_frames(of))
    for at in range(first, last, size):
        numbers = range(at, min(last, at + size))
        yield head + b"".join(frame(layout, n, begin_s=begin_s) for n in numbers)


# --- anything ---------------------------------------------------------------------------------

names = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=16)
floats = st.integers(0, 2**32 - 1).map(lambda bits: unpack(">f", bits.to_bytes(4, "big"))[0])
u16, i16 = st.integers(0, 0xFFFF), st.integers(-0x8000, 0x7FFF)
scales = st.floats(width=32, allow_nan=False, allow_infinity=False)
i32 = st.integers(-(2**31), 2**31 - 1)


def phasors(kind: int) -> st.SearchStrategy[Phasor]:
    if kind == CFG_3:
        return st.builds(
            Phasor, names, st.booleans(), st.just(0), st.integers(0, 6), scales, scales, u16,
            st.integers(0, 255),
        )  # fmt: skip
    return st.builds(Phasor, names, st.booleans(), st.integers(0, 0xFFFFFF))


def analogs(kind: int) -> st.SearchStrategy[Analog]:
    if kind == CFG_3:
        return st.builds(Analog, names, st.just(0), st.just(0), scales, scales)
    factor = st.integers(-0x800000, 0x7FFFFF)
    return st.builds(Analog, names, st.integers(0, 255), factor)


digitals = st.builds(Digital, st.lists(names, min_size=16, max_size=16).map(tuple), u16, u16)


@st.composite
def pmus(draw: st.DrawFn, kind: int, form: int) -> Pmu:
    def several(one: st.SearchStrategy[object], most: int = 3) -> tuple[object, ...]:
        return tuple(draw(st.lists(one, max_size=most)))

    made = (
        draw(names), draw(u16), form, several(phasors(kind)), several(analogs(kind)),
        several(digitals, 2), draw(u16), draw(u16),
    )  # fmt: skip
    if kind != CFG_3:
        return Pmu(*made)  # type: ignore[arg-type]
    more = (
        draw(st.binary(min_size=16, max_size=16)), draw(scales), draw(scales), draw(scales),
        draw(st.sampled_from("MP")), draw(i32), draw(i32),
    )  # fmt: skip
    return Pmu(*made, *more)  # type: ignore[arg-type]


@st.composite
def configs(draw: st.DrawFn, kind: int = CFG_2, form: int | None = None) -> Config:
    forms = st.integers(0, 15) if form is None else st.just(form)
    made = draw(st.lists(forms.flatmap(lambda one: pmus(kind, one)), min_size=1, max_size=3))
    return Config(
        kind, draw(u16), draw(st.integers(1, 0xFFFFFF)), tuple(made), draw(i16),
        draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, 2**32 - 1)),
        2 if kind == CFG_3 else 1,
    )  # fmt: skip


@st.composite
def data_of(draw: st.DrawFn, of: Config) -> Data:
    values: list[float] = []
    for one in of.pmus:
        values.append(draw(u16))
        sizes = floats if one.format & FLOAT_PHASORS else u16 if one.format & POLAR else i16
        angles = floats if one.format & FLOAT_PHASORS else i16
        for _ in one.phasors:
            values += [draw(sizes), draw(angles)]
        frequency = floats if one.format & FLOAT_FREQUENCY else i16
        values += [draw(frequency), draw(frequency)]
        analog = floats if one.format & FLOAT_ANALOGS else i16
        values += [draw(analog) for _ in one.analogs]
        values += [draw(u16) for _ in one.digitals]
    soc, quality = draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, 255))
    return Data(soc, quality, draw(st.integers(0, 0xFFFFFF)), tuple(values))  # type: ignore[arg-type]
