"""Sequencers: one is active, the others take over when it is not heard of for ten seconds.

`Sequencing` is the production code, and so is the deriver, which is called here in the loop and
not in a thread of its own. Members only say who tries: several may believe that they are the active
one, and only the swap of the heads row fences. When to stand by is said as in
infra/roles/sequencer.py.
"""

from concurrent.futures import Future

from bal.certify.log import Sequencer, genesis, rules
from bal.closing import ClosedDay
from bal.derive.vee_rules import VeeRules
from bal.errors import GridsealError, Stop, Unavailable
from bal.model import Close
from infra.deriver import DaySources, Deriver
from infra.roles.sequencer import _OF_ANOTHER
from infra.roles.sequencing import AWAY_S, POSITION, Sequencing
from infra.rules import rules_parts
from tests.simulation.log_store import LogView, SimSigner
from tests.simulation.members import Group, Member, Positions
from tests.simulation.servers import RULES, Servers
from tests.simulation.world import SECOND_US, Failed, Process, SimClock

SETTLE_EVERY_S = 5
GRACE_S = 3_600
BACK_DAYS = 31


class SequencerProcess(Process):
    """Stands by until its group says that it is to be the one."""

    def __init__(
        self,
        servers: Servers,
        group: Group,
        name: str,
        *,
        origin: str,
        signer: SimSigner,
        interval_s: float,
        closes_every_us: int,
    ) -> None:
        """interval_s: between checkpoints; closes_every_us: between looks at the days."""
        self.servers, self.origin, self._group = servers, origin, group
        self._signer, self._interval_s, self._closes_every_us = signer, interval_s, closes_every_us
        self._settle_us = 0
        self._sequencing: Sequencing | None = None
        super().__init__(servers.world, name)

    def boot(self) -> None:
        self._members = Member(self._group, self)
        self._positions = Positions(self.servers.positions, self)
        self._number: int | None = None
        self._leave()

    def step(self) -> float | None:
        number = self._members.mine().get(0)
        if number != self._number:
            self._number = number
            self._leave()
        if number is None:
            return self.dice.uniform(4, 9)
        try:
            sequencing = self._sequencing or self._take_over()
            busy = sequencing.step()
            self._check(sequencing)
            self._close_days(sequencing)
        except Unavailable:  # a commit or a take-over failed: begin with the heads row
            self.world.seen["sequencer begins anew"] += 1
            self._leave()
            return AWAY_S
        except Stop as stop:
            if not self._is_anothers(stop):
                raise
            self.world.seen[f"sequencer stands by: {stop.code}"] += 1
            self._leave()
            return AWAY_S
        self._settle()
        return 0.03 if busy else self._idle_s(sequencing)

    def _take_over(self) -> Sequencing:
        servers = self.servers
        view, channels = LogView(servers.disk, self), servers.channels(self)
        self._version = servers.disk.row.version
        self._sequencing = Sequencing(
            view,
            view,
            self._signer,
            self.origin,
            commitments=channels.commitments,
            announcements=channels.announcements,
            positions=self._positions,
            clock=SimClock(self.world),
            now_s=servers.elapsed_s,
            interval_s=self._interval_s,
            begin=self._begin,
            on_tick=self._tick,
        )
        self.world.seen["sequencer takes over"] += 1
        return self._sequencing

    def _begin(self, sequencer: Sequencer) -> None:
        self.servers.disk.check_redone(sequencer.heads.version)
        if sequencer.heads.size == 0:
            keys = (self._signer.vkey, self._signer.vkey)
            made = genesis(self.origin, *keys, 60, SimClock(self.world).now_us())
            sequencer.commit([], [made, rules(RULES, rules_parts())])

    def _leave(self) -> None:
        self._sequencing = None
        self._version, self._failed = 0, False
        self._tick_us: int | None = None
        book, servers = self.servers.book, self.servers
        self._deriver = Deriver(  # its thread is not started
            DaySources(servers.db, servers.vault, book, servers.registry.at, VeeRules(estimate=0)),
            zones=servers.registry.zones,
            stored_size=servers.stored.size,
            commit=self._commit_close,
            grace_s=GRACE_S,
            back_days=BACK_DAYS,
            on_stop=_never,
        )

    def _is_anothers(self, stop: Stop) -> bool:
        """Whether a Stop only says that another sequencer went on meanwhile."""
        sequencing = self._sequencing
        if stop.code == "lost-swap":
            return True
        if stop.code == "bus-trimmed":
            at = sequencing.position if sequencing is not None else 0
            return self._positions.get(POSITION).offset > at
        known = sequencing.heads.version if sequencing is not None else self._version
        return stop.code in _OF_ANOTHER and self.servers.disk.row.version != known

    def _check(self, sequencing: Sequencing) -> None:
        """Nothing that workers offer may ever be out of order."""
        if sequencing.halted:
            raise Failed(f"halted: {dict(sequencing.halted)}")

    def _idle_s(self, sequencing: Sequencing) -> float:
        published = sequencing.published
        late = published is None or published.size != sequencing.heads.size
        if late or sequencing.gathers():
            return max(0.02, sequencing.wait_s())
        return self.dice.uniform(5, 20)

    def _settle(self) -> None:
        if self.world.now_us - self._settle_us > SETTLE_EVERY_S * SECOND_US:
            self._settle_us = self.world.now_us
            self.servers.disk.settle()

    # -- closes -----------------------------------------------------------------------------

    def _tick(self, now_us: int) -> None:
        self._tick_us = now_us

    def _close_days(self, sequencing: Sequencing) -> None:
        """What is due, once the last close is stored (infra/roles/closes.py)."""
        last, now_us = sequencing.last_close(), self._tick_us
        if now_us is None or (last and not self.servers.book.closes(last - 1)):
            return
        self._tick_us = None
        if self.world.now_us >= self.servers.closes_looked_us + self._closes_every_us:
            self.servers.closes_looked_us = self.world.now_us
            try:
                self._deriver._close_due(now_us)
            except Unavailable:
                if self._failed:  # the commit, not the deriving
                    raise
                self.world.seen["close put off"] += 1

    def _commit_close(self, closed: ClosedDay) -> "Future[Close]":
        sequencing = self._sequencing
        assert sequencing is not None
        if closed.k != sequencing.last_close() + 1:
            raise Unavailable("the last close is not stored yet")
        self.point("sequencer before close", 0.01, 0.1)
        self._failed = True
        close, _ = closed.booked(sequencing.commit_close(closed, RULES))
        self._failed = False
        self.world.seen["closes"] += 1
        done: Future[Close] = Future()
        done.set_result(close)
        return done


def _never(error: GridsealError) -> None:
    raise error
