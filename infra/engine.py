"""Worker, sequencer and publisher of one process, in one thread (infra/storer.py has another).

The loop takes what the bus has and makes batches of it as it comes; once a checkpoint is due, or
many have come together, it commits them in one version, hands the rows to the storer and publishes.
What is visible is what is published and stored.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, Event, Thread
from time import monotonic

from bal.certify.commitment import sha256_of
from bal.certify.log import Batch, Sequencer, tick
from bal.closing import ClosedDay
from bal.errors import GridsealError, Stop, Unavailable
from bal.model import Close, RawMessage, TreeHead
from bal.pipeline import BATCH_ENTRIES_MAX, Worked, Worker
from bal.ports import Bus, Clock
from infra.announcer import Announcer, CertifiedMessage
from infra.archive_seal import SealingArchive
from infra.bulk_worker import BulkWorker
from infra.committed import Committed, CommittedClose, Progress
from infra.projector import Projector
from infra.retries import Key, Retries, Summary
from infra.settler import Settler
from infra.storer import Job, Storer
from infra.troubles import BUS, SIGNER, Troubles, ending

logger = logging.getLogger("gridseal.engine")

READ_MESSAGES = 256
GATHER_S = 0.02  # between two looks at the bus, where messages come one by one
COMMIT_MESSAGES = 128  # docs/decisions/0006: fewer wait for the next checkpoint
TICK_EVERY_US = 60_000_000
FLUSH_EVERY_S = 0.5  # looks at the windows of phasor frames


@dataclass(slots=True)
class _Open:
    """What is worked through and not committed yet."""

    works: list[tuple[Worked, bytes, Summary | None]] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    keys: set[Key] = field(default_factory=set)
    entries: int = 0
    full: bool = False  # takes nothing more


class Engine:
    """Runs the pipeline. `on_certified` and `on_stop` are called from its threads."""

    def __init__(
        self,
        *,
        bus: Bus,
        sequencer: Sequencer,
        worker: Worker,
        projector: Projector,
        archive: SealingArchive,
        clock: Clock,
        rules: str,
        next_offset: int,
        interval_s: float,
        settle: Callable[[], None],
        on_certified: Callable[[Sequence[CertifiedMessage]], None],
        on_tick: Callable[[int], None],
        on_stop: Callable[[GridsealError], None],
        on_flush: Callable[[int], None] = lambda _: None,
        bulk_processes: int = 0,
    ) -> None:
        """on_flush: puts a flush of that time on the bus (docs/spec/pmu.md)."""
        self._bus, self._sequencer, self._worker = bus, sequencer, worker
        self._bulk = BulkWorker(worker, bulk_processes, archive.tag)
        self._projector, self._archive, self._clock = projector, archive, clock
        self._rules, self._next, self._interval_s = rules, next_offset, interval_s
        self._announcer = Announcer(on_certified)
        self._on_tick, self._on_stop, self._on_flush = on_tick, on_stop, on_flush
        self._wake, self._ended = Condition(), Event()
        self._stopping = False
        self._work = False
        self._retries = Retries(archive)
        self.troubles = Troubles()
        self._storer = Storer(projector, self._stored, self.troubles)
        self._published: TreeHead | None = None
        self.stored_size = projector.progress().size
        self._last_tick_us = 0
        self._last_publish_s = self._last_look_s = self._last_flush_s = float("-inf")
        self._commit_took_s = 0.0
        self._open = _Open()
        self._closing: deque[tuple[ClosedDay, Future[Close]]] = deque()
        self.worked = 0  # messages since the start
        self._last_count = 0  # messages found at the last look
        self._left: list[tuple[RawMessage, Key]] = []  # of them, those that are not taken yet
        self.settler = Settler(
            settle=settle,
            projector=projector,
            bus=bus,
            log_size=lambda: sequencer.heads.size,
            troubles=self.troubles,
        )
        self._threads = [
            Thread(target=self._guarded, args=(run,), name=name, daemon=True)
            for name, run in (
                ("pipeline", self._run),
                ("storer", self._storer.run),
                ("tidier", self._storer.tidy),
                ("settler", self.settler.run),
            )
        ]

    @property
    def published(self) -> TreeHead | None:
        """The newest published head."""
        return self._published

    @property
    def visible_size(self) -> int:
        """Entries below it are published and stored: the only ones that anybody is shown."""
        published = self._published.size if self._published else 0
        return min(published, self.stored_size)

    def start(self) -> None:
        """Publish where the log stands, then begin to work. Raises Stop for another bus or log."""
        self._check_bus()
        self._publish()
        for thread in self._threads:
            thread.start()

    def _check_bus(self) -> None:
        """The bus must be the one that the log took from, and have all that it took."""
        taken = self._sequencer.heads.taken
        source = f"{self._bus.epoch}/0"
        if taken and source not in taken:
            raise Stop("bus-went-backwards", "the bus is another than the log took messages from")
        last = taken.get(source, -1)
        if self._bus.end() <= last:
            raise Stop("bus-went-backwards", f"the bus ends below message {last + 1}")
        if self._next != last + 1:
            text = f"the log took messages up to {last}, the next one would be {self._next}"
            raise Stop("projection-differs", text)

    def wake(self) -> None:
        """There is something on the bus."""
        with self._wake:
            self._work = True
            self._wake.notify_all()

    def close(self, closed: ClosedDay) -> "Future[Close]":
        """Commit a close; done once it is visible. Fails with Unavailable where we are stopping."""
        future: Future[Close] = Future()
        with self._wake:
            if self._stopping:  # nobody will look at what waits any more
                future.set_exception(Unavailable("the platform is stopping", retry_after_s=5))
            else:
                self._closing.append((closed, future))
                self.wake()
        return future

    def stop(self) -> None:
        """Finish the commit at hand, store and sync it, and end."""
        self._end()
        self.settler.stop()
        self._bulk.stop()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=10)
        self._bulk.close()
        self._abandon()
        self._projector.sync()

    # -- the loop ---------------------------------------------------------------------------

    def _guarded(self, run: Callable[[], None]) -> None:
        try:
            run()
        except GridsealError as error:
            self._halt(ending(error))
        except Exception as error:
            logger.critical("unexpected", exc_info=error)
            self._halt(Stop("internal-error", f"{type(error).__name__}: {error}"))

    def _end(self) -> None:
        with self._wake:
            self._stopping = True
            self._ended.set()
            self._wake.notify_all()
        self._storer.hurry()

    def _abandon(self) -> None:
        """Closes that will not be committed by this process any more."""
        error = Unavailable("the platform is stopping", retry_after_s=5)
        while self._closing:
            self._closing.popleft()[1].set_exception(error)
        self._announcer.abandon(error)

    def _halt(self, error: GridsealError) -> None:
        self._end()
        self._storer.finish()
        self.settler.stop()
        self._abandon()
        self._on_stop(error)

    def _run(self) -> None:
        while not self._stopping:
            messages = self._read()
            self._bulk.ahead([(message, key[1]) for message, key in messages])
            firsts = self._retries.firsts([key for _, key in messages])
            for message, key in messages:
                if not self._take(message, key, firsts.get(key)):
                    break  # its turn comes after the commit
            self._left = [one for one in messages if one[0].offset >= self._next]
            public = self._ticks()
            if public or self._commit_due():
                self._commit(public)
            if public:
                self._on_tick(self._last_tick_us)
            while self._closing:
                self._commit_close(*self._closing.popleft())
            if self._publish_due():
                self._publish()
            if len(messages) < READ_MESSAGES:  # else what is waited for may stand on the bus
                self._flush_due()
            if not messages:
                self._wait()
        if self._open.works:
            self._commit([])
        self._publish()
        self._storer.finish()

    def _read(self) -> list[tuple[RawMessage, Key]]:
        """What comes next: what is left of the last look at the bus, and what it has since."""
        left = self._left
        if not left:
            self._gather()
        self._work = False
        after = self._next + len(left)
        try:
            new = self._bus.read(after, READ_MESSAGES - len(left))
            if not left and not new and self._bus.end() < after:
                raise Stop("bus-went-backwards", f"the bus ends below message {after}")
        except Unavailable as error:  # a server that is away: who sends is told by the intake
            self._ended.wait(self.troubles.note(BUS, error))
            new = []
        else:
            self.troubles.over(BUS)
        messages = left + [(one, (one.credential, sha256_of(one.raw))) for one in new]
        self._last_look_s, self._last_count = monotonic(), len(messages)
        return messages

    def _wait(self) -> None:
        waits = [1.0]
        if self._open.works:
            waits.append(self._commit_in())
        if (due := self._publish_in()) is not None:
            waits.append(due)
        with self._wake:
            if not self._work and not self._stopping:
                self._wake.wait(timeout=max(0.0005, min(waits)))

    def _gather(self) -> None:
        """Look at the bus for ten messages once, not for one ten times."""
        window = self._last_look_s + GATHER_S - monotonic()
        if self._open.works:
            window = min(window, self._commit_in())
        if self._last_count < READ_MESSAGES // 2 and window > 0:
            self._ended.wait(window)

    def _ticks(self) -> list[bytes]:
        now_us = self._clock.now_us()
        if 0 <= now_us - self._last_tick_us < TICK_EVERY_US:
            return []  # a clock that was set back ticks at once, not when it has caught up
        self._last_tick_us = now_us
        return [tick(now_us)]

    def _flush_due(self) -> None:
        """Ask for a flush where windows of phasor frames wait for frames that don't come."""
        if monotonic() - self._last_flush_s >= FLUSH_EVERY_S:
            self._last_flush_s, now_us = monotonic(), self._clock.now_us()
            if self._worker.windows.flush_due(now_us):
                self._on_flush(now_us)

    def _progress(self) -> Progress:
        """Where the log stands now that all messages worked through are in it."""
        heads = self._sequencer.heads
        needed = self._worker.windows.needed_from(self._next)
        return Progress(heads.version, heads.size, self._next, needed)

    def _take(self, message: RawMessage, key: Key, first: Summary | None) -> bool:
        """Work through one message; False where what is open must be committed first.

        first: the summary of the same message, where this is a retry.
        """
        now = self._open
        if now.full or key in now.keys:  # a retry is answered with its first one's place
            now.full = True
            return False
        if first is not None:
            worked = Worked(message, again=str(first["batch"]))
        else:
            worked = self._bulk.worked(message) or self._worker.process(message)
            self._worker.apply(worked.drafts)
            now.keys.add(key)
        heads = self._sequencer.heads
        last = heads.taken.get(f"{self._bus.epoch}/0", -1)
        if now.works:
            last = now.works[-1][0].message.offset
        inputs = {"registry": str(heads.size + now.entries), "rules": self._rules}
        now.batches += worked.batches(last, inputs)
        now.entries += len(worked.entries)
        now.works.append((worked, key[1], first))
        now.full = now.entries >= BATCH_ENTRIES_MAX or len(now.works) >= READ_MESSAGES
        self._next += 1
        return True

    def _commit_in(self) -> float:
        """Seconds until what is open is committed, so that it is in the next checkpoint."""
        lead = min(self._commit_took_s, self._interval_s / 2)
        return self._last_publish_s + self._interval_s - lead - monotonic()

    def _commit_due(self) -> bool:
        now = self._open
        many = now.full or len(now.works) >= COMMIT_MESSAGES
        return bool(now.works) and (many or self._commit_in() <= 0)

    def _commit(self, public: Sequence[bytes]) -> None:
        """Commit what is open, and hand it over to the storer."""
        began = monotonic()
        done, self._open = self._open, _Open()
        firsts = self._sequencer.commit(done.batches, public)
        self.worked += len(done.works)
        at = [i for i, batch in enumerate(done.batches) if batch.part == 0]
        commits = [
            Committed(work[0], firsts[i], work[1]) for work, i in zip(done.works, at, strict=True)
        ]
        self._commit_took_s = monotonic() - began
        self._hand_over(commits, done.works)

    def _commit_close(self, closed: ClosedDay, future: "Future[Close]") -> None:
        """Commit device-days and their close record in one version of their own."""
        if self._open.works:
            self._commit([])
        inputs = {"rules": self._rules}
        firsts = self._sequencer.commit(closed.batches(inputs), [closed.record])
        close, _ = closed.booked(firsts[0])
        heads = self._sequencer.heads
        self._announcer.add_close(heads.size, close, future)
        self._storer.put(Job([], self._progress(), [CommittedClose(closed, firsts[0])]))

    def _hand_over(
        self,
        commits: list[Committed],
        works: Sequence[tuple[Worked, bytes, Summary | None]],
    ) -> None:
        told: list[tuple[int, CertifiedMessage]] = []
        for commit, (worked, digest, first) in zip(commits, works, strict=True):
            credential = worked.message.credential
            summary = first if first is not None else commit.as_json()
            size = int(str(summary["first_index"])) + int(str(summary["count"]))
            if first is None:
                self._retries.note((credential, digest), commit)
            single = first is None and len(worked.entries) == 1
            row = worked.rows(commit.first)[0] if single else None
            told.append((size, CertifiedMessage(credential, digest.hex(), summary, row)))
        self._announcer.add(told)
        self._storer.put(Job(commits, self._progress()))

    def _stored(self, job: Job) -> None:
        """Called by the storer."""
        self._retries.stored(job.commits)
        self.stored_size = job.progress.size
        self._announcer.visible(self.visible_size)

    # -- publisher --------------------------------------------------------------------------

    def _publish_in(self) -> float | None:
        """Seconds until the next checkpoint is due; None when nothing is new."""
        if self._published is not None and self._published.size == self._sequencer.heads.size:
            return None
        return self._last_publish_s + self._interval_s - monotonic()

    def _publish_due(self) -> bool:
        due = self._publish_in()
        return due is not None and due <= 0

    def _publish(self) -> None:
        if self._sequencer.heads.size == 0:
            return
        try:
            head, _ = self._sequencer.publish()
        except Unavailable as error:  # the signer is away: what is committed is published later
            self._ended.wait(self.troubles.note(SIGNER, error))
            return
        self.troubles.over(SIGNER)
        self._last_publish_s = monotonic()
        self._published = head
        self._announcer.visible(self.visible_size)
