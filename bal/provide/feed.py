"""What consumers of Kafka get: which topics, which rows, and the headers of each (docs/kafka.md).

Policy is the gateway's own (bal/provide/policy.py): who may read a row there may read it here.
"""

from dataclasses import dataclass

import msgspec

from bal.model import Rank, ReadingsQuery, StoredRecord
from bal.ports import CustomerDb
from bal.provide.policy import (
    SCOPES,
    ClientInfo,
    group_of,
    may_read,
    readable_groups,
    usable_scopes,
)
from bal.provide.readings import KINDS

READINGS = "bal.readings.v1"
CHECKPOINTS = "bal.checkpoints.v1"
SERIES_MAX = 200_000  # whose newest end is remembered
_VERSIONS_MAX = 1000  # of one slot that are looked at


class _Said(msgspec.Struct):
    evidence: str = ""
    quality: list[str] = []


_said = msgspec.json.Decoder(_Said)


@dataclass(frozen=True, slots=True)
class Placed:
    """A row, and the index of the version of its slot that it takes the place of."""

    row: StoredRecord
    supersedes: int | None


def own_topic(client_id: str) -> str:
    """The topic of a client that may not read every device."""
    return f"{READINGS}.{client_id}"


def topics_of(client: ClientInfo) -> frozenset[str]:
    """The topics that a client may read now; none without the scope or a group to read."""
    if "readings.read" not in usable_scopes(client, frozenset(SCOPES)):
        return frozenset()
    groups = readable_groups(client)
    if groups is None:
        return frozenset({READINGS, CHECKPOINTS})
    return frozenset({own_topic(client.client_id), CHECKPOINTS}) if groups else frozenset()


def is_for(client: ClientInfo | None, row: StoredRecord) -> bool:
    """Whether a row goes to the topic of `client`; None, an unknown client, gets none."""
    if client is None or own_topic(client.client_id) not in topics_of(client):
        return False
    return may_read(client, group_of(row.shard))


def headers(placed: Placed, salt: bytes) -> list[tuple[str, bytes]]:
    """The headers of a record in Kafka; ASCII.

    salt: what opens the commitment at `index`: SHA-256(0x02 ‖ type ‖ salt ‖ value).
    """
    row, said = placed.row, _said.decode(placed.row.certified)
    supersedes = b"" if placed.supersedes is None else b"%d" % placed.supersedes
    return [
        ("index", b"%d" % row.index),
        ("type", row.type.hex().encode()),
        ("salt", salt.hex().encode()),
        ("evidence", said.evidence.encode()),
        ("quality", ",".join(said.quality).encode()),
        ("rank", Rank(row.rank).name.lower().encode()),
        ("supersedes", supersedes),
    ]


class Superseding:
    """Finds, for rows in order of the log, the version that each takes the place of.

    A meter's readings come in order of time as a rule: a row that ends behind all of its series
    (device, kind, register) is the first of its slot, and the database is not asked.
    """

    def __init__(self, customer_db: CustomerDb, *, series_max: int = SERIES_MAX) -> None:
        self._db, self._series_max = customer_db, series_max
        self._ends: dict[tuple[str, str, str], int] = {}  # no row of the series ends later
        self._from_start = False  # a series that is not in _ends has no row at all
        self._through = 0  # no row below was left out

    def placed(self, start: int, stop: int) -> list[Placed]:
        """The rows of what devices say with start <= index < stop, without repetitions."""
        if start == 0 or start > self._through:
            self._from_start = start == 0
            self._ends.clear()
        found = [self._placed(row) for row in self._db.records(start, stop) if row.kind in KINDS]
        self._through = max(self._through, stop)
        return [one for one in found if one is not None]

    def _placed(self, row: StoredRecord) -> Placed | None:
        series = (row.device, row.kind, row.register)
        end = self._ends.get(series)
        if end is None and not self._from_start:
            end = self._last_end(row)
        if end is None or row.end_us > end:
            self._note(series, row.end_us)
            return Placed(row, None)
        slot = self._slot(row, row.end_us, row.end_us + 1)
        versions = [one for one in slot if one.begin_us == row.begin_us]
        if any(one.record == row.record for one in versions):
            return None
        if not versions or (row.kind == "event" and not row.register):
            return Placed(row, None)
        current = max(versions, key=lambda one: (one.rank, one.index))
        return Placed(row, current.index if row.rank >= current.rank else None)

    def _last_end(self, row: StoredRecord) -> int | None:
        """A bound on the series' ends before `row`, noted where it is exact; None: no such row."""
        series = (row.device, row.kind, row.register)
        if self._slot(row, row.end_us + 1, None, limit=1):
            return row.end_us + 1  # and maybe more: it is asked for again the next time
        if self._slot(row, row.end_us, None, limit=1):
            self._note(series, row.end_us)
            return row.end_us
        return None

    def _slot(
        self, row: StoredRecord, from_us: int, to_us: int | None, limit: int = _VERSIONS_MAX
    ) -> list[StoredRecord]:
        query = ReadingsQuery(
            groups=None,
            device=row.device,
            kind=row.kind,
            register=row.register,
            from_us=from_us,
            to_us=to_us,
            as_of_size=row.index,
            versions="all",
            limit=limit,
        )
        return self._db.readings(query).rows

    def _note(self, series: tuple[str, str, str], end_us: int) -> None:
        if len(self._ends) >= self._series_max and series not in self._ends:
            self._ends.clear()
            self._from_start = False
        self._ends[series] = max(end_us, self._ends.get(series, end_us))
