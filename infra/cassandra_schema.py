"""Tables in Cassandra, made step by step, and who may do what with them (docs/decisions/0014).

`migrate` is run as the role `migrator`, by every start: it does what is missing. The keyspaces and
the roles are the operator's: their replication, passwords and names differ from place to place.
A step is never changed once it was released; a further one stands behind it.
"""

import secrets
import time
import uuid
from collections.abc import Mapping, Sequence

from cassandra import ConsistencyLevel

from bal.errors import Stop, Unavailable
from infra.cassandra_session import CassandraAddress, CassandraSession

DATA, LOG = "gridseal", "gridseal_log"  # what `gridseal servers up` calls the keyspaces
CLAIM_S = 60  # a process that claimed a step and does not end it in this time has died
_LOOK_S = 0.2
_IDS = uuid.UUID("6d1c7f10-0000-5000-8000-677269647365")
_VERSIONS = (
    "CREATE TABLE IF NOT EXISTS schema_version(name text, step int, done boolean,"
    " claimed_by text,"
    " PRIMARY KEY(name, step)) WITH ID = "
)
_CLAIM = (
    "INSERT INTO schema_version(name, step, done, claimed_by) VALUES(?, ?, false, ?)"
    " IF NOT EXISTS USING TTL ?"
)
_END = (
    "UPDATE schema_version SET done = true, claimed_by = ? WHERE name = ? AND step = ?"
    " IF claimed_by = ?"
)
_STEP = "SELECT done, claimed_by FROM schema_version WHERE name = ? AND step = ?"

# Blobs are squeezed already; what is left to gain is in key tables of one device after another.
_SEGMENTS = """
 WITH compaction = {'class': 'TimeWindowCompactionStrategy',
   'compaction_window_unit': 'DAYS', 'compaction_window_size': 1}
 AND compression = {'class': 'ZstdCompressor', 'chunk_length_in_kb': 16}
"""
_SMALL = " WITH compaction = {'class': 'LeveledCompactionStrategy'}"

_MADE: Mapping[str, Sequence[str]] = {
    "customer": [
        "CREATE TABLE IF NOT EXISTS progress(scd text, lane smallint, size bigint,"
        " PRIMARY KEY(scd, lane))" + _SMALL,
        "CREATE TABLE IF NOT EXISTS shard(scd text, in_group text, name text,"
        " PRIMARY KEY(scd, in_group, name))" + _SMALL,
        "CREATE TABLE IF NOT EXISTS owner(scd text, shard text, owner text,"
        " PRIMARY KEY((scd, shard), owner))" + _SMALL,
        "CREATE TABLE IF NOT EXISTS device(scd text, device text, shard text, owner text,"
        " PRIMARY KEY((scd, device), shard, owner))" + _SMALL,
        "CREATE TABLE IF NOT EXISTS home(scd text, shard text, owner text, slice int,"
        " PRIMARY KEY((scd, shard, owner), slice))" + _SMALL,
        "CREATE TABLE IF NOT EXISTS segment(scd text, shard text, owner text, slice int,"
        " tier tinyint, slot int, first bigint, mark bigint, piece smallint,"
        " last bigint, count int, end_min_us bigint, end_max_us bigint,"
        " keys blob, records blob, frames blob,"
        " PRIMARY KEY((scd, shard, owner, slice), tier, slot, first, mark, piece))" + _SEGMENTS,
        "CREATE TABLE IF NOT EXISTS place(scd text, lane smallint, bucket int, first bigint,"
        " homes frozen<list<text>>, map blob, slots blob, PRIMARY KEY((scd, lane, bucket), first))"
        + _SEGMENTS,
    ],
    "log": [
        "CREATE TABLE IF NOT EXISTS heads(log text PRIMARY KEY, version bigint, size bigint,"
        " root blob, taken text, swapped_by text)" + _SMALL,
    ],
}
# Name → role → table → what it may do. LWT reads what it compares, so the sequencer reads, too.
_TABLES = ("progress", "shard", "owner", "device", "home", "segment", "place")
GRANTS: Mapping[str, Mapping[str, Mapping[str, Sequence[str]]]] = {
    "customer": {
        "writer": {
            **dict.fromkeys(_TABLES, ("MODIFY",)),
            "progress": ("SELECT", "MODIFY"),  # what is stored already
            "segment": ("SELECT", "MODIFY"),  # to settle what landed
        },
        "reader": dict.fromkeys(_TABLES, ("SELECT",)),
    },
    "log": {
        "sequencer": {"heads": ("SELECT", "MODIFY")},
        "reader": {"heads": ("SELECT",)},  # workers and audits
    },
}


def _granted(name: str) -> list[str]:
    return [
        f"GRANT {permission} ON TABLE {{keyspace}}.{table} TO {role}"
        for role, tables in GRANTS[name].items()
        for table, permissions in tables.items()
        for permission in permissions
    ]


def _given_up(name: str) -> list[str]:
    """Who makes a table has every right on it, and may grant what it has itself."""
    tables = sorted({table for tables in GRANTS[name].values() for table in tables})
    return [
        f"REVOKE {permission} ON TABLE {{keyspace}}.{table} FROM {{migrator}}"
        for table in tables
        for permission in ("SELECT", "MODIFY")
    ]


# Name → steps; a step is a list of statements that may be repeated.
STEPS: Mapping[str, Sequence[Sequence[str]]] = {
    name: [[*made, *_granted(name)], _given_up(name)] for name, made in _MADE.items()
}


def migrate(at: CassandraAddress, name: str, *, timeout_s: float = 120) -> int:
    """Bring the tables of `name` (customer, log) in `at.keyspace` up to the newest step.

    at: as the migrator. Returns how many steps there are. Safe to run at once in several
    processes: a step is claimed by a light-weight transaction, the others wait for its end.
    Raises Unavailable, and Stop("store-version") where a newer program made the tables.
    """
    session = CassandraSession(at, request_timeout_s=30)
    try:
        _Migration(session, at, name, timeout_s).run()
    finally:
        session.close()
    return len(STEPS[name])


def check(session: CassandraSession, statement: str) -> None:
    """Prepare one. Raises Stop("store-version") where its table was never made."""
    try:
        session.prepared(statement)
    except Stop as error:
        if "does not exist" not in error.text and "unconfigured" not in error.text:
            raise
        text = "Cassandra has no tables of this platform: run the migration first"
        raise Stop("store-version", text) from error


class _Migration:
    """One run: what is done stands in the table schema_version of the keyspace."""

    def __init__(
        self, session: CassandraSession, at: CassandraAddress, name: str, timeout_s: float
    ) -> None:
        self._session, self._name = session, name
        self._keyspace, self._role = at.keyspace, at.role
        self._me = secrets.token_hex(8)
        self._deadline = time.monotonic() + timeout_s

    def run(self) -> None:
        # With an id of its own two nodes that are asked at once make one table, not two of a name.
        self._session.plain(f"{_VERSIONS}{uuid.uuid5(_IDS, self._keyspace)}")
        steps = STEPS[self._name]
        if self._state(len(steps) + 1) is not None:
            text = f"Cassandra's tables are newer than this program, which knows {len(steps)} steps"
            raise Stop("store-version", text)
        for number, statements in enumerate(steps, 1):
            self._step(number, statements)

    def _step(self, number: int, statements: Sequence[str]) -> None:
        """Do a step, or wait until another process has."""
        while not self._claimed(number):
            state = self._state(number)
            if state is not None and state[0]:
                return
            if time.monotonic() > self._deadline:
                raise Unavailable(f"another process is at step {number} of Cassandra's tables")
            time.sleep(_LOOK_S)
        for statement in statements:
            made = statement.replace("{keyspace}", self._keyspace)
            self._session.plain(made.replace("{migrator}", self._role))
        self._session.rows(_END, (self._me, self._name, number, self._me))
        state = self._state(number)
        if state is None or not state[0]:  # the claim ended, and nobody else has done it since
            raise Unavailable(f"step {number} of Cassandra's tables took longer than {CLAIM_S} s")

    def _claimed(self, number: int) -> bool:
        """Whether this process is to do a step; a claim ends by itself."""
        values = (self._name, number, self._me, CLAIM_S)
        if self._session.rows(_CLAIM, values)[0][0]:
            return True
        return self._state(number) == (False, self._me)  # taken, and the answer was lost

    def _state(self, number: int) -> tuple[bool, str] | None:
        """Whether a step is done, and by whom; None where nobody has begun."""
        values = (self._name, number)
        rows = self._session.rows(_STEP, values, consistency=ConsistencyLevel.SERIAL)
        return (bool(rows[0][0]), str(rows[0][1])) if rows else None
