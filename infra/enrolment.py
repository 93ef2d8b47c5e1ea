"""Who may send and who may read: checks a command, puts it on the bus, waits until it is in force.

What goes on the bus names pseudonyms; identities stay in the vault.
"""

import csv
import io
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import unquote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from bal import jcs
from bal.errors import Rejected
from bal.harmonise.names import check_names
from bal.model import DeviceInfo, Identity, Pseudonym
from bal.pipeline import COMMAND_FORMAT, OPERATOR
from bal.ports import Clock, Vault
from bal.provide.policy import SCOPES
from bal.registry import Client, Registry, Sender
from bal.subjects import OWN_AUTHORITY, identity_of_name
from infra.certificates import Authority, check_name, fingerprint, issue_device

SUBJECTS_MAX = 100_000
KINDS = ("meter", "der", "pmu")

_IDENTITY_FORM = "it is mrid:<mRID> or name:<authority>/<type>/<name>, each percent-encoded"


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What a new sender is handed; shown once."""

    certificate: bytes  # PEM
    key: bytes  # PEM
    password: str


class Enrolment:
    """Commands of the operator. `put` makes a command durable and waits until it took effect."""

    def __init__(
        self,
        ca: Authority,
        vault: Vault,
        registry: Registry,
        clock: Clock,
        put: Callable[[str, str, bytes], Awaitable[None]],
    ) -> None:
        self._ca, self._vault, self._registry = ca, vault, registry
        self._clock, self._put = clock, put
        self._under_way: set[tuple[str, str]] = set()  # what a command makes that is not in force

    async def enrol(
        self, name: str, subjects: str, listed: str, group: str, zone: str, *, bulk: bool
    ) -> Enrolled:
        """Enrol a sender. subjects: self, any, or list with CSV identity,group,zone,kind.

        Raises Rejected with the line of the CSV at fault.
        """
        check_name(name)
        _check_group(group)
        _check_zone(zone)
        known = self._registry.senders.get(name)
        if known is not None and known.state == "active":
            raise Rejected("name-taken", f"{name} is enrolled; revoke it first", field="name")
        with self._alone("sender", name):
            return await self._enrol(name, subjects, listed, group, zone, bulk=bulk)

    async def _enrol(
        self, name: str, subjects: str, listed: str, group: str, zone: str, *, bulk: bool
    ) -> Enrolled:
        devices = self._devices(name, subjects, listed, group, zone)
        certificate, key = issue_device(self._ca, name, self._clock)
        password = secrets.token_urlsafe(32)
        own = identity_of_name(name) if subjects == "self" else _sender_identity(name)
        command: dict[str, object] = {
            "command": "enrol",
            "name": name,
            "subject": self._vault.pseudonyms([own])[own],
            "certificate": fingerprint(certificate),
            "password": sha256(password.encode()).hexdigest(),
            "subjects": subjects,
            "allowed": sorted({str(d["device"]) for d in devices}) if subjects == "list" else [],
            "group": group,
            "zone": zone,
            "bulk": "true" if bulk else "false",
            "devices": devices,
        }
        await self._put(OPERATOR, COMMAND_FORMAT, jcs.encode(self._unique(command)))
        return Enrolled(certificate, key, password)

    async def revoke(self, given: str) -> str | None:
        """Take the right to send of a sender, or end a device, by its pseudonym.

        given: the sender's name, or a pseudonym as `devices` has it. Returns the sender's name,
        None where it is a device that others speak for. Raises Rejected("name-unknown").
        """
        sender = self._sender_of(given)
        if sender is None:
            await self._put_state(given, "revoked")
            return None
        devices: list[object] = []
        if sender.subjects == "self":
            info = self._registry.device(sender.subject)
            assert info is not None
            devices.append(_device(info.device, info.group, info.zone, info.kind))
        command = _command("revoke", sender, devices)
        await self._put(OPERATOR, COMMAND_FORMAT, jcs.encode(self._unique(command)))
        return sender.name

    async def restore(self, given: str) -> None:
        """Take a revoked device back into service, by its pseudonym.

        Senders that were revoked stay so. Raises Rejected("name-unknown").
        """
        await self._put_state(given, "active")

    def _sender_of(self, given: str) -> Sender | None:
        """The active sender of this name, else of this pseudonym."""
        senders = [one for one in self._registry.senders.values() if one.state == "active"]
        named = [one for one in senders if one.name == given]
        found = named or [one for one in senders if one.subject == given]
        return found[0] if found else None

    async def _put_state(self, given: str, state: str) -> None:
        info = self._registry.device(Pseudonym(given))
        if info is None or info.state == state:
            text = "no active sender or device is named so"
            if state == "active":
                text = "no revoked device has this pseudonym"
            raise Rejected("name-unknown", text, field="name")
        command: dict[str, object] = {"command": "device", "device": given, "state": state}
        await self._put(OPERATOR, COMMAND_FORMAT, jcs.encode(self._unique(command)))

    async def add_client(
        self, name: str, scopes: Sequence[str], groups: Sequence[str] | None
    ) -> tuple[str, str]:
        """Add a client of the gateway; groups None = every device. Returns id and secret.

        Raises Rejected: name-invalid, name-taken, scope-unknown, group-invalid. With the scope
        messages.write it is a sender too: it may speak for any device of its groups, and what it
        names first comes into the first of them.
        """
        check_name(name)
        unknown = sorted(set(scopes) - set(SCOPES))
        if unknown or not scopes:
            text = f"scopes are {', '.join(sorted(SCOPES))}, not {' '.join(unknown) or 'none'}"
            raise Rejected("scope-unknown", text, field="scope")
        for group in groups or []:
            _check_group(group)
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
                zone="UTC",
                bulk=False,
                state="active",
            )
            command["sender"] = _command("enrol", sender, [])
        with self._alone("client", name):
            await self._put(OPERATOR, COMMAND_FORMAT, jcs.encode(self._unique(command)))
        return client_id, secret

    async def revoke_client(self, given: str) -> str:
        """Withdraw a client, by name or id, and its right to send; returns its id.

        Raises Rejected("name-unknown") where no active client is meant.
        """
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
        await self._put(OPERATOR, COMMAND_FORMAT, jcs.encode(self._unique(command)))
        return client.client_id

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

    @contextmanager
    def _alone(self, kind: str, name: str) -> Iterator[None]:
        """One command at a time makes this name: the registry has it only when it is in force."""
        if (kind, name) in self._under_way:
            raise Rejected("name-taken", f"{name} is being added right now", field="name")
        self._under_way.add((kind, name))
        try:
            yield
        finally:
            self._under_way.discard((kind, name))

    def devices(self) -> list[dict[str, str | None]]:
        """Every device with its identity, for the operator's eyes; then senders that are none.

        Those, head-ends and clients that may send, are of the kind `sender`.
        """
        registry = self._registry
        found = registry.devices(None)
        found += [
            DeviceInfo(
                sender.subject, sender.group, "", sender.zone, "sender", sender.name, sender.state
            )
            for sender in sorted(registry.senders.values(), key=lambda s: s.name)
            if registry.device(sender.subject) is None
        ]
        return [
            {
                "identity": self._vault.identity(info.device),
                "device": info.device,
                "group": info.group,
                "zone": info.zone,
                "kind": info.kind,
                "sender": info.sender,
                "state": info.state,
            }
            for info in found
        ]

    def _unique(self, command: dict[str, object]) -> dict[str, object]:
        """Two equal commands are two commands, not a retry of one."""
        return {**command, "nonce": secrets.token_hex(16)}

    def _devices(
        self, name: str, subjects: str, listed: str, group: str, zone: str
    ) -> list[dict[str, str]]:
        if subjects == "self":
            wanted = [(identity_of_name(name), group, zone, "meter")]
        elif subjects == "list":
            wanted = _read_list(listed, group, zone)
        elif subjects == "any":
            return []
        else:
            raise Rejected("subjects-invalid", "subjects are self, any or a file", field="subjects")
        pseudonyms = self._vault.pseudonyms([row[0] for row in wanted])
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


def _read_list(text: str, group: str, zone: str) -> list[tuple[Identity, str, str, str]]:
    """CSV identity,group,zone,kind; the last three may be empty. A header line is passed over."""
    found: dict[Identity, tuple[Identity, str, str, str]] = {}
    for line, row in _csv_rows(text):
        if not row or not row[0].strip() or (line == 1 and row[0].strip() == "identity"):
            continue
        if len(row) > 4:
            sentence = "more cells than identity,group,zone,kind"
            raise Rejected("list-malformed", sentence, line=line)
        cells = [cell.strip() for cell in row] + [""] * 3
        identity = _listed_identity(cells[0], line)
        kind = cells[3] or "meter"
        if kind not in KINDS:
            sentence = f"the kind is one of {', '.join(KINDS)}"
            raise Rejected("kind-unknown", sentence, field="kind", line=line)
        _check_group(cells[1] or group, line)
        _check_zone(cells[2] or zone, line)
        found[identity] = (identity, cells[1] or group, cells[2] or zone, kind)
        if len(found) > SUBJECTS_MAX:
            raise Rejected("list-too-long", f"a sender speaks for at most {SUBJECTS_MAX} devices")
    if not found:
        raise Rejected("list-empty", "the file names no device", field="subjects")
    return list(found.values())


def _csv_rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Rows with the line on which each ends; spreadsheets begin a file with U+FEFF."""
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise Rejected("list-malformed", f"no CSV: {error}", line=reader.line_num) from error


def _listed_identity(text: str, line: int) -> Identity:
    """Raises Rejected for what no device can be known by: nobody would ever match it."""
    try:
        if not text.startswith(("mrid:", "name:")):
            check_names(None, (("", "", text),))
            return identity_of_name(text)
        parts = [unquote(part, errors="strict") for part in text[5:].split("/")]
        if text.startswith("mrid:"):
            (mrid,) = parts
            names = check_names(mrid, ())
        else:
            authority, kind, name = parts
            names = check_names(None, ((authority, kind, name),))
    except (Rejected, ValueError) as error:
        why = error.text if isinstance(error, Rejected) else _IDENTITY_FORM
        raise Rejected("identity-invalid", why, line=line) from error
    if any(authority == OWN_AUTHORITY for authority, _, _ in names.names):
        raise Rejected("identity-invalid", "the platform's own names are no devices", line=line)
    if names.identities() != (Identity(text),):
        raise Rejected("identity-invalid", _IDENTITY_FORM, line=line)
    return Identity(text)


def _check_group(group: str, line: int | None = None) -> None:
    try:
        check_name(group)
    except Rejected as error:
        raise Rejected("group-invalid", error.text, field="group", line=line) from error


def _check_zone(zone: str, line: int | None = None) -> None:
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        text = "the zone is no IANA time zone such as Europe/Berlin"
        raise Rejected("zone-unknown", text, field="zone", line=line) from error
