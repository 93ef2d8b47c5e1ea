"""From a log index to the (shard, day) whose segments hold the row (docs/spec/store.md).

One map covers the rows of one batch. It names shard and day rather than a segment, so that
merging segments leaves it true.
"""

import struct
from collections.abc import Sequence
from zlib import crc32

Home = tuple[int, int]  # number of the shard, UTC day

_RUN = struct.Struct(">QIIq")  # first index, rows, number of the shard, day


def encode(places: Sequence[tuple[int, Home]]) -> bytes:
    """The map of at least one (index, home), given in ascending order of index.

    Layout, big-endian: for each run of successive indexes of one home first index u64 | rows u32 |
    shard u32 | day i64, then CRC-32 of all before. Raises ValueError where an index comes twice.
    """
    runs: list[bytes] = []
    first, home = places[0]
    following = first
    for index, where in places:
        if index != following or where != home:
            if index < following:
                raise ValueError("two rows claim one index")
            runs.append(_RUN.pack(first, following - first, *home))
            first, home = index, where
        following = index + 1
    runs.append(_RUN.pack(first, following - first, *home))
    data = b"".join(runs)
    return data + struct.pack(">I", crc32(data))


def decode(data: bytes) -> list[tuple[int, Home]]:
    """What `encode` was given. Raises ValueError where the bytes are damaged."""
    whole = len(data) > _RUN.size and len(data) % _RUN.size == 4
    if not whole or crc32(data[:-4]) != int.from_bytes(data[-4:], "big"):
        raise ValueError("not an index map, or not as it was written")
    return [
        (index, (shard, day))
        for first, rows, shard, day in _RUN.iter_unpack(data[:-4])
        for index in range(first, first + rows)
    ]
