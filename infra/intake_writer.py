"""Puts accepted messages on the bus in groups, and signs for each that it is there.

One thread: what waits goes into one durable append, so 5,000 senders cost one fsync, not 5,000.
"""

import json
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from time import monotonic, sleep
from typing import Protocol

from bal.certify.commitment import sha256_of
from bal.certify.note import accepted_text
from bal.errors import GridsealError, Stop, Unavailable
from bal.ports import Bus, Clock, Intake, Signer

logger = logging.getLogger("gridseal.intake")

GROUP_MESSAGES_MAX = 1_000
GROUP_BYTES_MAX = 16 * 1024 * 1024
WAITING_BYTES_MAX = 64 * 1024 * 1024
HELD_RETRY_S = 30
LINGER_S = 0.004  # for others to join the same fsync
INCLUDE_WITHIN_US = 60_000_000  # the promise of an accepted note (ARCHITECTURE §5)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The word that a message is on the bus and will be in the log."""

    message: str  # hex SHA-256 of the raw bytes
    batch: str  # <epoch>/<partition>/<offset>
    note: str  # signed by the intake key

    def as_json(self) -> str:
        """What goes to the sender on its receipt channel."""
        return json.dumps({"type": "accepted", "message": self.message, "note": self.note})


Append = Callable[[Sequence[Intake]], list[str]]
"""Makes messages durable, all or none; the batch <epoch>/<partition>/<offset> of each."""


def on_bus(bus: Bus) -> Append:
    """Puts messages on a bus, which has one partition."""

    def append(messages: Sequence[Intake]) -> list[str]:
        return [f"{bus.epoch}/0/{offset}" for offset in bus.append(messages)]

    return append


class Promise(Protocol):
    """A future of asyncio or of concurrent.futures."""

    def done(self) -> bool:
        """Nobody waits any more."""
        ...

    def set_result(self, result: Accepted, /) -> None:
        """The message is on the bus."""
        ...

    def set_exception(self, exception: BaseException, /) -> None:
        """It is not."""
        ...


@dataclass(slots=True)
class _Waiting:
    intake: Intake
    promise: Promise


class IntakeWriter:
    """The only writer of raw messages. `on_appended` is called after each group, in its thread."""

    def __init__(
        self,
        append: Append,
        signer: Signer,
        origin: str,
        clock: Clock,
        on_appended: Callable[[], None],
        *,
        answer: Callable[[Callable[[], None]], None] = lambda tell: tell(),
        on_stop: Callable[[GridsealError], None] = lambda _: None,
    ) -> None:
        """answer: calls what tells the senders of a group, in the thread where they wait.

        on_stop: told where the bus can't be gone on with; called in the thread of this.
        """
        self._put_all = append
        self._signer = signer
        self._origin = origin
        self._clock = clock
        self._on_appended, self._answer, self._on_stop = on_appended, answer, on_stop
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._lock = Lock()
        self._waiting_bytes = 0
        self._closed = "the platform is starting"
        self._held = ""
        self._began_s: float | None = None  # the append under way
        self._under_way: Sequence[_Waiting] = ()
        self._thread = Thread(target=self._run, name="intake-writer", daemon=True)
        self.accepted = 0

    def start(self) -> None:
        """Begin to accept."""
        self._closed = ""
        self._thread.start()

    def refuse(self, reason: str) -> None:
        """Accept nothing from now on; what waits is still answered."""
        self._closed = reason

    def hold(self, reason: str) -> None:
        """Accept nothing for now, for a reason that may pass; "": accept again."""
        self._held = reason

    def stop(self, within_s: float | None = None) -> bool:
        """Answer what waits, then end the thread; whether it ended.

        within_s: after so long without an answer of the bus, who waits is told Unavailable. What of
        it is on the bus all the same was acknowledged to nobody.
        """
        self.refuse(self._closed or "the platform is stopping")
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join(within_s)
        if self._thread.is_alive():
            self._let_go()
        return not self._thread.is_alive()

    def _let_go(self) -> None:
        """Of all that wait."""
        waiting = list(self._under_way)
        with suppress(Empty):
            while True:
                waiting += [one for one in (self._queue.get_nowait(),) if one is not None]
        self._queue.put(None)
        error = Unavailable("the platform is stopping; the bus does not answer", retry_after_s=5)
        outcomes = [error] * len(waiting)
        self._answer(partial(_tell, [one.promise for one in waiting], outcomes))

    @property
    def waiting_bytes(self) -> int:
        """Of messages that are not durable yet."""
        return self._waiting_bytes

    @property
    def waited_s(self) -> float:
        """For so long the append under way has no answer; 0 where there is none."""
        began_s = self._began_s
        return 0.0 if began_s is None else monotonic() - began_s

    def submit(self, credential: str, form: str, raw: bytes) -> "Future[Accepted]":
        """As `put`, with a future of its own."""
        future: Future[Accepted] = Future()
        self.put(credential, form, raw, future)
        return future

    def put(self, credential: str, form: str, raw: bytes, promise: Promise) -> None:
        """Queue one guarded message; `promise` is kept once it is durable and signed for.

        Raises Unavailable when too much waits already or nothing is accepted.
        """
        if self._closed:
            raise Unavailable(self._closed, retry_after_s=5)
        if self._held:
            raise Unavailable(self._held, retry_after_s=HELD_RETRY_S)
        with self._lock:
            if self._waiting_bytes + len(raw) > WAITING_BYTES_MAX:
                raise Unavailable("the intake is full", retry_after_s=2)
            self._waiting_bytes += len(raw)
        intake = Intake(credential, form, self._clock.now_us(), raw)
        self._queue.put(_Waiting(intake, promise))

    def _run(self) -> None:
        while True:
            group = self._next_group()
            if group:
                self._append(group)
            if group is None:
                return

    def _next_group(self) -> list[_Waiting] | None:
        """What waits, at least one; None at the end."""
        first = self._queue.get()
        if first is None:
            return None
        sleep(LINGER_S)
        group, size = [first], len(first.intake.raw)
        while len(group) < GROUP_MESSAGES_MAX and size < GROUP_BYTES_MAX:
            try:
                more = self._queue.get_nowait()
            except Empty:
                break
            if more is None:
                self._queue.put(None)  # for the next round
                break
            group.append(more)
            size += len(more.intake.raw)
        return group

    def _append(self, group: list[_Waiting]) -> None:
        outcomes: Sequence[Accepted | GridsealError]
        self._under_way = group
        try:
            outcomes = self._appended(group)
        except Stop as error:
            self._on_stop(error)
            outcomes = [error] * len(group)
        except GridsealError as error:
            outcomes = [error] * len(group)
        except Exception as error:  # a defect; whoever waits is answered, and the next ones are
            logger.critical("unexpected", exc_info=error)
            failed = Unavailable("the bus failed; the platform's log says why", retry_after_s=5)
            outcomes = [failed] * len(group)
        self._under_way = ()
        with self._lock:
            self._waiting_bytes -= sum(len(waiting.intake.raw) for waiting in group)
        self._answer(partial(_tell, [waiting.promise for waiting in group], outcomes))
        self._on_appended()  # after the senders were answered: the worker is in no hurry

    def _appended(self, group: Sequence[_Waiting]) -> list[Accepted]:
        self._began_s = monotonic()
        try:
            batches = self._put_all([waiting.intake for waiting in group])
        finally:
            self._began_s = None
        self.accepted += len(group)
        return [
            self._sign(waiting.intake, batch) for waiting, batch in zip(group, batches, strict=True)
        ]

    def _sign(self, intake: Intake, batch: str) -> Accepted:
        message = sha256_of(intake.raw)
        text = accepted_text(
            self._origin, message, batch, intake.received_us, intake.received_us + INCLUDE_WITHIN_US
        )
        note = text + b"\n" + self._signer.sign(text)
        return Accepted(message.hex(), batch, note.decode())


def _tell(promises: Sequence[Promise], outcomes: Sequence[Accepted | GridsealError]) -> None:
    for promise, outcome in zip(promises, outcomes, strict=True):
        if promise.done():  # its session ended
            continue
        if isinstance(outcome, Accepted):
            promise.set_result(outcome)
        else:
            promise.set_exception(outcome)
