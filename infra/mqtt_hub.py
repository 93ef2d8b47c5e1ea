"""What the sessions of one intake server share: limits, the service behind, who is connected."""

import asyncio
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

    def __post_init__(self) -> None:
        # They go into fields of two bytes, where 0 has a meaning of its own.
        for name in ("in_flight_max", "receipts_in_flight_max", "keep_alive_s_max"):
            if not 1 <= getattr(self, name) <= 65535:
                raise ValueError(f"{name} is 1 to 65535")

    @property
    def packet_bytes_max(self) -> int:
        """A packet has room for a message that is a little too large: the guard says so best."""
        return self.message_bytes_max + 64 * 1024


class Flow:
    """The messages of one session that are on their way to the bus."""

    def __init__(self, limits: MqttLimits) -> None:
        self.ids: set[int] = set()  # packet ids whose PUBACK is due; QoS 0 has none
        self.full = False  # then nothing more is read, until it is half empty again
        self._limits = limits
        self._count = 0
        self._bytes = 0

    def add(self, packet_id: int | None, size: int) -> None:
        """A message sets out."""
        if packet_id is not None:
            self.ids.add(packet_id)
        self._count += 1
        self._bytes += size
        # One more than the Receive Maximum is read, to tell the client that it broke it
        over = self._count > self._limits.in_flight_max
        self.full = self.full or over or self._bytes > self._limits.in_flight_bytes_max

    def remove(self, packet_id: int | None, size: int) -> bool:
        """A message has arrived or was refused; True when there is room again for others."""
        if packet_id is not None:
            self.ids.discard(packet_id)
        self._count -= 1
        self._bytes -= size
        few = self._count * 2 <= self._limits.in_flight_max
        if self.full and few and self._bytes * 2 <= self._limits.in_flight_bytes_max:
            self.full = False
            return True
        return False


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
