"""What the sessions of one intake server share: limits, the service behind, who is connected."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from infra.mqtt_packets import Code


class IntakeService(Protocol):
    """What the platform does for the intake server; called on the server's event loop."""

    async def authenticate(self, name: str, certificate_sha256: str, password: bytes) -> bool:
        """Whether credential `name` is enrolled, active, of this certificate and password.

        certificate_sha256: 64 hex digits over the DER form. Raises Unavailable.
        """
        ...

    async def accept(self, credential: str, form: str, raw: bytes) -> str:
        """Put one message on the bus; it is durable there when this returns.

        Returns the accepted receipt, JSON text for `receipts/<credential>`. The calls of one
        session begin in the order in which its messages came. Raises Rejected when the message
        will never be taken, Unavailable when it may be later; then the bus has nothing of it.
        """
        ...


@dataclass(frozen=True, slots=True)
class MqttLimits:
    """How much the clients of one server may ask of it; each is in docs/spec/intake.md."""

    message_bytes_max: int = 4 * 1024 * 1024
    connect_bytes_max: int = 16 * 1024  # of a packet before the client is known
    connect_timeout_s: float = 10
    keep_alive_s_max: int = 600  # MQTT 5 is told so; 3.1.1 with keep alive 0 is cut at 1.5 times
    in_flight_max: int = 1000  # messages of a session not yet on the bus; MQTT 5 Receive Maximum
    in_flight_bytes_max: int = 16 * 1024 * 1024  # of a session
    all_in_flight_bytes_max: int = 256 * 1024 * 1024  # of all sessions
    receipts_in_flight_max: int = 1000  # sent to a session and not yet acknowledged
    receipts_waiting_max: int = 10_000  # behind them
    receipts_waiting_bytes_max: int = 16 * 1024 * 1024
    write_stall_s: float = 30  # how long a client may leave the connection unread
    sessions_max: int = 1000
    sessions_per_credential_max: int = 8
    linger_s: float = 0.5  # between the last word and the close
    filters_max: int = 16  # of one SUBSCRIBE or UNSUBSCRIBE

    @property
    def packet_bytes_max(self) -> int:
        """A packet has room for a message that is a little too large: the guard says so best."""
        return self.message_bytes_max + 64 * 1024


class Outbox:
    """Receipts on their way to one subscriber: a bounded queue and a window of packet ids."""

    def __init__(self, window: int, waiting_max: int, waiting_bytes_max: int) -> None:
        self._window = window
        self._waiting_max = waiting_max
        self._waiting_bytes_max = waiting_bytes_max
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._sent: set[int] = set()
        self._last_id = 0

    def put(self, payload: bytes) -> bool:
        """Queue one receipt; False when the reader is so slow that there is no more room."""
        if len(self._waiting) >= self._waiting_max:
            return False
        if self._waiting_bytes + len(payload) > self._waiting_bytes_max:
            return False
        self._waiting.append(payload)
        self._waiting_bytes += len(payload)
        return True

    def take(self) -> tuple[int, bytes] | None:
        """The next receipt to send, with a packet id of its own; None while the window is full."""
        if not self._waiting or len(self._sent) >= self._window:
            return None
        while True:
            self._last_id = self._last_id % 65535 + 1
            if self._last_id not in self._sent:
                break
        self._sent.add(self._last_id)
        payload = self._waiting.popleft()
        self._waiting_bytes -= len(payload)
        return self._last_id, payload

    def acknowledge(self, packet_id: int) -> None:
        """The reader has it. An id that is not under way is passed over."""
        self._sent.discard(packet_id)

    def undelivered(self) -> int:
        """Receipts that no acknowledgement vouches for."""
        return len(self._waiting) + len(self._sent)


class Member(Protocol):
    """A session, as the hub sees it."""

    credential: str
    client_id: str

    def deliver(self, payload: bytes) -> bool:
        """Send one receipt; False where this session is not subscribed or is closing."""
        ...

    def end(self, code: Code, text: str) -> None:
        """Say why and close."""
        ...

    def resume(self) -> None:
        """There is room again for more messages."""
        ...


@dataclass(eq=False)
class Hub:
    """Who is connected; one per server, used on its event loop only."""

    service: IntakeService
    limits: MqttLimits
    connections: set[Member] = field(default_factory=set)  # every one, before CONNECT too
    knocking: set[Member] = field(default_factory=set)  # named, not yet authenticated
    open: dict[str, list[Member]] = field(default_factory=dict)  # by credential
    tasks: set[asyncio.Task[None]] = field(default_factory=set)  # outlive their connections
    stopping: bool = False
    in_flight_bytes: int = 0
    held_back: set[Member] = field(default_factory=set)  # wait for in_flight_bytes to fall
    undelivered: int = 0  # receipts that reached no subscriber; a resent message gets them again

    def session_count(self) -> int:
        """Authenticated sessions."""
        return sum(len(members) for members in self.open.values())

    def admit(self, member: Member) -> Code:
        """Make an authenticated session one of the open ones, in place of one of the same name.

        The place of a session is its credential and client id: MQTT 5 §3.1.4 [MQTT-3.1.4-3].
        """
        members = self.open.get(member.credential, [])
        for other in [each for each in members if each.client_id == member.client_id]:
            other.end(Code.TAKEN_OVER, "another connection uses this client id")
        members = self.open.setdefault(member.credential, [])
        if len(members) >= self.limits.sessions_per_credential_max:
            return Code.QUOTA
        if self.session_count() >= self.limits.sessions_max:
            self._forget_empty(member.credential)
            return Code.BUSY
        members.append(member)
        return Code.SUCCESS

    def leave(self, member: Member, undelivered: int) -> None:
        """A session has begun to close; may be told twice."""
        self.knocking.discard(member)
        self.held_back.discard(member)
        self.undelivered += undelivered
        members = self.open.get(member.credential, [])
        if member in members:
            members.remove(member)
        self._forget_empty(member.credential)

    def deliver(self, credential: str, payload: bytes) -> None:
        """Give a receipt to each subscribed session of a credential; count it if there is none."""
        reached = [member.deliver(payload) for member in list(self.open.get(credential, []))]
        if not any(reached):
            self.undelivered += 1

    def charge(self, size: int) -> bool:
        """Count bytes of a message on its way to the bus; True when all sessions must wait."""
        self.in_flight_bytes += size
        return self.in_flight_bytes > self.limits.all_in_flight_bytes_max

    def release(self, size: int) -> None:
        """The message is on the bus or refused; wakes those who wait, all at half the limit."""
        self.in_flight_bytes -= size
        if self.held_back and self.in_flight_bytes * 2 <= self.limits.all_in_flight_bytes_max:
            waiting, self.held_back = self.held_back, set()
            for member in waiting:
                member.resume()

    def _forget_empty(self, credential: str) -> None:
        if not self.open.get(credential, [None]):
            del self.open[credential]
