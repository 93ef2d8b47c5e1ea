"""The settler of one process: a thread that makes durable what can be made again meanwhile."""

from collections.abc import Callable
from threading import Event, Lock
from time import monotonic

from bal.errors import Unavailable
from bal.ports import Bus
from infra.projector import Projector
from infra.troubles import SETTLING, Troubles

SETTLE_EVERY_S = 5.0  # docs/decisions/0006; sooner, but at most once a second, where much came
SETTLE_ENTRIES = 8_192
TRIM_EVERY_S = 5.0  # each time costs Kafka and us a connection


class Settler:
    """Fsyncs the log's files and the projection, and trims the bus below what is synced."""

    def __init__(
        self,
        *,
        settle: Callable[[], None],
        projector: Projector,
        bus: Bus,
        log_size: Callable[[], int],
        troubles: Troubles,
    ) -> None:
        self._settle, self._projector, self._bus = settle, projector, bus
        self._log_size, self._troubles = log_size, troubles
        self._stopping, self._lock = Event(), Lock()

    def stop(self) -> None:
        """Settle once more, then end."""
        self._stopping.set()

    def settle(self) -> int:
        """Now: what is stored so far survives a power cut, and an audit sees it.

        Returns the first message that the bus must keep. Asks nothing of the bus.
        """
        with self._lock:
            self._settle()
            return self._projector.sync().needed_from

    def run(self) -> None:
        """Until told to stop."""
        size, at_s, trimmed_s = self._log_size(), float("-inf"), float("-inf")
        while True:  # soon after a start: what it redid is not redone at the next one
            stopping = self._stopping.wait(min(1.0, SETTLE_EVERY_S))
            grown = self._log_size() - size
            if not stopping and grown < SETTLE_ENTRIES and monotonic() - at_s < SETTLE_EVERY_S:
                continue
            size, at_s = size + grown, monotonic()
            try:
                needed_from = self.settle()
                if stopping or at_s - trimmed_s >= TRIM_EVERY_S:
                    self._bus.trim(needed_from)
                    trimmed_s = at_s
            except Unavailable as error:  # bus or rows are a server's, and it is away
                self._troubles.note(SETTLING, error)
            else:
                self._troubles.over(SETTLING)
            if stopping:
                return
