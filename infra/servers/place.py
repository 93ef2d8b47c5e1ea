"""Where things lie below DIR/servers, and the state file that is kept from start to start."""

import json
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509

from bal.errors import Stop
from infra.certificates import (
    Authority,
    check_name,
    ensure_ca,
    issue_device,
    issue_node,
)
from infra.files import make_folder, replace_file, write_new
from infra.system_clock import SystemClock

FORM = 1
STATE = "servers.json"
LOOPBACK = "127.0.0.1"
# Below the range that Linux takes for outgoing connections: a kept port stays free while down.
_PORTS = range(20_000, 32_000)
_LET_GO_S = 10
_RENEW_DAYS = 30

NAMES = ("kafka", "cassandra", "mosquitto", "anvil", "ganache")
Entry = dict[str, Any]  # what servers.json keeps of one server
Say = Callable[[str, str, int, int], None]  # server, what goes on, done, of how many


@dataclass(frozen=True, slots=True)
class Seen:
    """One server as it is now."""

    name: str
    state: str  # up, down, never started; or why it does not answer
    code: str = ""  # of the error in `state`, if there is one
    version: str = ""
    pid: int = 0
    address: str = ""
    memory_bytes: int = 0
    log: str = ""
    ready_s: float = 0.0  # how long this start took

    @property
    def is_up(self) -> bool:
        """Whether it answers, and is ours."""
        return self.state == "up"


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of one server: DIR/servers/<name>, everything in it for this user only."""

    data: Path  # DIR, absolute
    name: str

    @property
    def folder(self) -> Path:
        """Configuration, log and data of this server."""
        return self.data / "servers" / self.name

    @property
    def certificates(self) -> Path:
        """Its own authority and what that signed: it opens nothing at another server."""
        return self.folder / "certificates"

    @property
    def log(self) -> Path:
        """What the server prints."""
        return self.folder / f"{self.name}.log"

    @property
    def files(self) -> dict[str, str]:
        """What servers.json says of where its files lie, from its own folder."""
        return {
            "certificates": f"{self.name}/certificates",
            "log": f"{self.name}/{self.name}.log",
            "passwords": f"{self.name}/passwords",
            "pid": f"{self.name}/pid",
        }

    def password(self, user: str) -> str:
        """The password of a user, made when it is asked for first (0600)."""
        path = self.password_file(user)
        if not path.exists():
            make_folder(path.parent)
            write_new(path, f"{secrets.token_urlsafe(32)}\n".encode())
        return path.read_text(encoding="ascii").strip()

    def password_file(self, user: str) -> Path:
        """Where `password` keeps it."""
        check_name(user)
        return self.folder / "passwords" / user

    def authority(self) -> Authority:
        """This server's certification authority, made when it is asked for first."""
        return ensure_ca(make_folder(self.certificates), SystemClock())

    def client(self, name: str) -> None:
        """Give out a client certificate with this CN, unless a good one is there."""
        if not self._is_good(name):
            authority = self.authority()
            self._write(name, authority, *issue_device(authority, name, SystemClock()))

    def node(self, name: str, host: str = LOOPBACK) -> None:
        """Give out the server's own certificate, which may be shown as a client's, too."""
        if not self._is_good(name):
            authority = self.authority()
            self._write(name, authority, *issue_node(authority, name, [host], SystemClock()))

    def _is_good(self, name: str) -> bool:
        """Whether its files are all there, and it does not end within a month."""
        if not (self.certificates / f"{name}.pem").exists():
            return False
        found = x509.load_pem_x509_certificate((self.certificates / f"{name}.crt").read_bytes())
        now_s = SystemClock().now_us() // 1_000_000
        return found.not_valid_after_utc.timestamp() - now_s > _RENEW_DAYS * 24 * 3600

    def _write(self, name: str, authority: Authority, certificate: bytes, key: bytes) -> None:
        folder = self.certificates
        replace_file(folder / f"{name}.crt", certificate)
        replace_file(folder / f"{name}.key", key)
        # Java's PEM key stores want all of it in one file; it is written last, as a sign.
        replace_file(folder / f"{name}.pem", key + certificate + authority.certificate_pem)


def host_of(entry: Entry) -> str:
    """Where it listens, and what its certificate and its clients call it.

    Loopback here; its own name where it is a machine of its own (infra/deploy).
    """
    return str(entry.get("host", LOOPBACK))


def write_text(path: Path, text: str) -> None:
    """A configuration file (0600), replaced as a whole."""
    replace_file(path, text.encode())


def read_state(data: Path) -> dict[str, Entry]:
    """Server name → what is kept of it; empty before the first start. Raises Stop."""
    path = data / "servers" / STATE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Stop("servers-state", f"{path} can't be read: {error}") from error
    if not isinstance(found, dict) or found.get("form") != FORM:
        raise Stop("servers-state", f"{path} is not of form {FORM}: another version wrote it")
    return dict(found["servers"])


def write_state(data: Path, servers: dict[str, Entry]) -> None:
    """Replace the state file (0600), durably."""
    state = {"form": FORM, "servers": servers}
    text = json.dumps(state, indent=1, sort_keys=True)
    replace_file(data / "servers" / STATE, text.encode() + b"\n")


def kept_ports(entry: Entry, names: tuple[str, ...], taken: set[int]) -> dict[str, int]:
    """Ports by purpose: those of `entry`, else free ones that are not in `taken` (grows).

    Raises Stop("servers-port") where a kept one is in use by somebody else.
    """
    ports = {name: int(entry[name]) if name in entry else _free(taken) for name in names}
    deadline = time.monotonic() + _LET_GO_S
    for name, port in ports.items():
        taken.add(port)
        while not _is_free(port) and time.monotonic() < deadline:
            time.sleep(0.1)  # a process that was killed lets go of it with its last thread
        if not _is_free(port):
            text = f"port {port} ({name}) was kept for this server and another program has it"
            raise Stop("servers-port", f"{text}: end that program, or name another DIR")
    return ports


def _free(taken: set[int]) -> int:
    for _ in range(1000):
        port = secrets.choice(_PORTS)
        if port not in taken and _is_free(port):
            taken.add(port)
            return port
    raise Stop("servers-port", f"no port from {_PORTS.start} to {_PORTS.stop} is free")


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
