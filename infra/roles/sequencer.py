"""`gridseal run sequencer`: one process is the active one, the others stand by.

Members only say who tries. Two may believe that they are the active one; the swap of the heads row
lets one of them commit, and the other goes back to standing by (ARCHITECTURE §4).
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from threading import Event, Thread

from bal.certify.log import Sequencer
from bal.closing import ClosedDay
from bal.errors import GridsealError, Stop, Unavailable
from bal.model import Close
from bal.ports import Book, Clock, DayRows, LogStore, Vault
from infra.config import Config
from infra.data_folder import DataFolder, Facts
from infra.file_log import FileLog
from infra.log_signer import log_signer
from infra.outside import open_log
from infra.public_records import write_public_records
from infra.roles.closes import Closes
from infra.roles.ports import Channels, Positions, Stored
from infra.roles.sequencing import AWAY_S, POSITION, Sequencing
from infra.rules import running_rules
from infra.settler import SETTLE_EVERY_S
from infra.signer_memory import GuardedSigner, check_grown
from infra.troubles import SEQUENCING, tell, tell_over

ROLE = "sequencer"
GATHER_S = 0.02  # between two looks at the offers, where they come one by one
STANDBY_S = 0.25  # between two looks at whether this one is to take over
# What a sequencer may meet that was stopped for long, or takes over while another is at work.
_OF_ANOTHER = frozenset(
    {"signer-refuses", "log-ahead", "log-damaged", "checkpoint-ahead", "checkpoint-differs"}
)

logger = logging.getLogger("gridseal.sequencer")


class _Settling:
    """A thread that fsyncs the log's files: first what was redone, then every five seconds."""

    def __init__(self, log: FileLog) -> None:
        self._log, self._ended = log, Event()
        self.failure: GridsealError | OSError | None = None
        self._thread = Thread(target=self._run, name="settler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, once what is under way is done."""
        self._ended.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while True:
            try:
                self._log.settle()
            except Unavailable as error:  # the staging is kept until it succeeds
                logger.warning("settling waits: %s", error)
            except (GridsealError, OSError) as error:
                self.failure = error
                return
            if self._ended.wait(SETTLE_EVERY_S):
                return


@dataclass(slots=True)
class _Term:
    """One stretch of being the active one."""

    number: int  # of the share
    log: FileLog
    version: int  # of the heads row, before anything was done
    sequencing: Sequencing | None = None  # once it has taken over
    settling: _Settling | None = None


class SequencerRole:
    """One process. `run` in one thread; the rest may be asked from any."""

    def __init__(
        self,
        *,
        open_log: Callable[[], FileLog],
        signer: GuardedSigner,
        origin: str,
        channels: Channels,
        positions: Positions,
        clock: Clock,
        interval_s: float,
        closes: Closes,
        write_public: Callable[[Sequencer], object] = lambda _: None,
        measured: Callable[[LogStore], LogStore] = lambda log: log,
    ) -> None:
        """open_log: anew for each take-over, since what one remembers of its edge grows old.

        write_public: commits what the log has to say of this platform (infra/public_records.py);
        measured: a look at the log that takes the time.
        """
        self._open_log, self._signer, self._origin = open_log, signer, origin
        self._channels, self._positions, self._clock = channels, positions, clock
        self._interval_s, self._closes = interval_s, closes
        self._write_public, self._measured = write_public, measured
        self._members = channels.members(ROLE, 1)
        self._term: _Term | None = None
        self._trouble = ""
        self._busy = False

    # -- what others ask --------------------------------------------------------------------

    @property
    def active(self) -> bool:
        """Whether this process believes to be the active one."""
        return self._sequencing() is not None

    def close_day(self, day: date, now_us: int) -> "Future[Close]":
        """Close one day now; see `Closes.close`."""
        return self._closes.close(day, now_us)

    def health(self) -> dict[str, str]:
        """Of each part `ok` or what is wrong; all is well with one that stands by."""
        parts = {"sequencer": "ok", "order": "ok", "days": self._closes.health()}
        sequencing = self._sequencing()
        if sequencing is not None:
            parts |= sequencing.health()
        if self._trouble:
            parts["sequencer"] = self._trouble
        return parts

    def alarms(self) -> list[str]:
        """Codes of the alarms that stand."""
        sequencing = self._sequencing()
        halted = sequencing is not None and bool(sequencing.halted)
        waits = SEQUENCING if self._trouble else ""
        codes = ["batch-out-of-order" if halted else "", self._closes.alarm, waits]
        return [code for code in codes if code]

    def gauges(self) -> dict[str, float]:
        """By name as in infra/metrics.py; of one that stands by only that it does."""
        sequencing = self._sequencing()
        if sequencing is None:
            return {"sequencer_active": 0}
        published = sequencing.published
        return {
            "sequencer_active": 1,
            "log_entries": sequencing.heads.size,
            "published_entries": published.size if published else 0,
            "halted_partitions": len(sequencing.halted),
        }

    # -- the loop ---------------------------------------------------------------------------

    def run(self, stopping: Event) -> None:
        """Until told to stop. Raises Stop where the log is not what it should be.

        What another sequencer causes, or what is away, is told in one line and tried again.
        """
        try:
            while not stopping.is_set():
                try:
                    self._turn(stopping)
                except Unavailable as error:
                    self._wait_for(error, stopping)
                except Stop as stop:
                    self._stand_by(stop, stopping)
            self._finish()
        finally:
            self._leave()
            self._members.close()

    def _turn(self, stopping: Event) -> None:
        """One step of the active one, or one look at whether it is to be this one."""
        number = self._share()
        if self._term is not None and self._term.number != number:
            logger.warning("another process is to be the sequencer, this one stands by")
            self._leave()
        if number is None:
            self._is_over()  # it was away from one that stands by, or is another's to wait for now
            stopping.wait(STANDBY_S)
            return
        sequencing = self._sequencing() or self._take_over(number)
        busy = sequencing.step(0.0 if self._busy else self._wait_s(sequencing, stopping))
        self._busy = self._closes.step(sequencing) or busy
        self._check_settled()
        self._is_over()

    def _wait_s(self, sequencing: Sequencing, stopping: Event) -> float:
        """For how long to wait for an offer: look for ten of them once, not for one ten times."""
        wait_s = sequencing.wait_s()
        if sequencing.gathers() and wait_s > 0:
            stopping.wait(min(wait_s, GATHER_S))
            return 0.0
        return wait_s

    def _share(self) -> int | None:
        """The number of the share of this process; None where it stands by."""
        try:
            return self._members.mine().get(0)
        except Unavailable:  # it fences nobody: who works goes on
            if self._term is None:
                raise
            return self._term.number

    def _take_over(self, number: int) -> Sequencing:
        self._leave()
        began = time.monotonic()
        log = self._open_log()
        self._term = term = _Term(number, log, 0)
        term.version = log.heads().version
        sequencing = Sequencing(
            self._measured(log),
            log,
            self._signer,
            self._origin,
            commitments=self._channels.commitments,
            announcements=self._channels.announcements,
            positions=self._positions,
            clock=self._clock,
            now_s=time.monotonic,
            interval_s=self._interval_s,
            begin=lambda sequencer: self._begin(sequencer, log),
            on_tick=self._closes.tick,
        )
        term.settling = _Settling(log)
        self._closes.begin()
        term.sequencing = sequencing
        took_s = time.monotonic() - began
        heads = sequencing.heads
        logger.info("the sequencer from version %d on, after %.1f s", heads.version, took_s)
        return sequencing

    def _begin(self, sequencer: Sequencer, log: FileLog) -> None:
        check_grown(self._signer.memory, log, sequencer.heads.size)
        self._write_public(sequencer)

    def _check_settled(self) -> None:
        term = self._term
        if term is not None and term.settling is not None and term.settling.failure is not None:
            error = term.settling.failure
            if isinstance(error, GridsealError):
                raise error
            raise Unavailable(f"the log's disk refuses: {error}", retry_after_s=5) from error

    def _wait_for(self, error: Unavailable, stopping: Event) -> None:
        """What a commit or a take-over needs is away; begin again with the heads row."""
        if not self._trouble:
            tell(SEQUENCING, "nothing new is put into the log", error)
        self._trouble = str(error)
        self._leave()
        stopping.wait(min(error.retry_after_s, AWAY_S))

    def _is_over(self) -> None:
        if self._trouble:
            tell_over(SEQUENCING)
            self._trouble = ""

    def _stand_by(self, stop: Stop, stopping: Event) -> None:
        """Where another sequencer caused it; else it is raised again, and ends the process."""
        try:
            if not self._is_anothers(stop):
                raise stop
        except Unavailable as error:  # nobody can say now; if it was not, the next take-over stops
            self._wait_for(error, stopping)
            return
        logger.warning("another sequencer is at work, this one stands by: %s", stop)
        self._leave()
        stopping.wait(AWAY_S)

    def _is_anothers(self, stop: Stop) -> bool:
        """Whether a Stop only says that another sequencer went on meanwhile."""
        term = self._term
        if stop.code == "lost-swap":
            return True
        if term is None:
            return False
        sequencing = term.sequencing
        if stop.code == "bus-trimmed":
            at = sequencing.position if sequencing is not None else 0
            return self._positions.get(POSITION).offset > at
        known = sequencing.heads.version if sequencing is not None else term.version
        return stop.code in _OF_ANOTHER and term.log.heads().version != known

    def _finish(self) -> None:
        """Commit what is ready, so that whoever takes over has little to do."""
        sequencing = self._sequencing()
        if sequencing is None:
            return
        try:
            sequencing.finish()
        except Unavailable as error:
            logger.warning("not all that was offered is in the log yet: %s", error)
        except Stop as stop:
            if not self._is_anothers(stop):
                raise
            logger.warning("another sequencer is at work: %s", stop)

    def _leave(self) -> None:
        """Stand by."""
        term, self._term = self._term, None
        self._closes.end()
        if term is None:
            return
        if term.settling is not None:
            term.settling.stop()
        try:
            term.log.close()
        except (GridsealError, OSError) as error:
            logger.warning("the log's files are not settled, the next start does it: %s", error)

    def _sequencing(self) -> Sequencing | None:
        term = self._term
        return term.sequencing if term is not None else None


def sequencer_role(
    folder: DataFolder,
    config: Config,
    facts: Facts,
    *,
    channels: Channels,
    positions: Positions,
    stored: Stored,
    rows: DayRows,
    vault: Vault,
    book: Book,
    clock: Clock,
    measured: Callable[[LogStore], LogStore] = lambda log: log,
    on_closed: Callable[[ClosedDay], None] = lambda _: None,
) -> SequencerRole:
    """The role on a data folder (infra/roles/making.py).

    stored: as the storer tells it; rows, vault, book: what closes are made from; measured: as
    SequencerRole; on_closed: told of each close that was committed. Raises Stop where the log or
    its key can't be opened, so that one that stands by does not find out too late.
    """
    rules = running_rules()
    new = replace(facts, rules=rules)
    reopen = partial(open_log, folder, clock, cassandra=config.cassandra)
    with suppress(Unavailable):
        log = reopen()
        try:
            log.heads()
        finally:
            log.close()

    def write_public(sequencer: Sequencer) -> None:
        write_public_records(folder, sequencer, new, clock.now_us())

    return SequencerRole(
        open_log=reopen,
        signer=log_signer(config.signer, folder, facts.origin),
        origin=facts.origin,
        channels=channels,
        positions=positions,
        clock=clock,
        interval_s=config.checkpoint.interval_ms / 1000,
        closes=Closes(
            rows,
            vault,
            book,
            stored=stored,
            rules=rules,
            grace_s=config.day.grace_h * 3600,
            back_days=config.day.back_days,
            vee=config.vee.rules(),
            now_s=time.monotonic,
            on_closed=on_closed,
        ),
        write_public=write_public,
        measured=measured,
    )
