"""Two sequencers: one is active, the other takes over when it hears nothing for ten seconds.

The lease only says who tries. Both may believe that they are the active one; only the swap of the
heads row fences. The active one closes days, too (bal/closing.py).
"""

from collections.abc import Callable
from datetime import date, timedelta

from bal.certify.log import Sequencer, genesis, tick
from bal.certify.order import Order, Outcome, announcement, decode
from bal.closing import DERIVED, ClosedDay, close_day
from bal.derive.local_day import date_at, local_day
from bal.errors import Unavailable
from bal.pipeline import BATCH_ENTRIES_MAX
from bal.registry import Registry
from bal.store.merge import parse
from tests.simulation.log_store import LogView, SimSigner
from tests.simulation.stores import SimBook, SimDb
from tests.simulation.workers import REST, RULES, Rows, Servers
from tests.simulation.world import HOUR_US, SECOND_US, Failed, Lease, Process, SimClock

TICK_EVERY_S = 60
SETTLE_EVERY_S = 5
GRACE_US = HOUR_US
LATE_GATHER_US = 4 * HOUR_US


class SequencerProcess(Process):
    """Standby until the lease is free."""

    def __init__(
        self,
        servers: Servers,
        name: str,
        *,
        origin: str,
        signer: SimSigner,
        lease: Lease,
        closer: Callable[["SequencerProcess"], ClosedDay | None],
    ) -> None:
        self.servers, self.origin = servers, origin
        self._signer, self._lease, self._closer = signer, lease, closer
        self._clock = SimClock(servers.world)
        super().__init__(servers.world, name)

    def boot(self) -> None:
        self._sequencer: Sequencer | None = None
        self._order = Order({})
        self._position = self._announced = 0
        self._tick_us = self._settle_us = -(1 << 60)
        self.closing: ClosedDay | None = None

    @property
    def heads_taken(self) -> dict[str, int]:
        """Of the row that this one commits to."""
        assert self._sequencer is not None
        return dict(self._sequencer.heads.taken)

    def step(self) -> float | None:
        active, new = self._lease.taken_by(self.name)
        if not active:
            return self.dice.uniform(2, 5)
        if new:
            self._sequencer = None
            self.world.seen["sequencer takes over"] += 1
        if self._sequencer is None:
            self._begin()
        busy = self._read()
        self._commit()
        self._announce()
        self._settle()
        return 0.03 if busy else self.dice.uniform(3, 8)

    def _begin(self) -> None:
        servers = self.servers
        view = LogView(servers.disk, self)
        self._sequencer = Sequencer(view, view, self._signer, self.origin)
        servers.disk.check_redone()
        self._order = Order(self._sequencer.heads.taken)
        self._position = servers.commitments_from
        self._announced = self._last_announced()
        if self._sequencer.heads.size == 0:
            keys = (self._signer.vkey, self._signer.vkey)
            self._sequencer.commit([], [genesis(self.origin, *keys, 60, self._clock.now_us())])
        self._sequencer.publish()

    def _last_announced(self) -> int:
        """The end of the announcements: what comes before it was told by whoever wrote it."""
        topic = self.servers.announcements
        first = max(topic.kept(0), topic.end(0) - 30)
        found = topic.read(0, first, 30)
        return max((parse(data).version for _, data in found), default=0)

    def _read(self) -> bool:
        found = self.servers.commitments.read(0, self._position, 64)
        for position, data in found:
            outcome = self._order.offer(position, decode(data))
            self.world.seen[f"offer {outcome.value}"] += 1
            if outcome is Outcome.HALTED:
                raise Failed(f"halted: {self._order.halted}")
            self._position = position + 1
        return bool(found)

    def _commit(self) -> None:
        sequencer = self._sequencer
        assert sequencer is not None
        public = []
        wall_us = self._clock.now_us()
        if not 0 <= wall_us - self._tick_us < TICK_EVERY_S * SECOND_US:
            self._tick_us = wall_us
            public = [tick(wall_us)]
        while self._order.is_ready() or public:
            self.crash_here("sequencer before commit", 0.001, 0.01)
            sequencer.commit(self._order.take(BATCH_ENTRIES_MAX), public)
            position = self._order.needed_from(self._position)
            self.servers.commitments_from = max(self.servers.commitments_from, position)
            public = []
        self._close()
        self.crash_here("sequencer before publish", 0.001, 0.01)
        published = self.servers.disk.published
        if published is None or published[0].size < sequencer.heads.size:
            sequencer.publish()

    def _close(self) -> None:
        """Commit a close, the rows of its device-days first."""
        sequencer = self._sequencer
        assert sequencer is not None
        closed = self._closer(self)
        if closed is None:
            return
        batches = closed.batches({"rules": RULES})
        for batch in batches:
            payload = closed if batch.part == 0 else REST
            rows = Rows(f"{DERIVED}/0", closed.k - 1, batch.part, batch.rows, payload)
            try:
                self.servers.rows.append(0, rows)
            except Unavailable:
                self.world.seen["close put off"] += 1
                return  # at the next step; what is there already was never sequenced
        self.crash_here("sequencer before close", 0.01, 0.1)
        sequencer.commit(batches, [closed.record])
        self.world.seen["closes"] += 1

    def _announce(self) -> None:
        """Tell of every version that was not told of; again, where the answer was lost."""
        sequencer, disk = self._sequencer, self.servers.disk
        assert sequencer is not None
        while self._announced < sequencer.heads.version:
            self.crash_here("sequencer before announcement", 0.001, 0.01)
            version = self._announced + 1
            headers = disk.headers[version]
            try:
                told = announcement(version, disk.sizes[version], headers)
                self.servers.announcements.append(0, told)
            except Unavailable:
                return
            self._announced = version

    def _settle(self) -> None:
        if self.world.now_us - self._settle_us > SETTLE_EVERY_S * SECOND_US:
            self._settle_us = self.world.now_us
            self.servers.disk.settle()


class Closer:
    """Which day is to be closed now, and what its close says."""

    def __init__(self, servers: Servers, db: SimDb, book: SimBook, registry: object) -> None:
        self._servers, self._db, self._book = servers, db, book
        self._registry_at = registry
        self._tried: dict[date, int] = {}

    def due(self, process: SequencerProcess) -> ClosedDay | None:
        """The next close; a function of what is stored."""
        closes = self._book.closes()
        if process.heads_taken.get(f"{DERIVED}/0", -1) != len(closes) - 1:
            return None  # the last one is committed, and not stored yet
        wall_us = self._servers.world.wall_us()
        for text, touched in sorted(self._book.touched().items()):
            day = date.fromisoformat(text)
            newest = [close for close in closes if close.date == text]
            zones = {"UTC"} | set(self._zones())
            over_us = max(local_day(day, zone)[1] for zone in zones) + GRACE_US
            gathered = wall_us - self._tried.get(day, -(1 << 60)) >= LATE_GATHER_US
            news = touched >= (newest[-1].prefix if newest else 0)
            if over_us <= wall_us and news and gathered:
                self._tried[day] = wall_us
                closed = self.close(day, len(closes) + 1, self._db.size(), wall_us)
                if closed.made or not newest:
                    return closed
        return None

    def close(self, day: date, k: int, prefix: int, time_us: int) -> ClosedDay:
        """What a close says."""
        registry = self._registry_at(prefix)  # type: ignore[operator]
        return close_day(
            self._db, registry, self._servers.vault, self._book,
            day=day, k=k, prefix=prefix, time_us=time_us,
        )  # fmt: skip

    def _zones(self) -> frozenset[str]:
        registry: Registry = self._registry_at(self._db.size())  # type: ignore[operator]
        return registry.zones


def days_between(begin_us: int, end_us: int, zone: str) -> list[date]:
    """The local dates that a span touches."""
    day, last = date_at(begin_us, zone), date_at(end_us - 1, zone)
    found = []
    while day <= last:
        found.append(day)
        day += timedelta(days=1)
    return found
