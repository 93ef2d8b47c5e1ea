"""The doctor on accounts at a broker and rights at a Kafka."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bal.errors import Unavailable
from bal.provide.feed import READINGS
from bal.subjects import identity_of_name
from infra.config import Config, MosquittoConfig
from infra.consumers_local import principal_of
from infra.data_folder import DataFolder
from infra.doctor_rights import broker, consumers
from infra.doctor_servers import FAULT, OK, WARNING
from infra.files import make_folder
from infra.mosquitto_accounts import changing, hashed
from infra.servers import mosquitto
from infra.servers.place import Place, write_state
from tests.journey.small_platform import Small


def sender(small: Small, name: str, command: str = "enrol") -> None:
    subject = small.stores.vault.pseudonyms([identity_of_name(name)])[identity_of_name(name)]
    small.command(
        command=command, name=name, certificate="ab" * 32, password="cd" * 32, subject=subject,
        subjects="self", allowed=[], group="g", zone="UTC", bulk="false",
        devices=[{"device": subject, "group": "g", "zone": "UTC", "kind": "meter"}],
        nonce=f"{name} {command}",
    )  # fmt: skip


def client(small: Small, name: str, command: str = "grant") -> None:
    small.command(
        command=command, client_id=name, name=name, secret="ef" * 32, scopes=["readings.read"]
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> DataFolder:
    """meter-1 may send and meter-2 no longer; dso may read and gone no longer."""
    small = Small(tmp_path_factory.mktemp("rights") / "data")
    small.start()
    for name in ("meter-1", "meter-2"):
        sender(small, name)
    sender(small, "meter-2", "revoke")
    for name in ("dso", "gone"):
        client(small, name)
    client(small, "gone", "withdraw")
    small.close()
    return small.folder


@pytest.fixture
def accounts(folder: DataFolder) -> Iterator[Path]:
    """Those of the local profile's broker."""
    place = Place(folder.root, "mosquitto")
    mosquitto.prepare(place, {"port": 1})
    write_state(folder.root, {"mosquitto": {"port": 1}})
    yield place.folder / "passwd"
    (place.folder / "passwd").unlink()


def enter(path: Path, *names: str, leave: str = "") -> None:
    with changing(path) as hashes:
        hashes |= {name: hashed("x") for name in names}
        hashes.pop(leave, None)


def of(folder: DataFolder, config: Config | None = None) -> tuple[str, str]:
    (found,) = broker(folder, config or Config())
    assert bool(found.remedy) == (found.state != OK)
    return found.state, found.text


def test_a_platform_without_a_broker_is_not_asked(tmp_path: Path) -> None:
    assert list(broker(DataFolder(tmp_path), Config())) == []


def test_accounts_that_fit_the_registry(folder: DataFolder, accounts: Path) -> None:
    enter(accounts, "meter-1")
    assert of(folder) == (OK, "1 devices have accounts; its ACL keeps them apart")
    named = Config(mosquitto=MosquittoConfig("broker.example", accounts=str(accounts)))
    assert of(folder, named) == (OK, "1 devices have accounts; its ACL is not looked at")


def test_accounts_that_do_not(folder: DataFolder, accounts: Path) -> None:
    assert of(folder) == (WARNING, "meter-1 may send, and can't enter the broker")
    enter(accounts, "meter-1", "meter-2", "nobody")
    assert of(folder) == (FAULT, "meter-2, nobody may enter, and may not send")
    enter(accounts, leave="receipts")
    assert of(folder) == (FAULT, "the platform's own receipts can't enter")


def test_an_acl_that_lets_devices_read_others(folder: DataFolder, accounts: Path) -> None:
    enter(accounts, "meter-1")
    acl = accounts.with_name("acl")
    acl.write_text(acl.read_text() + "\n# for a test\n")
    assert of(folder)[0] == OK
    acl.write_text(acl.read_text() + "topic read receipts/#\n")
    assert of(folder)[0] == FAULT
    acl.unlink()
    assert of(folder)[0] == FAULT


def test_a_broker_whose_files_are_elsewhere(folder: DataFolder) -> None:
    config = Config(mosquitto=MosquittoConfig("broker.example"))
    assert of(folder, config)[0] == WARNING
    absent = Config(mosquitto=replace(config.mosquitto, accounts="/nowhere/passwd"))
    assert of(folder, absent)[0] == FAULT


def rights(*clients: str, also: str = "") -> dict[str, set[str]]:
    found = {}
    for one in clients:
        name = principal_of(one)
        found[name] = {READINGS, "bal.checkpoints.v1", name, f"{name}:*"} | ({also} - {""})
    return found


@pytest.mark.parametrize(
    ("found", "state", "told"),
    [
        ({}, OK, "0 read"),
        (rights("dso"), OK, "1 read"),
        (rights("dso", "gone"), FAULT, "aggregator.gone may read more"),
        (rights("dso", "unknown"), FAULT, "aggregator.unknown may read more"),
        (rights("dso", also="bal.raw"), FAULT, "aggregator.dso may read more"),
        (rights("dso", also="4 bal.readings.v1"), FAULT, "aggregator.dso may read more"),
        ({"aggregator.dso": {READINGS}}, WARNING, "aggregator.dso may read less"),
    ],
)
def test_rights_of_aggregators(
    folder: DataFolder, found: dict[str, set[str]], state: str, told: str
) -> None:
    make_folder(folder.root / "servers" / "kafka")
    (check,) = consumers(folder, lambda _: found)
    assert (check.state, told in check.text) == (state, True), check


def test_a_kafka_that_is_away(folder: DataFolder) -> None:
    def away(_: Path) -> dict[str, set[str]]:
        raise Unavailable("Kafka does not answer in time")

    make_folder(folder.root / "servers" / "kafka")
    (check,) = consumers(folder, away)
    assert (check.state, "can't be looked at" in check.text) == (WARNING, True)
