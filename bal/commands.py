"""Commands of the platform's own: enrolments, revocations and grants, as records of the log."""

from dataclasses import replace
from typing import Any

from bal import jcs
from bal.model import DeviceInfo, Draft, Pseudonym, RawMessage, Subject
from bal.registry import (
    Client,
    Registry,
    Sender,
    device_record,
    grant_record,
    sender_record,
)
from bal.subjects import Subjects, draft
from bal.times import year


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
