"""The feeder: a thread that brings to Kafka's consumers what has become visible."""

import logging
from collections.abc import Callable
from threading import Event, Thread
from typing import Protocol

from bal.errors import GridsealError, Unavailable
from bal.model import TreeHead

logger = logging.getLogger("gridseal.feeder")

LOOK_S = 1.0  # where nobody wakes it
PACE_S = 0.25  # from one turn to the next: one batch of ten messages costs what one of one does
JOIN_S = 5
DEFECT_S = 60  # between two tries after a defect


class Feed(Protocol):
    """Where consumers read; infra/kafka_readings.py."""

    @property
    def fed(self) -> int:
        """The log size below which they have every row; 0 until that is known."""
        ...

    def publish(self, size: int) -> None:
        """Every row below `size` that is stored."""
        ...

    def publish_head(self, head: TreeHead, note: bytes) -> None:
        """A checkpoint."""
        ...

    def give_up(self) -> None:
        """Have each call raise Unavailable, also one under way."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Feeder:
    """Publishes rows below `visible`, then the newest checkpoint; goes on when Kafka is back."""

    def __init__(
        self,
        feed: Feed,
        *,
        visible: Callable[[], int],
        checkpoint: Callable[[], tuple[TreeHead, bytes] | None],
        on_stop: Callable[[GridsealError], None],
    ) -> None:
        self._feed, self._visible, self._checkpoint = feed, visible, checkpoint
        self._on_stop = on_stop
        self._wake, self._stopping = Event(), Event()
        self._thread = Thread(target=self._run, name="feeder", daemon=True)
        self.alarm = ""  # feed-down, or nothing

    @property
    def fed(self) -> int:
        """As Feed."""
        return self._feed.fed

    def start(self) -> None:
        """Begin to publish."""
        self._thread.start()

    def wake(self) -> None:
        """More is visible."""
        self._wake.set()

    def give_up(self) -> None:
        """Wait for Kafka no longer; for who ends soon."""
        self._feed.give_up()

    def stop(self) -> None:
        """End; what was not published is, after the next start."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)
        self._feed.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(LOOK_S)
            self._wake.clear()
            try:
                self._publish()
            except Unavailable as error:
                self._down(error)
                self._stopping.wait(error.retry_after_s)
            except GridsealError as error:
                self._on_stop(error)
                return
            except Exception as error:  # a defect; the log itself is none the worse
                logger.critical("unexpected", exc_info=error)
                self._down(error)
                self._stopping.wait(DEFECT_S)
            else:
                self._stopping.wait(PACE_S)

    def _down(self, error: Exception) -> None:
        if not self.alarm:
            self.alarm = "feed-down"
            logger.error("feed-down: consumers get nothing: %r", error)

    def _publish(self) -> None:
        self._feed.publish(self._visible())
        published = self._checkpoint()
        if published is not None:
            self._feed.publish_head(*published)
        if self.alarm:
            self.alarm = ""
            logger.info("consumers are fed again")
