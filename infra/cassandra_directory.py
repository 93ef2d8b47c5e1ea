"""Which homes there are in Cassandra: of a group, and day by day (decision 0014).

An entry is written before what it leads to can be seen, and stays.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from bal.model import ReadingsQuery
from bal.store.segment import day_of
from infra.cassandra_layout import PLATFORM_GROUP, Home, group_of
from infra.cassandra_session import CassandraSession

SLICE_MAX = (1 << 31) - 1
SLICES_LISTED = 256  # of a home's directory at once


class Directory:
    """The tables `shard`, `owner` and `home`, asked as the role `reader`."""

    def __init__(self, session: CassandraSession, scd: str) -> None:
        self._session, self._scd = session, scd

    def of_groups(self, query: ReadingsQuery) -> list[tuple[str, str]]:
        """(shard, owner) of homes that may be given and can have what is asked for."""
        shards = self._shards(query.groups)
        statement = self._session.prepared("SELECT owner FROM owner WHERE scd = ? AND shard = ?")
        asked = ((statement, (self._scd, shard)) for shard in shards)
        return [
            (shard, owner)
            for shard, rows in zip(shards, self._session.each(asked), strict=True)
            for (owner,) in rows
            if may_have(query, shard, owner)
        ]

    def of_platform(self, device: str) -> list[tuple[str, str]]:
        """(shard, owner) of homes that can have the platform's own rows of a device."""
        groups = frozenset({PLATFORM_GROUP})
        return [(shard, device) for shard in self._shards(groups)]

    def _shards(self, groups: frozenset[str] | None) -> list[str]:
        if groups is None:
            cql = "SELECT name FROM shard WHERE scd = ?"
            return [name for (name,) in self._session.rows(cql, (self._scd,))]
        statement = self._session.prepared("SELECT name FROM shard WHERE scd = ? AND in_group = ?")
        asked = ((statement, (self._scd, group)) for group in sorted(groups) if _is_text(group))
        return [name for rows in self._session.each(asked) for (name,) in rows]

    def days(
        self, owners: Sequence[tuple[str, str]], lo_us: int, hi_us: int
    ) -> Iterator[list[Home]]:
        """The homes of each UTC day with rows in [lo, hi), day by day."""
        cql = "SELECT slice FROM home WHERE scd = ? AND shard = ? AND owner = ?"
        listed = f"{cql} AND slice >= ? AND slice <= ? LIMIT {SLICES_LISTED}"
        statement = self._session.prepared(listed)
        day, last = day_of(lo_us), day_of(hi_us - 1)
        while day <= last:
            found: defaultdict[int, list[Home]] = defaultdict(list)
            horizon = last
            asked = (
                (statement, (self._scd, shard, owner, *_slices(owner, day, last)))
                for shard, owner in owners
            )
            for (shard, owner), rows in zip(owners, self._session.each(asked), strict=True):
                homes = [Home(shard, owner, number) for (number,) in rows]
                for home in homes:
                    found[home.day()].append(home)
                if len(homes) == SLICES_LISTED:  # hours may lack of the last day
                    horizon = min(horizon, homes[-1].day() - (1 if owner else 0))
            yield from (found[at] for at in sorted(found) if at <= horizon)
            day = horizon + 1


def may_have(query: ReadingsQuery, shard: str, owner: str) -> bool:
    """Whether a home may be given, and can have rows of the kind that is asked for."""
    group = group_of(shard)
    if group == PLATFORM_GROUP or not (query.groups is None or group in query.groups):
        return False
    return query.kind in {None, "phasors"} if owner else query.kind != "phasors"


def _slices(owner: str, day: int, last: int) -> tuple[int, int]:
    """The slices of days [day, last], such that they fit the column."""
    first, end = (day * 24, last * 24 + 23) if owner else (day, last)
    return max(first, -SLICE_MAX), min(end, SLICE_MAX)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
