"""The values that travel through the stages, in the order in which they come to be.

RawMessage (on the bus) → Harmonised (parts, records) → Batch (entries, rows) → StoredRecord.
Times are integers of microseconds since 1970-01-01T00:00:00Z unless a name says otherwise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal, NamedTuple, NewType

Digest = NewType("Digest", bytes)  # SHA-256 output, 32 bytes
Pseudonym = NewType("Pseudonym", str)  # base64url without padding, 43 characters
Identity = NewType("Identity", str)  # mrid:<mRID> or name:<authority>/<type>/<name>

TYPE_RECORD = b"\x01"  # an RFC 8785 record
TYPE_DEVICE_DAY = b"\x02"
TYPE_PART = b"\x03"  # a part of a raw message
TYPE_FRAME = b"\x04"  # a phasor frame

PHASORS = "phasors"  # the kind of record that has frames behind it

Severity = Literal["refused", "warning", "info"]


class Rank(IntEnum):
    """Which of two versions of one slot counts (ARCHITECTURE §2): the higher, then the later."""

    MISSING = 0
    ESTIMATED = 1
    MEASURED = 2
    CORRECTED = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong or doubtful with a message or a reading; never quotes an identity."""

    code: str
    severity: Severity
    text: str
    field: str = ""
    line: int | None = None
    clause: str = ""
    device: str = ""  # pseudonym, where its place in the message does not say whose it is
    group: str = ""  # of that device; neither is among the members of F

    def as_json(self) -> dict[str, str]:
        """The members of F in receipts, records and problem documents; all strings."""
        return {
            "code": self.code,
            "severity": self.severity,
            "field": self.field,
            "line": "" if self.line is None else str(self.line),
            "clause": self.clause,
            "text": self.text,
        }


@dataclass(frozen=True, slots=True)
class RawMessage:
    """One message as the bus keeps it: the bytes as sent, and the intake header."""

    epoch: str
    partition: int
    offset: int  # from 0, without gaps
    credential: str  # enrolled sender; "$operator" for commands of the platform's own
    format: str  # one of bal.harmonise.FORMATS; of the platform's own: command, flush
    received_us: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class Subject:
    """One subject epoch as the vault knows it; all that leaves the vault of a customer."""

    pseudonym: Pseudonym
    salt_key: bytes  # K of the calendar year of the message, 32 bytes
    group: str  # as enrolled; policy is decided on it
    shard: str  # group/<ordinal of 256 devices>; the row key's partition


@dataclass(slots=True, unsafe_hash=True)  # not frozen: made once a reading, thrice as quick
class Part:
    """A consecutive byte range of the raw message that belongs to one subject."""

    start: int
    end: int
    subject: Subject
    commitment: Digest  # of type TYPE_PART


@dataclass(slots=True, unsafe_hash=True)  # not frozen: made once a reading, thrice as quick
class Draft:
    """One record as harmonised, before it is committed to and has an index."""

    subject: Subject
    kind: str  # reading, telemetry, event, phasors, message, refused, device, grant
    register: str  # "" where the kind has none
    begin_us: int  # equal to end_us for an instant
    end_us: int
    rank: Rank
    record: bytes  # RFC 8785
    frames: bytes = b""  # of phasors: those that `record` has the root of, one a line


Channel = tuple[str, str, str]
"""What one phasor or other quantity of a frame is: component, measurand, phase."""


class PhasorFrame(NamedTuple):
    """One frame of a phasor measurement unit, on its way into a window (docs/spec/pmu.md)."""

    subject: Subject
    time_us: int
    data: bytes  # RFC 8785
    channels: tuple[Channel, ...]
    evidence: Digest  # commitment to the part of the message that it came in
    number: int  # of the element of the message, from 0
    leaf: Digest | None = None  # in the tree of a window that is its subject's, where it is made
    quality: tuple[str, ...] = ("0.0.0",)  # codes of IEC 61968-9, sorted; of pmu nobody says any


@dataclass(slots=True)
class Harmonised:
    """What one raw message turned out to mean."""

    parts: list[Part] = field(default_factory=list)
    records: list[Draft] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    refused: list[Finding] = field(default_factory=list)
    frames: list[PhasorFrame] = field(default_factory=list)  # their windows become records
    taken: int = 0  # frames that a window has now
    signature: str = "none"  # verdict on the message's own; `cms:<fingerprint of its signer>`


class Sealed(NamedTuple):
    """A message as the archive stores it, each subject's parts under its key."""

    tag: bytes  # by which the archive knows the message again
    layout: bytes  # whose bytes are where
    texts: bytes


class StoredRecord(NamedTuple):  # a tuple: made and sorted once a reading
    """A row of the shared customer database: a certified record at its place in the log.

    The first six fields are the order in which the rows of a segment stand.
    """

    device: Pseudonym
    end_us: int
    kind: str
    register: str
    begin_us: int
    index: int  # type: ignore[assignment]  # not the method of tuples
    rank: Rank
    type: bytes  # one byte, TYPE_RECORD for now
    year: int  # whose salt key the commitment used
    record: bytes  # of phasors: with the frames behind it, each after a line feed
    shard: str

    @property
    def certified(self) -> bytes:
        """The bytes that the log's entry is a commitment to."""
        return self.record.partition(b"\n")[0] if self.kind == PHASORS else self.record

    @property
    def frames(self) -> list[bytes]:
        """The frames of a window, in order of time; none of any other kind."""
        return self.record.split(b"\n")[1:] if self.kind == PHASORS else []


@dataclass(frozen=True, slots=True)
class TreeHead:
    """The log's state at one size; what a checkpoint signs."""

    size: int  # leaves, >= 0
    root: Digest  # SHA-256 of the empty string when size is 0


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where on chain a head stands."""

    chain_id: int
    contract: str  # 0x…, checksummed
    log: str  # 0x…, keccak256(origin)
    size: int
    block: int
    tx: str  # 0x…

    def as_json(self) -> dict[str, str]:
        """The `anchor` member of a receipt's extra; all strings."""
        return {
            "chain_id": str(self.chain_id),
            "contract": self.contract,
            "log": self.log,
            "size": str(self.size),
            "block": str(self.block),
            "tx": self.tx,
        }


@dataclass(frozen=True, slots=True)
class Close:
    """One close of the book of days (ARCHITECTURE §6), as its public record in the log says."""

    k: int  # from 1, without gaps
    date: str  # YYYY-MM-DD, the local date that was closed
    prefix: int  # log size up to which rows were read
    index: int  # of the close record in the log
    day_book: Digest  # root of that day's book
    book: Digest  # root of the book of days; what goes on chain


@dataclass(frozen=True, slots=True)
class ReadingsQuery:
    """What a caller asks of the shared customer database; [from_us, to_us) on the end."""

    groups: frozenset[str] | None  # groups the caller may read; None = every device
    device: str | None = None
    kind: str | None = None
    register: str | None = None
    from_us: int | None = None
    to_us: int | None = None
    as_of_size: int = 0  # only entries below it
    versions: Literal["latest", "all"] = "latest"
    after: Sequence[object] | None = None  # cursor: the sort key of the last row given
    limit: int = 1000
    of_platform: bool = False  # instead: the platform's own rows of `device`, for its operator

    def check(self) -> None:
        """Raises ValueError for what nobody may ask."""
        if self.limit < 1:
            raise ValueError("a page has at least one row")
        if self.of_platform and (self.groups is not None or self.device is None):
            raise ValueError("the platform's own rows are its operator's, of one device")


@dataclass(frozen=True, slots=True)
class ReadingsPage:
    """One page of rows, and where the next one starts."""

    rows: list[StoredRecord]
    after: Sequence[object] | None  # None: nothing further


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A device as the registry knows it; the identity stays in the vault."""

    device: Pseudonym
    group: str
    shard: str
    zone: str  # IANA time zone of the metering point
    kind: str  # meter, pmu, der; battery, pv, wind: a der of which more is known
    sender: str  # credential that named it first
    state: str  # active, revoked
    since_us: int = 0  # of a later subject epoch: what ends later is its; 0: from the first
    until_us: int = 0  # of an epoch that ended: what begins earlier is its; 0: none has
    follows: str = ""  # pseudonym of the epoch before, whose earlier readings are
    replaces: str = ""  # after an exchange: pseudonym of the device that was at this usage point


Certified = Mapping[str, object]  # the certified summary of a message, as JSON
