"""The part of the doctor that looks at roles, and at servers that stores of a platform are on."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from cryptography import x509

from bal.errors import GridsealError
from infra.data_folder import LOCK, OUTSIDE, DataFolder
from infra.outside import Outside, open_bus, open_customer_db, open_heads
from infra.outside import read as outside_of

OK, WARNING, FAULT = "ok", "warning", "fault"
ROLES = ("collector", "worker", "sequencer", "storer", "anchorer", "gateway")
CLIENT_SOON = timedelta(days=14)  # whoever renews them needs working days
_LOCKS, _PROCESSES = Path("/proc/locks"), Path("/proc")


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, how it is, and what to do."""

    name: str
    state: str  # ok, warning, fault
    text: str
    remedy: str = ""


# -- roles ----------------------------------------------------------------------------------------


def roles(
    folder: DataFolder, locks: Path = _LOCKS, processes: Path = _PROCESSES
) -> Iterator[Check]:
    """Which roles run on this host, where it tells (Linux); nothing of a folder without any."""
    if not folder.has_roles:
        return
    found = running_roles(folder, locks, processes)
    missing = [role for role in ROLES if not found[role]]
    if not found.total():
        yield Check("roles", OK, "none is seen to run on this folder")
    elif missing:
        text = f"no {', no '.join(missing)} is seen to run on this folder, and others do"
        remedy = f"start: gridseal run {missing[0]} --data {folder.root}"
        yield Check("roles", WARNING, text, remedy)
    else:
        told = ", ".join(f"{n} {role}{'s' if n > 1 else ''}" for role, n in found.items())
        yield Check("roles", OK, f"{told} on this folder")


def running_roles(folder: DataFolder, locks: Path, processes: Path) -> Counter[str]:
    """By role the processes that hold the folder's lock; none of another container."""
    found: Counter[str] = Counter()
    try:
        at = (folder.root / LOCK).stat()
        lines = locks.read_text(encoding="utf-8").splitlines()
    except OSError:
        return found
    place = f"{os.major(at.st_dev):02x}:{os.minor(at.st_dev):02x}:{at.st_ino}"
    for line in lines:
        words = line.split()
        if place not in words or "FLOCK" not in words:
            continue
        process = processes / words[words.index(place) - 1] / "cmdline"
        with suppress(OSError):
            command = process.read_bytes().decode(errors="replace").split("\0")
            named = [b for a, b in pairwise(command) if a == "run"]
            found.update(role for role in named[:1] if role in ROLES)
    return found


# -- servers --------------------------------------------------------------------------------------


def servers(folder: DataFolder) -> Iterator[Check]:
    """Whether each server answers, as who only looks; nothing of a folder of files alone."""
    outside = outside_of(folder)
    asked: list[tuple[str, bool, Callable[[], str]]] = [
        ("Kafka", outside.servers[0], lambda: _topics(folder, outside)),
        ("Cassandra", outside.servers[1], lambda: _rows(folder, outside)),
        ("Cassandra, heads row", outside.servers[2], lambda: _heads(folder, outside)),
    ]
    for name, there, ask in asked:
        if not there:
            continue
        began = time.monotonic()
        try:
            said = ask()
        except GridsealError as error:
            remedy = f"see to the server, or to what {OUTSIDE} says of it; docs/configuration.md"
            yield Check("servers", FAULT, f"{name}: {error}", remedy)
            continue
        took_ms = int((time.monotonic() - began) * 1000)
        yield Check("servers", OK, f"{name} answers, {said}, after {took_ms} ms")


def _topics(folder: DataFolder, outside: Outside) -> str:
    if folder.has_roles:
        from infra.fsck_topics import open_topics  # noqa: PLC0415 - what makes folders, too

        with open_topics(folder) as channels:
            ends = channels.raw.ends()
        return f"and had {sum(ends)} raw messages in {len(ends)} partitions"
    with closing(open_bus(outside, folder, read_only=True)) as bus:
        return f"and had {bus.end()} raw messages"


def _rows(folder: DataFolder, outside: Outside) -> str:
    with closing(open_customer_db(outside, folder, read_only=True)) as rows:
        return f"with rows of {rows.size()} entries"


def _heads(folder: DataFolder, outside: Outside) -> str:
    with closing(open_heads(outside, folder, read_only=True)) as heads:
        return f"with a log of {heads.read().size} entries"


def client_certificates(folder: DataFolder) -> Iterator[tuple[str, datetime]]:
    """Of the certificates by which servers are entered: a name, and when each ends."""
    outside = outside_of(folder)
    for server, table in (("kafka", outside.kafka), ("cassandra", outside.cassandra)):
        values = {one.name: str(getattr(table, one.name)) for one in fields(table)}
        for key in ("ca", "certificate"):
            path = Path(values[key])
            if values[key] and path.is_file():
                for made in x509.load_pem_x509_certificates(path.read_bytes()):
                    yield f"{server}.{key} ({path})", made.not_valid_after_utc


def ending(folder: DataFolder) -> Iterator[Check]:
    """The first of them that has ended, or will soon."""
    now = datetime.now(UTC)
    for name, ends in sorted(client_certificates(folder), key=lambda one: one[1]):
        if ends < now + CLIENT_SOON:
            state = FAULT if ends < now else WARNING
            remedy = "have another one made, put it there, and start the platform again"
            yield Check("certificates", state, f"{name} ends on {ends:%Y-%m-%d}", remedy)
        return
