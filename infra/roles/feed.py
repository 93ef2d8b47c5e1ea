"""The feed of Kafka's consumers, beside a storer: rows and checkpoints that became visible.

Of all storers the one that holds `feed.lock` feeds, whoever stores: what one publishes goes on
behind what the one before it did, by Kafka's own record of it.
"""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Event, Thread

from bal.errors import GridsealError, Stop
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


class Feed:
    """A thread that begins as soon as no other process feeds."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._turn = Turn(process.made.folder.root / "feed.lock")
        self._ended = Event()
        self._feeder: Feeder | None = None
        self._thread = Thread(target=self._run, name="feed", daemon=True)

    @property
    def alarm(self) -> str:
        """feed-down, or nothing."""
        return self._feeder.alarm if self._feeder is not None else ""

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
            while not self._turn.take():
                if self._ended.wait(ASK_S):
                    return
            logger.info("this process feeds Kafka's consumers")
            self._feed()
        except GridsealError as error:
            self._process.fail(error)
        except Exception as error:
            logger.critical("unexpected", exc_info=error)
            self._process.fail(Stop("internal-error", f"{type(error).__name__}: {error}"))
        finally:
            self._turn.release()

    def _feed(self) -> None:
        """Until the end."""
        visible = _Visible(self._process)
        feeder = self._feeder = Feeder(
            visible,
            visible=visible.size,
            checkpoint=visible.checkpoint,
            on_stop=self._process.fail,
        )
        feeder.start()
        self._ended.wait()
        feeder.stop()


class _Visible:
    """What is to be fed, and where to (infra/feeder.py, Feed); opened when it is asked first.

    Every method raises Unavailable where that could not be done, and tries again the next time: a
    server that is away is the feeder's to tell of, and storing must not end with it.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._opened: _Opened | None = None

    def size(self) -> int:
        """Entries below it are published and stored."""
        return self._open().follower.visible_size

    def checkpoint(self) -> tuple[TreeHead, bytes] | None:
        """The newest one."""
        return self._open().log.checkpoint()

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
                    on_stop=self._process.fail,
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
