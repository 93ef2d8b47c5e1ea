"""Makes receipts: opens a commitment and proves its entry, at an anchored size if there is one."""

import sys
from collections.abc import Callable, Sequence
from typing import Protocol

from bal.certify.commitment import salt
from bal.certify.note import checkpoint_head
from bal.certify.receipt import frame_extra, receipt_text
from bal.certify.tiles import TileNodes
from bal.certify.tree import consistency_path, inclusion_path
from bal.model import TYPE_RECORD, Anchor, StoredRecord, TreeHead
from bal.ports import CustomerDb, TileReader, Vault


class Anchored(Protocol):
    """What the anchorer knows of an entry."""

    def covering(self, index: int) -> tuple[Anchor, bytes, str] | None:
        """The smallest anchored checkpoint that contains the entry, its note and its state."""
        ...


class Receipts:
    """Receipts on demand; nothing is kept but inner hashes of recent tiles."""

    def __init__(
        self,
        customer_db: CustomerDb,
        tiles: TileReader,
        vault: Vault,
        anchored: Callable[[], Anchored | None],
    ) -> None:
        self._customer_db = customer_db
        self._tiles = tiles
        self._vault = vault
        self._anchored = anchored
        self._nodes = TileNodes(tiles)

    def receipt(self, index: int, frame: int | None = None) -> str:
        """The tlog-proof of one entry, or of one frame of the window that it is the record of.

        Raises KeyError where there is no such row or frame, or it is erased.

        Once an anchored checkpoint contains the entry, the receipt is at the smallest such one.
        """
        row = self._customer_db.record(index)
        published = self._tiles.checkpoint()
        if row is None or published is None or row.type != TYPE_RECORD:
            raise KeyError(index)  # a device-day is shown with its book, by /v1/device-days
        return self.receipt_of(row, published, frame)

    def receipt_of(
        self, row: StoredRecord, published: tuple[TreeHead, bytes], frame: int | None = None
    ) -> str:
        """As `receipt`, of a row at hand, with the newest published checkpoint."""
        key = self._vault.salt_keys([row.device], row.year)[row.device]
        found = self._covering(row.index)
        anchor, note = (found[0], found[1]) if found else (None, published[1])
        size = checkpoint_head(note)[1].size if found else published[0].size
        if size <= row.index:
            raise KeyError(row.index)
        return receipt_text(
            type_=row.type,
            record=row.certified,
            salt=salt(key, row.type, row.certified),
            index=row.index,
            path=inclusion_path(row.index, size, self._nodes.at(size)),
            checkpoint=note,
            anchor=anchor,
            frame=None if frame is None else frame_extra(key, row.frames, frame),
        )

    def states_of(self, indexes: Sequence[int]) -> list[str]:
        """included, anchored or final, of each entry."""
        states: dict[int, str] = {}
        until, state = 0, ""
        for index in sorted(indexes):
            if index >= until:  # what covers one covers all from there to its size
                found = self._covering(index)
                until, state = (found[0].size, found[2]) if found else (sys.maxsize, "included")
            states[index] = state
        return [states[index] for index in indexes]

    def consistency(self, first: int, second: int) -> list[bytes]:
        """The RFC 9162 path between two sizes of the log, for the contract."""

        return list(consistency_path(first, second, self._nodes.at(second)))

    def _covering(self, index: int) -> tuple[Anchor, bytes, str] | None:
        anchored = self._anchored()
        return None if anchored is None else anchored.covering(index)
