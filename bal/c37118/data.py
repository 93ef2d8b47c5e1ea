"""Data frames (IEEE C37.118.2 §6.3), by a struct that is made once a configuration."""

from struct import Struct
from typing import NamedTuple

from bal.c37118.config import (
    FLOAT_ANALOGS,
    FLOAT_FREQUENCY,
    FLOAT_PHASORS,
    POLAR,
    Config,
    Pmu,
)
from bal.c37118.frame import DATA, SYNC, is_whole
from bal.errors import Rejected

CLAUSE = "IEEE C37.118.2-2011 §6.3"

# Bits of STAT (IEEE C37.118.2 table 7).
DATA_ERROR = 0xC000  # two bits: 0 good, 1 PMU error, 2 test mode or absent, 3 PMU error
NOT_USABLE = 0x8000  # of data error 2 and 3: values are not to be used
PMU_ERROR = 0x4000  # of data error 1 and 3
UNSYNCHRONISED = 0x2000
BY_ARRIVAL = 0x1000
TRIGGER = 0x0800
CONFIG_CHANGE = 0x0400
MODIFIED = 0x0200
TIME_UNKNOWN = 0x01C0  # bits 8-6, all set: more than 10 ms, or unknown

ABSENT = -0x8000  # of a 16-bit value; NaN of a float

_HEAD_VALUES = 5  # SYNC, FRAMESIZE, IDCODE, SOC, FRACSEC


class Data(NamedTuple):
    """One data frame."""

    soc: int
    time_quality: int
    fraction: int
    values: tuple[int, ...]  # as sent, of all PMUs, one after the other; floats where sent so


class Layout:
    """How the data frames of one configuration are read and written."""

    def __init__(self, config: Config) -> None:
        """config: as `bal.c37118.config.read_config` has read it."""
        self.config = config
        blocks = list(map(_block, config.pmus))
        self._struct = Struct(f">HHHII{''.join(blocks)}H")
        self.size = self._struct.size  # bytes of a frame
        self._sync = SYNC << 8 | DATA << 4
        self.spans: tuple[slice, ...] = _spans(blocks)  # of each PMU's values

    def read(self, frame: bytes) -> Data:
        """One frame. Raises Rejected: sync-lost, frame-unexpected, data-size-wrong,
        checksum-wrong."""
        if len(frame) != self.size:
            text = f"{len(frame)} bytes; by its configuration a data frame has {self.size}"
            raise Rejected("data-size-wrong", text, clause=CLAUSE)
        if not is_whole(frame):
            raise Rejected("checksum-wrong", "CHK is not that of the frame", clause=CLAUSE)
        found = self._struct.unpack(frame)
        if found[0] & 0xFFF0 != self._sync:
            raise Rejected("frame-unexpected", "it is no data frame", clause=CLAUSE)
        if found[2] != self.config.idcode:
            text = "its IDCODE is not that of the configuration"
            raise Rejected("frame-unexpected", text, clause=CLAUSE)
        fracsec = found[4]
        values = found[_HEAD_VALUES:-1]
        return tuple.__new__(Data, (found[3], fracsec >> 24, fracsec & 0xFFFFFF, values))

    def pack(self, version: int, data: Data) -> bytes:
        """The body of a data frame: everything between its head and CHK."""
        fracsec = data.time_quality << 24 | data.fraction
        whole = self._struct.pack(
            self._sync | version, self.size, self.config.idcode, data.soc, fracsec, *data.values, 0
        )
        return whole[14:-2]


def _block(pmu: Pmu) -> str:
    """The struct letters of one PMU's block (IEEE C37.118.2 table 6)."""
    phasor = "ff" if pmu.format & FLOAT_PHASORS else "Hh" if pmu.format & POLAR else "hh"
    frequency = "ff" if pmu.format & FLOAT_FREQUENCY else "hh"
    analog = "f" if pmu.format & FLOAT_ANALOGS else "h"
    phasors, analogs = phasor * len(pmu.phasors), analog * len(pmu.analogs)
    return f"H{phasors}{frequency}{analogs}{'H' * len(pmu.digitals)}"


def _spans(blocks: list[str]) -> tuple[slice, ...]:
    found, at = [], 0
    for block in blocks:
        found.append(slice(at, at + len(block)))
        at += len(block)
    return tuple(found)
