"""Writing again by device what landed in pieces of many (docs/decisions/0014-cassandra-layout.md).

A part of CassandraCustomerDb. Two that settle the same at once cost space and nothing else.
"""

import logging
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from zlib import crc32

from bal.errors import Stop, Unavailable
from bal.model import StoredRecord
from infra.cassandra_layout import (
    BLOCKS,
    DECODING_ERRORS,
    LANDED,
    PIECE,
    Home,
    Layout,
    Loaded,
    Piece,
    settled,
)
from infra.cassandra_session import CassandraSession

logger = logging.getLogger("gridseal.cassandra")

BATCH_BYTES = 1 << 20  # of blobs in one mutation; Cassandra's own limit is 16 MiB
LAST_MIN = 2  # batches that landed in a day which is over: as many are settled
DAYS_MAX = 32  # of a shard, in which something landed late; of more the first is over
WAITING_MAX = 16 * BLOCKS  # blocks that are due; above, whoever stores settles on the way

_LANDED = (
    "SELECT tier, slot, first, mark, piece, keys, records FROM segment"
    " WHERE scd = ? AND shard = ? AND owner = ? AND slice = ? AND tier = ? AND slot = ?"
)
_REMOVE = (
    "DELETE FROM segment WHERE scd = ? AND shard = ? AND owner = ? AND slice = ?"
    " AND tier = ? AND slot = ? AND first = ? AND mark = ? AND piece = ?"
)
_Landed = tuple[tuple[int, ...], bytes, bytes]  # key, keys, records
Settle = Callable[[Home, int], None]  # of a block; raises Unavailable or Stop


class Settling:
    """Which blocks are due, of which homes, and how one is settled."""

    def __init__(self, layout: Layout, settle: Settle, apart: Settle | None = None) -> None:
        """settle: a block, at once; apart: where nobody waits for it, somewhere else."""
        self._layout, self._settle, self._apart = layout, settle, apart or settle
        self._landed: defaultdict[str, dict[int, int]] = defaultdict(
            dict
        )  # shard → slice → batches
        self._due: dict[tuple[Home, int], None] = {}  # blocks, oldest first
        self._in_hand = 0  # blocks that are being settled
        self._lock = Lock()  # of these three

    def note(self, made: Mapping[Home, Sequence[Piece]]) -> None:
        """Count what landed; a home is due after some batches, or once its day is over.

        A day is over once rows of a later one land; what lands in it after that, when the next
        one begins. What an earlier process left of days before yesterday stays as it is.
        """
        with self._lock:
            for home, members in made.items():
                if not home.owner:
                    self._note(home, members[0].tier)

    def _note(self, home: Home, tier: int) -> None:
        shard, days = home.shard, self._landed[home.shard]
        if home.slice > max(days, default=-1):  # those before are over
            if not days:  # what an earlier process left of the day before
                days[home.slice - 1] = LAST_MIN
            for day in sorted(days):
                self._over(shard, day)
        days.setdefault(home.slice, 0)
        if tier == LANDED:
            days[home.slice] += 1
            # Not all shards of a head-end in one and the same call.
            late = crc32(shard.encode()) % (1 + self._layout.settle_at // 4)
            if days[home.slice] >= self._layout.settle_at + late:
                days[home.slice] = 0
                self._is_due(home)
        if len(days) > DAYS_MAX:
            self._over(shard, min(days))

    def _over(self, shard: str, day: int) -> None:
        """No more is expected of it; what comes all the same is counted anew."""
        if self._landed[shard].pop(day) >= LAST_MIN:
            self._is_due(Home(shard, "", day))

    def _is_due(self, home: Home) -> None:
        self._due.update(dict.fromkeys((home, block) for block in range(BLOCKS)))

    @property
    def waiting(self) -> int:
        """Blocks that are due, those in hand among them."""
        return len(self._due) + self._in_hand

    def one(self) -> bool:
        """Settle a block that is due; whether there is another. What fails stays due."""
        return self._one(self._apart)

    def keep_up(self, homes: int) -> None:
        """Where nobody finds the time: settle a little more than one call to store brings.

        homes: that it stored in. A whole home at once would have the next call wait for a second.
        """
        if len(self._due) > WAITING_MAX:
            for _ in range(1 + homes * BLOCKS // self._layout.settle_at):
                if not self._one(self._settle):
                    return

    def _one(self, settle: Settle) -> bool:
        with self._lock:
            due = next(iter(self._due), None)
            if due is None:
                return False
            del self._due[due]  # two threads settle no block twice
            self._in_hand += 1
        try:
            settle(*due)
        except Unavailable as error:  # all is stored and read; only slower
            logger.info("settling waits: %s", error)
            with self._lock:
                self._due[due] = None
            return False
        finally:
            with self._lock:
                self._in_hand -= 1
        with self._lock:
            return bool(self._due)


@dataclass(frozen=True, slots=True)
class Blocks:
    """Where blocks are settled."""

    writer: CassandraSession
    scd: str
    layout: Layout
    visible: Callable[[int], int]  # the size up to which rows are seen, at most what it is given

    def settle(self, home: Home, block: int) -> None:
        """Write again by device what landed in a block of a home and is visible.

        In one mutation with the removal of what it came from: whoever reads sees either, or both,
        and an index counts once. Raises Unavailable, or Stop("store-damaged").
        """
        found = self.writer.rows(_LANDED, (self.scd, *home, LANDED, block))
        size = self.visible(max((key[3] for key in found), default=0))
        landed = [(tuple(key), keys, records) for *key, keys, records in found if key[3] <= size]
        while landed:
            part, size_bytes = [], 0
            while landed and size_bytes < BATCH_BYTES:
                part.append(landed.pop())
                size_bytes += len(part[-1][1]) + len(part[-1][2])
            if len(part) > 1:
                self._rewrite(home, part)

    def _rewrite(self, home: Home, landed: Iterable[_Landed]) -> None:
        rows: dict[int, StoredRecord] = {}
        keys = []
        for key, table, records in landed:
            try:
                found = Loaded(home, 0, table, records).rows(None)
            except DECODING_ERRORS as error:
                text = f"Cassandra: a piece of {home.shard}, slice {home.slice}, {key}: {error}"
                raise Stop("store-damaged", text) from error
            keys.append(key)
            rows |= {item.index: item for item in found}
        writer, scd = self.writer, self.scd
        write, remove = writer.prepared(PIECE), writer.prepared(_REMOVE)
        new = settled(home, rows.values(), secrets.randbits(62), self.layout)
        pairs = [
            *((write, (scd, *home, *one)) for one in new),
            *((remove, (scd, *home, *key)) for key in keys),
        ]
        writer.all([(writer.batch(pairs), None)])
