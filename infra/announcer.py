"""What waits until it is visible: messages to be told of as certified, and closes of days."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Lock

from bal.errors import GridsealError
from bal.model import Close, StoredRecord


@dataclass(frozen=True, slots=True)
class CertifiedMessage:
    """A message whose entries are published and stored."""

    credential: str
    message: str  # hex SHA-256
    summary: Mapping[str, object]  # as the archive keeps it: batch, first_index, count, …
    row: StoredRecord | None = None  # where there is just one and it is at hand


class Announcer:
    """In order of the log. Every method may be called from any thread."""

    def __init__(self, on_certified: Callable[[Sequence[CertifiedMessage]], None]) -> None:
        self._on_certified = on_certified
        self._lock = Lock()
        self._messages: deque[tuple[int, CertifiedMessage]] = deque()  # visible from this size on
        self._closes: deque[tuple[int, Close, Future[Close]]] = deque()

    def add(self, messages: Sequence[tuple[int, CertifiedMessage]]) -> None:
        """Messages of one commit, each with the log size from which it is visible."""
        with self._lock:
            self._messages += messages

    def add_close(self, size: int, close: Close, future: "Future[Close]") -> None:
        """A close that is visible from `size` on; `future` is done then."""
        with self._lock:
            self._closes.append((size, close, future))

    def visible(self, size: int) -> None:
        """Tell of everything that became visible below `size`."""
        ready: list[CertifiedMessage] = []
        closed: list[tuple[int, Close, Future[Close]]] = []
        with self._lock:
            while self._messages and self._messages[0][0] <= size:
                ready.append(self._messages.popleft()[1])
            while self._closes and self._closes[0][0] <= size:
                closed.append(self._closes.popleft())
        for _, close, future in closed:
            future.set_result(close)
        if ready:
            self._on_certified(ready)

    def abandon(self, error: GridsealError) -> None:
        """The closes that wait will not become visible in this process."""
        with self._lock:
            waiting = [future for _, _, future in self._closes]
            self._closes.clear()
        for future in waiting:
            future.set_exception(error)
