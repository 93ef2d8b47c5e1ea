"""Tells senders that their messages are certified: builds summaries off the event loop."""

import asyncio
import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any

from bal.errors import Unavailable
from bal.model import StoredRecord, TreeHead
from bal.ports import TileReader
from infra.announcer import CertifiedMessage
from infra.receipts import Receipts

logger = logging.getLogger("gridseal.notifier")

Deliver = Callable[[str, bytes], None]
RETRY_S, DELIVER_S = 1.0, 0.1
LATE_MAX = 50_000  # messages, each of about a kilobyte


def certified_summary(
    message: str,
    summary: Mapping[str, Any],
    receipts: Receipts,
    published: tuple[TreeHead, bytes],
    row: StoredRecord | None = None,
) -> dict[str, Any]:
    """The certified form of a receipt: one a message (docs/spec/receipt.md).

    row: the message's only row, where it is at hand.
    """
    full: dict[str, Any] = {
        "type": "certified",
        "message": message,
        "batch": summary["batch"],
        "first_index": summary["first_index"],
        "count": summary["count"],
        "checkpoint": published[1].decode(),
        "findings": summary["findings"],
        "refused": summary["refused"],
    }
    if row is not None:
        full["receipt"] = receipts.receipt_of(row, published)
    elif summary["count"] == 1:
        full["receipt"] = receipts.receipt(summary["first_index"])
    return full


class Notifier:
    """One thread between the engine and the event loop.

    A summary that needs a row of a database that is away is told when it is back.
    """

    def __init__(
        self,
        receipts: Receipts,
        tiles: TileReader,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._receipts, self._tiles, self._loop = receipts, tiles, loop
        self._interested: Callable[[], Iterable[str]] = tuple
        self._deliver: Deliver = lambda _, __: None
        self._queue: SimpleQueue[Sequence[CertifiedMessage] | None] = SimpleQueue()
        self._lock = Lock()
        self._waiters: dict[tuple[str, str], list[asyncio.Future[Mapping[str, Any]]]]
        self._waiters = defaultdict(list)
        self._late: list[CertifiedMessage] = []  # what waits for the rows' server
        self._away, self._again_s = False, 0.0  # it is asked again then
        self._thread = Thread(target=self._run, name="notifier", daemon=True)
        self.certified = 0

    def start(self, interested: Callable[[], Iterable[str]], deliver: Deliver) -> None:
        """Begin to tell: by `deliver`, on the event loop, those whom `interested` names."""
        self._interested, self._deliver = interested, deliver
        self._thread.start()

    def stop(self) -> None:
        """Tell what is queued, then end."""
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def put(self, messages: Sequence[CertifiedMessage]) -> None:
        """Messages that became visible; called by the engine."""
        self._queue.put(messages)

    def awaited(self) -> set[str]:
        """Senders of whose messages somebody waits for one."""
        with self._lock:
            return {credential for credential, _ in self._waiters}

    def wait(self, credential: str, message: str) -> "asyncio.Future[Mapping[str, Any]]":
        """A future of the archive's summary, done when the message is next certified."""
        future: asyncio.Future[Mapping[str, Any]] = self._loop.create_future()
        with self._lock:
            self._waiters[credential, message].append(future)
        return future

    def forget(
        self, credential: str, message: str, future: "asyncio.Future[Mapping[str, Any]]"
    ) -> None:
        """Stop waiting."""
        with self._lock:
            waiting = self._waiters.get((credential, message), [])
            if future in waiting:
                waiting.remove(future)
            if not waiting:
                self._waiters.pop((credential, message), None)

    def _run(self) -> None:
        while (messages := self._next()) is not None:
            for message in messages:
                self.certified += 1
                self._wake(message)
            due, self._late = [*self._late, *messages], []
            try:
                self._tell(due)
            except Exception:  # the next ones are told all the same
                logger.exception("%d messages are certified, nobody was told", len(due))
        self._untold(len(self._late))

    def _next(self) -> Sequence[CertifiedMessage] | None:
        """What became visible; nothing, where it is time to try again; None at the end."""
        try:
            return self._queue.get(timeout=RETRY_S if self._late else None)
        except Empty:
            return ()

    def _tell(self, messages: Sequence[CertifiedMessage]) -> None:
        present = frozenset(self._interested())
        published = self._tiles.checkpoint()
        assert published is not None
        ready: list[tuple[str, bytes]] = []
        now_s = time.monotonic()
        waits, due_s = now_s < self._again_s, now_s + DELIVER_S
        for message in messages:
            if message.credential not in present:
                continue
            if waits and message.row is None and message.summary["count"] == 1:
                self._late.append(message)
                continue
            try:
                summary = certified_summary(
                    message.message, message.summary, self._receipts, published, message.row
                )
            except KeyError as error:  # erased
                logger.warning("a sender is not told of %s: %r", message.message, error)
            except Unavailable as error:
                waits = self._wait(error)
                self._late.append(message)
            else:
                ready.append((message.credential, json.dumps(summary).encode()))
            if time.monotonic() >= due_s:  # a row may take long
                self._call(self._deliver_all, ready)
                ready, due_s = [], time.monotonic() + DELIVER_S
        if ready:
            self._call(self._deliver_all, ready)
        self._looked(waits=waits)

    def _wait(self, error: Unavailable) -> bool:
        """The rows' server is away: told once."""
        if not self._away:
            logger.warning("certified receipts wait: %s", error)
        self._away, self._again_s = True, time.monotonic() + RETRY_S
        return True

    def _looked(self, *, waits: bool) -> None:
        if self._away and not waits:
            self._away = False
            logger.info("certified receipts are told again")
        beyond = len(self._late) - LATE_MAX
        if beyond > 0:
            del self._late[:beyond]
            self._untold(beyond)

    @staticmethod
    def _untold(count: int) -> None:
        if count:
            text = "%d messages are certified, and their senders not told: they send again"
            logger.warning(text, count)

    def _wake(self, message: CertifiedMessage) -> None:
        with self._lock:
            futures = self._waiters.pop((message.credential, message.message), [])
        for future in futures:
            self._call(_resolve, future, message.summary)

    def _call(self, callback: Callable[..., None], *arguments: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _deliver_all(self, ready: list[tuple[str, bytes]]) -> None:
        for credential, payload in ready:
            self._deliver(credential, payload)


def _resolve(future: "asyncio.Future[Mapping[str, Any]]", value: Mapping[str, Any]) -> None:
    if not future.done():
        future.set_result(value)
