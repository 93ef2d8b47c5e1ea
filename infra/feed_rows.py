"""What was stored and Kafka's consumers do not have yet (docs/decisions/0013-kafka.md).

The database remembers a second of full load, a step of the feed takes two and its process some to
start. So what is remembered is packed as it comes, by a thread, and waits here: what the feed would
have to read back from Cassandra is three times as dear, and it never got level again.
"""

from collections.abc import Callable, Iterable
from threading import Event, Lock, Thread

from infra.cassandra_recent import Packed, Stretch, WaitingRows

# More than a million of a head-end's readings, three quarters of a minute at full load.
WAITING_BYTES = 1 << 28
LOOK_S = 0.25  # for what was stored


class FeedRows:
    """Rows on their way to the feed, oldest first, for one thread that takes them."""

    def __init__(
        self, recent: Callable[[int], Iterable[Stretch]], bytes_max: int = WAITING_BYTES
    ) -> None:
        """recent: what was stored last, from an index on."""
        self._recent, self._waiting = recent, WaitingRows(bytes_max)
        self._through = 0  # what ends below it was looked at
        self._looking = Lock()
        self._ended = Event()
        self._thread = Thread(target=self._run, name="feed-rows", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End; waits for nothing longer than one stretch takes to be packed."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def since(self, index: int) -> list[Packed]:
        """What waits of the entries from `index` on."""
        return self._waiting.since(index)

    def forget(self, index: int) -> None:
        """Consumers have the entries below it."""
        self._waiting.forget(index)

    def look(self) -> None:
        """Pack what was stored since the last look, as far as there is room.

        By the thread while nobody takes, and by who is about to take: what was stored this moment
        would be read back otherwise.
        """
        with self._looking:
            for stretch in self._recent(self._through):
                if self._ended.is_set() or not self._waiting.takes(stretch.begin):
                    return
                if not self._waiting.add(Packed.of(stretch)):
                    return
                self._through = stretch.end

    def _run(self) -> None:
        while not self._ended.wait(LOOK_S):
            self.look()
