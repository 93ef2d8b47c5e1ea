"""The settler of one process: a thread that makes durable what can be made again meanwhile."""

from collections.abc import Callable
from threading import Event
from time import monotonic

from bal.ports import Bus
from infra.projector import Projector

SETTLE_EVERY_S = 5.0  # docs/decisions/0006; sooner, but at most once a second, where much came
SETTLE_ENTRIES = 8_192
TRIM_EVERY = 2_000  # messages


class Settler:
    """Fsyncs the log's files and the projection, and trims the bus below what is synced."""

    def __init__(
        self,
        *,
        settle: Callable[[], None],
        projector: Projector,
        bus: Bus,
        log_size: Callable[[], int],
        trimmed: int,
    ) -> None:
        """trimmed: the bus offset below which nothing is left to trim."""
        self._settle, self._projector, self._bus = settle, projector, bus
        self._log_size, self._trimmed = log_size, trimmed
        self._stopping = Event()

    def stop(self) -> None:
        """Settle once more, then end."""
        self._stopping.set()

    def run(self) -> None:
        """Until told to stop."""
        size, at_s = self._log_size(), monotonic()
        while True:
            stopping = self._stopping.wait(min(1.0, SETTLE_EVERY_S))
            grown = self._log_size() - size
            if not stopping and grown < SETTLE_ENTRIES and monotonic() - at_s < SETTLE_EVERY_S:
                continue
            size, at_s = size + grown, monotonic()
            self._settle()
            synced = self._projector.sync().needed_from
            if synced - self._trimmed >= TRIM_EVERY:
                self._bus.trim(synced)
                self._trimmed = synced
            if stopping:
                return
