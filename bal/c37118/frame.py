"""What all frames have in common (IEEE C37.118.2 §6.2)."""

from binascii import crc_hqx
from struct import Struct
from typing import NamedTuple

from bal.errors import Rejected

# Bits 6-4 of SYNC's second byte (IEEE C37.118.2 §6.2, table 2).
DATA, HEADER, CFG_1, CFG_2, COMMAND, CFG_3 = range(6)
KINDS = ("data", "header", "configuration 1", "configuration 2", "command", "configuration 3")
SYNC = 0xAA
VERSION_2005, VERSION_2011 = 1, 2  # bits 3-0

HEAD_SIZE = 14
SIZE_MIN = HEAD_SIZE + 2  # with CHK
SIZE_MAX = 0xFFFF

# What a concentrator asks of a PMU (IEEE C37.118.2 §6.6, table 15).
TURN_OFF, TURN_ON, SEND_HEADER, SEND_CFG_1, SEND_CFG_2, SEND_CFG_3 = range(1, 7)
EXTENDED = 8

# Bits of FRACSEC's first byte; the last four are the quality of time (IEEE C37.118.2 tables 3, 4).
LEAP_DELETE, LEAP_OCCURRED, LEAP_PENDING = 0x40, 0x20, 0x10
CLOCK_FAILED = 0xF

CLAUSE = "IEEE C37.118.2-2011 §6.2"

HEAD = Struct(">HHHII")
_CHK = Struct(">H")
_COMMAND = Struct(">H")


class Head(NamedTuple):
    """The first 14 bytes of a frame."""

    kind: int  # one of DATA … CFG_3
    version: int
    size: int  # bytes, CHK included
    idcode: int  # of the stream
    soc: int  # seconds since 1970-01-01T00:00:00Z, leap seconds not counted
    time_quality: int  # FRACSEC's first byte
    fraction: int  # of a second, in units of 1 / TIME_BASE


def head(frame: bytes) -> Head:
    """The head of a whole frame. Raises Rejected where it is none, or its CHK is wrong."""
    if len(frame) < SIZE_MIN or frame[0] != SYNC:
        raise Rejected("sync-lost", "no frame begins here", clause=CLAUSE)
    sync, size, idcode, soc, fracsec = HEAD.unpack_from(frame)
    if size != len(frame):
        text = f"FRAMESIZE is {size}, the frame has {len(frame)} bytes"
        raise Rejected("frame-size-wrong", text, clause=CLAUSE)
    if sync & 0x80 or (sync >> 4) & 7 > CFG_3:
        raise Rejected("sync-lost", "SYNC names no kind of frame", clause=CLAUSE)
    if not is_whole(frame):
        raise Rejected("checksum-wrong", "CHK is not that of the frame", clause=CLAUSE)
    kind, version = (sync >> 4) & 7, sync & 0xF
    return Head(kind, version, size, idcode, soc, fracsec >> 24, fracsec & 0xFFFFFF)


def is_whole(frame: bytes | memoryview) -> bool:
    """Whether CHK fits: CRC-CCITT, x^16 + x^12 + x^5 + 1 from FFFF (IEEE C37.118.2 table 2).

    The sum over a frame with its CHK is 0.
    """
    return crc_hqx(frame, 0xFFFF) == 0


def seal(kind: int, idcode: int, soc: int, fracsec: int, body: bytes, *, version: int) -> bytes:
    """A whole frame: head, body and CHK. Raises ValueError where it is longer than 65,535 bytes."""
    size = SIZE_MIN + len(body)
    if size > SIZE_MAX:
        raise ValueError(f"a frame has at most {SIZE_MAX} bytes, not {size}")
    sync = SYNC << 8 | kind << 4 | version
    frame = HEAD.pack(sync, size, idcode, soc, fracsec) + body
    return frame + _CHK.pack(crc_hqx(frame, 0xFFFF))


def command_of(frame: bytes) -> int:
    """CMD of a whole command frame. Raises Rejected("frame-size-wrong")."""
    if len(frame) < SIZE_MIN + 2:
        raise Rejected("frame-size-wrong", "a command frame without CMD", clause=CLAUSE)
    [command] = _COMMAND.unpack_from(frame, HEAD_SIZE)
    return int(command)


def time_us(soc: int, fraction: int, time_base: int) -> int:
    """Microseconds since 1970-01-01T00:00:00Z (IEEE C37.118.2 §6.2.2), rounded, a half up."""
    return soc * 1_000_000 + (2_000_000 * fraction + time_base) // (2 * time_base)
