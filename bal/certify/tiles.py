"""Tiles of 256 hashes (C2SP tlog-tiles) as the nodes of the tree."""

from collections import OrderedDict
from threading import Lock
from typing import Protocol

from bal.certify.tree import parents
from bal.model import Digest

TILE_WIDTH = 256
TILE_HEIGHT = 8


def tile_index_path(n: int) -> str:
    """`<N>` of a tile's path: 3-digit elements, all but the last with an x (x001/x234/067)."""
    digits = f"{n:d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    return "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])


def tile_width(size: int, level: int, n: int) -> int:
    """How many hashes tile `n` at `level` has in a tree of `size`: 0 … 256."""
    return max(0, min(TILE_WIDTH, (size >> (TILE_HEIGHT * level)) - n * TILE_WIDTH))


def split_bundle(bundle: bytes) -> list[bytes]:
    """The entries of an entry bundle, each preceded by its big-endian uint16 length.

    Raises ValueError when the lengths do not add up.
    """
    entries, at = [], 0
    while at < len(bundle):
        length = int.from_bytes(bundle[at : at + 2], "big")
        entry = bundle[at + 2 : at + 2 + length]
        if at + 2 > len(bundle) or len(entry) != length:
            raise ValueError("the bundle ends within an entry")
        entries.append(entry)
        at += 2 + length
    return entries


class Tiles(Protocol):
    """As much of a TileReader (bal.ports) as proofs need."""

    def tile(self, level: int, n: int, width: int) -> bytes:
        """As TileReader."""
        ...


class TileNodes:
    """`Node` of bal.certify.tree over stored tiles, for trees of at most `size` leaves.

    Keeps the inner hashes of recently used tiles: a proof then costs look-ups, not hashing.
    """

    def __init__(self, reader: Tiles, tiles_max: int = 4096) -> None:
        """tiles_max: to keep; one takes 17 KB."""
        self._reader = reader
        self._tiles_max = tiles_max
        self._tiles: OrderedDict[tuple[int, int, int], list[bytes]] = OrderedDict()
        self._lock = Lock()

    def at(self, size: int) -> "NodesAt":
        """The nodes of the tree of `size` leaves."""
        return NodesAt(self, size)

    def subtree(self, level: int, n: int, width: int) -> list[bytes]:
        """All complete subtrees of a tile: [k] has the hashes of i·2^k … (i+1)·2^k - 1, joined."""
        key = (level, n, width)
        with self._lock:
            found = self._tiles.get(key)
            if found is not None:
                self._tiles.move_to_end(key)
                return found
        data = self._reader.tile(level, n, width)
        hashes = [Digest(data[i : i + 32]) for i in range(0, 32 * width, 32)]
        rows = [data]
        while len(hashes) > 1:
            hashes = parents(hashes[: len(hashes) & ~1])
            rows.append(b"".join(hashes))
        with self._lock:
            self._tiles[key] = rows
            if len(self._tiles) > self._tiles_max:
                self._tiles.popitem(last=False)
        return rows


class NodesAt:
    """The complete subtrees of one tree; call with (level, n)."""

    def __init__(self, nodes: TileNodes, size: int) -> None:
        self._nodes = nodes
        self._size = size

    def __call__(self, level: int, n: int) -> Digest:
        """Hash of leaves n·2^level … (n+1)·2^level - 1; all of them below the size."""
        tile_level, inner = divmod(level, TILE_HEIGHT)
        first = n << inner  # position among the hashes of that tile level
        tile = first // TILE_WIDTH
        width = tile_width(self._size, tile_level, tile)
        at = 32 * (first % TILE_WIDTH >> inner)
        return Digest(self._nodes.subtree(tile_level, tile, width)[inner][at : at + 32])
