"""The feed of Kafka's consumers, beside the storer: rows and checkpoints that became visible.

Of all storers the one that holds `feed.lock` feeds, whichever of them stores: what one publishes
goes on behind what the one before it did, by Kafka's own record of it.
"""

import logging
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
AWAY_S = 5.0  # at most, before a server that was away is asked again


class Feed:
    """A thread that begins as soon as no other process feeds."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._turn = Turn(process.made.folder.root / "feed.lock")
        self._ended = Event()
        self._feeder: Feeder | None = None
        self._waits = False
        self._thread = Thread(target=self._run, name="feed", daemon=True)

    @property
    def alarm(self) -> str:
        """feed-down, or nothing."""
        if self._waits:
            return "feed-down"
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
            self._feed_on()
        except GridsealError as error:
            self._process.fail(error)
        except Exception as error:
            logger.critical("unexpected", exc_info=error)
            self._process.fail(Stop("internal-error", f"{type(error).__name__}: {error}"))
        finally:
            self._turn.release()

    def _feed_on(self) -> None:
        """Until the end; begin again where a server is away: storing must not end with it."""
        while not self._ended.is_set():
            try:
                self._feed()
            except Unavailable as error:
                if not self._waits:
                    logger.warning("feed-down: consumers get nothing: %s", error)
                self._waits = True
                self._ended.wait(min(error.retry_after_s, AWAY_S))

    def _feed(self) -> None:
        """Until the end. Raises Stop, and Unavailable where it could not begin."""
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
            follower.start()
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
            if self._waits:
                self._waits = False
                logger.info("the feed goes on")
            self._ended.wait()
