"""Up to which size a lane's rows are stored in Cassandra, raised by light-weight transactions.

Each cut between two numbers was written whole before its end was raised to, by whoever raised it
(docs/decisions/0014-cassandra-layout.md). An index map is found by the greatest beginning that is
not behind an entry. One that a loser wrote begins where a cut of his winner does, or in front of
it, never within: he began at a number that had been raised to. So it hides no other's.
"""

from cassandra import ConsistencyLevel

from infra.cassandra_session import CassandraSession

_READ = "SELECT size FROM progress WHERE scd = ? AND lane = ?"
_FIRST = "INSERT INTO progress(scd, lane, size) VALUES(?, ?, ?) IF NOT EXISTS"
_NEXT = "UPDATE progress SET size = ? WHERE scd = ? AND lane = ? IF size = ?"


class StoredSize:
    """The numbers of one database, as the role `writer`."""

    def __init__(self, session: CassandraSession, scd: str) -> None:
        self._session, self._scd = session, scd
        self._seen: dict[int, int] = {}  # by lane: what it was at the least, when last heard of

    def of(self, lane: int) -> int:
        """As it was raised to last, as far as this object knows; others may have raised it since.

        `swap` finds that out, so only the first call asks.
        """
        if lane not in self._seen:
            self._seen[lane] = self._size(lane, None)
        return self._seen[lane]

    def settled(self, lane: int) -> int:
        """As it was raised to last by anybody; whatever is under way is ended first."""
        self._seen[lane] = size = self._size(lane, ConsistencyLevel.SERIAL)
        return size

    def swap(self, lane: int, old: int, new: int) -> bool:
        """Raise `old` to `new`; False where it is no longer `old`.

        Raises Unavailable where it is not known whether it took place.
        """
        if old:
            found = self._session.rows(_NEXT, (new, self._scd, lane, old))
        else:
            found = self._session.rows(_FIRST, (self._scd, lane, new))
        done = bool(found[0][0])
        if done:
            self._seen[lane] = new
        return done

    def _size(self, lane: int, consistency: int | None) -> int:
        found = self._session.rows(_READ, (self._scd, lane), consistency=consistency)
        return int(found[0][0]) if found else 0
