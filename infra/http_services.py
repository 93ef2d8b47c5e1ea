"""What the REST gateway asks of the platform; `infra/app.py` gives it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from joserfc.jwk import KeySet

from bal.found import FindingsQuery, StoredFinding
from bal.model import DeviceInfo, Pseudonym, ReadingsPage, ReadingsQuery, StoredRecord
from bal.provide.device_days import DayRequest
from bal.provide.policy import ClientInfo


@dataclass(frozen=True, slots=True)
class Submitted:
    """A message that is durable on the bus."""

    message: str  # SHA-256 of the raw bytes, 64 hex digits
    accepted: str  # the accepted note as JSON text, as on the receipt topic


class Services(Protocol):
    """The platform behind the gateway.

    All but `submit` and `certified` may block: the gateway calls them in its threads. Each may
    raise Unavailable (503) or Stop (503, and the platform is ending).
    """

    @property
    def issuer(self) -> str:
        """`https://host:port` without a trailing slash, as clients reach the gateway."""
        ...

    def client(self, client_id: str) -> ClientInfo | None:
        """The client as it is at this moment, revoked ones too; asked on every request."""
        ...

    def token_keys(self) -> KeySet:
        """Private ES256 keys with `kid`, newest first; a key stays until its last token ended."""
        ...

    async def submit(self, credential: str, form: str, raw: bytes) -> Submitted:
        """Put a message on the bus; it is durable when this returns.

        credential: the client's id; form: cim or der. Raises Rejected when the guard before the
        bus refuses it, or the client may not send; Unavailable when the bus does not take it.
        """
        ...

    async def certified(
        self, credential: str, message: str, timeout_s: float
    ) -> Mapping[str, object] | None:
        """The certified summary of this client's message, waited for at most `timeout_s` seconds.

        Its `type` is `certified`, or `refused` when no reading of the message was good. None:
        not by then, or no such message.
        """
        ...

    def readings(self, query: ReadingsQuery) -> ReadingsPage:
        """bal.ports.CustomerDb.readings; `query.after` may be a list where a tuple was given."""
        ...

    def record(self, index: int) -> StoredRecord | None:
        """The row of one entry; None where the entry is public, erased or not there."""
        ...

    def devices(self, groups: frozenset[str] | None) -> list[DeviceInfo]:
        """Devices of these groups; None: of all."""
        ...

    def device(self, pseudonym: str) -> DeviceInfo | None:
        """The device of that pseudonym, revoked ones too."""
        ...

    def registers(self) -> Mapping[Pseudonym, Sequence[str]]:
        """By device the registers of the newest date that was closed; none before the first."""
        ...

    def findings(self, query: FindingsQuery) -> list[StoredFinding]:
        """What was refused or doubtful, as asked for."""
        ...

    def message_of(self, epoch: str, partition: int, offset: int) -> str:
        """SHA-256 of the message of a batch in hex; "" where its bytes can no longer be opened."""
        ...

    def published_size(self) -> int:
        """Size of the checkpoint that `checkpoint` gives; 0 before the first."""
        ...

    def stored_size(self) -> int:
        """Every row below it is in the shared customer database."""
        ...

    def size_at(self, instant_us: int) -> int:
        """The largest size that was published by `instant_us`; 0 before the first."""
        ...

    def states_of(self, indexes: Sequence[int]) -> list[str]:
        """included, anchored or final, of each entry."""
        ...

    def receipt(self, index: int, frame: int | None = None) -> str:
        """The best receipt of an entry, or of a frame of its window, as C2SP tlog-proof text.

        Raises KeyError where there is none.
        """
        ...

    def device_day(self, info: DeviceInfo, asked: DayRequest) -> bytes:
        """The document `gridseal.day/1` as JSON; KeyError where the device was erased.

        Raises Rejected close-unknown, register-needed.
        """
        ...

    def tile(self, level: int, n: int, width: int) -> bytes:
        """The first `width` (1 … 256) hashes of a tile; KeyError where there are fewer."""
        ...

    def bundle(self, n: int, width: int) -> bytes:
        """The first `width` (1 … 256) entries of a bundle; KeyError where there are fewer."""
        ...

    def checkpoint(self) -> bytes | None:
        """The newest published checkpoint, a signed note."""
        ...

    def rpc(self, body: bytes) -> bytes:
        """Answer a JSON-RPC request to the chain; malformed ones too. Empty: nothing to answer."""
        ...

    def health(self) -> dict[str, str]:
        """For each part `ok` or a sentence on what is wrong; no secrets, it is public."""
        ...

    def metrics(self) -> str:
        """Prometheus text exposition format 0.0.4."""
        ...
