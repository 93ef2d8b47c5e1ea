"""From a log index to the (shard, day) whose segments hold the row (docs/spec/store.md).

One map covers the rows of one batch. It names shard and day rather than a segment, so that
merging segments leaves it true.
"""

import struct
from collections.abc import Sequence

Home = tuple[int, int]  # number of the shard, UTC day

_HOME = struct.Struct(">Iq")


def encode(places: Sequence[tuple[int, Home]]) -> bytes:
    """The map of at least one (index, home), given in ascending order of index.

    Layout, big-endian: rows u32 | homes u32 | first index u64 | homes x (shard u32, day i64) |
    rows x u32 index - first | rows x u32 number of the home.
    """
    indexes, homes = zip(*places, strict=True)
    first = indexes[0]
    distinct = list(dict.fromkeys(homes))
    number = {home: at for at, home in enumerate(distinct)}
    count = len(places)
    return b"".join((
        struct.pack(">IIQ", count, len(distinct), first),
        *(_HOME.pack(*home) for home in distinct),
        struct.pack(f">{count}I", *[index - first for index in indexes]),
        struct.pack(f">{count}I", *[number[home] for home in homes]),
    ))  # fmt: skip


def decode(data: bytes) -> list[tuple[int, Home]]:
    """What `encode` was given. Raises ValueError where the bytes are damaged."""
    try:
        count, home_count, first = struct.unpack_from(">IIQ", data)
        homes = [_HOME.unpack_from(data, 16 + _HOME.size * at) for at in range(home_count)]
        at = 16 + _HOME.size * home_count
        deltas = struct.unpack_from(f">{count}I", data, at)
        numbers = struct.unpack_from(f">{count}I", data, at + 4 * count)
        return [(first + d, homes[n]) for d, n in zip(deltas, numbers, strict=True)]
    except (struct.error, IndexError) as error:
        raise ValueError(f"not an index map: {error}") from error
