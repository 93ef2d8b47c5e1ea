"""The operator's commands over a real vault, registry and worker; no bus, no gateway."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from bal import jcs
from bal.errors import Rejected
from bal.model import Pseudonym, RawMessage
from bal.pipeline import Worker
from bal.registry import Registry
from bal.subjects import identity_of_name
from infra.certificates import create_ca, load_ca
from infra.enrolment import Enrolment
from infra.files import make_folder
from infra.sqlite_vault import SqliteVault
from infra.system_clock import SystemClock
from tests.journey.conftest import cim

AT_US = 1_768_471_200_000_000
END = "2026-01-15T11:00:00+01:00"


class Desk:
    """An operator's desk: what is put is worked at once, as the platform would a little later."""

    def __init__(self, folder: Path) -> None:
        clock = SystemClock()
        keys = make_folder(folder / "keys")
        create_ca(keys, clock)
        self.vault = vault = SqliteVault(make_folder(folder / "vault"), clock)
        self.registry = Registry()
        self.worker = Worker(vault, self.registry)
        self.enrolment = Enrolment(load_ca(keys), vault, self.registry, clock, self._put)
        self.commands: list[bytes] = []
        self.bus = "well"  # "late": it takes what it does not answer for; "lost": it does not

    async def _put(self, credential: str, form: str, raw: bytes) -> None:
        await asyncio.sleep(0)  # a command takes a while, and others may come meanwhile
        if self.bus == "lost":
            raise TimeoutError
        if raw not in self.commands:  # else a retry, as the worker knows it
            self.commands.append(raw)
            self.take(credential, form, raw)
        if self.bus == "late":
            raise TimeoutError

    def take(self, credential: str, form: str, raw: bytes) -> list[str]:
        """The kinds of the records that a message becomes."""
        message = RawMessage("e", 0, len(self.commands), credential, form, AT_US, raw)
        worked = self.worker.process(message)
        self.worker.apply(worked.drafts)
        return [draft.kind for draft in worked.drafts]

    def enrol(self, name: str, subjects: str = "self", listed: str = "") -> None:
        enrolment = self.enrolment
        asyncio.run(enrolment.enrol(name, subjects, listed, "g", "UTC", bulk=False))

    def add(self, name: str, scopes: str = "readings.read") -> str:
        return asyncio.run(self.enrolment.add_client(name, scopes.split(), None))[0]

    def withdraw(self, given: str) -> str:
        return asyncio.run(self.enrolment.revoke_client(given))

    def revoke(self, given: str) -> str | None:
        return asyncio.run(self.enrolment.revoke(given))

    def restore(self, given: str) -> None:
        asyncio.run(self.enrolment.restore(given))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def refused(call: Callable[..., object], *given: object) -> tuple[str, str]:
    with pytest.raises(Rejected) as caught:
        call(*given)
    return caught.value.code, caught.value.field


def identity_of(desk: Desk, device: str | None) -> str | None:
    """Who it is, from the vault: the list itself leaves devices' identities out."""
    return None if device is None else desk.vault.identity(Pseudonym(device))


def lines(desk: Desk) -> list[tuple[str | None, str | None, str | None, str | None]]:
    found = [
        (identity_of(desk, d["device"]), d["kind"], d["sender"], d["state"])
        for d in desk.enrolment.devices()
    ]
    return sorted(found, key=str)


def test_the_list_shows_senders_that_are_no_devices(desk: Desk) -> None:
    desk.enrol("headend", "any")
    desk.enrol("meter-1")
    desk.enrol("portal", "list", "meter-2\n")
    client = desk.add("dso", "messages.write")
    asyncio.run(desk.enrolment.revoke("headend"))
    assert lines(desk) == [
        ("name://meter-1", "meter", "meter-1", "active"),
        ("name://meter-2", "meter", "portal", "active"),
        (f"name:gridseal/sender/{client}", "sender", client, "active"),
        ("name:gridseal/sender/headend", "sender", "headend", "revoked"),
        ("name:gridseal/sender/portal", "sender", "portal", "active"),
    ]
    assert {tuple(line) for line in desk.enrolment.devices()} == {
        ("identity", "device", "group", "zone", "kind", "sender", "state")
    }
    named = {d["identity"] for d in desk.enrolment.devices() if d["kind"] != "sender"}
    assert named == {None}


def test_a_client_is_listed_and_withdrawn_by_name_or_id(desk: Desk) -> None:
    first = desk.add("dso", "readings.read messages.write")
    second = desk.add("auditor")
    assert desk.enrolment.clients() == [
        {"client_id": second, "name": "auditor", "scopes": ["readings.read"], "groups": None,
         "state": "active"},
        {"client_id": first, "name": "dso", "scopes": ["messages.write", "readings.read"],
         "groups": None, "state": "active"},
    ]  # fmt: skip
    assert desk.take(first, "cim", cim(("a", END, "1"))) == ["device", "reading"]
    assert (desk.withdraw("dso"), desk.withdraw(second)) == (first, second)
    assert [client["state"] for client in desk.enrolment.clients()] == ["revoked", "revoked"]
    assert desk.take(first, "cim", cim(("a", END, "2"))) == ["refused"]
    assert [jcs.decode(raw)["command"] for raw in desk.commands[2:]] == ["withdraw", "withdraw"]


def test_what_a_client_names_first_has_its_zone(desk: Desk) -> None:
    """A day of a metering point is a local one, whichever way its readings come."""
    add = desk.enrolment.add_client
    scopes = ["messages.write"]
    sender, _ = asyncio.run(add("dso", scopes, ["north"], "Europe/Berlin"))
    assert desk.take(sender, "cim", cim(("a", END, "1"))) == ["device", "reading"]
    (meter,) = [one for one in desk.enrolment.devices() if one["kind"] == "meter"]
    assert (meter["zone"], meter["group"]) == ("Europe/Berlin", "north")
    assert desk.registry.senders[sender].zone == "Europe/Berlin"
    with pytest.raises(Rejected) as caught:
        asyncio.run(add("dso-2", scopes, None, "Berlin"))
    assert (caught.value.code, caught.value.field) == ("zone-unknown", "zone")


def test_a_client_keeps_what_it_was_granted_when_it_is_withdrawn(desk: Desk) -> None:
    groups = ["north", "south"]
    asyncio.run(desk.enrolment.add_client("dso", ["messages.write"], groups))
    desk.withdraw("dso")
    (client,) = desk.registry.clients.values()
    assert (client.groups, client.scopes) == (frozenset(groups), frozenset({"messages.write"}))
    assert desk.registry.senders[client.client_id].state == "revoked"


def test_a_name_is_one_active_client(desk: Desk) -> None:
    desk.add("dso")
    assert refused(desk.add, "dso") == ("name-taken", "name")
    assert len(desk.commands) == 1
    desk.withdraw("dso")
    assert desk.add("dso") != desk.add("dso-2")


@pytest.mark.parametrize("given", ["nobody", "dso-00000000", ""])
def test_nobody_is_withdrawn_who_is_not_there(desk: Desk, given: str) -> None:
    desk.add("dso")
    assert refused(desk.withdraw, given) == ("name-unknown", "name")
    desk.withdraw("dso")
    assert refused(desk.withdraw, "dso") == ("name-unknown", "name")


def test_two_at_once_do_not_get_one_name(desk: Desk) -> None:
    enrolment = desk.enrolment

    def both(make: Callable[[], Awaitable[object]]) -> list[object]:
        async def run() -> list[object]:
            return list(await asyncio.gather(make(), make(), return_exceptions=True))

        return asyncio.run(run())

    for made in (
        both(lambda: enrolment.add_client("dso", ["readings.read"], None)),
        both(lambda: enrolment.enrol("m", "self", "", "g", "UTC", bulk=False)),
    ):
        (failed,) = [one for one in made if isinstance(one, Rejected)]
        assert failed.code == "name-taken"
    assert (len(desk.registry.clients), len(desk.registry.senders)) == (1, 1)


@pytest.mark.parametrize(
    "identity",
    [
        "name:///m1",
        "name:/m1",
        "name://",
        "name:a/b/c/d",
        "name:a/b/m 1",
        "name:a/b/%6D1",  # the same as m1, and another text
        "name:a/b/Zähler",
        "name:a/b/%zz",
        "name:a/b/%FF",
        "mrid:",
        "mrid:a/b",
        "mrid:" + "1" * 300,
        "m\x01",
        "m" * 300,
    ],
)
def test_an_identity_that_no_device_can_have_is_refused_with_its_line(
    desk: Desk, identity: str
) -> None:
    with pytest.raises(Rejected) as caught:
        desk.enrol("portal", "list", f"identity,group,zone,kind\nmeter-1\n{identity},,,\n")
    assert (caught.value.code, caught.value.line) == ("identity-invalid", 3)
    assert identity not in caught.value.text
    assert desk.enrolment.devices() == []


@pytest.mark.parametrize(
    ("given", "identity"),
    [
        ("mrid:a%2Fb", "mrid:a%2Fb"),
        ("name:a/b/Z%C3%A4hler%201", "name:a/b/Z%C3%A4hler%201"),
        ("name://m1", "name://m1"),
        ("Zähler 1", "name://Z%C3%A4hler%201"),
        ("names:x", "name://names%3Ax"),
    ],
)
def test_identities_of_a_list(desk: Desk, given: str, identity: str) -> None:
    desk.enrol("portal", "list", f"{given}\n")
    assert lines(desk)[0][0] == identity


def pseudonym_of(desk: Desk, identity: str) -> str:
    devices = [d["device"] for d in desk.enrolment.devices()]
    (found,) = [device for device in devices if identity_of(desk, device) == identity]
    assert found is not None
    return found


def test_a_device_that_others_speak_for_is_revoked_by_its_pseudonym(desk: Desk) -> None:
    desk.enrol("headend", "any")
    desk.enrol("portal", "list", "a\n")
    assert desk.take("headend", "cim", cim(("a", END, "1"))) == ["reading"]
    device = pseudonym_of(desk, "name://a")
    assert asyncio.run(desk.enrolment.revoke(device)) is None
    assert ("name://a", "meter", "portal", "revoked") in lines(desk)
    assert desk.take("headend", "cim", cim(("a", END, "2"))) == ["refused"]
    assert desk.take("portal", "cim", cim(("a", END, "3"))) == ["refused"]
    assert desk.take("headend", "cim", cim(("b", END, "1"))) == ["device", "reading"]
    assert jcs.decode(desk.commands[-1]).keys() == {"command", "device", "state", "nonce"}
    assert refused(desk.revoke, device) == ("name-unknown", "name")
    desk.enrol("portal-2", "list", "a\n")  # a list does not bring it back
    assert desk.take("portal-2", "cim", cim(("a", END, "4"))) == ["refused"]
    asyncio.run(desk.enrolment.restore(device))
    assert desk.take("headend", "cim", cim(("a", END, "5"))) == ["reading"]
    assert refused(desk.restore, device) == ("name-unknown", "name")
    assert refused(desk.restore, "A" * 43) == ("name-unknown", "name")


def test_a_device_that_is_enrolled_by_itself_comes_back(desk: Desk) -> None:
    desk.enrol("headend", "any")
    desk.take("headend", "cim", cim(("a", END, "1")))
    desk.revoke(pseudonym_of(desk, "name://a"))
    desk.enrol("a")
    assert desk.take("headend", "cim", cim(("a", END, "2"))) == ["reading"]


def test_the_pseudonym_of_a_sender_revokes_the_sender(desk: Desk) -> None:
    """Its own device with it, where it is one; a head-end's devices stay as they are."""
    desk.enrol("meter-1")
    desk.enrol("headend", "any")
    desk.take("headend", "cim", cim(("a", END, "1")))
    assert asyncio.run(desk.enrolment.revoke(pseudonym_of(desk, "name://meter-1"))) == "meter-1"
    own = pseudonym_of(desk, "name:gridseal/sender/headend")
    assert asyncio.run(desk.enrolment.revoke(own)) == "headend"
    assert lines(desk) == [
        ("name://a", "meter", "headend", "active"),
        ("name://meter-1", "meter", "meter-1", "revoked"),
        ("name:gridseal/sender/headend", "sender", "headend", "revoked"),
    ]


def test_a_sender_named_like_a_pseudonym_is_meant_first(desk: Desk) -> None:
    desk.enrol("headend", "any")
    desk.take("headend", "cim", cim(("a", END, "1")))
    device = pseudonym_of(desk, "name://a")
    desk.enrol(device)
    assert asyncio.run(desk.enrolment.revoke(device)) == device
    assert ("name://a", "meter", "headend", "active") in lines(desk)


@pytest.mark.parametrize("bus", ["late", "lost"])
def test_a_command_without_an_end_is_gone_on_with(desk: Desk, bus: str) -> None:
    def twice(call: Callable[..., object], *given: object) -> object:
        desk.bus = bus
        with pytest.raises(TimeoutError):
            call(*given)
        desk.bus = "well"
        return call(*given)

    for state in ("active", "revoked"):
        twice(desk.enrol, "m") if state == "active" else twice(desk.revoke, "m")
        assert [one.state for one in desk.registry.senders.values()] == [state]
        client = twice(desk.add, "dso") if state == "active" else twice(desk.withdraw, "dso")
        assert [(one.client_id, one.state) for one in desk.registry.clients.values()] == [
            (client, state)
        ]
    device = desk.enrolment.devices()[0]["device"]
    twice(desk.restore, device)
    found = desk.registry.device(Pseudonym(str(device)))
    assert found is not None
    assert found.state == "active"
    assert len({jcs.decode(raw)["nonce"] for raw in desk.commands}) == len(desk.commands) == 5


@pytest.mark.parametrize("bus", ["late", "lost"])
def test_what_was_undone_since_is_a_new_command(desk: Desk, bus: str) -> None:
    desk.bus = bus
    with pytest.raises(TimeoutError):
        desk.enrol("m")
    desk.bus = "well"
    if bus == "late":
        desk.revoke("m")
        desk.enrol("m")
    else:
        desk.enrol("m", "any")  # asked for otherwise: the one before is not gone on with
    assert desk.registry.senders["m"].state == "active"
    assert desk.registry.senders["m"].subjects == ("self" if bus == "late" else "any")


def test_a_move_that_came_to_nothing_makes_no_second_device(desk: Desk) -> None:
    desk.enrol("meter-1")
    (device,) = [one["device"] for one in desk.enrolment.devices()]
    desk.vault.begin(identity_of_name("meter-1"), "K-2")  # and the command was lost
    desk.revoke("meter-1")
    desk.enrol("meter-1")
    assert [one["device"] for one in desk.enrolment.devices()] == [device]
