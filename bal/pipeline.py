"""The way of a message, in order: collect → harmonise → certify → store → provide (DESIGN §1).

The only module that sees all stages. `Worker.process` makes of each raw message exactly one batch,
as a function of its bytes, its intake header, the registry and the vault; no history, no clock.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from bal import jcs
from bal.certify.commitment import commitment
from bal.certify.log import Batch
from bal.certify.tree import leaf_hash, tree_head
from bal.errors import Rejected
from bal.harmonise import MeterNames, harmonise
from bal.model import (
    TYPE_PART,
    TYPE_RECORD,
    DeviceInfo,
    Digest,
    Draft,
    Finding,
    Harmonised,
    Identity,
    Part,
    Pseudonym,
    Rank,
    RawMessage,
    StoredRecord,
    Subject,
)
from bal.ports import Vault
from bal.registry import (
    KINDS,
    PLATFORM_GROUP,
    Client,
    Registry,
    Sender,
    device_record,
    grant_record,
    sender_record,
)
from bal.times import rfc3339, year

BATCH_ENTRIES_MAX = 8_192
REFUSALS_KEPT_MAX = 1_000
OPERATOR = "$operator"  # the internal credential whose messages are commands
COMMAND_FORMAT = "command"
PLATFORM_SHARD = f"{PLATFORM_GROUP}/0"
PLATFORM_IDENTITY = Identity("name:gridseal/platform/platform")
SUBJECTS_CACHED_MAX = 200_000
SLOT_KINDS = frozenset({"reading", "telemetry", "event"})  # what a device said


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

    def rows(self, first: int) -> list[StoredRecord]:
        """The database rows, once the log gave the first entry its index."""
        received = year(self.message.received_us)
        return [
            StoredRecord(
                first + i,
                draft.subject.shard if draft.kind not in _PLATFORM_KINDS else PLATFORM_SHARD,
                draft.subject.pseudonym,
                draft.kind,
                draft.register,
                draft.begin_us,
                draft.end_us,
                draft.rank,
                TYPE_RECORD,
                received,
                draft.record,
            )
            for i, draft in enumerate(self.drafts)
        ]


_PLATFORM_KINDS = KINDS | {"message", "refused"}


def identity_of_name(name: str) -> Identity:
    """The identity of a sender that speaks for itself, or of a bare name in a list."""
    return MeterNames(None, (("", "", name),)).identities()[0]


class Worker:
    """Makes batches. One per partition; `registry` and `vault` are shared."""

    def __init__(self, vault: Vault, registry: Registry) -> None:
        self._vault = vault
        self._registry = registry
        self._cache: dict[tuple[str, MeterNames, int], Subject] = {}
        self._cache_version = -1

    def process(self, message: RawMessage) -> Worked:
        """The batch of one message. Never raises for bad input: that becomes a `refused` record."""
        message_year = year(message.received_us)
        platform = self._platform(message_year)
        if message.credential == OPERATOR:
            return self._command(message, platform)
        sender = self._registry.senders.get(message.credential)
        sender_subject = self._own_subject(sender, message_year) if sender else platform
        new_devices: list[Draft] = []
        try:
            if sender is None or sender.state != "active":
                raise Rejected("sender-revoked", "the sender was revoked before this was read")
            found = harmonise(
                message.raw,
                message.format,
                resolve=self._resolver(sender, message, new_devices),
                platform=platform,
                sender=sender_subject,
                commit_part=_commit_part,
            )
        except Rejected as error:
            found = self._refused_whole(message, sender_subject, error)
            new_devices.clear()
        except Exception as error:  # noqa: BLE001 - a defect of ours must not stop all senders
            text = f"the platform can't read this message: a defect ({type(error).__name__})"
            found = self._refused_whole(
                message, sender_subject, Rejected("mapper-failed", text, field="message")
            )
            new_devices.clear()
        return self._commit(message, found, new_devices, platform, sender_subject)

    def apply(self, drafts: Sequence[Draft]) -> None:
        """Let command and device records take effect, once they are worked into a batch."""
        for draft in drafts:
            if draft.kind in KINDS:
                self._registry.apply(draft.record)

    # -- subjects ---------------------------------------------------------------------------

    def _platform(self, message_year: int) -> Subject:
        pseudonym = self._vault.pseudonyms([PLATFORM_IDENTITY])[PLATFORM_IDENTITY]
        key = self._vault.salt_keys([pseudonym], message_year)[pseudonym]
        return Subject(pseudonym, key, PLATFORM_GROUP, PLATFORM_SHARD)

    def _own_subject(self, sender: Sender, message_year: int) -> Subject:
        info = self._registry.device(sender.subject)
        key = self._vault.salt_keys([sender.subject], message_year)[sender.subject]
        if info is None:
            return Subject(sender.subject, key, PLATFORM_GROUP, PLATFORM_SHARD)
        return Subject(sender.subject, key, info.group, info.shard)

    def _resolver(
        self, sender: Sender, message: RawMessage, new_devices: list[Draft]
    ) -> Callable[[MeterNames], Subject]:
        message_year = year(message.received_us)
        if self._cache_version != self._registry.version or len(self._cache) > SUBJECTS_CACHED_MAX:
            self._cache.clear()
            self._cache_version = self._registry.version
        cache, name = self._cache, sender.name
        fresh: dict[Pseudonym, DeviceInfo] = {}

        def resolve(names: MeterNames) -> Subject:
            found = cache.get((name, names, message_year))
            if found is None:
                found = self._subject(sender, names, message, fresh, new_devices)
                if not fresh:
                    cache[name, names, message_year] = found
            return found

        return resolve

    def _subject(
        self,
        sender: Sender,
        names: MeterNames,
        message: RawMessage,
        fresh: dict[Pseudonym, DeviceInfo],
        new_devices: list[Draft],
    ) -> Subject:
        """The subject that `names` means for this sender; Rejected when it may not speak for it."""
        pseudonym = self._allowed(sender, names)
        info = None
        if pseudonym is not None:
            info = self._registry.device(pseudonym) or fresh.get(pseudonym)
        if info is None:
            if sender.subjects != "any" or not names.identities():
                raise _not_allowed()
            identity = names.identities()[0]
            pseudonym = self._vault.pseudonyms([identity])[identity]
            info = fresh.get(pseudonym)
        assert pseudonym is not None
        message_year = year(message.received_us)
        key = self._vault.salt_keys([pseudonym], message_year)[pseudonym]
        if info is None:
            kind = "der" if message.format == "der" else "meter"
            shard = self._next_shard(sender.group, fresh)
            info = DeviceInfo(
                pseudonym, sender.group, shard, sender.zone, kind, sender.name, "active"
            )
            fresh[pseudonym] = info
            subject = Subject(pseudonym, key, info.group, info.shard)
            new_devices.append(_draft(subject, "device", device_record(info)))
        if sender.groups is not None and info.group not in sender.groups:
            raise _not_allowed()
        return Subject(pseudonym, key, info.group, info.shard)

    def _next_shard(self, group: str, fresh: dict[Pseudonym, DeviceInfo]) -> str:
        more = sum(1 for info in fresh.values() if info.group == group)
        return self._registry.next_shard(group, more)

    def _allowed(self, sender: Sender, names: MeterNames) -> Pseudonym | None:
        """The pseudonym of a device that the sender may speak for and the registry knows."""
        plain = _plain_names(names)
        if sender.subjects == "self":  # a message that names no device is about its sender
            return sender.subject if not plain or sender.name in plain else None
        candidates = list(names.identities())
        if sender.subjects == "list":
            candidates += [identity_of_name(name) for name in sorted(plain)]
        known = self._vault.find(candidates)
        for identity in candidates:
            pseudonym = known.get(identity)
            if pseudonym is None:
                continue
            if sender.subjects == "list" and pseudonym in sender.allowed:
                return pseudonym
            if sender.subjects == "any" and self._registry.device(pseudonym) is not None:
                return pseudonym
        return None

    # -- batches ----------------------------------------------------------------------------

    def _refused_whole(self, message: RawMessage, subject: Subject, error: Rejected) -> Harmonised:
        part = Part(0, len(message.raw), subject, _commit_part(subject, message.raw))
        finding = Finding(error.code, "refused", error.text, error.field, error.line, error.clause)
        return Harmonised(parts=[part], refused=[finding])

    def _commit(
        self,
        message: RawMessage,
        found: Harmonised,
        new_devices: list[Draft],
        platform: Subject,
        sender: Subject,
    ) -> Worked:
        drafts = new_devices + found.records
        if found.refused:
            drafts.append(_refused_draft(message, found, sender))
        if len(found.parts) > 1:
            drafts.append(_message_draft(message, found.parts, platform, sender))
        return _worked(message, drafts, found)

    def _command(self, message: RawMessage, platform: Subject) -> Worked:
        """A command of the platform's own: it was checked before it was put on the bus."""
        command: dict[str, Any] = jcs.decode(message.raw)
        message_year = year(message.received_us)
        drafts: list[Draft] = []
        subject = platform
        if command["command"] in ("enrol", "revoke"):
            sender = _sender_of(command)
            subject = self._keyed(sender.subject, message_year)
            drafts.append(_draft(subject, "sender", sender_record(sender)))
            drafts += self._enrolled_devices(command, message_year)
        elif command["command"] in ("grant", "withdraw"):
            client = Client(
                command["client_id"],
                command["name"],
                command["secret"],
                frozenset(command["scopes"]),
                frozenset(command["groups"]) if "groups" in command else None,
                "active" if command["command"] == "grant" else "revoked",
            )
            drafts.append(_draft(platform, "grant", grant_record(client, platform.pseudonym)))
            if "sender" in command:
                sender = _sender_of(command["sender"])
                own = self._keyed(sender.subject, message_year)
                drafts.append(_draft(own, "sender", sender_record(sender)))
        part = Part(0, len(message.raw), subject, _commit_part(subject, message.raw))
        return _worked(message, drafts, Harmonised(parts=[part]))

    def _keyed(self, pseudonym: Pseudonym, message_year: int) -> Subject:
        key = self._vault.salt_keys([pseudonym], message_year)[pseudonym]
        return Subject(pseudonym, key, PLATFORM_GROUP, PLATFORM_SHARD)

    def _enrolled_devices(self, command: dict[str, Any], message_year: int) -> list[Draft]:
        drafts: list[Draft] = []
        fresh: dict[Pseudonym, DeviceInfo] = {}
        state = "active" if command["command"] == "enrol" else "revoked"
        for item in command["devices"]:
            pseudonym = Pseudonym(item["device"])
            info = self._registry.device(pseudonym)
            if info is None:
                shard = self._next_shard(item["group"], fresh)
                info = DeviceInfo(
                    pseudonym,
                    item["group"],
                    shard,
                    item["zone"],
                    item["kind"],
                    command["name"],
                    state,
                )
                fresh[pseudonym] = info
            else:
                info = replace(info, state=state)
            subject = self._keyed(pseudonym, message_year)
            drafts.append(_draft(subject, "device", device_record(info)))
        return drafts


def _plain_names(names: MeterNames) -> set[str]:
    plain = {name for _, _, name in names.names}
    return plain if names.mrid is None else plain | {names.mrid}


def _sender_of(command: dict[str, Any]) -> Sender:
    return Sender(
        command["name"],
        Pseudonym(command["subject"]),
        command["certificate"],
        command["password"],
        command["subjects"],
        frozenset(command["allowed"]),
        frozenset(command["groups"]) if "groups" in command else None,
        command["group"],
        command["zone"],
        command["bulk"] == "true",
        "revoked" if command["command"] == "revoke" else "active",
    )


def _not_allowed() -> Rejected:
    return Rejected(
        "subject-not-allowed",
        "the sender is not enrolled to speak for this device",
        field="Meter",
        clause="Gridseal docs/spec/intake.md, who may speak for whom",
    )


def _commit_part(subject: Subject, part: bytes) -> Digest:
    return commitment(subject.salt_key, TYPE_PART, part)


def _draft(subject: Subject, kind: str, record: bytes) -> Draft:
    return Draft(subject, kind, "", 0, 0, Rank.MEASURED, record)


def _worked(message: RawMessage, drafts: list[Draft], found: Harmonised) -> Worked:
    entries = [commitment(d.subject.salt_key, TYPE_RECORD, d.record) for d in drafts]
    at = message.received_us
    for draft in drafts:
        if not draft.end_us:
            draft.begin_us = draft.end_us = at
    return Worked(message, drafts, entries, found.parts, found.findings, found.refused)


def _refused_draft(message: RawMessage, found: Harmonised, sender: Subject) -> Draft:
    """What was refused of a message, so that the refusal is provable too."""
    kept = found.refused[:REFUSALS_KEPT_MAX]
    evidence = found.parts[0].commitment if len(found.parts) == 1 else _parts_root(found.parts)
    record = jcs.encode(
        {
            "count": str(len(found.refused)),
            "device": sender.pseudonym,
            "evidence": evidence.hex(),
            "format": message.format,
            "id": "",
            "kind": "refused",
            "refused": [{"id": f"#refused-{i}", **f.as_json()} for i, f in enumerate(kept, 1)],
            "time": rfc3339(message.received_us),
            "v": "1",
        }
    )
    return _draft(sender, "refused", record)


def _message_draft(
    message: RawMessage, parts: Sequence[Part], platform: Subject, sender: Subject
) -> Draft:
    """Binds the parts of a message of several subjects together (DESIGN §2, evidence)."""
    record = jcs.encode(
        {
            "device": platform.pseudonym,
            "format": message.format,
            "id": "",
            "kind": "message",
            "parts": str(len(parts)),
            "root": _parts_root(parts).hex(),
            "sender": sender.pseudonym,
            "signature": "none",
            "time": rfc3339(message.received_us),
            "v": "1",
        }
    )
    return _draft(platform, "message", record)


def _parts_root(parts: Sequence[Part]) -> Digest:
    """RFC 6962 root over the parts' commitments, in the message's order."""
    return tree_head([leaf_hash(part.commitment) for part in parts]).root


def rules_digest(parts: dict[str, str]) -> str:
    """The digest that a batch header names as `rules`."""
    return sha256(jcs.encode(parts)).hexdigest()
