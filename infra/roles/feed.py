"""The feed of Kafka's consumers, beside the storer: rows and checkpoints that became visible.

Of all storers the one that holds `feed.lock` feeds, whichever of them stores: what one publishes
goes on behind what the one before it did, by Kafka's own record of it.
"""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from threading import Event, Thread

from bal.errors import GridsealError, Stop, Unavailable
from infra.feeder import Feeder
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
        made, clock, fail = self._process.made, self._process.clock, self._process.fail
        with ExitStack() as opened:
            stores = open_stores(made.folder, clock, "feed", made.outside)
            opened.callback(stores.close)
            follower = Follower(
                stored=stores.projector,
                log=stores.log,
                archive=stores.archive,
                registry=stores.registry,
                clock=clock,
                on_stop=fail,
            )
            opened.callback(follower.stop)
            if not self._tried(follower.start):
                return
            readings = KafkaReadings(
                kafka_access(made.config.kafka),
                customer_db=stores.customer_db,
                vault=stores.vault,
                client=lambda client_id: client_of(stores.registry, client_id),
            )
            feeder = self._feeder = Feeder(
                readings,
                visible=lambda: follower.visible_size,
                checkpoint=stores.log.checkpoint,
                on_stop=fail,
            )
            opened.callback(feeder.stop)
            feeder.start()
            self._ended.wait()

    def _tried(self, begin: Callable[[], None]) -> bool:
        """Whether it began before the end; again and again where a server is away."""
        while not self._ended.is_set():
            try:
                begin()
            except Unavailable as error:
                logger.warning("the feed waits: %s", error)
                self._ended.wait(min(error.retry_after_s, 5))
            else:
                return True
        return False
