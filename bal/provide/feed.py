"""What consumers of Kafka get: which topics, which rows, and the headers of each (docs/kafka.md).

Policy is the gateway's own (bal/provide/policy.py): who may read a row there may read it here.
"""

from hashlib import sha256
from typing import NamedTuple

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
SERIES_MAX = 100_000  # of which something is remembered, about 1 KB each
_LAST_US = 1 << 63  # later than every row
_VERSIONS_MAX = 1000  # of one slot that are looked at
_LATEST = 3  # versions of a series that are remembered


class _Said(msgspec.Struct):
    evidence: str = ""
    quality: list[str] = []


_said = msgspec.json.Decoder(_Said)
_RANKS = {rank: rank.name.lower().encode() for rank in Rank}


class Placed(NamedTuple):  # a tuple: made once a reading
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
        ("rank", _RANKS[row.rank]),
        ("supersedes", supersedes),
    ]


class _Version(NamedTuple):
    """A version of a slot, without its bytes."""

    end_us: int
    begin_us: int
    rank: int
    log_index: int
    digest: bytes  # of its bytes


class _Series(NamedTuple):
    """What is remembered of a series (device, kind, register)."""

    floor_us: int  # of the rows that end later, `latest` has every version
    latest: tuple[_Version, ...]


_NEW = _Series(-_LAST_US, ())


class Superseding:
    """Finds, for rows in order of the log, the version that each takes the place of.

    A meter's readings come in order of time as a rule, or nearly so: of the last few of each series
    the versions are remembered, and only for a row that ends earlier the database is asked.
    """

    def __init__(self, customer_db: CustomerDb, *, series_max: int = SERIES_MAX) -> None:
        self._db, self._series_max = customer_db, series_max
        self._known: dict[tuple[str, str, str], _Series] = {}
        self._from_start = False  # a series that is not in _known has no row at all
        self._through = 0  # no row below was left out

    def placed(self, start: int, stop: int) -> list[Placed]:
        """The rows of what devices say with start <= index < stop, without repetitions."""
        if start == 0 or start > self._through:
            self._from_start = start == 0
            self._known.clear()
        found = [self._placed(row) for row in self._db.records(start, stop) if row.kind in KINDS]
        self._through = max(self._through, stop)
        return [one for one in found if one is not None]

    def _placed(self, row: StoredRecord) -> Placed | None:
        device, end_us, kind, register, begin_us, index, rank = row[:7]
        name = (device, kind, register)
        own = _Version(end_us, begin_us, rank, index, sha256(row.record).digest()[:16])
        series = self._known.get(name) or self._looked_up(row)
        if series.latest and end_us > series.latest[-1].end_us:  # as a rule
            versions = []
        elif end_us > series.floor_us:
            versions = [
                one
                for one in series.latest
                if one[:2] == (end_us, begin_us) and one.log_index < index
            ]
        else:
            slot = self._slot(row, end_us, end_us + 1)
            versions = [_version(one) for one in slot if one.begin_us == begin_us]
        if any(one.digest == own.digest for one in versions):
            return None
        self._note(name, series, own)
        if not versions or (kind == "event" and not register):
            return Placed(row, None)
        current = max(versions, key=lambda one: (one.rank, one.log_index))
        return Placed(row, current.log_index if rank >= current.rank else None)

    def _looked_up(self, row: StoredRecord) -> _Series:
        """A series that is not remembered, as of before `row`."""
        if self._from_start:
            return _NEW
        if self._slot(row, row.end_us + 1, None, limit=1):
            return _Series(_LAST_US, ())  # it is not known how late
        if self._slot(row, row.end_us, None, limit=1):
            return _Series(row.end_us, ())
        return _Series(row.end_us - 1, ())

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

    def _note(self, name: tuple[str, str, str], series: _Series, version: _Version) -> None:
        if series.floor_us == _LAST_US:
            return  # asked for again the next time
        if version.end_us > series.floor_us and version not in series.latest:
            latest, floor_us = [*series.latest, version], series.floor_us
            latest.sort()
            if len(latest) > _LATEST:
                floor_us = latest[-_LATEST - 1].end_us
                latest = [one for one in latest[-_LATEST:] if one.end_us > floor_us]
            series = _Series(floor_us, tuple(latest))
        if len(self._known) >= self._series_max and name not in self._known:
            self._known.clear()
            self._from_start = False
        self._known[name] = series


def _version(row: StoredRecord) -> _Version:
    digest = sha256(row.record).digest()[:16]
    return _Version(row.end_us, row.begin_us, row.rank, row.index, digest)
