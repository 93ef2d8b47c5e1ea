"""The items of the operator's list of findings (docs/spec/rest.md).

Of a message's, which device each is about, as far as the message shows: a function of what it
became. What closes of days found is made by bal/found_by_vee.py.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal

import msgspec

from bal.model import Draft, Finding, Part, Subject
from bal.registry import PLATFORM_GROUP


@dataclass(frozen=True, slots=True)
class Found:
    """One item of a message, and whose it is; both "" where that is not known."""

    finding: Finding
    device: str  # pseudonym
    group: str


@dataclass(frozen=True, slots=True)
class Doubts:
    """All items of one message, and its place in the log."""

    first_index: int
    count: int
    sender: str  # the pseudonym of the sender's own subject; "" where nobody is known by its name
    items: Sequence[Found]  # in order: findings, then what was refused


Source = Literal["message", "guard", "vee"]


@dataclass(frozen=True, slots=True)
class About:
    """What a finding of VEE says it of: a register, and [begin, end), or an instant."""

    register: str
    begin: str  # RFC 3339
    end: str
    replaced_by: int | None = None  # log index of the record that a later close put in its place


@dataclass(frozen=True, slots=True)
class StoredFinding:
    """One item as it is kept: `place` is its order in the log, and among those of its message."""

    place: tuple[int, int, int, int, str]  # first index, partition, offset, number, epoch
    count: int  # entries of its message
    received_us: int  # of one of VEE the time of the close
    format: str
    sender: str
    device: str
    group: str
    finding: Finding
    about: About | None = None  # of one of VEE

    @property
    def source(self) -> Source:
        """Of a message in the log; of one that never got to the bus; or of the close of a day."""
        if self.about is not None:
            return "vee"
        return "message" if self.on_bus else "guard"

    @property
    def index(self) -> int | None:
        """Log index of the record that says it, where it is a record of its own."""
        return None if self.about is None else self.place[0]

    @property
    def batch(self) -> tuple[str, int, int]:
        """Epoch, partition and offset of its message."""
        _, partition, offset, _, epoch = self.place
        return epoch, partition, offset

    @property
    def on_bus(self) -> bool:
        """Whether there is such a message: what the guard refused never got there."""
        return self.place[1] >= 0


@dataclass(frozen=True, slots=True)
class VeeFindings:
    """What closes of days found, and what of it is no longer so."""

    items: Sequence[StoredFinding]
    replaced: Mapping[int, int]  # log index of a finding's record → of the one in its place

    def __bool__(self) -> bool:
        """Whether there is anything to keep."""
        return bool(self.items or self.replaced)


@dataclass(frozen=True, slots=True)
class FindingsQuery:
    """What a caller asks of the list; [from_us, to_us) of the receipt of the message, or of the
    time of the close."""

    groups: frozenset[str] | None  # whose devices the caller may read; None = everything
    device: str | None = None
    sender: str | None = None
    code: str | None = None
    severity: str | None = None
    from_us: int | None = None
    to_us: int | None = None
    newest_first: bool = True
    size: int = 0  # only messages and records all of whose entries are below it
    after: tuple[int, int, int, int, str] | None = None
    limit: int = 100


def found_in(
    raw: bytes,
    parts: Sequence[Part],
    drafts: Iterable[Draft],
    findings: Sequence[Finding],
    refused: Sequence[Finding],
) -> list[Found]:
    """Each item of a message with its device.

    An item is a device's where it names it, where the message is of one device, where a record of
    that device alone repeats it, or where no other device has bytes in its line.
    """
    if not findings and not refused:
        return []
    if len(parts) == 1:
        [only] = parts
        return [
            _found(one, {only.subject.pseudonym: only.subject}) for one in (*findings, *refused)
        ]
    noted, lines = _noted(drafts) if findings else {}, _Lines(raw, parts)
    return [
        _found(one, noted.get(_key(one.as_json())) or lines.owners(one.line))
        for one in chain(findings, refused)
    ]


_Owners = dict[str, Subject]
_Key = tuple[str, str, str, str]


def _found(finding: Finding, owners: _Owners) -> Found:
    if finding.device:
        return Found(finding, finding.device, finding.group)
    if len(owners) == 1:
        [one] = owners.values()
        if one.group != PLATFORM_GROUP:  # the platform, or a sender that is no device
            return Found(finding, one.pseudonym, one.group)
    return Found(finding, "", "")


class _Record(msgspec.Struct):
    findings: list[dict[str, str]] = []


_record = msgspec.json.Decoder(_Record)


def _noted(drafts: Iterable[Draft]) -> dict[_Key, _Owners]:
    """Whose records repeat a finding."""
    noted: dict[_Key, _Owners] = {}
    for one in drafts:
        if b'"findings":[' in one.record:
            for finding in _record.decode(one.record).findings:
                noted.setdefault(_key(finding), {})[one.subject.pseudonym] = one.subject
    return noted


def _key(finding: dict[str, str]) -> _Key:
    return finding["code"], finding["field"], finding["line"], finding["text"]


@dataclass(slots=True)
class _Lines:
    """Whose bytes stand in a line of a message."""

    raw: bytes
    parts: Sequence[Part]
    _starts: list[int] = field(init=False)
    _feeds: list[int] = field(init=False)
    _known: dict[int, _Owners] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._starts = [part.start for part in self.parts]
        self._feeds = []
        at = self.raw.find(b"\n")
        while at >= 0:
            self._feeds.append(at)
            at = self.raw.find(b"\n", at + 1)

    def owners(self, line: int | None) -> _Owners:
        """The devices, by pseudonym; none for a line that there is not."""
        if line is None or not 1 <= line <= len(self._feeds) + 1:
            return {}
        if line not in self._known:
            begin = self._feeds[line - 2] + 1 if line > 1 else 0
            end = self._feeds[line - 1] if line <= len(self._feeds) else len(self.raw)
            first = max(0, bisect_right(self._starts, begin) - 1)
            last = max(first + 1, bisect_left(self._starts, end))
            subjects = [part.subject for part in self.parts[first:last]]
            self._known[line] = {
                one.pseudonym: one for one in subjects if one.group != PLATFORM_GROUP
            }
        return self._known[line]
