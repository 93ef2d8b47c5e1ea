"""The feed of Kafka's consumers, beside a storer: rows and checkpoints that became visible.

Of all storers the one that holds `feed.lock` feeds, whoever stores: what one publishes goes on
behind what the one before it did, by Kafka's own record of it.

The kernel keeps the lock of a process that was stopped (SIGSTOP), and nothing tells that from a
slow one: taking it away would be a guess. So who has it beats, and those who wait tell the operator
where it does not.
"""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Event, Thread
from time import monotonic

from bal.errors import GridsealError
from bal.model import TreeHead
from infra.feeder import Feeder
from infra.file_log import FileLog
from infra.kafka_readings import KafkaReadings
from infra.outside import kafka_access
from infra.roles.follow import Follower
from infra.roles.role import Process
from infra.roles.stores import open_stores
from infra.roles.turn import ASK_S, Turn
from infra.services import client_of

logger = logging.getLogger("gridseal.roles")

JOIN_S = 4.0
BEAT_S = 5.0
STILL_S = 60.0  # without a beat of the process that has the turn
STILL, STOPPED = "feed-still", "feed-stopped"


class Feed:
    """A thread that begins as soon as no other process feeds.

    Whatever ends it ends only it, with an alarm: another storer may feed, and this one stores on.
    What a Stop of it may be about (rows, vault, log) the storer looks at itself, and ends by.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._turn = Turn(process.made.folder.root / "feed.lock")
        self._ended = Event()
        self._feeder: Feeder | None = None
        self._trouble = ""  # feed-still or feed-stopped, with a text; or nothing
        self._thread = Thread(target=self._run, name="feed", daemon=True)

    @property
    def alarm(self) -> str:
        """feed-down, feed-still, feed-stopped, or nothing."""
        if self._trouble:
            return self._trouble.split(":")[0]
        return self._feeder.alarm if self._feeder is not None else ""

    @property
    def fed(self) -> int | None:
        """The size of the log below which consumers have every row; None where this feeds none."""
        if self._feeder is None or self._ended.is_set():
            return None
        return self._feeder.fed

    def health(self) -> str:
        """`ok` or what is wrong."""
        return self._trouble or self.alarm or "ok"

    def start(self) -> None:
        """Begin to wait for this one's turn."""
        self._thread.start()

    def stop(self) -> None:
        """End; what was not published is, by the next one."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)

    def _run(self) -> None:
        try:
            if self._my_turn():
                logger.info("this process feeds Kafka's consumers")
                self._feed()
        except GridsealError as error:
            self._halt(error)
        except Exception as error:
            logger.critical("unexpected", exc_info=error)
            self._halt(error)
        finally:
            self._turn.release()

    def _my_turn(self) -> bool:
        """Wait for it, and watch who has it; False at the end."""
        seen, seen_s = self._turn.last_beat(), monotonic()
        while not self._turn.take():
            if (beat := self._turn.last_beat()) != seen:
                seen, seen_s = beat, monotonic()
                self._moves()
            elif not self._trouble and monotonic() - seen_s > STILL_S:
                self._stands()
            if self._ended.wait(ASK_S):
                return False
        self._moves()
        return True

    def _stands(self) -> None:
        text = f"the process that has feed.lock gave no sign of life for {STILL_S:.0f} s"
        self._trouble = f"{STILL}: {text}: if it stands still, kill it, and this one feeds"
        logger.error("%s", self._trouble)

    def _moves(self) -> None:
        if self._trouble:
            self._trouble = ""
            logger.info("%s is over", STILL)

    def _halt(self, error: Exception) -> None:
        """Feed no more; from any thread."""
        self._trouble = f"{STOPPED}: this process feeds Kafka's consumers no more: {error}"
        logger.critical("%s", self._trouble)
        self._ended.set()

    def _feed(self) -> None:
        """Until the end."""
        visible = _Visible(self._process, self._halt)
        feeder = self._feeder = Feeder(
            visible,
            visible=visible.size,
            checkpoint=visible.checkpoint,
            on_stop=self._halt,
        )
        feeder.start()
        while not self._ended.wait(BEAT_S):
            self._turn.beat()
        feeder.stop()


class _Visible:
    """What is to be fed, and where to (infra/feeder.py, Feed); opened when it is asked first.

    Every method raises Unavailable where that could not be done, and tries again the next time: a
    server that is away is the feeder's to tell of, and storing must not end with it.
    """

    def __init__(self, process: Process, halt: Callable[[GridsealError], None]) -> None:
        self._process, self._halt = process, halt
        self._opened: _Opened | None = None

    def size(self) -> int:
        """Entries below it are published and stored."""
        return self._open().follower.visible_size

    def checkpoint(self) -> tuple[TreeHead, bytes] | None:
        """The newest one."""
        return self._open().log.checkpoint()

    @property
    def fed(self) -> int:
        """The size below which consumers have every row."""
        return 0 if self._opened is None else self._opened.readings.fed

    def publish(self, size: int) -> None:
        """Every row below `size`."""
        self._open().readings.publish(size)

    def publish_head(self, head: TreeHead, note: bytes) -> None:
        """A checkpoint."""
        self._open().readings.publish_head(head, note)

    def give_up(self) -> None:
        """Wait for Kafka no longer."""
        if self._opened is not None:
            self._opened.readings.give_up()

    def close(self) -> None:
        """Let go of all of it."""
        if self._opened is not None:
            self._opened.readings.close()
            self._opened.close()

    def _open(self) -> "_Opened":
        if self._opened is None:
            made, clock = self._process.made, self._process.clock
            with ExitStack() as opened:
                stores = open_stores(made.folder, clock, "feed", made.outside)
                opened.callback(stores.close)
                follower = Follower(
                    stored=stores.projector,
                    log=stores.log,
                    archive=stores.archive,
                    registry=stores.registry,
                    clock=clock,
                    on_stop=self._halt,
                )
                opened.callback(follower.stop)
                follower.start()
                readings = KafkaReadings(
                    kafka_access(made.config.kafka),
                    customer_db=stores.customer_db,
                    vault=stores.vault,
                    client=lambda client_id: client_of(stores.registry, client_id),
                )
                self._opened = _Opened(stores.log, follower, readings, opened.pop_all().close)
        return self._opened


@dataclass(frozen=True, slots=True)
class _Opened:
    log: FileLog
    follower: Follower
    readings: KafkaReadings
    close: Callable[[], None]  # all but the readings
