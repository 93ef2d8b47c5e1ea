"""Who may enter a Mosquitto broker: its password file, kept in step with the enrolled senders.

The ACL (docs/mosquitto.md) has patterns by user name, so that a new device needs no line of its
own. The broker takes a changed file at SIGHUP, and then ends the sessions whose user or password
does not hold any more (mosquitto.conf(5); Mosquitto 2.0 and newer).
"""

import fcntl
import hashlib
import json
import os
import secrets
import signal
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bal.errors import Rejected, Stop, Unavailable
from infra.certificates import check_name, client_context
from infra.files import replace_file

PLATFORM_USERS = ("collector", "monitor", "receipts")  # no device may be named so
_ITERATIONS = 101  # as mosquitto_passwd has it; these passwords are 256 random bits
_CONNECT_TIMEOUT_S = 5
_CLEAR_TIMEOUT_S = 3.0
_ACCEPTED = 0  # MQTT 3.1.1 §3.2.2.3


def hashed(password: str) -> str:
    """As mosquitto_passwd(1) writes it: PBKDF2 with SHA-512."""
    salt = secrets.token_bytes(12)
    made = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
    return f"$7${_ITERATIONS}${b64encode(salt).decode()}${b64encode(made).decode()}"


def read_hashes(path: Path) -> dict[str, str]:
    """User → what stands behind it in the password file; none where there is no file."""
    lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
    return dict(line.split(":", 1) for line in lines if line)


@contextmanager
def changing(path: Path) -> Iterator[dict[str, str]]:
    """What `read_hashes` gives, to be changed: written back whole, by one process at a time."""
    lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        hashes = read_hashes(path)
        before = dict(hashes)
        yield hashes
        if hashes != before or not path.exists():
            text = "".join(f"{user}:{value}\n" for user, value in sorted(hashes.items()))
            replace_file(path, text.encode("ascii"))
    finally:
        os.close(lock)


def hang_up(pid_file: Path) -> None:
    """Send SIGHUP to the Mosquitto whose `pid_file` (mosquitto.conf; docs/servers.md) this is.

    Raises Unavailable when none runs by that file.
    """
    try:
        text = pid_file.read_text(encoding="ascii")
        pid = int(json.loads(text)["pid"] if text.startswith("{") else text)
        if Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip() != "mosquitto":
            raise Unavailable(f"process {pid} of {pid_file} is no Mosquitto")
        os.kill(pid, signal.SIGHUP)
    except (OSError, ValueError, KeyError) as error:
        raise Unavailable(f"no Mosquitto runs by {pid_file}: {error}") from error


@dataclass(frozen=True, slots=True)
class Door:
    """How the platform enters the broker itself, to clear a session that is to end."""

    host: str
    port: int
    ca: Path
    certificate: Path
    key: Path


class MosquittoAccounts:
    """The devices' accounts at one broker; blocking, to be called from a thread.

    reload: has the broker read its files again, e.g. `partial(hang_up, pid_file)`; raises Stop or
    Unavailable when it does not run. The file says what holds: it then counts at the next start.
    """

    def __init__(self, password_file: Path, reload: Callable[[], None], door: Door) -> None:
        self._file, self._reload, self._door = password_file, reload, door

    def check(self, name: str) -> None:
        """Return if a device may be named so. Raises Rejected: name-invalid, name-taken."""
        check_name(name)
        if name in PLATFORM_USERS:
            text = f"{name} is the platform's own user at the broker"
            raise Rejected("name-taken", text, field="name")

    def put(self, passwords: Mapping[str, str]) -> None:
        """Let devices in by name and password, from now on; those that are known get a new one.

        A session that was opened with an older password ends. Raises Rejected before anything is
        changed, and what `reload` raises after the file has them.
        """
        for name in passwords:
            self.check(name)
        with changing(self._file) as hashes:
            hashes |= {name: hashed(password) for name, password in passwords.items()}
        self._reload()

    def remove(self, name: str) -> bool:
        """Keep a device out: its open session ends, and the broker forgets what it kept for it.

        Returns whether that was forgotten, too; False where the broker does not run or there is no
        such account. Nobody can fetch it either way, before the name is enrolled again.
        """
        self.check(name)
        if name not in read_hashes(self._file):
            return False
        passing = secrets.token_urlsafe(32)
        with changing(self._file) as hashes:
            hashes[name] = hashed(passing)
        try:
            self._reload()  # ends the open session: its password does not hold any more
            cleared = self._clear(name, passing)
        except (Stop, Unavailable):
            cleared = False
        with changing(self._file) as hashes:
            hashes.pop(name, None)
        try:
            self._reload()
        except (Stop, Unavailable):
            return False
        return cleared

    def keep(self, names: Collection[str]) -> list[str]:
        """Remove all devices but these, the active senders; returns the names removed.

        For the platform's start: a revocation may have been cut short, or the broker been away. One
        that does not run now reads the file when it is started.
        """
        extra = sorted(self.names() - set(names))
        if not extra:
            return []
        with changing(self._file) as hashes:
            for name in extra:
                hashes.pop(name, None)
        with suppress(Stop, Unavailable):
            self._reload()
        return extra

    def names(self) -> set[str]:
        """Devices that have an account."""
        return set(read_hashes(self._file)) - set(PLATFORM_USERS)

    def _clear(self, name: str, password: str) -> bool:
        """Take the session's place with a clean one, MQTT 3.1.1 §3.1.2.4: nothing is kept then.

        The broker takes the user name for the client id (use_username_as_clientid).
        """
        door, end_s = self._door, time.monotonic() + _CLEAR_TIMEOUT_S
        context = client_context(door.ca, door.certificate, door.key)
        while time.monotonic() < end_s:  # it reads its files when it next comes to it
            try:
                if connect_code(door.host, door.port, context, name, password) == _ACCEPTED:
                    return True
            except OSError:
                return False
            time.sleep(0.02)
        return False


def connect_code(host: str, port: int, context: ssl.SSLContext, user: str, password: str) -> int:
    """The return code of an MQTT 3.1.1 CONNECT with a clean session; 0 accepted, 5 not authorised.

    Raises OSError (ssl.SSLError among them). Source: MQTT 3.1.1 §3.1, §3.2.
    """

    def text(value: str) -> bytes:
        return len(value.encode()).to_bytes(2) + value.encode()

    name = f"gridseal-probe-{secrets.token_hex(4)}"
    body = text("MQTT") + b"\x04\xc2\x00\x0a" + text(name) + text(user) + text(password)
    assert len(body) < 16384
    length = (
        bytes([len(body) % 128 | 128, len(body) // 128]) if len(body) > 127 else bytes([len(body)])
    )
    with (
        socket.create_connection((host, port), _CONNECT_TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname=host) as wire,
    ):
        wire.sendall(b"\x10" + length + body)
        answer = b""
        while len(answer) < 4:
            got = wire.recv(4 - len(answer))
            if not got:
                raise ConnectionError("it closed the connection instead of an answer")
            answer += got
        wire.sendall(b"\xe0\x00")
    return answer[3]
