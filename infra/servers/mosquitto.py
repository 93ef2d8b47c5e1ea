"""Mosquitto: TLS with client certificate and password, an ACL by user, nothing dropped.

Configuration: mosquitto.conf(5) of 2.0. It is the system's package, the one that is installed.
"""

import os
import pwd
import re
import shutil
import subprocess
from pathlib import Path

from bal.errors import Stop, Unavailable
from infra.certificates import (
    client_context,
    ensure_ca,
    issue_device,
    issue_server,
)
from infra.files import make_folder, replace_file
from infra.mosquitto_accounts import (
    PLATFORM_USERS,
    changing,
    connect_code,
    hashed,
)
from infra.servers.connect import mosquitto_at
from infra.servers.place import Entry, Place, host_of, write_text
from infra.system_clock import SystemClock

NAME = "mosquitto"
PORTS = ("port",)
OLDEST = (2, 0)
PID_FILE = "mosquitto.pid"  # its own, for whoever shares its processes without being their parent
BROKEN = {"version 2.0.16"}  # its 0 for no limit drops everything: eclipse/mosquitto#2879
START_TIMEOUT_S = 20
STOP_GRACE_S = 20
MESSAGE_BYTES = 8 * 1024 * 1024  # over what the platform takes: it refuses with a code, not this

ACL = """\
# Lines before the first `user` would hold for everybody: there are none.
user collector
topic read in/#

user receipts
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
    if version[0] in BROKEN:
        text = f"{path} is Mosquitto of {version[0]}, which drops what it queues"
        raise Stop("servers-missing", f"{text}: install a newer package of the system's")
    return Path(path), version[0].removeprefix("version ")


def prepare(place: Place, entry: Entry) -> None:
    """Certificates of the platform's own authority, passwords, ACL, configuration."""
    keys = make_folder(place.data / "keys")
    authority = ensure_ca(keys, SystemClock())  # `gridseal up` goes on with it
    folder = make_folder(place.certificates)
    if not (folder / "client.key").exists():  # the last one that is written
        for name, made in (
            ("server", issue_server(authority, [host_of(entry)], SystemClock())),
            ("client", issue_device(authority, "gridseal", SystemClock())),
        ):
            replace_file(folder / f"{name}.crt", made[0])
            replace_file(folder / f"{name}.key", made[1])
    replace_file(folder / "ca.crt", authority.certificate_pem)
    make_folder(place.folder / "data")
    write_text(place.folder / "acl", ACL)
    with changing(place.folder / "passwd") as hashes:
        for user in PLATFORM_USERS:
            hashes.setdefault(user, hashed(place.password(user)))
    write_text(place.folder / "mosquitto.conf", configuration(place, entry))


def configuration(place: Place, entry: Entry) -> str:
    """mosquitto.conf. Queues without end for sessions that are away; on disk once a second."""
    folder, certificates = place.folder, place.certificates
    lines = [f"user {pwd.getpwuid(0).pw_name}"] if os.geteuid() == 0 else []  # else it would drop
    return "\n".join([
        *lines,
        "per_listener_settings false",
        f"listener {entry['port']} {host_of(entry)}",
        f"cafile {certificates / 'ca.crt'}",
        f"certfile {certificates / 'server.crt'}",
        f"keyfile {certificates / 'server.key'}",
        "tls_version tlsv1.2",  # the least that it takes
        "require_certificate true",
        "allow_anonymous false",
        f"password_file {folder / 'passwd'}",
        f"acl_file {folder / 'acl'}",
        # Each session is its user's: nobody can take another's place by its client id, or empty it
        "use_username_as_clientid true",
        "retain_available false",  # it would keep readings for ever, out of reach of an erasure
        "persistence true",
        f"persistence_location {folder / 'data'}/",
        "persistence_file mosquitto.db",
        # Once a second. At each change it is the whole file and an fsync for each turn of its loop:
        # 200 messages/s instead of 26,000; docs/decisions/0015-mosquitto.md
        "autosave_on_changes false",
        "autosave_interval 1",
        "max_queued_messages 0",  # 0 is no limit
        "max_queued_bytes 0",
        "max_inflight_messages 1000",
        "max_inflight_bytes 0",
        "queue_qos0_messages true",
        f"max_packet_size {MESSAGE_BYTES}",
        "set_tcp_nodelay true",
        "log_dest stdout",
        f"pid_file {folder / PID_FILE}",
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
