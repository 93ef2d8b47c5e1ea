"""The storer: rows and announcements become the customer database, the archive and the registry.

It may end within a store, be stopped within one while another has gone on, and store again what is
there. What it saves last says from where it reads again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from bal.closing import ClosedDay
from bal.derive.fold import KINDS as KINDS_OF_SLOTS
from bal.derive.touched import touched_dates
from bal.model import StoredRecord
from bal.pipeline import Worked
from bal.registry import KINDS, Registry
from bal.store.merge import Merge, Merged, Place, housed, parse
from tests.simulation.stores import SimBook, SimDb, Summary
from tests.simulation.workers import Servers, registry_at
from tests.simulation.world import Lease, Process

VERSIONS_AT_ONCE = 64
Payload = tuple[int, object]  # position in the topic, what the rows are made of


@dataclass(slots=True)
class Saved:
    """What the storer's database keeps beside the rows: where to read again."""

    rows_from: int = 0
    announcements_from: int = 0


class StorerProcess(Process):
    """A storer of all partitions; another one stands by."""

    def __init__(
        self,
        servers: Servers,
        db: SimDb,
        book: SimBook,
        saved: Saved,
        *,
        name: str,
        lease: Lease,
        tell: Callable[[Summary], None],
    ) -> None:
        self.servers, self.db, self.book, self.saved, self._tell = servers, db, book, saved, tell
        self._lease = lease
        super().__init__(servers.world, name)

    def boot(self) -> None:
        db, saved = self.db, self.saved
        self._merge: Merge[Payload] = Merge(db.version, db.taken)
        self._rows_at, self._announcements_at = saved.rows_from, saved.announcements_from
        self._announced_at: dict[int, int] = {}
        self._registry = Registry()
        self._caught_up = False
        self._to_tell: list[tuple[int, Summary]] = []

    def step(self) -> float | None:
        active, new = self._lease.taken_by(self.name)
        if not active:
            return self.dice.uniform(2, 5)
        if new:
            self.boot()
        busy = self._read()
        merged: list[Merged[Payload]] = []
        while len(merged) < VERSIONS_AT_ONCE and (one := self._merge.next()) is not None:
            merged.append(one)
        if merged:
            self._store(merged)
        self._tell_published()
        return 0.02 if busy or merged else (1.0 if self._to_tell else self.dice.uniform(3, 8))

    def _read(self) -> bool:
        servers = self.servers
        rows = servers.rows.read(0, self._rows_at, 64)
        for position, one in rows:
            payload = position, one.payload
            if not self._merge.rows(one.source, one.offset, one.part, one.digest, payload):
                self.world.seen["rows dropped"] += 1
            self._rows_at = position + 1
        found = servers.announcements.read(0, self._announcements_at, 64)
        for position, data in found:
            announced = parse(data)
            if self._merge.announce(announced):
                self._announced_at[announced.version] = position
            else:
                self.world.seen["announced again"] += 1
            self._announcements_at = position + 1
        return bool(rows or found)

    def _store(self, merged: Sequence[Merged[Payload]]) -> None:
        rows: list[StoredRecord] = []
        closes: list[tuple[ClosedDay, int]] = []
        summaries: list[tuple[int, Summary]] = []
        self._catch_up()
        for version in merged:
            for place, payload in version.parts:
                self._part(place, payload, rows, closes, summaries)
        last = merged[-1]
        self.crash_here("storer before store", 0.001, 0.02)
        if self.world.paused < 2 and self.world.hit("storer paused", 0.001, 0.01):
            self.world.pause(self.dice.uniform(5, 60))
            self.check_killed()
        for _, summary in summaries:
            if summary.credential:
                self.servers.archive.put(summary)
        self.db.write(rows, lambda: self.crash_here("storer within store", 0.0005, 0.005))
        self._note(rows, closes)
        self._to_tell += summaries
        self.servers.feed.add(
            [(row.index, row.record) for row in rows if row.kind in KINDS], last.size
        )
        self.crash_here("storer before progress", 0.001, 0.02)
        self.db.progress(last.version, last.size, self._merge.taken)
        self.crash_here("storer before saving positions", 0.001, 0.02)
        self._save(last.version)

    def _part(
        self,
        place: Place,
        payload: Payload | None,
        rows: list[StoredRecord],
        closes: list[tuple[ClosedDay, int]],
        summaries: list[tuple[int, Summary]],
    ) -> None:
        batch = f"{place.source}/{place.offset}"
        size = place.first + place.count
        if place.again:
            summaries.append((size, Summary("", b"", place.again, 0, 0, 0)))
        made = payload[1] if payload is not None else None
        if isinstance(made, ClosedDay):
            rows += made.rows(place.first)
            closes.append((made, place.first))
        elif isinstance(made, Worked):
            found = made.rows(place.first)
            for row in found:
                if row.kind in KINDS:
                    self._registry.apply(row.record)
            rows += housed(found, self._registry.device)
            count = len(made.entries)
            key = made.message.credential, _message_id(made)
            refused = len(made.refused)
            summary = Summary(*key, batch, place.first, count, refused)
            summaries.append((place.first + count, summary))

    def _note(self, rows: Sequence[StoredRecord], closes: list[tuple[ClosedDay, int]]) -> None:
        slots = ((r.begin_us, r.end_us, r.index) for r in rows if r.kind in KINDS_OF_SLOTS)
        self.book.touch(touched_dates(slots, self._registry.zones))
        for closed, first in closes:
            self.book.add(*closed.booked(first))

    def _catch_up(self) -> None:
        """The registry as of what is stored; its own records of this store come on top."""
        if self._caught_up:
            return
        self._caught_up = True
        feed = self.servers.feed
        if feed.size <= self.db.stored:
            self._registry = feed.newest()
        else:  # the one before ended between the two
            self._registry = registry_at(feed, self.db.stored)

    def _save(self, version: int) -> None:
        """Where the next start reads from: behind all that it will not need."""
        held = [payload[0] for payload in self._merge.held()]
        rows_from = min(held, default=self._rows_at)
        waiting = [at for v, at in self._announced_at.items() if v > version]
        announcements_from = min(waiting, default=self._announcements_at)
        self._announced_at = {v: at for v, at in self._announced_at.items() if v > version}
        saved, servers = self.saved, self.servers
        saved.rows_from = max(saved.rows_from, rows_from)
        saved.announcements_from = max(saved.announcements_from, announcements_from)
        servers.rows.trim(0, saved.rows_from)
        servers.commitments.trim(0, servers.commitments_from)

    def _tell_published(self) -> None:
        published = self.servers.disk.published
        size = min(published[0].size if published else 0, self.db.stored)
        due = [summary for needed, summary in self._to_tell if needed <= size]
        self._to_tell = [one for one in self._to_tell if one[0] > size]
        for summary in due:
            found = self.servers.archive.by_batch.get(summary.batch)
            if found is not None:
                self._tell(found)


def _message_id(worked: Worked) -> bytes:
    return sha256(worked.message.raw).digest()
