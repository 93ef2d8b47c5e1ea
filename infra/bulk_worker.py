"""Hands messages to processes of their own, ahead of their turn (docs/decisions/0012).

One interpreter runs one thread at a time. What a message of 1,000 meters costs most, reading and
committing, is a function of its bytes and of the subjects that it names; so another process can do
it while the platform seals, stores and publishes. Smaller messages go together, where many wait. An
answer counts only where it is what the worker would make at that time; else the worker makes it.
"""

import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from time import monotonic

from bal.errors import GridsealError
from bal.model import RawMessage, Subject
from bal.pipeline import WINDOW_FORMATS, Known, Worked, Worker
from bal.times import year
from infra.bulk_process import BulkProcess, ProcessGone
from infra.bulk_wire import (
    UNDER_WAY_MAX,
    Columns,
    Row,
    Task,
    frame,
    read_columns,
    read_frames,
    row,
)

logger = logging.getLogger("gridseal.bulk")

BULK_BYTES_MIN = 64 * 1024  # of one message, or of several: less is done sooner than sent
AHEAD_BYTES_MAX = 16 * 1024 * 1024
LARGE_UNDER_WAY_MAX = 4
AHEAD_SMALL_BYTES_MAX = 2 * 1024 * 1024
ANSWER_WITHIN_S = 10.0  # 4 MiB take a quarter of a second
RESTART_AFTER_S = 10.0


def processes_for(limit: int) -> int:
    """How many to use: one core is the platform's, the others may have one each."""
    cores = len(os.sched_getaffinity(0))
    return min(limit, max(1, cores - 1))


@dataclass(eq=False, slots=True)
class _Table:
    """The subjects of one sender and year as processes are told of them."""

    number: int
    known: Known
    subjects: list[Subject]  # the platform's, the sender's own, those of `known` in its order

    def counts(self, known: Known | None) -> bool:
        """Whether it still says what registry and vault say."""
        mine = self.known
        return known is not None and (
            known.subjects is mine.subjects
            and (known.platform, known.own) == (mine.platform, mine.own)
        )

    def rows(self, told: int) -> list[Row]:
        """Those from number `told` on, which were not told yet."""
        known = self.known
        if len(self.subjects) - 2 < len(known.subjects):
            self.subjects += islice(known.subjects.values(), len(self.subjects) - 2, None)
        if told == len(self.subjects):
            return []
        if told:
            return [row(*one) for one in islice(known.subjects.items(), told - 2, None)]
        first = [row(None, known.platform), row(None, known.own)]
        return first + [row(*one) for one in known.subjects.items()]


@dataclass(eq=False, slots=True)
class _Sent:
    """Messages that a process works on together, and what it made of them."""

    messages: list[tuple[RawMessage, _Table]]
    helper: "_Helper"
    size: int  # of all of them, bytes
    answers: Sequence[Columns | None] | None = None  # None as long as there is none

    @property
    def number(self) -> int:
        """The offset of the first."""
        return self.messages[0][0].offset


@dataclass(eq=False, slots=True)
class _Helper:
    """A process, and what it has been given."""

    process: BulkProcess
    under_way: deque[_Sent] = field(default_factory=deque)
    told: dict[int, int] = field(default_factory=dict)  # table → how many of its subjects
    generation: int = 0  # of the tables
    is_quick: bool = True  # its last answer was there before it was asked for

    def has_room(self) -> bool:
        """Whether it may be given another."""
        tasks, size = len(self.under_way), sum(sent.size for sent in self.under_way)
        if tasks < LARGE_UNDER_WAY_MAX:
            return size < AHEAD_BYTES_MAX
        return tasks < UNDER_WAY_MAX and size < AHEAD_SMALL_BYTES_MAX


class BulkWorker:
    """For the engine's thread; `stop` for any."""

    def __init__(
        self,
        worker: Worker,
        processes_max: int,
        tag: Callable[[str, bytes], bytes] = lambda *_: b"",
    ) -> None:
        """processes_max: 0 for none; the first is started when there is something to do for it.

        tag: of `SealingArchive`, by which processes can seal, too.
        """
        self._worker, self._processes_max, self._tag = worker, processes_max, tag
        self._helpers: list[_Helper] = []
        self._waiting: deque[tuple[RawMessage, bytes]] = deque()
        self._waiting_bytes = 0
        self._sent: dict[int, tuple[_Sent, int]] = {}  # by offset, ascending; which of them
        self._tables: dict[tuple[str, int], _Table] = {}
        self._generation = self._numbered = 0
        self._not_before_s = float("-inf")
        self._stopped = False
        self.answered = 0  # messages that a process has worked through, for tests and measurements

    def ahead(self, messages: Sequence[tuple[RawMessage, bytes]]) -> None:
        """These come next, in this order: begin with them, where they are worth it.

        messages: each with its SHA-256.
        """
        if not self._processes_max:
            return
        self._waiting = deque(one for one in messages if one[0].offset not in self._sent)
        self._waiting_bytes = sum(len(one.raw) for one, _ in self._waiting)
        if messages:
            self._hand_out(messages[0][0].offset)

    def worked(self, message: RawMessage) -> Worked | None:
        """What `Worker.process` would make of the message now; None where it has to.

        Messages are asked for in the order of the bus, each once.
        """
        if not (self._sent or self._waiting):
            return None
        while self._waiting and self._waiting[0][0].offset <= message.offset:
            self._waiting_bytes -= len(self._waiting.popleft()[0].raw)
        place = self._sent.get(message.offset)
        if place is not None and place[0].answers is None:
            self._answer(place[0])
        self._hand_out(message.offset + 1)
        if place is None:
            return None
        sent, at = place
        sent_message, table = sent.messages[at]
        found = sent.answers[at] if sent.answers else None
        if found is None or sent_message != message:
            return None
        if not table.counts(self._worker.known(message)):
            return None  # the registry changed in between
        try:
            if message.format in WINDOW_FORMATS:
                read, sealed = read_frames(found, table.subjects)
                worked = self._worker.process(message, read)
                worked.sealed = sealed if worked.parts is read.parts else None
            else:
                worked = read_columns(message, found, table.subjects)
                if not self._worker.stands(worked):
                    return None  # late readings of who lived there before
        except (ValueError, TypeError, IndexError) as error:
            if sent.helper in self._helpers:
                self._fail(sent.helper, ProcessGone(f"its answer is none: {error}"))
            return None
        self.answered += 1
        return worked

    def stop(self) -> None:
        """Wait for no process any more, and start none; the engine goes on by itself."""
        self._stopped = True
        for helper in list(self._helpers):
            helper.process.kill()

    def close(self) -> None:
        """End the processes; once the engine's thread has ended."""
        self.stop()
        while self._helpers:
            self._drop(self._helpers[0])

    # -- processes --------------------------------------------------------------------------

    def _hand_out(self, now: int) -> None:
        """Give out what waits; `now` is the offset of the message that is asked for next."""
        while self._sent and (oldest := next(iter(self._sent))) < now:
            del self._sent[oldest]
        for helper in list(self._helpers):
            try:
                while helper.under_way and helper.under_way[0].messages[-1][0].offset < now:
                    if not self._next_answer(helper, 0):  # of retries: nobody asked for it
                        break
            except ProcessGone as error:
                self._fail(helper, error)
        while self._waiting_bytes >= BULK_BYTES_MIN and (free := self._with_room()) is not None:
            self._give(free, self._next_messages())

    def _with_room(self) -> _Helper | None:
        """The process that has least to do; one more is on its way where all have enough."""
        free: list[_Helper] = []
        starting = False
        for helper in list(self._helpers):
            try:
                if not helper.process.ready():
                    starting = True
                    if monotonic() - helper.process.started_s > ANSWER_WITHIN_S:
                        self._fail(helper, ProcessGone("it does not start"))
                elif helper.has_room():
                    free.append(helper)
            except ProcessGone as error:
                self._fail(helper, error)
        if free:
            return min(free, key=lambda helper: len(helper.under_way))
        if not starting and len(self._helpers) < self._processes_max:
            self._start()
        return None

    def _start(self) -> None:
        if self._stopped or monotonic() < self._not_before_s:
            return
        try:
            self._helpers.append(_Helper(BulkProcess()))
        except OSError as error:
            self._not_before_s = monotonic() + RESTART_AFTER_S
            logger.warning("no process for bulk messages: %s", error.strerror)

    def _next_messages(self) -> list[tuple[RawMessage, bytes]]:
        """The first ones that wait, as many as are worth a task."""
        found, size = [], 0
        while size < BULK_BYTES_MIN:
            found.append(self._waiting.popleft())
            size += len(found[-1][0].raw)
        self._waiting_bytes -= size
        return found

    def _give(self, helper: _Helper, messages: Sequence[tuple[RawMessage, bytes]]) -> None:
        tables: dict[tuple[str, int], _Table | None] = {}
        given: list[tuple[RawMessage, _Table]] = []
        tags: list[bytes] = []
        for one, message_id in messages:
            key = (one.credential, year(one.received_us))
            if key not in tables:
                tables[key] = self._table_for(one, key)
            if (table := tables[key]) is not None:
                given.append((one, table))
                # Who is waited for has enough to do: the storer seals then.
                tags.append(self._tag(one.credential, message_id) if helper.is_quick else b"")
        if not given:
            return
        forget = helper.generation != self._generation
        if forget:
            helper.told.clear()
            helper.generation = self._generation
        told: list[tuple[int, list[Row]]] = []
        for table in dict.fromkeys(table for _, table in given):
            if new := table.rows(helper.told.get(table.number, 0)):
                told.append((table.number, new))
            helper.told[table.number] = len(table.subjects)
        sent = _Sent(given, helper, sum(len(one.raw) for one, _ in given))
        task = Task(
            sent.number,
            (given[0][0].epoch, given[0][0].partition),
            forget,
            told,
            [
                (table.number, m.offset, m.credential, m.format, m.received_us, m.raw, tag)
                for (m, table), tag in zip(given, tags, strict=True)
            ],
        )
        self._sent |= {one.offset: (sent, at) for at, (one, _) in enumerate(given)}
        helper.under_way.append(sent)
        try:
            helper.process.send(frame(tuple(task)))
        except ProcessGone as error:
            self._fail(helper, error)

    def _table_for(self, message: RawMessage, key: tuple[str, int]) -> _Table | None:
        """What a message is worked with; None where the platform must see for itself.

        key: its sender and year.
        """
        known = None
        with suppress(GridsealError, KeyError):  # the worker will say so in its turn
            known = self._worker.known(message)
        if known is None or not known.subjects:
            return None
        table = self._tables.get(key)
        if table is not None and table.counts(known):
            return table
        if table is not None:  # the others are out of date with it
            self._tables.clear()
            self._generation += 1
        self._numbered += 1
        table = _Table(self._numbered, known, [known.platform, known.own])
        self._tables[key] = table
        return table

    def _answer(self, wanted: _Sent) -> None:
        """What the process makes of these messages; answers before theirs come first."""
        helper = wanted.helper
        try:
            helper.is_quick = True
            while wanted.answers is None and helper.under_way:
                if not self._next_answer(helper, 0):
                    helper.is_quick = False
                    self._next_answer(helper, ANSWER_WITHIN_S)
        except ProcessGone as error:
            self._fail(helper, error)

    def _next_answer(self, helper: _Helper, within_s: float) -> bool:
        """Of what it was given first; False where `within_s` is 0 and it is not here."""
        found = helper.process.answer(within_s)
        if found is None:
            return False
        sent = helper.under_way[0]
        try:
            number, answers = found
            if number != sent.number or len(answers) != len(sent.messages):
                raise ValueError
        except (TypeError, ValueError) as error:
            raise ProcessGone(f"it does not answer about message {sent.number}") from error
        sent.answers = answers
        helper.under_way.popleft()
        return True

    def _fail(self, helper: _Helper, error: ProcessGone) -> None:
        """Go on without it, and with another one after a while."""
        if not self._stopped:
            self._not_before_s = monotonic() + RESTART_AFTER_S
            logger.warning("a process for bulk messages is given up: %s", error)
        self._drop(helper)

    def _drop(self, helper: _Helper) -> None:
        self._helpers.remove(helper)
        for sent in helper.under_way:
            sent.answers = ()
        helper.process.close()
