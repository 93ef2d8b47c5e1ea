"""Bytes in two fifths of the time and nine tenths of the room that deflating them takes: a frame
of Zstandard (RFC 8878 §3.1.1) behind the length of its content and the CRC-32 of length and frame.

What is damaged is noticed before it is looked at: a frame of this library has no checksum.
"""

import struct
from zlib import crc32

from cramjam import DecompressionError, zstd

_LEVEL = 1
_LENGTH_MAX = 1 << 28
_LENGTH = struct.Struct(">I")
_HEAD = struct.Struct(">II")


def squeeze(data: bytes | memoryview) -> bytes:
    """What `unsqueezed` makes `data` of."""
    frame = bytes(zstd.compress(data, _LEVEL))
    return _HEAD.pack(len(data), _checksum(len(data), frame)) + frame


def unsqueezed(data: bytes) -> bytes:
    """What was squeezed. Raises ValueError where it is damaged."""
    if len(data) < _HEAD.size:
        raise ValueError("squeezed bytes are cut off")
    length, checksum = _HEAD.unpack_from(data)
    frame = memoryview(data)[_HEAD.size :]
    if _checksum(length, frame) != checksum:
        raise ValueError("squeezed bytes do not match their checksum")
    if length > _LENGTH_MAX:
        raise ValueError("squeezed bytes say that they are longer than any piece of rows")
    try:
        return content_of(frame, length)
    except ValueError as error:
        raise ValueError(f"squeezed bytes can't be read: {error}") from error


def content_of(frame: bytes | memoryview, length: int) -> bytes:
    """Of a frame, which has to have that length; no more is made of it. Raises ValueError."""
    found = bytearray(length)
    try:
        count = zstd.decompress_into(frame, found)
    except DecompressionError as error:  # longer, too
        raise ValueError(str(error)) from error
    if count != length:
        raise ValueError(f"it is {count} bytes long, not {length}")
    return bytes(found)


def _checksum(length: int, frame: bytes | memoryview) -> int:
    return crc32(frame, crc32(_LENGTH.pack(length)))
