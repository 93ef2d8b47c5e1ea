"""Mosquitto: TLS with client certificate and password, an ACL by user, nothing dropped.

Configuration: mosquitto.conf(5) of 2.0. It is the system's package, the one that is installed.
"""

import hashlib
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
from base64 import b64encode
from pathlib import Path

from bal.errors import Stop, Unavailable
from infra.certificates import (
    check_name,
    client_context,
    create_ca,
    issue_device,
    issue_server,
    load_ca,
)
from infra.files import make_folder, replace_file
from infra.servers import process
from infra.servers.connect import MosquittoAt, mosquitto_at
from infra.servers.place import LOOPBACK, Entry, Place, write_text
from infra.system_clock import SystemClock

NAME = "mosquitto"
PORTS = ("port",)
OLDEST = (2, 0)
START_TIMEOUT_S = 20
STOP_GRACE_S = 20
USERS = ("collector", "monitor")
MESSAGE_BYTES = 8 * 1024 * 1024  # over what the platform takes: it refuses with a code, not this
_ITERATIONS = 101  # as mosquitto_passwd has it; these passwords are 256 random bits
_CONNECT_TIMEOUT_S = 5

ACL = """\
# Lines before the first `user` would hold for everybody: there are none.
user collector
topic read in/#
topic write receipts/#

user monitor
topic read $SYS/#

# A device, by its user name: it sends what is its own, and reads what is its own.
pattern write in/%u/+
pattern read receipts/%u
"""


def find() -> tuple[Path, str]:
    """Mosquitto's program and version. Raises Stop("servers-missing")."""
    path = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if path is None:
        text = "Mosquitto is not installed: install the system's package mosquitto (2.0 or newer)"
        raise Stop("servers-missing", text)
    said = subprocess.run(  # noqa: S603 - found above
        [path, "-h"], capture_output=True, text=True, timeout=10, check=False
    ).stdout
    version = re.search(r"version (\d+)\.(\d+)\.(\d+)", said)
    if version is None or (int(version[1]), int(version[2])) < OLDEST:
        text = f"{path} is not Mosquitto 2.0 or newer"
        raise Stop("servers-missing", f"{text}: install a newer package of the system's")
    return Path(path), version[0].removeprefix("version ")


def prepare(place: Place, entry: Entry) -> None:
    """Certificates of the platform's own authority, passwords, ACL, configuration."""
    keys = make_folder(place.data / "keys")
    if not (keys / "ca.key").exists():
        create_ca(keys, SystemClock())  # `gridseal up` goes on with it
    authority, folder = load_ca(keys), make_folder(place.certificates)
    if not (folder / "client.key").exists():
        for name, made in (
            ("server", issue_server(authority, [LOOPBACK], SystemClock())),
            ("client", issue_device(authority, "gridseal", SystemClock())),
        ):
            replace_file(folder / f"{name}.crt", made[0])
            replace_file(folder / f"{name}.key", made[1])
    replace_file(folder / "ca.crt", authority.certificate_pem)
    make_folder(place.folder / "data")
    write_text(place.folder / "acl", ACL)
    hashes = _hashes(place.folder / "passwd")
    for user in USERS:
        hashes.setdefault(user, hashed(place.password(user)))
    _write_hashes(place.folder / "passwd", hashes)
    write_text(place.folder / "mosquitto.conf", configuration(place, entry))


def configuration(place: Place, entry: Entry) -> str:
    """mosquitto.conf. Queues without end for sessions that are away, and on disk at each change."""
    folder, certificates = place.folder, place.certificates
    lines = [f"user {pwd.getpwuid(0).pw_name}"] if os.geteuid() == 0 else []  # else it would drop
    return "\n".join([
        *lines,
        "per_listener_settings false",
        f"listener {entry['port']} {LOOPBACK}",
        f"cafile {certificates / 'ca.crt'}",
        f"certfile {certificates / 'server.crt'}",
        f"keyfile {certificates / 'server.key'}",
        "tls_version tlsv1.2",  # the least that it takes
        "require_certificate true",
        "allow_anonymous false",
        f"password_file {folder / 'passwd'}",
        f"acl_file {folder / 'acl'}",
        "persistence true",
        f"persistence_location {folder / 'data'}/",
        "persistence_file mosquitto.db",
        "autosave_on_changes true",
        "autosave_interval 1",
        "max_queued_messages 0",  # 0 is no limit
        "max_queued_bytes 0",
        "max_inflight_messages 1000",
        "max_inflight_bytes 0",
        "queue_qos0_messages true",
        f"max_packet_size {MESSAGE_BYTES}",
        "set_tcp_nodelay true",
        "log_dest stdout",
        "log_timestamp_format %Y-%m-%dT%H:%M:%S",
        "connection_messages false",
        "",
    ])  # fmt: skip


def command(place: Place) -> list[str]:
    """Its command line. Raises Stop("servers-missing")."""
    return [str(find()[0]), "-c", str(place.folder / "mosquitto.conf")]


def prove(place: Place, entry: Entry) -> None:
    """Return if it takes our certificate and password and shows our authority's. Raises OSError."""
    at = mosquitto_at(place, entry)
    login = at.users["monitor"]
    context = client_context(at.ca, at.client.certificate, at.client.key)
    code = connect_code(at.host, at.port, context, login.user, login.password)
    if code:
        raise Unavailable(f"it refuses our own user with code {code}")


def connect_code(host: str, port: int, context: ssl.SSLContext, user: str, password: str) -> int:
    """The return code of an MQTT 3.1.1 CONNECT; 0 is accepted, 5 not authorised.

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


# --- who may enter --------------------------------------------------------------------------------


def put_device(at: MosquittoAt, name: str, password: str) -> None:
    """Let a device in by its name and password; its certificate is the enrolment's. At once.

    The ACL's patterns give it `in/<name>/+` and `receipts/<name>`. Raises Rejected("name-invalid"),
    Stop("servers-down").
    """
    put_devices(at, {name: password})


def put_devices(at: MosquittoAt, passwords: dict[str, str]) -> None:
    """The same for many, in one go."""
    for name in passwords:
        check_name(name)
    hashes = _hashes(at.password_file)
    hashes |= {name: hashed(password) for name, password in passwords.items()}
    _write_hashes(at.password_file, hashes)
    reload(at)


def remove_device(at: MosquittoAt, name: str) -> None:
    """Keep it out from now on; its session ends."""
    hashes = _hashes(at.password_file)
    if name not in USERS and hashes.pop(name, None) is not None:
        _write_hashes(at.password_file, hashes)
        reload(at)


def reload(at: MosquittoAt) -> None:
    """Have it read passwords and ACL again. Raises Stop("servers-down") when it does not run."""
    child = process.found(at.place.folder)
    if child is None:
        raise Stop("servers-down", "Mosquitto does not run: run `gridseal servers up`")
    process.send(child, signal.SIGHUP)


def hashed(password: str) -> str:
    """As mosquitto_passwd(1) writes it: PBKDF2 with SHA-512."""
    salt = secrets.token_bytes(12)
    made = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
    return f"$7${_ITERATIONS}${b64encode(salt).decode()}${b64encode(made).decode()}"


def _hashes(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
    return dict(line.split(":", 1) for line in lines)


def _write_hashes(path: Path, hashes: dict[str, str]) -> None:
    write_text(path, "".join(f"{user}:{value}\n" for user, value in sorted(hashes.items())))
