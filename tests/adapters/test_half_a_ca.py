"""A first start that was killed between a CA's two files is gone on with, wherever a CA is made."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bal.errors import Stop
from infra import certificates
from infra.app import Platform
from infra.certificates import create_ca, ensure_ca, load_ca
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


def test_a_ca_without_its_key_is_not_replaced(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "keys")
    create_ca(folder, SystemClock())
    (folder / "ca.key").unlink()
    with pytest.raises(Stop, match=r"Restore ca\.key"):
        ensure_ca(folder, SystemClock())
