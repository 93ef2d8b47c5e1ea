"""Reads a log from its first entry to its last: for fsck, replay and the projection."""

from collections.abc import Iterator

from bal.certify.tiles import TILE_WIDTH, split_bundle, tile_width
from bal.ports import TileReader

HEADERS_AT_ONCE = 1024
ALL_OF_A_VERSION = 1 << 60  # no version has as many batches

Place = tuple[int, int]  # version, and number within it


def batch_headers(
    tiles: TileReader, *, after: int = -1, last: int | None = None
) -> Iterator[tuple[Place, bytes]]:
    """Batch headers of the versions behind `after` up to `last`, in log order, page by page."""
    place = (after, ALL_OF_A_VERSION)
    while found := tiles.headers(place, HEADERS_AT_ONCE):
        for place, header in found:
            if last is not None and place[0] > last:
                return  # made since the reading began
            yield place, header


class Entries:
    """The entries of a log of `size`; one bundle at a time is in memory."""

    def __init__(self, tiles: TileReader, size: int) -> None:
        self.size = size
        self._tiles = tiles
        self._bundle: tuple[int, list[bytes]] = (-1, [])

    def bundle(self, n: int) -> list[bytes]:
        """Those of entry bundle `n`. Raises KeyError or ValueError where they can't be read."""
        if self._bundle[0] != n:
            width = tile_width(self.size, 0, n)
            self._bundle = (n, split_bundle(self._tiles.bundle(n, width)))
        return self._bundle[1]

    def __getitem__(self, index: int) -> bytes:
        """One entry. Raises IndexError beyond the log, else as `bundle`."""
        if not 0 <= index < self.size:
            raise IndexError(f"entry {index} is beyond a log of {self.size}")
        return self.bundle(index // TILE_WIDTH)[index % TILE_WIDTH]
