"""Who may speak for whom, and what one message becomes (docs/spec/intake.md)."""

import json
from pathlib import Path
from typing import Any

import pytest

from bal import jcs
from bal.certify.commitment import commitment
from bal.model import TYPE_PART, TYPE_RECORD, Identity, RawMessage
from bal.pipeline import COMMAND_FORMAT, OPERATOR, Worked, Worker
from bal.registry import Registry
from bal.subjects import identity_of_name
from infra.sqlite_vault import SqliteVault
from infra.system_clock import SystemClock
from tests.journey.conftest import cim

AT_US = 1_768_471_200_000_000
END = "2026-01-15T11:00:00+01:00"


class Line:
    """One worker with its registry; messages get offsets as the bus gives them."""

    def __init__(self, folder: Path) -> None:
        self.vault = SqliteVault(folder / "vault", SystemClock())
        self.registry = Registry()
        self.worker = Worker(self.vault, self.registry)
        self._offset = 0

    def take(self, credential: str, form: str, raw: bytes) -> Worked:
        message = RawMessage("e", 0, self._offset, credential, form, AT_US, raw)
        self._offset += 1
        worked = self.worker.process(message)
        self.worker.apply(worked.drafts)
        return worked

    def enrol(
        self, name: str, subjects: str, *, groups: list[str] | None = None, **more: Any
    ) -> None:
        own = identity_of_name(name)
        pseudonym = self.vault.pseudonyms([own])[own]
        item = {"device": pseudonym, "group": "g", "zone": "UTC", "kind": "meter"}
        command: dict[str, Any] = {
            "command": "enrol", "name": name, "subject": pseudonym, "certificate": "c",
            "password": "p", "subjects": subjects, "allowed": [], "group": "g", "zone": "UTC",
            "bulk": "false", "devices": [item] if subjects == "self" else [], **more,
        }  # fmt: skip
        if groups is not None:
            command["groups"] = groups
        self.take(OPERATOR, COMMAND_FORMAT, jcs.encode(command))


@pytest.fixture
def line(tmp_path: Path) -> Line:
    return Line(tmp_path)


def kinds(worked: Worked) -> list[str]:
    return [draft.kind for draft in worked.drafts]


def test_a_sender_speaks_for_itself(line: Line) -> None:
    line.enrol("meter-1", "self")
    good = line.take("meter-1", "cim", cim(("meter-1", END, "1")))
    assert kinds(good) == ["reading"]
    other = line.take("meter-1", "cim", cim(("meter-2", END, "1")))
    assert kinds(other) == ["refused"]
    assert [finding.code for finding in other.refused] == ["subject-not-allowed"]


def mirror(lfdi: str = "") -> bytes:
    named = f"<deviceLFDI>{lfdi}</deviceLFDI>" if lfdi else ""
    return (
        f'<MirrorUsagePoint xmlns="urn:ieee:std:2030.5:ns">{named}<MirrorMeterReading><Reading>'
        "<timePeriod><duration>900</duration><start>1768471200</start></timePeriod>"
        "<value>1</value></Reading><ReadingType><accumulationBehaviour>4</accumulationBehaviour>"
        "<uom>72</uom></ReadingType></MirrorMeterReading></MirrorUsagePoint>"
    ).encode()


def test_a_sender_names_itself_by_the_lfdi_of_its_certificate(line: Line) -> None:
    """IEEE 2030.5 deviceLFDI: the first 160 bits of the SHA-256."""
    fingerprint = "3e4f45ab31edfe5b67e343e5e4562e31984e23e5" + "00" * 12
    line.enrol("inverter-1", "self", certificate=fingerprint)
    for raw in (mirror(), mirror(fingerprint[:40]), mirror(fingerprint[:40].upper())):
        assert kinds(line.take("inverter-1", "sep2", raw)) == ["reading"]
    other = line.take("inverter-1", "sep2", mirror("00" * 20))
    assert [finding.code for finding in other.refused] == ["subject-not-allowed"]
    assert other.refused[0].field == "deviceLFDI"


def test_a_head_end_names_inverters_by_their_lfdi(line: Line) -> None:
    line.enrol("headend", "any")
    first = line.take("headend", "sep2", mirror("AB" * 20))
    assert kinds(first) == ["device", "reading"]
    assert b'"class":"der"' in first.drafts[0].record
    assert kinds(line.take("headend", "sep2", mirror("ab" * 20))) == ["reading"]
    unnamed = line.take("headend", "sep2", mirror())
    assert [finding.code for finding in unnamed.refused] == ["subject-not-allowed"]


def test_a_list_names_an_inverter_by_its_lfdi_alone(line: Line) -> None:
    bare = identity_of_name("AB" * 20)
    pseudonym = line.vault.pseudonyms([bare])[bare]
    item = {"device": pseudonym, "group": "g", "zone": "UTC", "kind": "der"}
    line.enrol("gateway", "list", allowed=[pseudonym], devices=[item])
    [draft] = line.take("gateway", "sep2", mirror("ab" * 20)).drafts
    assert draft.subject.pseudonym == pseudonym


def test_a_head_end_names_devices_and_they_are_made_once(line: Line) -> None:
    line.enrol("headend", "any")
    first = line.take("headend", "cim", cim(("a", END, "1"), ("b", END, "2")))
    assert kinds(first) == ["device", "device", "reading", "reading", "message"]
    again = line.take("headend", "cim", cim(("a", END, "3"), ("b", END, "4")))
    assert kinds(again) == ["reading", "reading", "message"]
    assert [d.subject.pseudonym for d in first.drafts[2:4]] == [
        d.subject.pseudonym for d in again.drafts[:2]
    ]


def test_a_hundred_new_devices_are_the_same_as_one_by_one(tmp_path: Path) -> None:
    one, many = Line(tmp_path / "one"), Line(tmp_path / "many")
    names = [f"meter-{i}" for i in range(100)]
    for each in (one, many):
        each.enrol("headend", "any")
    for name in names:
        one.take("headend", "cim", cim((name, END, "1")))
    worked = many.take("headend", "cim", cim(*[(name, END, "1") for name in names]))
    assert kinds(worked).count("device") == 100
    assert len(one.registry.devices(None)) == len(many.registry.devices(None)) == 100
    shards = [device.shard for device in many.registry.devices(None)]
    assert set(shards) == {"g/0"}


def test_a_shard_has_at_most_256_devices(line: Line) -> None:
    line.enrol("headend", "any")
    line.take("headend", "cim", cim(*[(f"m{i}", END, "1") for i in range(300)]))
    line.take("headend", "cim", cim(*[(f"n{i}", END, "1") for i in range(300)]))
    count: dict[str, int] = {}
    for device in line.registry.devices(None):
        count[device.shard] = count.get(device.shard, 0) + 1
    assert count == {"g/0": 256, "g/1": 256, "g/2": 88}


def test_a_list_is_what_it_lists(line: Line) -> None:
    allowed = Identity("name:utility/meter/7")
    pseudonym = line.vault.pseudonyms([allowed])[allowed]
    device = {"device": pseudonym, "group": "g", "zone": "UTC", "kind": "meter"}
    line.enrol("portal", "list", allowed=[pseudonym], devices=[device])
    named = cim(("7", END, "1")).replace(
        b"<name>7</name>",
        b"<name>7</name><NameType><name>meter</name><NameTypeAuthority><name>utility</name>"
        b"</NameTypeAuthority></NameType>",
    )
    assert kinds(line.take("portal", "cim", named)) == ["reading"]
    assert kinds(line.take("portal", "cim", cim(("8", END, "1")))) == ["refused"]


def test_a_client_stays_within_its_groups(line: Line) -> None:
    line.enrol("headend", "any", group="north")
    line.take("headend", "cim", cim(("a", END, "1")))
    line.enrol("south", "any", groups=["south"], group="south")
    assert kinds(line.take("south", "cim", cim(("a", END, "2")))) == ["refused"]
    assert kinds(line.take("south", "cim", cim(("new", END, "2")))) == ["device", "reading"]


def test_a_revoked_or_unknown_sender_is_refused_provably(line: Line) -> None:
    worked = line.take("nobody", "cim", cim(("a", END, "1")))
    assert kinds(worked) == ["refused"]
    assert [finding.code for finding in worked.refused] == ["sender-revoked"]


def test_evidence_opens_the_message(line: Line) -> None:
    line.enrol("headend", "any")
    raw = cim(("a", END, "1"), ("b", END, "2"))
    worked = line.take("headend", "cim", raw)
    assert b"".join(raw[part.start : part.end] for part in worked.parts) == raw
    for part in worked.parts:
        content = raw[part.start : part.end]
        assert part.commitment == commitment(part.subject.salt_key, TYPE_PART, content)
    for draft, entry in zip(worked.drafts, worked.entries, strict=True):
        assert entry == commitment(draft.subject.salt_key, TYPE_RECORD, draft.record)
    evidence = {json.loads(d.record)["evidence"] for d in worked.drafts if d.kind == "reading"}
    assert evidence == {part.commitment.hex() for part in worked.parts[1:-1]}


def test_a_defect_of_ours_costs_one_message_only(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.enrol("meter-1", "self")

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr("bal.pipeline.harmonise", broken)
        worked = line.take("meter-1", "cim", cim(("meter-1", END, "1")))
    assert [finding.code for finding in worked.refused] == ["mapper-failed"]
    assert kinds(line.take("meter-1", "cim", cim(("meter-1", END, "2")))) == ["reading"]


BAD_COMMANDS = [
    b"{",
    b"[]",
    b"{}",
    b'{"command":"enrol"}',
    b'{"command":"grant","client_id":"c","name":"c","secret":"s","scopes":5}',
    b'{"command":"grant","client_id":"c","name":7,"secret":"s","scopes":[]}',
    b'{"command":"nonsense","client_id":"c","name":"c","secret":"s","scopes":[]}',
    jcs.encode(
        {
            "command": "enrol", "name": "x", "subject": "A" * 43, "certificate": "",
            "bulk": "false", "password": "", "subjects": "any", "allowed": [], "group": "g",
            "zone": "UTC", "devices": [],
        }
    ),  # a subject that the vault does not know
]  # fmt: skip


@pytest.mark.parametrize("raw", BAD_COMMANDS, ids=range(len(BAD_COMMANDS)))
def test_a_command_that_can_not_be_carried_out_is_refused_provably(line: Line, raw: bytes) -> None:
    worked = line.take(OPERATOR, COMMAND_FORMAT, raw)
    assert kinds(worked) == ["refused"]
    assert [finding.code for finding in worked.refused] == ["command-failed"]
    assert worked.entries == line.worker.process(worked.message).entries
    assert (line.registry.senders, line.registry.clients) == ({}, {})
    line.enrol("meter-1", "self")
    assert kinds(line.take("meter-1", "cim", cim(("meter-1", END, "1")))) == ["reading"]


def revoked_meter(line: Line, name: str) -> str:
    """The pseudonym of a meter that spoke for itself and was revoked."""
    line.enrol(name, "self")
    line.enrol(name, "self", command="revoke")
    (found,) = line.vault.find([identity_of_name(name)]).values()
    return found


def codes(worked: Worked) -> list[str]:
    return [finding.code for finding in worked.refused]


def test_nobody_speaks_for_a_revoked_device(line: Line) -> None:
    device = revoked_meter(line, "meter-1")
    assert codes(line.take("meter-1", "cim", cim(("meter-1", END, "1")))) == ["sender-revoked"]
    line.enrol("headend", "any")
    line.enrol("portal", "list", allowed=[device])
    for sender in ("headend", "portal"):
        worked = line.take(sender, "cim", cim(("meter-1", END, "1")))
        assert (kinds(worked), codes(worked)) == (["refused"], ["device-revoked"])
    mixed = line.take("headend", "cim", cim(("meter-1", END, "1"), ("meter-2", END, "2")))
    assert kinds(mixed) == ["device", "reading", "refused", "message"]
    line.enrol("meter-1", "self")  # in service again
    assert kinds(line.take("headend", "cim", cim(("meter-1", END, "3")))) == ["reading"]


def test_a_revocation_counts_for_a_sender_that_spoke_for_the_device_before(line: Line) -> None:
    line.enrol("headend", "any")
    line.enrol("meter-1", "self")
    assert kinds(line.take("headend", "cim", cim(("meter-1", END, "1")))) == ["reading"]
    line.enrol("meter-1", "self", command="revoke")
    assert codes(line.take("headend", "cim", cim(("meter-1", END, "2")))) == ["device-revoked"]


def test_a_list_does_not_take_a_revoked_device_back_into_service(line: Line) -> None:
    device = revoked_meter(line, "meter-1")
    item = {"device": device, "group": "g", "zone": "UTC", "kind": "meter"}
    line.enrol("portal", "list", allowed=[device], devices=[item])
    assert codes(line.take("portal", "cim", cim(("meter-1", END, "1")))) == ["device-revoked"]


def test_another_group_does_not_learn_that_a_device_is_revoked(line: Line) -> None:
    revoked_meter(line, "meter-1")
    line.enrol("south", "any", groups=["south"], group="south")
    assert codes(line.take("south", "cim", cim(("meter-1", END, "1")))) == ["subject-not-allowed"]


def test_the_registry_is_a_fold_of_the_records(line: Line) -> None:
    line.enrol("headend", "any")
    drafts = line.take("headend", "cim", cim(("a", END, "1"))).drafts
    line.enrol("meter-1", "self")
    rebuilt = Registry()
    for draft in drafts:
        rebuilt.apply(draft.record)
    assert [d.device for d in rebuilt.devices(None)] == [
        d.device for d in line.registry.devices(None) if d.sender == "headend"
    ]


@pytest.mark.parametrize("own", [("platform", "platform"), ("sender", "other")])
def test_the_platforms_own_names_are_nobodys_devices(line: Line, own: tuple[str, str]) -> None:
    """Else a head-end could speak as the platform, or as another sender."""
    line.enrol("headend", "any")
    names = "<Names><name>{}</name><NameType><name>{}</name><NameTypeAuthority>"
    names += "<name>gridseal</name></NameTypeAuthority></NameType></Names>"
    raw = cim(("meter-1", END, "1.5")).replace(
        b"<Names><name>meter-1</name></Names>", names.format(own[1], own[0]).encode()
    )
    assert b"NameTypeAuthority" in raw
    worked = line.take("headend", "cim", raw)
    assert [finding.code for finding in worked.refused] == ["subject-not-allowed"]
