"""What a process that takes no part in the pipeline knows of it: collectors, gateways, anchorers.

A thread looks, some dozen times a second, at what the storer has stored and the sequencer has
published. It keeps a registry up to date in place, and walks the log's headers to tell of messages
that became visible, whichever process accepted them.
"""

import json
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from threading import Event, Thread
from time import monotonic
from typing import Any

from bal import jcs
from bal.certify.log import OWN_SOURCE
from bal.certify.order import CLAIM
from bal.closing import DERIVED
from bal.errors import GridsealError, Stop, Unavailable
from bal.model import TreeHead
from bal.ports import Clock, Heads
from bal.registry import Registry
from infra.announcer import CertifiedMessage
from infra.file_log import FileLog
from infra.log_reader import ALL_OF_A_VERSION, HEADERS_AT_ONCE, Place
from infra.roles.ports import RawTopic, Stored
from infra.sqlite_archive import SqliteArchive
from infra.troubles import BUS, HEADS, tell, tell_over

LOOK_S = 0.03
COUNT_S = 0.25  # between two looks at how much waits on the bus
AWAY_S = 1.0  # before the next look where a server is away
TOLD_AGAIN_US = 60_000_000  # a start tells what became visible since: its senders may wait for it
LATE_S = 30.0  # after which a stored message that the archive lacks is left: it was erased
JOIN_S = 3.0

logger = logging.getLogger("gridseal.follow")

Message = tuple[str, int, int]  # epoch, partition, offset


@dataclass(slots=True)
class _Late:
    message: Message
    first: int  # where its entries would be; it is stored once more than that is
    since_s: float | None = None  # it is stored, or nothing of it ever will be


class Follower:
    """One thread; what it knows may be read from any."""

    def __init__(
        self,
        *,
        stored: Stored,
        log: FileLog,
        archive: SqliteArchive,
        registry: Registry,
        clock: Clock,
        wanted: Callable[[], Collection[str]] = tuple,
        on_certified: Callable[[Sequence[CertifiedMessage]], None] = lambda _: None,
        on_revoked: Callable[[str, str], None] = lambda _, __: None,
        on_stop: Callable[[GridsealError], None] = lambda _: None,
    ) -> None:
        """registry: is kept up to date, for all who hold it.

        wanted: senders that are to be told of messages, here; on_certified: told of them, in order
        of the log; on_revoked: told of a sender ("sender", name) or a client ("grant", id) that is
        no longer active. All three are called in the thread of this.
        """
        self._stored, self._log, self._archive = stored, log, archive
        self._registry, self._clock, self._wanted = registry, clock, wanted
        self._on_certified, self._on_revoked, self._on_stop = on_certified, on_revoked, on_stop
        self._published: TreeHead | None = None
        self._stored_size = 0
        self._place: Place = (0, 0)
        self._late: list[_Late] = []
        self._away = ""
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="follower", daemon=True)

    @property
    def published(self) -> TreeHead | None:
        """The newest published head."""
        return self._published

    @property
    def stored_size(self) -> int:
        """Rows below it are stored, and the registry here is that of this size at least."""
        return self._stored_size

    @property
    def visible_size(self) -> int:
        """Entries below it are published and stored."""
        published = self._published.size if self._published else 0
        return min(published, self._stored_size)

    def health(self) -> str:
        """`ok`, or which server is away."""
        return self._away or "ok"

    def start(self) -> None:
        """Look once, so that what is read is up to date; then go on. Raises Stop, Unavailable."""
        self._look()
        since = self._log.size_at(self._clock.now_us() - TOLD_AGAIN_US)
        self._place = place_of(self._log, since)
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)

    # -- the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        pause_s = LOOK_S
        while not self._stopping.wait(pause_s):
            pause_s = LOOK_S
            try:
                self._look()
                self._tell()
            except Unavailable as error:
                pause_s = AWAY_S
                self._note(str(error))
            except GridsealError as error:
                self._on_stop(error)
                return
            except Exception as error:  # a defect: nobody is told any more, and all see why
                logger.critical("unexpected", exc_info=error)
                self._on_stop(Stop("internal-error", f"{type(error).__name__}: {error}"))
                return
            else:
                self._note("")

    def _note(self, away: str) -> None:
        if away and not self._away:
            logger.warning("nothing new is seen: %s", away)
        self._away = away

    def _look(self) -> None:
        published = self._log.checkpoint()
        if published is not None:
            self._published = published[0]
        size = self._stored.size()
        if size > self._stored_size:
            for index, record in self._stored.registry_records(size, self._stored_size).items():
                self._apply(index, record)
            self._stored_size = size

    def _apply(self, index: int, record: bytes) -> None:
        """A record is applied once and whole, or it is the end: none is ever applied twice."""
        try:
            self._registry.apply(record)
            data: dict[str, Any] = jcs.decode(record)
        except (ValueError, TypeError, KeyError) as error:
            text = f"progress.db is damaged: the registry's record {index}: {error}"
            raise Stop("store-damaged", text) from error
        if data["kind"] in {"sender", "grant"} and data["state"] != "active":
            name = data["name"] if data["kind"] == "sender" else data["client_id"]
            self._on_revoked(data["kind"], name)

    # -- what became visible ----------------------------------------------------------------

    def _tell(self) -> None:
        """Tell of the messages that became visible since the last time."""
        told: list[CertifiedMessage] = []
        try:
            self._arrived(told)
            self._walk(told)
        finally:  # the archive may be away in the middle
            if told:
                self._on_certified(told)

    def _walk(self, told: list[CertifiedMessage]) -> None:
        visible = self.visible_size
        wanted: Collection[str] | None = None
        while found := self._log.headers(self._place, HEADERS_AT_ONCE):
            for place, header in found:
                data = jcs.decode(header)
                if int(data["first"]) + int(data["count"]) > visible:
                    return
                message = message_of(data)
                if message is not None:
                    wanted = self._wanted() if wanted is None else wanted
                    if wanted:
                        self._look_at(_Late(message, int(data["first"])), wanted, told)
                self._place = place

    def _look_at(self, one: _Late, wanted: Collection[str], told: list[CertifiedMessage]) -> None:
        """Open it only if its sender is here: others' messages are told of elsewhere."""
        sender = self._archive.sender(*one.message)
        if sender in wanted and (made := self._made(one.message)) is not None:
            told.append(made)
        elif sender is None or sender in wanted:
            # Nothing of it became an entry: it is visible before it is stored.
            self._late.append(one)

    def _arrived(self, told: list[CertifiedMessage]) -> None:
        """Of those that the archive lacked at the last look.

        They wait for as long as storing stands still at them, however long a server is away.
        """
        for one in list(self._late):
            if one.since_s is None and self._stored_size > one.first:
                one.since_s = monotonic()
            made = self._made(one.message)
            if made is not None:
                told.append(made)
            if made is not None or (one.since_s is not None and monotonic() - one.since_s > LATE_S):
                self._late.remove(one)

    def _made(self, message: Message) -> CertifiedMessage | None:
        found = self._archive.certified(*message)
        if found is None:
            return None
        credential, message_id, summary = found
        return CertifiedMessage(credential, message_id.hex(), json.loads(summary))


def message_of(header: dict[str, Any]) -> Message | None:
    """Which message a batch header is of, the first one where it is a retry.

    None: a further part, a claim, public records, or a closed day.
    """
    epoch = header["epoch"]
    if header["part"] != "0" or epoch in {OWN_SOURCE, DERIVED} or epoch.startswith(CLAIM):
        return None
    if "again" in header:
        epoch, partition, offset = header["again"].split("/")
        return epoch, int(partition), int(offset)
    return epoch, int(header["partition"]), int(header["offset"])


def place_of(log: FileLog, size: int) -> Place:
    """A place behind which the headers of all entries from `size` on are, and few others."""
    low, high = 0, log.heads().version  # the version looked for is in [low, high]
    while low < high:
        middle = (low + high) // 2
        found = log.headers((middle, ALL_OF_A_VERSION), 1)
        if found and int(jcs.decode(found[0][1])["first"]) < size:
            low = max(middle + 1, found[0][0][0])
        else:
            high = middle
    return low, ALL_OF_A_VERSION


class Backlog:
    """How many messages are on the bus and not in the log; a thread counts."""

    def __init__(
        self,
        raw: RawTopic,
        heads: Callable[[], Heads],
        looked: Callable[[Sequence[int], Sequence[int]], None] = lambda _, __: None,
    ) -> None:
        """heads: reads the heads row; looked: told how many messages each partition has, and how
        many of them are in the log."""
        self._raw, self._heads, self._looked = raw, heads, looked
        self._count = 0
        self._asks = BUS  # whom it asks at this moment, by the code of the alarm
        self._alarm, self._away = "", ""
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="backlog", daemon=True)

    def __call__(self) -> int:
        """As of a moment ago."""
        return self._count

    def health(self) -> str:
        """`ok`, or which server is away."""
        return self._away or "ok"

    def alarms(self) -> list[str]:
        """Codes of the alarms that stand."""
        return [self._alarm] if self._alarm else []

    def start(self) -> None:
        """Count once, then go on. Raises Stop, Unavailable."""
        self._look()
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)

    def _run(self) -> None:
        while not self._stopping.wait(COUNT_S):
            try:
                self._look()
            except Unavailable as error:
                self._is(self._asks, error)
            except Exception:
                logger.exception("what waits on the bus can't be counted")
                self._alarm = self._asks
                self._away = "what waits can't be counted; the log says why"
            else:
                self._is("")

    def _is(self, alarm: str, error: Unavailable | None = None) -> None:
        """Tell of what begins and of what is over."""
        before, self._alarm, self._away = self._alarm, alarm, str(error or "")
        if before and before != alarm:
            tell_over(before)
        if error is not None and before != alarm:
            tell(alarm, "what waits on the bus can't be counted", error)

    def _look(self) -> None:
        self._asks = HEADS
        taken = self._heads().taken
        self._asks = BUS
        ends = self._raw.ends()
        epoch = self._raw.epoch
        done = [taken.get(f"{epoch}/{partition}", -1) + 1 for partition in range(len(ends))]
        self._count = sum(max(0, end - last) for end, last in zip(ends, done, strict=True))
        self._looked(ends, done)
