"""The way of a message: collect → harmonise → certify → store → provide (ARCHITECTURE §1).

The only module that sees all stages. `Worker.process` makes of each raw message exactly one batch,
as a function of its bytes, its intake header, the registry and the vault; no history, no clock.
Phasor frames alone wait, in windows that later messages close (bal/windows.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import repeat

from bal import jcs
from bal.certify.commitment import commitment, commitments, frame_leaves, part_commitments
from bal.certify.log import Batch
from bal.certify.tree import EMPTY_ROOT, tree_head
from bal.commands import command_drafts
from bal.epochs import Epochs
from bal.errors import GridsealError, Rejected
from bal.harmonise import MeterNames, Resolve, harmonise, turned_away
from bal.harmonise.instant import parse
from bal.harmonise.phasors import rate_of, window_record
from bal.message_records import message_draft, refused_draft, root_of
from bal.model import (
    PHASORS,
    TYPE_PART,
    TYPE_RECORD,
    Digest,
    Draft,
    Finding,
    Harmonised,
    Part,
    Rank,
    RawMessage,
    Sealed,
    StoredRecord,
    Subject,
)
from bal.ports import Vault
from bal.registry import KINDS, Registry, Sender
from bal.subjects import PLATFORM_SHARD, UNTIMED, ManyUnknown, Subjects
from bal.times import year
from bal.trust import NO_TRUST, Trust
from bal.windows import SECOND_US, Closed, Windows

BATCH_ENTRIES_MAX = 8_192
OPERATOR = "$operator"  # the internal credential whose messages are commands
COMMAND_FORMAT = "command"
FLUSH_FORMAT = "flush"  # also of the operator: closes windows that nothing else will
WINDOW_FORMATS = frozenset({"c37118", "pmu", FLUSH_FORMAT})  # of messages that windows are made of


@dataclass(slots=True)
class Worked:
    """What one raw message became: its entries in order, and the rows behind them."""

    message: RawMessage
    drafts: list[Draft] = field(default_factory=list)
    entries: list[Digest] = field(default_factory=list)
    parts: Sequence[Part] = ()
    findings: Sequence[Finding] = ()
    refused: Sequence[Finding] = ()
    again: str = ""
    taken: int = 0  # phasor frames, which later messages certify
    sealed: Sealed | None = field(default=None, compare=False)  # of `parts`, where it is done

    def batches(self, prev: int, inputs: dict[str, str]) -> list[Batch]:
        """The batch, in parts of ≤ 8,192 entries; without entries where it is a retry."""
        m = self.message
        cuts = range(0, max(1, len(self.entries)), BATCH_ENTRIES_MAX)
        return [
            Batch(
                m.epoch,
                m.partition,
                m.offset,
                prev,
                self.entries[cut : cut + BATCH_ENTRIES_MAX],
                inputs,
                part,
                self.again,
            )
            for part, cut in enumerate(cuts)
        ]

    def row_digests(self) -> list[str]:
        """What the header of each part names as `rows`."""
        return [batch.rows for batch in self.batches(-1, {})]

    def rows(self, first: int) -> list[StoredRecord]:
        """The database rows, once the log gave the first entry its index."""
        received = year(self.message.received_us)
        made = (
            (
                draft.subject.pseudonym,
                draft.end_us,
                draft.kind,
                draft.register,
                draft.begin_us,
                index,
                draft.rank,
                TYPE_RECORD,
                received,
                draft.record + b"\n" + draft.frames if draft.frames else draft.record,
                draft.subject.shard if draft.kind not in _PLATFORM_KINDS else PLATFORM_SHARD,
            )
            for index, draft in enumerate(self.drafts, first)
        )
        return list(map(tuple.__new__, repeat(StoredRecord), made))  # twice as quick


_PLATFORM_KINDS = KINDS | {"lookup", "message", "refused"}


@dataclass(frozen=True, slots=True)
class Known:
    """What of registry and vault a message is worked with, where it names nobody new.

    `subjects` grows while it counts; where another one stands in its place, the registry changed.
    """

    subjects: Mapping[MeterNames, Subject]
    platform: Subject
    own: Subject  # the sender's
    trust: Trust = NO_TRUST  # whose signatures on messages are believed


def read(message: RawMessage, known: Known, resolve: Resolve) -> Harmonised:
    """What `Worker.process` reads in a message, for those who have neither registry nor vault.

    resolve: answers from `known.subjects`, and raises where they have no answer. That is raised
    here too, as is whatever else `Worker.process` has to judge about.
    """
    return harmonise(
        message.raw,
        message.format,
        resolve=resolve,
        platform=known.platform,
        sender=known.own,
        commit_parts=_commit_parts,
        received_us=message.received_us,
        trust=known.trust,
    )


def work(message: RawMessage, known: Known, resolve: Resolve) -> Worked:
    """As `read`, all that `Worker.process` makes of a message that feeds no windows."""
    found = read(message, known, resolve)
    return _committed(message, found, [], known.platform, known.own)


class Worker:
    """Makes batches. One per partition; `registry` and `vault` are shared."""

    def __init__(self, vault: Vault, registry: Registry, windows: Windows | None = None) -> None:
        """windows: those to go on with; without, there are none yet."""
        self._vault, self._registry = vault, registry
        self.windows = Windows(rate_of) if windows is None else windows
        self._subjects, self._epochs = Subjects(vault, registry), Epochs(vault, registry)

    def with_registry(self, registry: Registry) -> "Worker":
        """One that goes by another registry, and feeds the same windows."""
        return Worker(self._vault, registry, self.windows)

    def known(self, message: RawMessage) -> Known | None:
        """What `read` needs for it; None for a message that only `process` can work through."""
        if message.credential == OPERATOR:
            return None
        sender = self._registry.senders.get(message.credential)
        if sender is None or sender.state != "active":
            return None
        message_year = year(message.received_us)
        return Known(
            self._subjects.known(sender, message_year),
            self._subjects.platform(message_year),
            self._subjects.own(sender, message_year),
        )

    def process(self, message: RawMessage, found: Harmonised | None = None) -> Worked:
        """The batch of one message. Never raises for bad input: that becomes a `refused` record.

        So does a defect of ours, of a command too: else it would stop every start from here on.
        found: what `read` finds in it, where somebody has done that already.
        """
        message_year = year(message.received_us)
        platform = self._subjects.platform(message_year)
        if message.credential == OPERATOR:
            work_through = self._flush if message.format == FLUSH_FORMAT else self._command
            return work_through(message, platform)
        sender = self._registry.senders.get(message.credential)
        sender_subject = self._subjects.own(sender, message_year) if sender else platform
        new_devices: list[Draft] = []
        try:
            if sender is None or sender.state != "active":
                raise Rejected("sender-revoked", "the sender was revoked before this was read")
            if found is None:
                found = self._harmonise(sender, message, platform, sender_subject, new_devices)
            self._epochs.settle(found, message.raw, message.received_us)
            self._take_frames(message, found)
        except Rejected as error:
            found = self._refused_whole(message, sender_subject, error)
            new_devices.clear()
        except GridsealError:
            raise
        except Exception as error:  # noqa: BLE001 - a defect of ours must not stop all senders
            text = f"the platform can't read this message: a defect ({type(error).__name__})"
            found = self._refused_whole(
                message, sender_subject, Rejected("mapper-failed", text, field="message")
            )
            new_devices.clear()
        return _committed(message, found, new_devices, platform, sender_subject)

    def _harmonise(
        self,
        sender: Sender,
        message: RawMessage,
        platform: Subject,
        own: Subject,
        new_devices: list[Draft],
    ) -> Harmonised:
        known = Known({}, platform, own, self._registry.trust)
        try:
            return read(message, known, self._subjects.resolver(sender, message, new_devices))
        except ManyUnknown:  # a thousand vault transactions become two
            new_devices.clear()
            self._subjects.prefetch(sender, message, _named(message, known))
            return read(message, known, self._subjects.resolver(sender, message, new_devices))

    def _take_frames(self, message: RawMessage, found: Harmonised) -> None:
        """Put the frames of a message into their windows; those that close are its records."""
        if not found.frames:
            return
        fed = self.windows.feed(
            message.credential, message.offset, message.received_us, found.frames
        )
        for one in turned_away(message.raw, message.format, fed.turned):
            (found.refused if one.severity == "refused" else found.findings).append(one)
        found.taken = fed.taken
        found.records += [self._window(closed, year(message.received_us)) for closed in fed.closed]

    def _flush(self, message: RawMessage, platform: Subject) -> Worked:
        """Close the windows that are due by the time that the platform told itself."""
        try:
            closed = self.windows.flush(parse(jcs.decode(message.raw)["time"]).us)
            drafts = [self._window(one, year(message.received_us)) for one in closed]
        except GridsealError:
            raise
        except Exception as error:  # noqa: BLE001 - as for senders
            return self._command_failed(message, platform, error)
        part = Part(0, len(message.raw), platform, _commit_part(platform, message.raw))
        return _worked(message, drafts, Harmonised(parts=[part]))

    def _window(self, closed: Closed, message_year: int) -> Draft:
        """The record of a window, with its frames, by the salt key of the message's year."""
        subject = closed.subject
        if year(closed.subject_us) != message_year:
            subject = self._subjects.of_year(subject, message_year)
        frames, leaves = closed.frames, closed.leaves
        if not leaves or subject is not closed.subject:
            leaves = frame_leaves([subject.salt_key] * len(frames), frames)
        record = window_record(
            subject.pseudonym,
            closed.begin_us,
            closed.channels,
            frames=len(frames),
            rate=closed.rate or 1,
            root=tree_head(leaves).root,
            evidence=closed.parts[0] if len(closed.parts) == 1 else root_of(closed.parts),
            quality=closed.quality,
        )
        end_us, lines = closed.begin_us + SECOND_US, b"\n".join(frames)
        return Draft(subject, PHASORS, "", closed.begin_us, end_us, Rank.MEASURED, record, lines)

    def stands(self, worked: Worked) -> bool:
        """Whether `process` would make the same of it, where `work` did by what is known now."""
        return self._epochs.stands(worked.drafts)

    def apply(self, drafts: Sequence[Draft]) -> None:
        """Let command and device records take effect, once they are worked into a batch."""
        for one in drafts:
            if one.kind in KINDS:
                self._registry.apply(one.record)

    def _refused_whole(self, message: RawMessage, subject: Subject, error: Rejected) -> Harmonised:
        part = Part(0, len(message.raw), subject, _commit_part(subject, message.raw))
        finding = Finding(error.code, "refused", error.text, error.field, error.line, error.clause)
        return Harmonised(parts=[part], refused=[finding])

    def _command(self, message: RawMessage, platform: Subject) -> Worked:
        try:
            subject, drafts = command_drafts(message, self._subjects, self._registry)
        except GridsealError:
            raise
        except Exception as error:  # noqa: BLE001 - as for senders
            return self._command_failed(message, platform, error)
        part = Part(0, len(message.raw), subject, _commit_part(subject, message.raw))
        return _worked(message, drafts, Harmonised(parts=[part]))

    def _command_failed(self, message: RawMessage, platform: Subject, error: Exception) -> Worked:
        text = f"the platform can't carry out this command: a defect ({type(error).__name__})"
        refused = Rejected("command-failed", text, field="command")
        found = self._refused_whole(message, platform, refused)
        return _committed(message, found, [], platform, platform)


def _named(message: RawMessage, known: Known) -> list[MeterNames]:
    """Every device that a message names; nothing is committed to."""
    named: dict[MeterNames, None] = {}

    def note(names: MeterNames) -> Subject:
        named[names] = None
        return known.platform

    harmonise(
        message.raw,
        message.format,
        resolve=note,
        platform=known.platform,
        sender=known.platform,
        commit_parts=lambda subjects, _: [EMPTY_ROOT] * len(subjects),
        received_us=message.received_us,
        trust=known.trust,
    )
    return list(named)


def _commit_part(subject: Subject, part: bytes) -> Digest:
    return commitment(subject.salt_key, TYPE_PART, part)


def _commit_parts(subjects: Sequence[Subject], parts: Sequence[bytes]) -> list[Digest]:
    return part_commitments([subject.salt_key for subject in subjects], parts)


def _committed(
    message: RawMessage,
    found: Harmonised,
    new_devices: list[Draft],
    platform: Subject,
    sender: Subject,
) -> Worked:
    drafts = new_devices + found.records
    if found.refused:
        drafts.append(refused_draft(message, found, sender))
    if len(found.parts) > 1:
        drafts.append(message_draft(message, found, platform, sender))
    return _worked(message, drafts, found)


def _worked(message: RawMessage, drafts: list[Draft], found: Harmonised) -> Worked:
    entries = commitments(
        TYPE_RECORD, [d.subject.salt_key for d in drafts], [d.record for d in drafts]
    )
    at = message.received_us
    for one in drafts:
        if one.end_us == UNTIMED:
            one.begin_us = one.end_us = at
    return Worked(
        message, drafts, entries, found.parts, found.findings, found.refused, taken=found.taken
    )


def rules_digest(parts: dict[str, str]) -> str:
    """The digest that a batch header names as `rules`."""
    return sha256(jcs.encode(parts)).hexdigest()
