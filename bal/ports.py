"""What the core asks of the outside world, in the core's own words, with what each promises.

An adapter is one file in `infra/`; `tests/adapters/` runs one suite on every adapter of a port.
All calls are synchronous and may block: whoever calls from an event loop uses a thread.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from bal.found import Doubts, VeeFindings
from bal.model import (
    Close,
    DeviceInfo,
    Digest,
    Identity,
    Pseudonym,
    RawMessage,
    ReadingsPage,
    ReadingsQuery,
    Sealed,
    StoredRecord,
    Subject,
    TreeHead,
)


class Clock(Protocol):
    """Time is handed in; a simulation hands in another."""

    def now_us(self) -> int:
        """Microseconds since 1970-01-01T00:00:00Z; may step when the host's clock is set."""
        ...


@dataclass(frozen=True, slots=True)
class Intake:
    """One message on its way to the bus, before it has an offset."""

    credential: str
    format: str
    received_us: int
    raw: bytes


class Bus(Protocol):
    """The durable, ordered journal of raw messages: one topic `bal.raw.<epoch>`."""

    @property
    def epoch(self) -> str:
        """Random id made with the topic; 16 hex digits. A new topic has a new one."""
        ...

    def append(self, messages: Sequence[Intake]) -> list[int]:
        """Make all durable (fsync) in order and return their offsets; all or none.

        Raises Unavailable when the disk refuses; nothing is acknowledged then.
        """
        ...

    def read(self, offset: int, limit: int) -> list[RawMessage]:
        """At most `limit` messages from `offset` on, in order; empty at the end."""
        ...

    def end(self) -> int:
        """The offset that the next message will get."""
        ...

    def trim(self, offset: int) -> None:
        """Forget the messages below `offset`: archive and database have them."""
        ...


@dataclass(frozen=True, slots=True)
class Heads:
    """The sequencer's whole memory: one row, replaced by compare-and-swap."""

    version: int
    size: int
    root: Digest
    taken: Mapping[str, int]  # "<epoch>/<partition>" → last offset taken


@dataclass(frozen=True, slots=True)
class Commit:
    """Everything that version v+1 adds to the log."""

    old: Heads
    new: Heads
    entries: Sequence[bytes]  # in log order, from index old.size
    headers: Sequence[bytes]  # batch headers, RFC 8785, in log order


class LogStore(Protocol):
    """The tile log's storage; each call is durable when it returns and may be repeated."""

    def heads(self) -> Heads:
        """The heads row, read from storage, never from memory."""
        ...

    def stage(self, commit: Commit) -> None:
        """Step 1: write staging/<v+1>-<root>."""
        ...

    def swap(self, commit: Commit) -> None:
        """Step 2: replace heads row `old.version` by `new`; Stop("lost-swap") if it is another.

        The point of no return and the only fence.
        """
        ...

    def integrate(self, commit: Commit, hashes: Mapping[int, Sequence[Digest]]) -> None:
        """Step 3: write entry bundles, tiles and batch headers.

        hashes: by tile level the hashes that the commit adds there, in order; level 0 has the
        leaf hashes.
        """
        ...

    def publish(self, head: TreeHead, note: bytes) -> None:
        """Step 5: make `note` the checkpoint that is served, where the published size is lower."""
        ...

    def staged(self) -> list[Commit]:
        """Commits whose staging is still there, oldest first; for the redo at start."""
        ...


class TileReader(Protocol):
    """Read side of the log, C2SP tlog-tiles. Whatever it returns was integrated."""

    def tile(self, level: int, n: int, width: int) -> bytes:
        """`width` (1…256) hashes of tile `n` at `level`; KeyError where there are fewer."""
        ...

    def bundle(self, n: int, width: int) -> bytes:
        """The first `width` entries of bundle `n`, each with its uint16 length; else KeyError."""
        ...

    def checkpoint(self) -> tuple[TreeHead, bytes] | None:
        """The newest published head and its signed note."""
        ...

    def headers(self, after: tuple[int, int], limit: int) -> list[tuple[tuple[int, int], bytes]]:
        """Batch headers in log order, each with its place (version, number); from the next one.

        They are kept for ever and never published: they name the offsets of raw messages.
        """
        ...


class Vault(Protocol):
    """The identity vault: the only place that knows who is behind a pseudonym."""

    def pseudonyms(self, wanted: Sequence[Identity]) -> dict[Identity, Pseudonym]:
        """Get or create the open subject epoch of each identity; atomic, durable."""
        ...

    def salt_keys(self, wanted: Sequence[Pseudonym], year: int) -> dict[Pseudonym, bytes]:
        """Get or create K of each subject for a calendar year (UTC); atomic, durable."""
        ...

    def find(self, identities: Sequence[Identity]) -> dict[Identity, Pseudonym]:
        """Only those that are known; creates nothing."""
        ...

    def identity(self, pseudonym: Pseudonym) -> Identity | None:
        """Who it is; None when unknown or erased."""
        ...

    def epochs(self, identity: Identity) -> Sequence[Pseudonym]:
        """All subject epochs of an identity, the newest first: that one is open."""
        ...


class CustomerDb(Protocol):
    """The shared customer database: a projection of the log, rebuilt from it at will."""

    def store(self, rows: Sequence[StoredRecord], size: int) -> None:
        """Take the rows of all entries below `size` that are not yet stored; idempotent.

        Survives the end of the process when it returns.
        """
        ...

    def sync(self) -> None:
        """What was stored survives the loss of power, too, once this returns."""
        ...

    def tidy(self) -> bool:
        """Do a little of what storing leaves for later; whether there is more. From any thread."""
        ...

    def size(self) -> int:
        """Log size up to which rows are stored."""
        ...

    def readings(self, query: ReadingsQuery) -> ReadingsPage:
        """Rows in order of (end, device, kind, register, begin, index); docs/spec/record.md §as-of.

        `versions="latest"`: of each slot (device, kind, register, begin, end) the row of the
        highest (rank, index) below `as_of_size`. Byte-equal rows of one slot are given once,
        the one of the lowest index. Windows of phasors come without their frames. The platform's
        own rows are given where the query is `of_platform`, and none else then.
        """
        ...

    def record(self, index: int) -> StoredRecord | None:
        """The row of one entry; None where the entry is public or erased."""
        ...

    def records(self, start: int, stop: int) -> list[StoredRecord]:
        """All rows with start <= index < stop, by index; for fsck and replay."""
        ...


class BookEntry(NamedTuple):
    """One version of a device-day, without its bytes, which the customer database has."""

    key: bytes  # 32, bal.certify.device_day.key
    device: Pseudonym
    register: str
    slot_s: int
    version: int  # from 1
    commitment: Digest
    content: bytes  # SHA-256 of what it says, bal.certify.device_day.content
    log_index: int


class Book(Protocol):
    """Which days were closed, and which have records: a projection of the log."""

    def add(self, close: Close, entries: Sequence[BookEntry] = ()) -> None:
        """Keep the next close and the versions that it made, all or none; idempotent.

        Raises ValueError where k is not the last one's plus 1, or is another close already.
        """
        ...

    def closes(self, after: int = 0) -> list[Close]:
        """All closes with k > `after`, in order of k."""
        ...

    def entries(
        self, date: str, k: int, *, first_byte: int | None = None, device: Pseudonym | None = None
    ) -> list[BookEntry]:
        """The newest version of every key of a date (YYYY-MM-DD) as of close k, by key.

        first_byte: only of keys that begin with it; device: only of that device.
        """
        ...

    def touch(self, dates: Mapping[str, int]) -> None:
        """Note the highest log index of a slot's record by local date (YYYY-MM-DD)."""
        ...

    def touched(self) -> dict[str, int]:
        """By date the highest index that was noted."""
        ...

    def sync(self) -> None:
        """What was noted survives the loss of power, too, once this returns."""
        ...


class DayRows(Protocol):
    """The customer database read by shard: what closing a day needs of a country's meters."""

    def of_shard(
        self, shard: str, from_us: int, to_us: int, size: int
    ) -> Iterator[tuple[Pseudonym, Sequence[StoredRecord]]]:
        """The rows of a shard with from_us <= begin, end <= to_us and an index below `size`.

        Of kinds reading, telemetry and finding, all versions, in order of index; one device after
        the other, by pseudonym. At most the rows of one shard and period are in memory.
        """
        ...


@dataclass(frozen=True, slots=True)
class ArchiveItem:
    """One message for the archive."""

    message: RawMessage
    message_id: bytes  # SHA-256 of message.raw
    parts: Sequence[tuple[int, int, Subject]]  # start, end, whose; consecutive, covering it
    summary: bytes = b""  # to answer a retry with
    sealed: Sealed | None = None  # where that is done; `parts` may be empty then
    doubts: Doubts | None = None  # what is refused or doubtful of it, if anything


class RawArchive(Protocol):
    """Raw messages, each part encrypted under its subject's key."""

    def put_many(self, items: Sequence[ArchiveItem]) -> None:
        """Keep messages with their summaries, all or none; idempotent."""
        ...

    def put_vee(self, found: VeeFindings) -> None:
        """Keep what closes of days found, for the list of findings; all or none; idempotent."""
        ...

    def sync(self) -> None:
        """What was put survives the loss of power, too, once this returns."""
        ...

    def summaries(self, keys: Collection[tuple[str, bytes]]) -> dict[tuple[str, bytes], bytes]:
        """By (credential, message id): the certified summaries of those already taken."""
        ...

    def raw(self, epoch: str, partition: int, offset: int) -> RawMessage | None:
        """The message as it came, decrypted; None where a key is gone or it never was."""
        ...


class Registry(Protocol):
    """Senders, devices and clients as the log's command records made them."""

    def device(self, pseudonym: Pseudonym) -> DeviceInfo | None:
        """The device of that pseudonym, revoked ones too."""
        ...

    def devices(self, groups: frozenset[str] | None) -> list[DeviceInfo]:
        """Devices of these groups (None: of all), by group and pseudonym."""
        ...


class Signer(Protocol):
    """A note key that never leaves its place."""

    @property
    def vkey(self) -> str:
        """C2SP verifier key: <name>+<8 hex>+<base64>."""
        ...

    def sign(self, text: bytes) -> bytes:
        """One signature line, `— <name> <base64>\\n`, over a note text that ends in newline."""
        ...
