"""A first start that was killed between a CA's two files is gone on with, wherever a CA is made."""

import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bal.errors import Stop
from infra import certificates
from infra.app import Platform
from infra.certificates import create_ca, ensure_ca, issue_device, issue_server, load_ca
from infra.config import Config
from infra.files import make_folder, write_new
from infra.roles.making import begin
from infra.servers import mosquitto
from infra.servers.place import Place
from infra.system_clock import SystemClock


class Killed(BaseException):
    """Nothing behind it is run any more."""


def of_up(data: Path) -> Path:
    platform = Platform(data, Config())
    platform.open()
    platform._begun.close()
    return data / "keys"


def of_roles(data: Path) -> Path:
    begin(data, Config(), SystemClock()).folder.unlock()
    return data / "keys"


def of_a_server(data: Path) -> Path:
    Place(data, "kafka").client("platform")
    return Place(data, "kafka").certificates


def of_mosquitto(data: Path) -> Path:
    mosquitto.prepare(Place(data, "mosquitto"), {"port": 1})
    return data / "keys"


@pytest.mark.parametrize("start", [of_up, of_roles, of_a_server, of_mosquitto])
@pytest.mark.parametrize("file", ["ca.key", "ca.crt"])
def test_a_start_goes_on_where_one_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Callable[[Path], Path], file: str
) -> None:
    def kill(path: Path, data: bytes, mode: int = 0o600) -> None:
        if path.name == file:
            raise Killed
        write_new(path, data, mode)

    data = tmp_path / "data"
    with monkeypatch.context() as killing:
        killing.setattr(certificates, "write_new", kill)
        with pytest.raises(Killed):
            start(data)
    folder = start(data)
    made = load_ca(folder)
    start(data)
    assert load_ca(folder).certificate_pem == made.certificate_pem


def test_of_many_at_once_one_makes_it(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "keys")
    with ThreadPoolExecutor(8) as others:
        made = list(others.map(lambda _: ensure_ca(folder, SystemClock()), range(8)))
    assert len({one.certificate_pem for one in made}) == 1


def verified(ca: Path, leaf: bytes) -> bool:
    (ca.parent / "leaf.pem").write_bytes(leaf)
    command = ["openssl", "verify", "-x509_strict", "-CAfile", str(ca), str(ca.parent / "leaf.pem")]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", ["", "Gridseal CA as earlier versions named it"])
def test_of_a_lost_certificate_another_is_made_that_stands_for_what_it_signed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = make_folder(tmp_path / "keys")
    with monkeypatch.context() as earlier:
        if name:
            earlier.setattr(certificates, "_name_of", lambda _: certificates._name(name))
        first = create_ca(folder, SystemClock())
    device, _ = issue_device(first, "meter-1", SystemClock())
    (folder / "server.crt").write_bytes(issue_server(first, [], SystemClock())[0])
    key = (folder / "ca.key").read_bytes()
    (folder / "ca.crt").unlink()
    again = ensure_ca(folder, SystemClock())
    assert (folder / "ca.key").read_bytes() == key
    assert again.certificate != first.certificate
    assert "made again" in caplog.text
    assert verified(folder / "ca.crt", device)
    assert verified(folder / "ca.crt", issue_device(again, "meter-2", SystemClock())[0])
    assert load_ca(folder).certificate == ensure_ca(folder, SystemClock()).certificate
    other = create_ca(make_folder(tmp_path / "other"), SystemClock())
    assert not verified(folder / "ca.crt", issue_device(other, "meter-1", SystemClock())[0])


def test_a_key_that_cannot_be_read_is_not_deleted(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "keys")
    (folder / "ca.key").write_bytes(b"half")
    with pytest.raises(Stop, match=r"ca\.crt is gone.*Restore both") as stop:
        ensure_ca(folder, SystemClock())
    assert stop.value.code == "store-damaged"
    assert (folder / "ca.key").read_bytes() == b"half"
    assert not (folder / "ca.crt").exists()


def test_a_ca_without_its_key_is_not_replaced(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "keys")
    create_ca(folder, SystemClock())
    (folder / "ca.key").unlink()
    with pytest.raises(Stop, match=r"Restore ca\.key"):
        ensure_ca(folder, SystemClock())
