"""The receipts of one session: who reads them, which wait, which are under way. No I/O here."""

from collections import deque
from collections.abc import Sequence

from bal import jcs
from bal.errors import Rejected
from bal.model import Finding
from infra.mqtt_hub import MqttLimits
from infra.mqtt_packets import Code, Malformed, Subscribe, Unsubscribe, Wire


class Receipts:
    """The one topic a session may subscribe to, with a bounded queue and a window of packet ids."""

    def __init__(
        self,
        wire: Wire,
        topic: str,
        limits: MqttLimits,
        *,
        window: int,
        packet_bytes_max: int | None,
    ) -> None:
        """window: unacknowledged receipts, at most; packet_bytes_max: what the client takes."""
        self._wire = wire
        self._topic = topic
        self._limits = limits
        self._window = window
        self._packet_bytes_max = packet_bytes_max
        self._qos: int | None = None  # None: not subscribed
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._sent: set[int] = set()
        self._last_id = 0
        self._skipped = 0

    @property
    def subscribed(self) -> bool:
        """Whether anybody reads here."""
        return self._qos is not None

    def subscribe(self, packet: Subscribe) -> bytes:
        """SUBACK: granted for the session's own receipts topic, refused for all else."""
        self._check_count(packet.filters)
        granted: list[int | None] = []
        for name, qos in packet.filters:
            if name == self._topic:
                self._qos = min(qos, 1)
                granted.append(self._qos)
            else:
                granted.append(None)
        return self._wire.suback(packet.packet_id, granted)

    def unsubscribe(self, packet: Unsubscribe) -> bytes:
        """UNSUBACK."""
        self._check_count(packet.filters)
        existed = [name == self._topic and self.subscribed for name in packet.filters]
        if any(existed):
            self._qos = None
        return self._wire.unsuback(packet.packet_id, existed)

    def put(self, payload: bytes) -> bool:
        """Queue one receipt; False when the reader is so slow that there is no more room."""
        if len(self._waiting) >= self._limits.receipts_waiting_max:
            return False
        if self._waiting_bytes + len(payload) > self._limits.receipts_waiting_bytes_max:
            return False
        self._waiting.append(payload)
        self._waiting_bytes += len(payload)
        return True

    def acknowledge(self, packet_id: int) -> None:
        """The reader has it. An id that is not under way is passed over."""
        self._sent.discard(packet_id)

    def ready(self) -> bytes:
        """The packets that may go now: what the window lets through of what waits."""
        packets = bytearray()
        while self._waiting and self._qos is not None and len(self._sent) < self._window:
            payload = self._waiting.popleft()
            self._waiting_bytes -= len(payload)
            packet_id = self._free_id() if self._qos == 1 else None
            packet = self._wire.publish(self._topic, payload, packet_id)
            if self._packet_bytes_max and len(packet) > self._packet_bytes_max:
                self._skipped += 1  # [MQTT-3.1.2-25]: go on as if it had been sent
                continue
            if packet_id is not None:
                self._sent.add(packet_id)
            packets += packet
        return bytes(packets)

    def undelivered(self) -> int:
        """Receipts that no acknowledgement vouches for."""
        return len(self._waiting) + len(self._sent) + self._skipped

    def _free_id(self) -> int:
        while True:  # ends: the window is smaller than the number of ids
            self._last_id = self._last_id % 65535 + 1
            if self._last_id not in self._sent:
                return self._last_id

    def _check_count(self, filters: Sequence[object]) -> None:
        if len(filters) > self._limits.filters_max:
            raise Malformed("too many topic filters", Code.QUOTA)


def refusal(message_hex: str, error: Rejected) -> bytes:
    """The JSON on `receipts/<name>` for a message that never reached the bus."""
    finding = Finding(
        error.code, "refused", error.text, field=error.field, line=error.line, clause=error.clause
    )
    return jcs.encode({"type": "refused", "message": message_hex, **finding.as_json()})
