"""Who may send and who may read: checks a command, puts it on the bus, waits until it is in force.

What goes on the bus names pseudonyms; identities stay in the vault.
"""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from bal.errors import Rejected
from bal.model import DeviceInfo, Identity, Pseudonym
from bal.ports import Clock, Vault
from bal.provide.policy import SCOPES
from bal.registry import Client, Registry, Sender
from bal.subjects import identity_of_name
from bal.trust import Trust, as_texts, of_texts
from bal.trust_check import check
from infra.certificates import Authority, check_name, fingerprint, issue_device
from infra.commands import Command, Commands, Made, Seen
from infra.enrolment_list import check_group, check_zone, read_list

SENDER = "sender"  # kind of a sender that is no device


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What a new sender is handed; shown once."""

    certificate: bytes  # PEM
    key: bytes  # PEM
    password: str


class Enrolment:
    """Commands of the operator. `put` makes a command durable and waits until it took effect.

    Where it can't tell, each may raise TimeoutError, and given again is the same one
    (infra/commands.py).
    """

    def __init__(
        self,
        ca: Authority,
        vault: Vault,
        registry: Registry,
        clock: Clock,
        put: Callable[[str, str, bytes], Awaitable[None]],
    ) -> None:
        self._ca, self._vault, self._registry = ca, vault, registry
        self._clock = clock
        self._commands = Commands(put)

    async def enrol(
        self, name: str, subjects: str, listed: str, group: str, zone: str, *, bulk: bool
    ) -> Enrolled:
        """Enrol a sender. subjects: self, any, or list with CSV identity,group,zone,kind.

        Raises Rejected with the line of the CSV at fault.
        """
        check_name(name)
        check_group(group)
        check_zone(zone)
        key, asked = ("sender", name), (subjects, listed, group, zone, bulk)

        def make() -> Made[Enrolled]:
            return self._enrol(name, subjects, listed, group, zone, bulk=bulk)

        return await self._commands.once(key, asked, make, self._seen_sender)

    def _enrol(
        self, name: str, subjects: str, listed: str, group: str, zone: str, *, bulk: bool
    ) -> Made[Enrolled]:
        known = self._registry.senders.get(name)
        if known is not None and known.state == "active":
            raise Rejected("name-taken", f"{name} is enrolled; revoke it first", field="name")
        devices = self._devices(name, subjects, listed, group, zone)
        certificate, key = issue_device(self._ca, name, self._clock)
        password = secrets.token_urlsafe(32)
        own = identity_of_name(name) if subjects == "self" else _sender_identity(name)
        command: dict[str, object] = {
            "command": "enrol",
            "name": name,
            "subject": self._present([own])[own],
            "certificate": fingerprint(certificate),
            "password": sha256(password.encode()).hexdigest(),
            "subjects": subjects,
            "allowed": sorted({str(d["device"]) for d in devices}) if subjects == "list" else [],
            "group": group,
            "zone": zone,
            "bulk": "true" if bulk else "false",
            "devices": devices,
        }
        return command, Enrolled(certificate, key, password)

    async def revoke(self, given: str) -> str | None:
        """Take the right to send of a sender, or end a device, by its pseudonym.

        given: the sender's name, or a pseudonym as `devices` has it. Returns the sender's name,
        None where it is a device that others speak for. Raises Rejected("name-unknown").
        """
        return await self._commands.once(
            ("revoke", given), None, lambda: self._revoke(given), self._seen_sender
        )

    def _revoke(self, given: str) -> Made[str | None]:
        sender = self._sender_of(given)
        if sender is None:
            return self._state(given, "revoked"), None
        devices: list[object] = []
        if sender.subjects == "self":
            info = self._registry.device(sender.subject)
            assert info is not None
            devices.append(_device(info.device, info.group, info.zone, info.kind))
        return _command("revoke", sender, devices), sender.name

    async def restore(self, given: str) -> None:
        """Take a revoked device back into service, by its pseudonym.

        Senders that were revoked stay so. Raises Rejected("name-unknown").
        """
        key = ("restore", given)
        make: Callable[[], Made[None]] = lambda: (self._state(given, "active"), None)  # noqa: E731
        await self._commands.once(key, None, make, self._seen_sender)

    def _seen_sender(self, command: Command) -> Seen:
        """Of the enrolment or revocation of a sender, or the state of a device."""
        if command["command"] == "device":
            info = self._registry.device(Pseudonym(command["device"]))
            in_force = info is not None and info.state == command["state"]
            return Seen.IN_FORCE if in_force else Seen.OVER  # once more does no harm
        sender = self._registry.senders.get(command["name"])
        if sender is None or sender.certificate_sha256 != command["certificate"]:
            return Seen.NOTHING if command["command"] == "enrol" else Seen.OVER
        if command["command"] == "enrol":
            return Seen.IN_FORCE if sender.state == "active" else Seen.OVER
        return Seen.NOTHING if sender.state == "active" else Seen.IN_FORCE

    def _seen_client(self, command: Command) -> Seen:
        """Of a client's grant, or its end; no client comes back."""
        client = self._registry.clients.get(command["client_id"])
        if command["command"] == "grant":
            if client is None:
                return Seen.NOTHING
            return Seen.IN_FORCE if client.state == "active" else Seen.OVER
        active = client is not None and client.state == "active"
        return Seen.NOTHING if active else Seen.IN_FORCE

    def _sender_of(self, given: str) -> Sender | None:
        """The active sender of this name, else of this pseudonym."""
        senders = [one for one in self._registry.senders.values() if one.state == "active"]
        named = [one for one in senders if one.name == given]
        found = named or [one for one in senders if one.subject == given]
        return found[0] if found else None

    def _state(self, given: str, state: str) -> dict[str, object]:
        info = self._registry.device(Pseudonym(given))
        if info is None or info.state == state:
            text = "no active sender or device is named so"
            if state == "active":
                text = "no revoked device has this pseudonym"
            raise Rejected("name-unknown", text, field="name")
        return {"command": "device", "device": given, "state": state}

    async def add_client(
        self, name: str, scopes: Sequence[str], groups: Sequence[str] | None, zone: str = "UTC"
    ) -> tuple[str, str]:
        """Add a client of the gateway; groups None = every device. Returns id and secret.

        Raises Rejected: name-invalid, name-taken, scope-unknown, group-invalid, zone-unknown. With
        the scope messages.write it is a sender too: it may speak for any device of its groups, and
        what it names first comes into the first of them and into this time zone.
        """
        check_name(name)
        check_zone(zone)
        unknown = sorted(set(scopes) - set(SCOPES))
        if unknown or not scopes:
            text = f"scopes are {', '.join(sorted(SCOPES))}, not {' '.join(unknown) or 'none'}"
            raise Rejected("scope-unknown", text, field="scope")
        for group in groups or []:
            check_group(group)
        key, asked = ("client", name), (frozenset(scopes), groups and frozenset(groups), zone)
        return await self._commands.once(
            key, asked, lambda: self._client(name, scopes, groups, zone), self._seen_client
        )

    def _client(
        self, name: str, scopes: Sequence[str], groups: Sequence[str] | None, zone: str
    ) -> Made[tuple[str, str]]:
        if self._active_clients(name):
            raise Rejected("name-taken", f"{name} is a client; revoke it first", field="name")
        client_id, secret = f"{name}-{secrets.token_hex(4)}", secrets.token_urlsafe(32)
        client = Client(
            client_id,
            name,
            sha256(secret.encode()).hexdigest(),
            frozenset(scopes),
            None if groups is None else frozenset(groups),
            "active",
        )
        command = _client_command("grant", client)
        if "messages.write" in scopes:
            own = _sender_identity(client_id)
            pseudonym = self._vault.pseudonyms([own])[own]
            first = sorted(groups)[0] if groups else "default"
            sender = Sender(
                name=client_id,
                subject=pseudonym,
                certificate_sha256="",
                password_sha256="",
                subjects="any",
                allowed=frozenset(),
                groups=client.groups,
                group=first,
                zone=zone,
                bulk=False,
                state="active",
            )
            command["sender"] = _command("enrol", sender, [])
        return command, (client_id, secret)

    async def revoke_client(self, given: str) -> str:
        """Withdraw a client, by name or id, and its right to send; returns its id.

        Raises Rejected("name-unknown") where no active client is meant.
        """
        key = ("withdraw", given)
        return await self._commands.once(
            key, None, lambda: self._withdraw(given), self._seen_client
        )

    def _withdraw(self, given: str) -> Made[str]:
        client = self._registry.clients.get(given)
        if client is None:
            found = self._active_clients(given)
            client = found[0] if found else None
        if client is None or client.state != "active":
            raise Rejected("name-unknown", f"no active client is named {given}", field="name")
        command = _client_command("withdraw", client)
        sender = self._registry.senders.get(client.client_id)
        if sender is not None:
            command["sender"] = _command("revoke", sender, [])
        return command, client.client_id

    async def trust(self, anchors: Sequence[bytes], crls: Sequence[bytes]) -> Trust:
        """Believe messages signed below these CAs, and no others; certificates and lists, DER.

        Raises Rejected("trust-invalid").
        """
        wanted = check(anchors, crls)
        command: Command = {
            "command": "trust",
            "anchors": as_texts(wanted.anchors),
            "crls": as_texts(wanted.crls),
        }
        return await self._commands.once(
            ("trust", ""), wanted, lambda: (command, wanted), self._seen_trust
        )

    def _seen_trust(self, command: Command) -> Seen:
        """Of another trust nobody can say whether it came before or after."""
        wanted = of_texts(command["anchors"], command["crls"])
        return Seen.IN_FORCE if self._registry.trust == wanted else Seen.NOTHING

    def trusted(self) -> Trust:
        """Whose signatures on messages are believed."""
        return self._registry.trust

    def clients(self) -> list[dict[str, object]]:
        """Every client, revoked ones too, by name; groups None = every device."""
        clients = sorted(self._registry.clients.values(), key=lambda c: (c.name, c.client_id))
        return [
            {
                "client_id": client.client_id,
                "name": client.name,
                "scopes": sorted(client.scopes),
                "groups": None if client.groups is None else sorted(client.groups),
                "state": client.state,
            }
            for client in clients
        ]

    def _active_clients(self, name: str) -> list[Client]:
        clients = list(self._registry.clients.values())  # at once: the worker may add one
        return [client for client in clients if client.name == name and client.state == "active"]

    def devices(self) -> list[dict[str, str | None]]:
        """Every device, its identity left out; then senders that are none, with theirs.

        Those, head-ends and clients that may send, are of the kind `sender`.
        """
        registry = self._registry
        found = registry.devices(None)
        found += [
            DeviceInfo(
                sender.subject, sender.group, "", sender.zone, SENDER, sender.name, sender.state
            )
            for sender in sorted(registry.senders.values(), key=lambda s: s.name)
            if registry.device(sender.subject) is None
        ]
        return [
            {
                "identity": self._vault.identity(info.device) if info.kind == SENDER else None,
                "device": info.device,
                "group": info.group,
                "zone": info.zone,
                "kind": info.kind,
                "sender": info.sender,
                "state": info.state,
            }
            for info in found
        ]

    def _present(self, identities: Sequence[Identity]) -> dict[Identity, Pseudonym]:
        """The newest subject epoch of each that is in force; a new one where there is none."""
        found = self._vault.pseudonyms(identities)
        for identity, pseudonym in found.items():
            if self._registry.device(pseudonym) is None:  # or of a move that came to nothing
                epochs = self._vault.epochs(identity)
                known = [one for one in epochs if self._registry.device(one) is not None]
                found[identity] = known[0] if known else pseudonym
        return found

    def _devices(
        self, name: str, subjects: str, listed: str, group: str, zone: str
    ) -> list[dict[str, str]]:
        if subjects == "self":
            wanted = [(identity_of_name(name), group, zone, "meter")]
        elif subjects == "list":
            wanted = read_list(listed, group, zone)
        elif subjects == "any":
            return []
        else:
            raise Rejected("subjects-invalid", "subjects are self, any or a file", field="subjects")
        pseudonyms = self._present([row[0] for row in wanted])
        found = [_device(pseudonyms[row[0]], *row[1:]) for row in wanted]
        for item in found:
            info = self._registry.device(Pseudonym(item["device"]))
            if info is not None and info.group != item["group"]:
                text = f"a listed device is in the group {info.group} already, and stays there"
                raise Rejected("group-fixed", text, field="group")
        return found


def _command(verb: str, sender: Sender, devices: Sequence[object]) -> dict[str, Any]:
    command: dict[str, Any] = {
        "command": verb,
        "name": sender.name,
        "subject": sender.subject,
        "certificate": sender.certificate_sha256,
        "password": sender.password_sha256,
        "subjects": sender.subjects,
        "allowed": sorted(sender.allowed),
        "group": sender.group,
        "zone": sender.zone,
        "bulk": "true" if sender.bulk else "false",
        "devices": list(devices),
    }
    if sender.groups is not None:
        command["groups"] = sorted(sender.groups)
    return command


def _client_command(verb: str, client: Client) -> dict[str, object]:
    command: dict[str, object] = {
        "command": verb,
        "client_id": client.client_id,
        "name": client.name,
        "secret": client.secret_sha256,
        "scopes": sorted(client.scopes),
    }
    if client.groups is not None:
        command["groups"] = sorted(client.groups)
    return command


def _device(device: Pseudonym, group: str, zone: str, kind: str) -> dict[str, str]:
    return {"device": device, "group": group, "zone": zone, "kind": kind}


def _sender_identity(name: str) -> Identity:
    return Identity(f"name:gridseal/sender/{name}")
