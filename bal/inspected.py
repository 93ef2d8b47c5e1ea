"""What `gridseal inspect` knows of a message: its values by device, and what is wrong with it."""

from dataclasses import dataclass, field

from bal.harmonise import MeterNames
from bal.model import Finding, Rank
from bal.wording import device, quality

LEFT_OUT = frozenset({"data-not-usable", "value-absent"})  # codes of values that are not taken
NOT_READ = frozenset({"element-not-mapped", "frame-not-mapped", "member-unknown"})
_OF_BITS = ("1.0.", "1.1.", "1.3.")  # codes that are told by the bits they are of
NOBODY = MeterNames(None, ())  # no device is named: the sender's own


@dataclass(frozen=True, slots=True)
class Seen:
    """One value of a message, as it would be certified; or what is kept of it word for word."""

    kind: str  # reading, telemetry, phasors, event, …
    code: str  # the identifier as sent, where there is one; else the register
    meaning: str  # the same in words
    begin_us: int
    end_us: int  # equal where it holds at an instant
    value: str  # decimal in `unit`; "" where there is none
    unit: str
    quality: tuple[str, ...]
    rank: Rank
    verbatim: tuple[tuple[str, str], ...]  # of an event: member, text as sent
    findings: tuple[str, ...]  # codes of what is doubtful about it
    place: "Place | None"  # of the evidence
    why: tuple[str, ...] = ()  # what its device says of itself that makes it doubtful, in words
    words: tuple[str, ...] = ()  # its quality in those of its format, where that has its own
    line: int | None = None  # on which it begins; None where the message has no lines
    pointer: str = ""  # in JSON, and of frames; "" in XML


def quality_of(one: Seen) -> str:
    """Its quality in words, with what its device says of itself."""
    if one.words:
        return "; ".join(one.words)
    if one.kind != "phasors":
        return _by_bits(one) if one.why else quality(one.quality, one.rank)
    words = quality(one.quality, one.rank)
    words = words.replace("by the meter", "by the PMU")
    return f"{words}: {', '.join(one.why)}" if one.why else words


def _by_bits(one: Seen) -> str:
    """Of a gateway's reading: its bits say more than the codes they became, and by whom."""
    codes = tuple(code for code in one.quality if not code.startswith(_OF_BITS))
    words = quality(codes, one.rank) if codes else "valid"
    words = words.replace(", says the meter", "").replace(" by the meter", "")
    return f"{words}; {'; '.join(one.why)}"


@dataclass(frozen=True, slots=True)
class Place:
    """The bytes of a message that a record was read from, by lines from 1; both ends included."""

    first: int
    last: int


@dataclass(slots=True)
class Device:
    """What a message says of one device."""

    names: MeterNames  # as sent; all of them, where it is named in several ways
    seen: list[Seen] = field(default_factory=list)


@dataclass(slots=True)
class Inspected:
    """What a message means."""

    form: str  # "" where it is of no known format
    devices: list[Device] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    refused: list[Finding] = field(default_factory=list)
    whole: bool = False  # refused as a whole: nothing of it is taken
    known: str = ""  # of what has no known format: what it is
    do: str = ""  # what its author does about that

    @property
    def left_out(self) -> list[Finding]:
        """Findings on values that are not taken."""
        return [one for one in self.findings if one.code in LEFT_OUT]

    @property
    def values(self) -> int:
        """How many values are taken, frames of phasors by each channel."""
        return sum(bool(one.value) for device in self.devices for one in device.seen)

    @property
    def taken(self) -> int:
        """How many values and events are taken."""
        return sum(len(device.seen) for device in self.devices)


def names_of(one: Device) -> str:
    """All its names, each in the words of the format that names it so; "" where it has none."""
    told = [f"mRID {one.names.mrid}"] if one.names.mrid else []
    return "; ".join([*told, *(device(*name) for name in one.names.names)])
