"""Commands of the platform's own, as records of the log: enrolments, revocations, grants, edits."""

from dataclasses import replace
from typing import Any

from bal import jcs
from bal.certify.commitment import commitment
from bal.edits import edit_draft
from bal.errors import Rejected
from bal.model import TYPE_PART, DeviceInfo, Draft, Pseudonym, RawMessage, Subject
from bal.registry import (
    Client,
    Registry,
    Sender,
    device_record,
    epoch_record,
    grant_record,
    sender_record,
    trust_record,
)
from bal.subjects import Subjects, draft
from bal.times import instant_us, rfc3339, year
from bal.trust import of_texts


def command_drafts(
    message: RawMessage, subjects: Subjects, registry: Registry
) -> tuple[Subject, list[Draft]]:
    """Whose the command is, and the records it makes; it was checked before it came on the bus.

    What was not raises what it likes: the worker refuses the message then.
    """
    command: dict[str, Any] = jcs.decode(message.raw)
    message_year = year(message.received_us)
    platform = subjects.platform(message_year)
    if command["command"] in {"enrol", "revoke"}:
        sender = _sender_of(command)
        subject = subjects.keyed(sender.subject, message_year)
        drafts = [draft(subject, "sender", sender_record(sender))]
        return subject, drafts + _device_drafts(command, subjects, registry, message_year)
    if command["command"] == "device":
        info = replace(_known(registry, command["device"]), state=command["state"])
        subject = subjects.keyed(info.device, message_year)
        return subject, [draft(subject, "device", device_record(info))]
    if command["command"] == "edit":
        return _edited(message, command, subjects, registry)
    if command["command"] == "move":
        return _move_drafts(command, subjects, registry, message_year)
    if command["command"] == "lookup":
        return platform, _lookup_drafts(command, subjects, message_year)
    if command["command"] == "trust":
        trust = of_texts(command["anchors"], command["crls"])
        record = trust_record(trust, platform.pseudonym)
        return platform, [draft(platform, "trust", record)]
    if command["command"] not in {"grant", "withdraw"}:
        raise ValueError("no such command")
    client = Client(
        command["client_id"],
        command["name"],
        command["secret"],
        frozenset(command["scopes"]),
        frozenset(command["groups"]) if "groups" in command else None,
        "active" if command["command"] == "grant" else "revoked",
    )
    drafts = [draft(platform, "grant", grant_record(client, platform.pseudonym))]
    if "sender" in command:
        sender = _sender_of(command["sender"])
        own = subjects.keyed(sender.subject, message_year)
        drafts.append(draft(own, "sender", sender_record(sender)))
    return platform, drafts


def _edited(
    message: RawMessage, command: dict[str, Any], subjects: Subjects, registry: Registry
) -> tuple[Subject, list[Draft]]:
    """A reading that an operator puts in the place of another: it stands among the device's."""
    info = _known(registry, command["device"])
    keyed = subjects.keyed(info.device, year(message.received_us))
    subject = replace(keyed, group=info.group, shard=info.shard)
    evidence = commitment(subject.salt_key, TYPE_PART, message.raw)
    return subject, [edit_draft(command, subject, evidence)]


def _device_drafts(
    command: dict[str, Any], subjects: Subjects, registry: Registry, message_year: int
) -> list[Draft]:
    drafts: list[Draft] = []
    fresh: dict[Pseudonym, DeviceInfo] = {}
    state = "active" if command["command"] == "enrol" else "revoked"
    own = command["subjects"] == "self"  # a list takes no revoked device back into service
    for item in command["devices"]:
        pseudonym = Pseudonym(item["device"])
        info = registry.device(pseudonym)
        if info is None:
            shard = subjects.next_shard(item["group"], fresh)
            info = DeviceInfo(
                pseudonym, item["group"], shard, item["zone"], item["kind"], command["name"], state
            )
            fresh[pseudonym] = info
        else:
            info = replace(info, state=state if own else info.state)
        subject = subjects.keyed(pseudonym, message_year)
        drafts.append(draft(subject, "device", device_record(info)))
    return drafts


def _move_drafts(
    command: dict[str, Any], subjects: Subjects, registry: Registry, message_year: int
) -> tuple[Subject, list[Draft]]:
    """The end of a subject epoch, the one that begins then, and who speaks for it from now on.

    A meter's exchange ends one device's and begins another's, which may be new.
    """
    ends, begins = command["ends"], Pseudonym(command["begins"])
    at_us, follows = instant_us(command["at"]), command["follows"]
    old = _known(registry, ends)
    former = _known(registry, follows) if follows else None  # of the meter that goes on
    try:
        check_move(registry, old, former, at_us)
    except Rejected as error:  # another one came since this was asked for
        raise ValueError(error.text) from error
    info = DeviceInfo(
        begins, old.group, subjects.next_shard(old.group, {}), old.zone, old.kind, old.sender,
        "active" if former is None else former.state, at_us,
        replaces="" if follows == ends else ends,
    )  # fmt: skip
    changed = [replace(old, until_us=at_us)]
    if former is not None and former.device != ends:  # the new meter was somebody else's
        changed.append(replace(former, until_us=former.until_us or at_us))
    drafts = [
        draft(subjects.keyed(one.device, message_year), "device", device_record(one))
        for one in [*changed, info]
    ]
    if follows:
        platform = subjects.platform(message_year)
        record = epoch_record(begins, follows, platform.pseudonym)
        drafts.append(draft(platform, "epoch", record))
    for sender in sorted(registry.senders.values(), key=lambda one: one.name):
        again = _speaks_on(sender, begins, ends=ends, follows=follows)
        if again != sender:
            own = subjects.keyed(again.subject, message_year)
            drafts.append(draft(own, "sender", sender_record(again)))
    return subjects.keyed(begins, message_year), drafts


def check_move(registry: Registry, old: DeviceInfo, former: DeviceInfo | None, at_us: int) -> None:
    """Whether an epoch may begin. former: the last one of the meter that goes on.

    Raises Rejected("epoch-order") for what would give a meter, or a metering point, two at a time.
    """
    followed = {follows for _, follows in list(registry.begins.values())}
    if old.until_us or (former is not None and former.device in followed):
        raise Rejected("epoch-order", "this subject epoch is over already", field="meter")
    for one in (old,) if former is None else (old, former):
        if at_us <= one.since_us:
            text = f"the epoch began at {rfc3339(one.since_us)}; the next one begins later"
            raise Rejected("epoch-order", text, field="date")
        if one.until_us and at_us < one.until_us:
            text = f"the epoch ended at {rfc3339(one.until_us)}; the next one begins no earlier"
            raise Rejected("epoch-order", text, field="date")


def _speaks_on(sender: Sender, begins: Pseudonym, *, ends: str, follows: str) -> Sender:
    """A meter speaks for itself, wherever it hangs; a list has it as before, and in its place."""
    if sender.subjects == "self" and sender.subject == follows:
        return replace(sender, subject=begins)
    if sender.subjects == "list" and not sender.allowed.isdisjoint({ends, follows}):
        return replace(sender, allowed=sender.allowed | {begins})
    return sender


def _lookup_drafts(command: dict[str, Any], subjects: Subjects, message_year: int) -> list[Draft]:
    """Who looked whom up, and why: nobody is identified without it (docs/spec/registry.md).

    A record for each subject, by a key of his own: he may have all of it, and nobody else is in it.
    """
    said = {name: command[name] for name in ("by", "purpose", "time", "why")}
    plain = {**said, "id": "", "kind": "lookup", "v": "1"}
    devices = list(dict.fromkeys(map(Pseudonym, command["devices"])))
    return [
        draft(subject, "lookup", jcs.encode({**plain, "device": subject.pseudonym}))
        for subject in subjects.all_keyed(devices, message_year)
    ]


def _known(registry: Registry, device: str) -> DeviceInfo:
    info = registry.device(Pseudonym(device))
    if info is None:
        raise ValueError("no such device")
    return info


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
