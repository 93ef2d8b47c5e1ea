"""The receipts that a collector has for its broker: which wait, which are under way; and limits.

No I/O here.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MosquittoLimits:
    """How much may be under way at once; each is in docs/mosquitto.md."""

    in_flight_max: int = 1000  # messages not yet on the bus; our Receive Maximum
    in_flight_bytes_max: int = 64 * 1024 * 1024  # beyond, nothing more is read
    receipts_in_flight_max: int = 500  # sent to the broker and not yet acknowledged
    receipts_waiting_max: int = 20_000  # behind them; over half of it no message is taken
    receipts_waiting_bytes_max: int = 64 * 1024 * 1024
    retry_s_max: float = 5.0  # between two attempts to put a message on a bus that is not there
    senders_max: int = 100_000  # names that get certified receipts; the longest silent go first

    def __post_init__(self) -> None:
        # in_flight_max goes into a field of two bytes, where 0 has no meaning (MQTT 5 §3.1.2.11.3)
        if not 1 <= self.in_flight_max <= 65535:
            raise ValueError("in_flight_max is 1 to 65535")


class Receipts:
    """A bounded queue, and a window of those that the broker has not acknowledged."""

    def __init__(self, limits: MosquittoLimits) -> None:
        self._limits = limits
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._waiting_bytes = 0
        self._sent: OrderedDict[int, tuple[str, bytes]] = OrderedDict()  # by packet identifier
        self.window = limits.receipts_in_flight_max
        self.payload_bytes_max = 1 << 28
        self.room = asyncio.Event()  # set while fewer than half of what fits are waiting
        self.room.set()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._sent)

    @property
    def is_empty(self) -> bool:
        """The broker has all."""
        return len(self) == 0

    def put(self, topic: str, payload: bytes) -> bool:
        """Queue one; False when there is no more room."""
        limits = self._limits
        if len(self._waiting) >= limits.receipts_waiting_max:
            return False
        if self._waiting_bytes + len(payload) > limits.receipts_waiting_bytes_max:
            return False
        self._waiting.append((topic, payload))
        self._waiting_bytes += len(payload)
        self._look()
        return True

    def send(self, publish: Callable[[str, bytes], int]) -> int:
        """Publish what the window lets through; returns how many are too large for the broker.

        publish: sends one of a topic and returns its packet identifier.
        """
        skipped = 0
        while self._waiting and len(self._sent) < self.window:
            topic, payload = self._waiting.popleft()
            self._waiting_bytes -= len(payload)
            if len(topic) + len(payload) > self.payload_bytes_max:
                skipped += 1  # it would end the connection, again and again: MQTT 5 §3.2.2.3.6
                continue
            self._sent[publish(topic, payload)] = (topic, payload)
        self._look()
        return skipped

    def acknowledge(self, packet_id: int) -> None:
        """The broker has answered one."""
        self._sent.pop(packet_id, None)

    def connection_lost(self) -> None:
        """What was not acknowledged goes again, before the others."""
        again = list(self._sent.values())
        self._sent.clear()
        self._waiting.extendleft(reversed(again))
        self._waiting_bytes += sum(len(payload) for _, payload in again)
        self._look()

    def drop(self, topic: str) -> int:
        """Forget what waits for one topic; returns how many."""
        kept = deque(one for one in self._waiting if one[0] != topic)
        dropped = len(self._waiting) - len(kept)
        self._waiting = kept
        self._waiting_bytes = sum(len(payload) for _, payload in kept)
        self._look()
        return dropped

    def _look(self) -> None:
        limits = self._limits
        few = 2 * len(self._waiting) <= limits.receipts_waiting_max
        if few and 2 * self._waiting_bytes <= limits.receipts_waiting_bytes_max:
            self.room.set()
        else:
            self.room.clear()
