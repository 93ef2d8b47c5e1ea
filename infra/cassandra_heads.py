"""The heads row in Cassandra, replaced by a light-weight transaction (ARCHITECTURE §4).

Paxos at SERIAL over all replicas (RF ≥ 3, commitlog_sync group or batch). An answer that is lost
leaves open whether the row was replaced; a read at SERIAL ends what is under way and tells. Each
process writes a word of its own beside the row, so that of two with the very same commit one
learns that the other won.
"""

import secrets
from threading import Lock

from cassandra import ConsistencyLevel

from bal.errors import Unavailable
from bal.ports import Heads
from infra.cassandra_schema import check
from infra.cassandra_session import CassandraAddress, CassandraSession
from infra.heads_row import FIRST, heads_of, lost, taken_text

REQUEST_TIMEOUT_S = 4  # a standby takes over within 10 s: no call may take longer than two of them
TRIES = 3

_READ = "SELECT version, size, root, taken, swapped_by FROM heads WHERE log = ?"
_FIRST = (
    "INSERT INTO heads(log, version, size, root, taken, swapped_by) VALUES(?, ?, ?, ?, ?, ?)"
    " IF NOT EXISTS"
)
_NEXT = (
    "UPDATE heads SET version = ?, size = ?, root = ?, taken = ?, swapped_by = ? WHERE log = ?"
    " IF version = ? AND root = ?"
)


class CassandraHeads:
    """HeadsRow (infra.heads_row) over the table `heads`."""

    def __init__(self, log: str, session: CassandraSession, *, serial: bool = True) -> None:
        """log: by which logs that share a table differ; whoever opened the session closes it.

        serial: of a sequencer. Others see each swap once it was answered, and don't hinder any: a
        read that takes part in the transactions is one more of them. Raises Unavailable, or
        Stop("store-version") where the table is not made.
        """
        self._log, self._session = log, session
        self._reads_at = ConsistencyLevel.SERIAL if serial else ConsistencyLevel.LOCAL_QUORUM
        self._me = secrets.token_hex(16)
        self._swapping = Lock()
        self._opened: CassandraSession | None = None
        check(session, _READ)

    @classmethod
    def connect(cls, log: str, at: CassandraAddress, *, serial: bool = True) -> "CassandraHeads":
        """Over a connection of its own, which `close` ends: as `sequencer`, or to read only."""
        session = CassandraSession(at, request_timeout_s=REQUEST_TIMEOUT_S)
        try:
            made = cls(log, session, serial=serial)
        except BaseException:
            session.close()
            raise
        made._opened = session
        return made

    def close(self) -> None:
        """End the connection, if it was opened here."""
        if self._opened is not None:
            self._opened.close()

    def read(self) -> Heads:
        """The heads row; of a sequencer by a read that takes part in the transactions."""
        return self._read()[0]

    def swap(self, old: Heads, new: Heads) -> None:
        """Replace `old` by `new`; see infra.heads_row.HeadsRow.

        Where it is not known whether it took place, the row is read first: what another has by
        then prepared against `old` can't be accepted any more, so the swap is tried again only
        where `old` still stands.
        """
        with self._swapping:
            for turn in range(TRIES):
                try:
                    if self._try(old, new):
                        return
                except Unavailable:
                    if turn == TRIES - 1:
                        raise
                now, by = self._read()
                if (now, by) == (new, self._me):
                    return  # it had taken place, and the answer was lost
                if (now.version, now.root) != (old.version, old.root):
                    raise lost(new)
        raise Unavailable("Cassandra: the heads row is being replaced", retry_after_s=1)

    def _try(self, old: Heads, new: Heads) -> bool:
        """Whether the row was replaced. Raises Unavailable where that is not known."""
        values = (new.version, new.size, new.root, taken_text(new.taken), self._me)
        if old.version == FIRST.version:
            if old.root != FIRST.root:
                raise lost(new)
            rows = self._session.rows(_FIRST, (self._log, *values))
        else:
            rows = self._session.rows(_NEXT, (*values, self._log, old.version, old.root))
        return bool(rows[0][0])

    def _read(self) -> tuple[Heads, str]:
        rows = self._session.rows(_READ, (self._log,), consistency=self._reads_at)
        if not rows:
            return FIRST, ""
        version, size, root, taken, by = rows[0]
        return heads_of("Cassandra's table heads", version, size, root, taken), str(by)
