"""Senders, devices and clients: a fold over the log's own records, so it can be rebuilt from them.

Holds pseudonyms only; who is behind one, the vault knows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bal import jcs
from bal.model import DeviceInfo, Pseudonym
from bal.times import instant_us, rfc3339
from bal.trust import NO_TRUST, Trust, as_texts, of_texts

SHARD_DEVICES_MAX = 256  # a row key's partition stays small (ARCHITECTURE §7)
KINDS = frozenset({"sender", "device", "epoch", "grant", "trust"})
PLATFORM_GROUP = "$platform"
DEVICE_TYPES = {  # by the class that a device was enrolled as, in the words of the context
    "meter": ["GridMeter", "Power_meter"],
    "pmu": ["Meter", "PMU"],
    "der": ["Device"],
    "battery": ["Battery_storage", "Device"],
    "pv": ["Device", "PV"],
    "wind": ["Device", "WPP"],
}


@dataclass(frozen=True, slots=True)
class Sender:
    """An enrolled credential and whom it may speak for."""

    name: str  # CN of its certificate and its MQTT user name, or a client's id
    subject: Pseudonym  # its own
    certificate_sha256: str  # of the DER form, hex; "" for a client of the REST gateway
    password_sha256: str  # of 32 random bytes, so a plain hash is enough
    subjects: str  # self, list, any
    allowed: frozenset[str]  # pseudonyms, where subjects is list
    groups: frozenset[str] | None  # only devices of these groups; None: no such limit
    group: str  # into which it puts what it names first
    zone: str
    bulk: bool
    state: str  # active, revoked


@dataclass(frozen=True, slots=True)
class Client:
    """A caller of the REST gateway and what it was granted."""

    client_id: str
    name: str
    secret_sha256: str
    scopes: frozenset[str]
    groups: frozenset[str] | None  # None: every device
    state: str


class Registry:
    """What the command records up to some log size say. Port `Registry` of bal.ports."""

    def __init__(self) -> None:
        self.senders: dict[str, Sender] = {}
        self.clients: dict[str, Client] = {}
        self._devices: dict[str, DeviceInfo] = {}
        self._group_sizes: dict[str, int] = {}
        self.begins: dict[str, tuple[int, str]] = {}  # of later epochs: since_us and follows
        self.zones: frozenset[str] = frozenset()  # of all devices
        self.trust = NO_TRUST  # whose signatures on messages are believed
        self.version = 0  # counts the records applied; caches compare it

    def apply(self, record: bytes) -> None:
        """Take one record of KINDS, in log order; any other kind is left alone."""
        data: dict[str, Any] = jcs.decode(record)
        if data["kind"] == "device":
            self._apply_device(data)
        elif data["kind"] == "epoch":
            self._apply_epoch(Pseudonym(data["begins"]), data["follows"])
        elif data["kind"] == "sender":
            self._apply_sender(data)
        elif data["kind"] == "grant":
            self._apply_grant(data)
        elif data["kind"] == "trust":
            self.trust = of_texts(data["anchors"], data["crls"])
        else:
            return
        self.version += 1

    def device(self, pseudonym: Pseudonym) -> DeviceInfo | None:
        """The device of that pseudonym, revoked ones too."""
        return self._devices.get(pseudonym)

    def devices(self, groups: frozenset[str] | None) -> list[DeviceInfo]:
        """Devices of these groups (None: of all), by group and pseudonym."""
        known = list(self._devices.values())  # at once: others ask while the worker adds one
        found = [d for d in known if groups is None or d.group in groups]
        return sorted(found, key=lambda d: (d.group, d.device))

    def next_shard(self, group: str, more: int = 0) -> str:
        """The shard for one more device of a group, `more` being new in the same batch."""
        return f"{group}/{(self._group_sizes.get(group, 0) + more) // SHARD_DEVICES_MAX}"

    def _apply_device(self, data: Mapping[str, Any]) -> None:
        device = Pseudonym(data["device"])
        known = self._devices.get(device)
        if known is not None:  # named first by two workers side by side: one of them counts
            until_us = instant_us(data["until"]) if "until" in data else known.until_us
            self._devices[device] = replace(known, state=data["state"], until_us=until_us)
            return
        group = data["group"]
        self._group_sizes[group] = self._group_sizes.get(group, 0) + 1
        if data["zone"] not in self.zones:
            self.zones |= {data["zone"]}
        info = self._devices[device] = DeviceInfo(
            device,
            data["group"],
            data["shard"],
            data["zone"],
            data["class"],
            data["sender"],
            data["state"],
            instant_us(data["since"]) if "since" in data else 0,
            instant_us(data["until"]) if "until" in data else 0,
            data.get("follows", ""),  # in the first logs with moves; then an `epoch` record says it
            data.get("replaces", ""),
        )
        if info.since_us:
            self.begins[device] = info.since_us, info.follows

    def _apply_epoch(self, begins: Pseudonym, follows: str) -> None:
        info = self._devices[begins] = replace(self._devices[begins], follows=follows)
        self.begins[begins] = info.since_us, follows

    def _apply_sender(self, data: Mapping[str, Any]) -> None:
        self.senders[data["name"]] = Sender(
            data["name"],
            Pseudonym(data["device"]),
            data["certificate"],
            data["password"],
            data["subjects"],
            frozenset(data["allowed"]),
            frozenset(data["groups"]) if "groups" in data else None,
            data["group"],
            data["zone"],
            data["bulk"] == "true",
            data["state"],
        )

    def _apply_grant(self, data: Mapping[str, Any]) -> None:
        self.clients[data["client_id"]] = Client(
            data["client_id"],
            data["name"],
            data["secret"],
            frozenset(data["scopes"]),
            frozenset(data["groups"]) if "groups" in data else None,
            data["state"],
        )


def device_record(info: DeviceInfo) -> bytes:
    """The `device` record: where a device belongs; its identity is not in it, nor another holder.

    What it `follows` stands in a record of the platform's: whose it is may have this one.
    """
    epoch: dict[str, object] = {}
    if info.since_us:
        epoch["since"] = rfc3339(info.since_us)
    if info.until_us:
        epoch["until"] = rfc3339(info.until_us)
    if info.replaces:
        epoch["replaces"] = info.replaces
    return jcs.encode(
        {
            **epoch,
            "class": info.kind,
            "device": info.device,
            "group": info.group,
            "id": "",
            "kind": "device",
            "madeBy": {"id": info.device, "type": DEVICE_TYPES.get(info.kind, ["Device"])},
            "sender": info.sender,
            "shard": info.shard,
            "state": info.state,
            "v": "1",
            "zone": info.zone,
        }
    )


def epoch_record(begins: Pseudonym, follows: str, platform: Pseudonym) -> bytes:
    """The `epoch` record: which subject epoch of the same meter came before another one."""
    return jcs.encode(
        {
            "begins": begins,
            "device": platform,
            "follows": follows,
            "id": "",
            "kind": "epoch",
            "v": "1",
        }
    )


def sender_record(sender: Sender) -> bytes:
    """The `sender` record: an enrolment or a revocation."""
    record: dict[str, object] = {
        "allowed": sorted(sender.allowed),
        "bulk": "true" if sender.bulk else "false",
        "certificate": sender.certificate_sha256,
        "device": sender.subject,
        "group": sender.group,
        "id": "",
        "kind": "sender",
        "name": sender.name,
        "password": sender.password_sha256,
        "state": sender.state,
        "subjects": sender.subjects,
        "v": "1",
        "zone": sender.zone,
    }
    if sender.groups is not None:
        record["groups"] = sorted(sender.groups)
    return jcs.encode(record)


def grant_record(client: Client, platform: Pseudonym) -> bytes:
    """The `grant` record: who may read what. A revoked client is a later one."""
    record: dict[str, object] = {
        "client_id": client.client_id,
        "device": platform,
        "id": "",
        "kind": "grant",
        "name": client.name,
        "scopes": sorted(client.scopes),
        "secret": client.secret_sha256,
        "state": client.state,
        "v": "1",
    }
    if client.groups is not None:
        record["groups"] = sorted(client.groups)
    return jcs.encode(record)


def trust_record(trust: Trust, platform: Pseudonym) -> bytes:
    """The `trust` record: whose signatures on messages are believed from here on."""
    return jcs.encode(
        {
            "anchors": as_texts(trust.anchors),
            "crls": as_texts(trust.crls),
            "device": platform,
            "id": "",
            "kind": "trust",
            "v": "1",
        }
    )
