"""What the active sequencer does: offers become versions of the log, announced and published.

One `Sequencing` is one stretch of being it, from a take-over to its loss; infra/roles/sequencer.py
says when. tests/simulation runs it with faults by seed. Whether it still is the active one it never
asks: only the swap of the heads row fences (ARCHITECTURE §4).
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from bal import jcs
from bal.certify.log import OWN_SOURCE, Sequencer, tick
from bal.certify.order import CLAIM, Order, Outcome, announcement, decode
from bal.closing import DERIVED, ClosedDay
from bal.errors import Stop, Unavailable
from bal.model import TreeHead
from bal.pipeline import BATCH_ENTRIES_MAX
from bal.ports import Clock, Heads, LogStore, Signer, TileReader
from bal.store.merge import parse
from infra.log_reader import batch_headers
from infra.roles.ports import Position, Positions, Topic
from infra.roles.positions import begun_at

POSITION = "sequencer.commitments"  # the name of its saved position
READ_OFFERS = 128  # at once
COMMIT_OFFERS = 512  # fewer wait for the next checkpoint: their headers are one announcement
TELL_VERSIONS = 64  # in one step, where many were not announced
TELLING = "versions can't be announced"
END_ANNOUNCEMENTS = 64  # looked at when taking over, for the last that was told
TICK_EVERY_US = 60_000_000
SAVE_EVERY_S = 1.0  # what is read again after a restart is dropped again
TRIM_EVERY_S = 10.0
AWAY_S = 1.0  # before what is away is tried again
IDLE_S = 0.2  # the longest that one step waits for an offer

logger = logging.getLogger("gridseal.sequencer")

T = TypeVar("T")


class Sequencing:
    """One active sequencer; all calls in one thread."""

    def __init__(
        self,
        log: LogStore,
        tiles: TileReader,
        signer: Signer,
        origin: str,
        *,
        commitments: Topic,
        announcements: Topic,
        positions: Positions,
        clock: Clock,
        now_s: Callable[[], float],
        interval_s: float,
        begin: Callable[[Sequencer], object] = lambda _: None,
        on_tick: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Take over: redo what the one before left half done, tell of it, publish.

        now_s: a clock that is never set; interval_s: at most one checkpoint in it; begin: what is
        to be done with the recovered log before anything else is committed; on_tick: told the time
        of each tick once it is in the log. Raises Stop as Sequencer and `begin` do, Unavailable.
        """
        self._tiles, self._clock, self._now_s = tiles, clock, now_s
        self._commitments, self._announcements = commitments, announcements
        self._positions, self._on_tick, self._interval_s = positions, on_tick, interval_s
        self._away: dict[str, tuple[str, float]] = {}  # what is away: why, and until when
        self._sequencer = Sequencer(log, tiles, signer, origin)
        begin(self._sequencer)
        self._order = Order(self._sequencer.heads.taken)
        # Partitions of which nothing more is taken, each with why; never changed in place.
        self.halted: Mapping[str, str] = {}
        self._claimed: set[str] = set()  # of those, the ones that were claimed since
        saved = begun_at(
            positions.get(POSITION), POSITION, lambda at: commitments.read(at, 1), commitments.end()
        )
        self.position = saved.offset  # of the next offer
        self._saved, self._saved_s, self._trimmed_s = saved, now_s(), now_s()
        self._announced = max(saved.version, self._last_announced())
        self._gathered = 0  # offers that wait for the next commit
        self._tick_us = -(1 << 62)
        self._commit_took_s = 0.0
        self._published: TreeHead | None = None
        self._published_s = float("-inf")
        self._publish()

    @property
    def heads(self) -> Heads:
        """The heads row as this one wrote or found it."""
        return self._sequencer.heads

    @property
    def published(self) -> TreeHead | None:
        """The head that was published last; None in an empty log."""
        return self._published

    @property
    def announced(self) -> int:
        """The last version of the log that was told."""
        return self._announced

    def health(self) -> dict[str, str]:
        """`ok`, or what is wrong: of the order of batches, and of what is away."""
        halted, away = self.halted, [why for why, _ in dict(self._away).values()]
        return {
            "order": f"batch-out-of-order: {'; '.join(halted.values())}" if halted else "ok",
            "sequencer": "; ".join(away) or "ok",
        }

    def step(self, wait_s: float = 0.0) -> bool:
        """Do what is to be done now; whether there may be more at once.

        wait_s: for how long at most to wait for an offer. Raises Stop("lost-swap") where another
        one is at work, other Stops as Sequencer does, and Unavailable where a commit failed. After
        any of them it is done with: what a failed commit took is read again behind a take-over.
        """
        busy = self._read(wait_s)
        public = self._ticks()
        while public or self._commit_due():
            self._commit(public)
            public = []
        self._announce()
        if self._publish_due():
            self._publish()
        self._save()
        return busy or self._tells_more()

    def wait_s(self) -> float:
        """For how long nothing is due, unless an offer comes; at most IDLE_S."""
        due = [IDLE_S, (TICK_EVERY_US - (self._clock.now_us() - self._tick_us)) / 1e6]
        if self._order.is_ready():
            due.append(self._commit_in())
        if self._is_unpublished():
            due.append(self._publish_in())
        if self._tells_more():
            due.append(0.0)
        return max(0.0, min(due))

    def gathers(self) -> bool:
        """Whether offers wait for the next checkpoint to be due."""
        return self._gathered > 0

    def finish(self) -> None:
        """Commit, tell and publish what is ready, and save the position; as `step`."""
        while self._order.is_ready():
            self._commit([])
        self._away.clear()
        self._announce()
        if self._is_unpublished():
            self._publish()
        self._saved_s = float("-inf")
        self._save()

    # -- closes -----------------------------------------------------------------------------

    def last_close(self) -> int:
        """The k of the close that the log has last; 0 where it has none."""
        return self.heads.taken.get(f"{DERIVED}/0", -1) + 1

    def commit_close(self, closed: ClosedDay, rules: str) -> int:
        """Commit a close in a version of its own; the index of its first entry.

        It must be that of k = `last_close() + 1`. Raises as `step`.
        """
        return self._sequencer.commit(closed.batches({"rules": rules}), [closed.record])[0]

    # -- steps ------------------------------------------------------------------------------

    def _read(self, wait_s: float) -> bool:
        found = self._try(
            "offers can't be read",
            lambda: self._commitments.read(self.position, READ_OFFERS, wait_s),
        )
        for position, data in found or ():
            self._offer(position, data)
            self.position = position + 1
        return found is not None and len(found) == READ_OFFERS

    def _offer(self, position: int, data: bytes) -> None:
        try:
            offer = decode(data)
            if offer.batch.epoch.removeprefix(CLAIM) in {OWN_SOURCE, DERIVED}:
                raise ValueError("not a worker's")
        except ValueError as error:  # nobody who was given the right writes such a thing
            logger.warning("item %d of the commitments is passed over: %s", position, error)
            return
        outcome = self._order.offer(position, offer)
        if outcome is Outcome.READY:
            self._gathered += 1
            if offer.is_claim and (source := offer.batch.source.removeprefix(CLAIM)) in self.halted:
                self._claimed.add(source)
        elif outcome is Outcome.HALTED:
            source = offer.batch.source
            if source not in self.halted:
                why = self._order.halted[source]
                self.halted = {**self.halted, source: why}
                logger.error("batch-out-of-order: %s; it halts", why)

    def _ticks(self) -> list[bytes]:
        now_us = self._clock.now_us()
        if 0 <= now_us - self._tick_us < TICK_EVERY_US:
            return []  # a clock that was set back ticks at once, not when it has caught up
        self._tick_us = now_us
        return [tick(now_us)]

    def _commit_in(self) -> float:
        """Seconds until what is ready is committed, so that it is in the next checkpoint."""
        lead = min(self._commit_took_s, self._interval_s / 2)
        return self._publish_in() - lead

    def _commit_due(self) -> bool:
        return self._order.is_ready() and (
            self._gathered >= COMMIT_OFFERS
            or self._order.waiting() >= BATCH_ENTRIES_MAX
            or self._commit_in() <= 0
        )

    def _commit(self, public: Sequence[bytes]) -> None:
        began = self._now_s()
        batches = self._order.take(BATCH_ENTRIES_MAX)
        self._sequencer.commit(batches, public)
        self._commit_took_s = self._now_s() - began
        if not self._order.is_ready():
            self._gathered = 0
        if public:
            self._on_tick(self._tick_us)
        if self._claimed and not self._order.is_ready():
            self._go_on_behind_claims()

    def _go_on_behind_claims(self) -> None:
        """Other workers claimed what was halted: read again, by what the log has now."""
        for source in sorted(self._claimed):
            logger.warning("%s was claimed anew and goes on", source)
        self.position = self._order.needed_from(self.position)
        self._order, self.halted = Order(self.heads.taken), {}
        self._claimed.clear()

    def _announce(self) -> None:
        """Tell of versions that were not told of; again, where the answer was lost.

        Not of all of them in one step: where nothing is known of what was told it is the whole log.
        """
        if self._announced == self.heads.version:
            return
        last = min(self.heads.version, self._announced + TELL_VERSIONS)
        told = self._told(self._announced + 1, last)

        def append() -> bool:
            self._announcements.append(told)
            return True

        if self._try(TELLING, append):
            self._announced = last

    def _tells_more(self) -> bool:
        return self._announced < self.heads.version and TELLING not in self._away

    def _told(self, first: int, last: int) -> list[bytes]:
        """Announcements of these versions, one each."""
        headers: dict[int, list[bytes]] = {version: [] for version in range(first, last + 1)}
        for place, header in batch_headers(self._tiles, after=first - 1, last=last):
            headers[place[0]].append(header)
        return [_announcement(version, found) for version, found in headers.items()]

    def _last_announced(self) -> int:
        """By the end of the announcements: what comes before it was told by whoever wrote it."""
        end = self._announcements.end()
        for back in (END_ANNOUNCEMENTS, 1):
            try:
                found = self._announcements.read(max(0, end - back), back)
            except Stop as stop:  # the storer has them, and nobody else needs them
                if stop.code != "bus-trimmed":
                    raise
                continue
            return max((parse(data).version for _, data in found), default=0)
        return 0

    def _is_unpublished(self) -> bool:
        size = self.heads.size
        return size > 0 and (self._published is None or self._published.size != size)

    def _publish_in(self) -> float:
        return self._published_s + self._interval_s - self._now_s()

    def _publish_due(self) -> bool:
        return self._is_unpublished() and self._publish_in() <= 0

    def _publish(self) -> None:
        if self.heads.size == 0:
            return
        done = self._try("no checkpoint can be published", self._sequencer.publish)
        if done is not None:
            self._published, self._published_s = done[0], self._now_s()

    def _save(self) -> None:
        """Save what is read no more once all before it is announced, and trim below it."""
        now_s = self._now_s()
        if now_s - self._saved_s < SAVE_EVERY_S or self._announced < self.heads.version:
            return
        self._saved_s = now_s
        position = Position(self._order.needed_from(self.position), self._announced)

        def save() -> bool:
            if position != self._saved:
                self._positions.save(POSITION, position)
                self._saved = position
            if now_s - self._trimmed_s >= TRIM_EVERY_S:
                self._commitments.trim(position.offset)
                self._trimmed_s = now_s
            return True

        self._try("the position can't be saved", save)

    def _try(self, what: str, call: Callable[[], T]) -> T | None:
        """None where a server is away: told once, and tried again a moment later."""
        now_s, away = self._now_s(), self._away.get(what)
        if away is not None and now_s < away[1]:
            return None
        try:
            found = call()
        except Unavailable as error:
            if away is None:
                logger.warning("%s: %s", what, error)
            self._away[what] = (f"{what}: {error}", now_s + min(error.retry_after_s, AWAY_S))
            return None
        if self._away.pop(what, None) is not None:
            logger.info("%s: that is over", what)
        return found


def _announcement(version: int, headers: Sequence[bytes]) -> bytes:
    if not headers:
        raise Stop("log-damaged", f"there are no batch headers of version {version}")
    end = jcs.decode(headers[-1])
    return announcement(version, int(end["first"]) + int(end["count"]), headers)
