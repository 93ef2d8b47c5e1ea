"""What the log has and the storer is to store, with its place there."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from bal.closing import ClosedDay
from bal.found import Doubts, Found, found_in
from bal.model import DeviceInfo, Pseudonym
from bal.pipeline import Worked
from bal.ports import ArchiveItem
from bal.registry import Sender
from bal.subjects import SLOT_KINDS

Device = Callable[[Pseudonym], DeviceInfo | None]


@dataclass(frozen=True, slots=True)
class Progress:
    """Up to where everything is stored: log version, log size, first bus offset not stored.

    Windows of phasor frames that are not done with are made again from the messages from
    `needed_from` on, which are in versions of the log above `needed_version`.
    """

    version: int
    size: int
    next_offset: int
    needed_from: int  # next_offset where there are no such windows
    needed_version: int = 0  # the projector's own to say


@dataclass(frozen=True, slots=True)
class Committed:
    """One message with its place in the log."""

    worked: Worked
    first: int
    message_id: bytes  # SHA-256 of the raw message

    @property
    def batch(self) -> str:
        """<epoch>/<partition>/<offset>."""
        m = self.worked.message
        return f"{m.epoch}/{m.partition}/{m.offset}"

    def archived(self, senders: Mapping[str, Sender], device: Device | None) -> ArchiveItem:
        """The message as the archive takes it; see `project`. senders: by credential."""
        raw = self.worked.message
        sealed = self.worked.sealed
        parts = [] if sealed else [(one.start, one.end, one.subject) for one in self.worked.parts]
        doubts = self._doubts(senders, device)
        return ArchiveItem(raw, self.message_id, parts, self.summary(), sealed, doubts)

    def _doubts(self, senders: Mapping[str, Sender], device: Device | None) -> Doubts | None:
        worked = self.worked
        if not worked.findings and not worked.refused:
            return None
        raw, sender = worked.message.raw, senders.get(worked.message.credential)
        found = found_in(raw, worked.parts, worked.drafts, worked.findings, worked.refused)
        if device is not None:
            found = [_housed(one, device) for one in found]
        name = sender.subject if sender is not None else ""
        return Doubts(self.first, len(worked.entries), name, found)

    def summary(self) -> bytes:
        """What the archive keeps to answer a retry with."""
        return json.dumps(self.as_json()).encode()

    def as_json(self) -> dict[str, object]:
        """Where the message's entries are, and what was doubtful or refused."""
        return {
            "batch": self.batch,
            "first_index": self.first,
            "count": len(self.worked.entries),
            "good": sum([draft.kind in SLOT_KINDS for draft in self.worked.drafts])
            + self.worked.taken,
            "findings": [finding.as_json() for finding in self.worked.findings],
            "refused": [finding.as_json() for finding in self.worked.refused],
        }


@dataclass(frozen=True, slots=True)
class CommittedClose:
    """A closed day with the place of its first device-day in the log."""

    closed: ClosedDay
    first: int


def _housed(found: Found, device: Device) -> Found:
    """In the group that the log's first record of its device says, as `bal.store.merge.housed`."""
    info = device(Pseudonym(found.device)) if found.device else None
    return found if info is None else replace(found, group=info.group)
