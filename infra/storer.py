"""The storer of one process: a thread that projects what the log committed, in order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Condition, Event

from bal.errors import Unavailable
from infra.committed import Committed, CommittedClose, Progress
from infra.projector import Projector
from infra.troubles import STORING, Troubles

QUEUE_MAX = 32  # commits; above, the engine waits for the storer
STORE_ENTRIES_MAX = 16_000  # in one go: of more the first would wait long for the last


@dataclass(frozen=True, slots=True)
class Job:
    """What one commit or several in a row brought, and where the log stands after them."""

    commits: Sequence[Committed]
    progress: Progress
    closes: Sequence[CommittedClose] = ()


class Storer:
    """`run` in a thread of its own; `put` by the engine's, in order."""

    def __init__(
        self, projector: Projector, on_stored: Callable[[Job], None], troubles: Troubles
    ) -> None:
        self._projector, self._on_stored, self._troubles = projector, on_stored, troubles
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._changed = Condition()
        self._queued = 0
        self._stopping = False
        self._some, self._ended = Event(), Event()  # of what was stored, and of storing

    def put(self, job: Job) -> None:
        """Queue a commit; waits while too many are queued."""
        with self._changed:
            self._changed.wait_for(lambda: self._queued < QUEUE_MAX or self._stopping)
            self._queued += 1
        self._jobs.put(job)

    def finish(self) -> None:
        """Nothing more will be put: store what is queued, then end."""
        self._jobs.put(None)

    def hurry(self) -> None:
        """Wait for no disk any more: what can't be stored now is made again at the next start."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def run(self) -> None:
        """Store what is queued, several commits at once where the log was quicker."""
        try:
            self._run()
        finally:
            self._ended.set()
            self._some.set()

    def _run(self) -> None:
        begin = self._projector.progress().size
        while (job := self._jobs.get()) is not None:
            taken, ended = 1, False
            while not self._jobs.empty() and job.progress.size - begin < STORE_ENTRIES_MAX:
                more = self._jobs.get()
                if more is None:
                    ended = True
                    break
                job = Job([*job.commits, *more.commits], more.progress, [*job.closes, *more.closes])
                taken += 1
            begin, stored = job.progress.size, self._store(job)
            with self._changed:
                self._queued -= taken
                self._changed.notify_all()
            self._some.set()
            if ended or not stored:
                return

    def tidy(self) -> None:
        """What storing leaves for later, in a thread of its own: no message waits for it."""
        while not self._ended.is_set():
            self._some.wait()
            self._some.clear()
            while not self._ended.is_set() and self._projector.tidy():
                pass

    def _store(self, job: Job) -> bool:
        """Store a job; False where the platform ends before that was possible.

        Then nothing behind it may be stored either.
        """
        while True:
            try:
                self._projector.store(job.commits, job.progress, job.closes)
            except Unavailable as error:  # a full disk: the log has it, so wait and try again
                self._troubles.note(STORING, error)
                with self._changed:
                    if self._changed.wait_for(lambda: self._stopping, timeout=error.retry_after_s):
                        return False
            else:
                break
        self._troubles.over(STORING)
        self._on_stored(job)
        return True
