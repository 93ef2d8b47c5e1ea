"""The storer's merge of rows and announcements (ARCHITECTURE §1, step 4).

Workers write the rows of a batch before they offer it, so rows come that no log ever has: of a
worker that lost its partition, of a retry. `Merge` gives out version after version of the log,
each once all rows of its batches are here, and drops rows whose digest was not sequenced.

Either topic may repeat, and announcements may come late and in any order; rows of one digest are
one and the same. Pure; after a restart it goes on from the last version that was stored.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from bal import jcs
from bal.model import DeviceInfo, Pseudonym, StoredRecord
from bal.registry import PLATFORM_GROUP

ANNOUNCEMENT_V1 = "gridseal/announcement/v1"
_OF_PLATFORM = f"{PLATFORM_GROUP}/"
_WITHOUT_ROWS = "sequencer/", "claim."  # sources of public records and of workers' claims

P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the log has one part of a batch: what of its header a storer needs."""

    source: str  # <epoch>/<partition>
    offset: int
    part: int
    rows: str  # digest
    first: int  # log index
    count: int
    inputs: Mapping[str, str]
    again: str = ""


@dataclass(frozen=True, slots=True)
class Announced:
    """One version of the log, as it was announced."""

    version: int
    size: int
    places: Sequence[Place]


@dataclass(frozen=True, slots=True)
class Merged(Generic[P]):
    """One version of the log with the rows of its batches; None where a part has none."""

    version: int
    size: int
    parts: Sequence[tuple[Place, P | None]]


class Merge(Generic[P]):
    """Rows and announcements of one storer; P is what it makes rows of.

    What it holds is bounded by what workers may have offered and not seen announced.
    """

    def __init__(
        self,
        version: int,
        taken: Mapping[str, int],
        mine: Callable[[Place], bool] = lambda place: True,
    ) -> None:
        """version: the last one that is stored; taken: by source the last offset in it.

        mine: of several storers that share the partitions, which parts are this one's.
        """
        self.version = version
        self.taken = dict(taken)
        self._mine = mine
        self._announced: dict[int, Announced] = {}
        self._rows: dict[tuple[str, int], dict[tuple[int, str], P]] = {}

    def rows(self, source: str, offset: int, part: int, digest: str, rows: P) -> bool:
        """Take the rows of a part; False where they are stored already, or never will be."""
        if offset <= self.taken.get(source, -1):
            return False
        self._rows.setdefault((source, offset), {})[part, digest] = rows
        return True

    def announce(self, announced: Announced) -> bool:
        """Take an announcement; False where its version is stored or known."""
        if announced.version <= self.version or announced.version in self._announced:
            return False
        self._announced[announced.version] = announced
        return True

    def next(self) -> Merged[P] | None:
        """The next version of the log, once its announcement and all its rows are here."""
        announced = self._announced.get(self.version + 1)
        if announced is None or any(self._lacks(place) for place in announced.places):
            return None
        parts = [(place, self._found(place)) for place in announced.places]
        del self._announced[announced.version]
        self.version = announced.version
        for place in announced.places:
            self.taken[place.source] = place.offset
            self._rows.pop((place.source, place.offset), None)
        return Merged(announced.version, announced.size, parts)

    def missing(self) -> list[Place]:
        """The parts whose rows the next version waits for; empty where it waits for none."""
        announced = self._announced.get(self.version + 1)
        return [place for place in announced.places if self._lacks(place)] if announced else []

    def held(self) -> list[P]:
        """Rows that are held and not given out: from the first of them on a restart reads again."""
        return [rows for one in self._rows.values() for rows in one.values()]

    def _found(self, place: Place) -> P | None:
        found = self._rows.get((place.source, place.offset), {})
        return found.get((place.part, place.rows)) if self._mine(place) else None

    def _lacks(self, place: Place) -> bool:
        """A message of which nothing became an entry has rows too: they say whose parts it has."""
        return (
            not place.again
            and not place.source.startswith(_WITHOUT_ROWS)
            and self._mine(place)
            and self._found(place) is None
        )


def parse(data: bytes) -> Announced:
    """An item of `bal.announcements`. Raises ValueError where it is none."""
    found: Any = jcs.decode(data)
    try:
        if found["v"] != ANNOUNCEMENT_V1:
            raise ValueError("not an announcement")
        places = [_place(jcs.decode(header.encode())) for header in found["batches"]]
        return Announced(int(found["version"]), int(found["size"]), places)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("not an announcement") from error


def _place(header: Mapping[str, Any]) -> Place:
    return Place(
        f"{header['epoch']}/{header['partition']}",
        int(header["offset"]),
        int(header["part"]),
        header["rows"],
        int(header["first"]),
        int(header["count"]),
        header["inputs"],
        header.get("again", ""),
    )


def housed(
    rows: Sequence[StoredRecord], device: Callable[[Pseudonym], DeviceInfo | None]
) -> list[StoredRecord]:
    """The rows, each in the shard that the log's first `device` record put its device into.

    Two workers may name a device first, side by side, and put it into two shards. Its rows must
    stand in one, or a day would be closed over half of them. device: the registry's, as of the log
    before these rows and with their own `device` records.
    """
    homes: dict[tuple[str, str], str | None] = {}
    found = []
    for row in rows:
        key = row.device, row.shard
        if key not in homes:
            info = None if row.shard.startswith(_OF_PLATFORM) else device(row.device)
            homes[key] = None if info is None or info.shard == row.shard else info.shard
        home = homes[key]
        found.append(row if home is None else row._replace(shard=home))
    return found
