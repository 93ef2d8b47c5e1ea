"""Rows by log index, and the index maps that lead to them in Cassandra (decision 0014)."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from bal.errors import Stop
from bal.model import StoredRecord
from infra.cassandra_layout import (
    BUCKET_ENTRIES,
    DECODING_ERRORS,
    LANDED,
    Decoding,
    Home,
    Loaded,
    placed,
    places_of,
)
from infra.cassandra_reads import META, OF_PIECES, OF_SLOTS, PIECES_ASKED, TRIES, PieceKey
from infra.cassandra_session import CassandraSession, Statement

SLOTS_ASKED_MAX = 16  # above, a whole home is listed

_WHOLE = (
    "SELECT tier, slot, first, mark, piece, keys, records, frames"
    " FROM segment WHERE scd = ? AND shard = ? AND owner = ? AND slice = ?"
)


class ByIndex:
    """What CustomerDb.record and .records (bal.ports) ask, as the role `reader`."""

    def __init__(self, session: CassandraSession, scd: str, lanes: int) -> None:
        self._session, self._scd, self._lanes = session, scd, lanes

    def records(self, start: int, stop: int) -> list[StoredRecord]:
        """All rows with 0 <= start <= index < stop, which are visible, by index.

        Raises Stop("store-damaged") where one is not there.
        """
        homes: defaultdict[Home, dict[int, int]] = defaultdict(dict)  # index → slot
        for index, home, slot in self._places(start, stop):
            homes[home][index] = slot
        found: dict[int, StoredRecord] = {}
        for home, slots in homes.items():
            for _ in range(TRIES):
                rows = self._by_index(home, slots)
                if len(rows) == len(slots):
                    break
            else:
                text = f"Cassandra lacks rows of entries {min(slots)} to {max(slots)}"
                raise Stop("store-damaged", text)
            found |= rows
        return [found[index] for index in sorted(found)]

    def _places(self, start: int, stop: int) -> Iterator[tuple[int, Home, int]]:
        table = "SELECT homes, map, slots FROM place WHERE scd = ? AND lane = ? AND bucket = ?"
        before = self._session.prepared(f"{table} AND first <= ? ORDER BY first DESC LIMIT 1")
        behind = self._session.prepared(f"{table} AND first > ? AND first < ?")
        asked: list[tuple[Statement, Sequence[object]]] = []
        for lane in range(self._lanes):
            for bucket in range(start // BUCKET_ENTRIES, (stop - 1) // BUCKET_ENTRIES + 1):
                asked.append((before, (self._scd, lane, bucket, start)))
                if stop > start + 1:
                    asked.append((behind, (self._scd, lane, bucket, start, stop)))
        for rows in self._session.each(asked):
            for homes, data, slots in rows:
                try:
                    for one in placed(homes, data, slots):
                        if start <= one[0] < stop:
                            yield one
                except DECODING_ERRORS as error:
                    raise Stop("store-damaged", f"an index map in Cassandra: {error}") from error

    def _by_index(self, home: Home, wanted: dict[int, int]) -> dict[int, StoredRecord]:
        """Rows of one home by index; those that were just settled may lack."""
        slots = set(wanted.values())
        asked: Iterable[tuple[Statement, Sequence[object]]]
        if len(slots) == 1:  # one entry: in one request
            statement = self._session.prepared(_WHOLE + OF_SLOTS)
            asked = [(statement, (self._scd, *home, places_of(*slots)))]
        else:
            keys = self._listed(home, wanted, slots)
            statement = self._session.prepared(_WHOLE + OF_PIECES)
            parts = [keys[at : at + PIECES_ASKED] for at in range(0, len(keys), PIECES_ASKED)]
            asked = ((statement, (self._scd, *home, part)) for part in parts)
        found: dict[int, StoredRecord] = {}
        for rows in self._session.each(asked):
            for *_, data, records, frames in rows:
                with Decoding(home):
                    loaded = Loaded(home, 0, data, records)
                    if wanted.keys().isdisjoint(loaded.table.indexes()):
                        continue
                    for one in loaded.rows(frames):
                        if one.index in wanted:
                            found[one.index] = one
        return found

    def _listed(self, home: Home, wanted: dict[int, int], slots: set[int]) -> list[PieceKey]:
        """Keys of the pieces of a home that can have these rows."""
        lowest, highest = min(wanted), max(wanted)
        if len(slots) <= SLOTS_ASKED_MAX:
            places = sorted({place for slot in slots for place in places_of(slot)})
            listed = self._session.rows(META + OF_SLOTS, (self._scd, *home, places))
        else:
            listed = self._session.rows(META, (self._scd, *home))
        return [
            (tier, slot, first, mark, piece)
            for tier, slot, first, mark, piece, last, *_ in listed
            if first <= highest and last >= lowest and (tier == LANDED or slot in slots)
        ]
