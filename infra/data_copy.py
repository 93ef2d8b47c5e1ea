"""Copies a data folder as of one moment, also while a platform is at work on it.

Of a stopped platform the files are copied as they are, under its lock. Of a running one every
SQLite file is looked at in a read transaction; all of them are begun, in an order in which each
store may be ahead of the one before it and never behind, before the first byte of a file is copied.
So a copy is what a kill at that moment would have left. The original is never written.

A copy is of files alone: what servers have is written into it as the adapters of files keep it
(infra/copy_servers.py). Of roles it has raw messages and what is stored; what lay between workers,
sequencer and storer is made again of these (infra/copy_projection.py).
"""

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

from bal.errors import Stop, Unavailable
from infra.control import settle
from infra.data_folder import FACTS, OUTSIDE, DataFolder
from infra.files import look_at_sqlite, make_folder, replace_file
from infra.signer_memory import seal
from infra.sqlite_file import translated

if TYPE_CHECKING:
    from infra.copy_servers import Servers

# What belongs to the running process or to whoever looks on, and not to the data; the files of
# servers at work are nothing that a copy could be made of.
LEFT_OUT = frozenset({"control.sock", "lock", "ready.json", "demo", "servers", OUTSIDE, FACTS})
LOG_KEYS = ("log.key", "log.signed", "intake.key")
_SIDE = ("-wal", "-shm", "-journal")
HEADS, HEADERS, STAGING = Path("log/heads.db"), Path("log/headers.db"), Path("log/staging")
BUS, RAW = Path("bus/bus.db"), Path("bus/raw.db")
PROGRESS, ROWS = Path("scd/progress.db"), Path("scd/customer.db")
# A published checkpoint is never beyond the heads row, a stored row never beyond its log, …; what
# was accepted is on the bus, and of whatever names a subject the vault has the keys.
_ORDER = (
    "log/published.db", "chain/anchors", "chain/", "chain/chain.db", "roles.db", str(PROGRESS),
    str(ROWS), "archive/", "scd/", "", str(HEADS), str(HEADERS), str(BUS), str(RAW), "vault/",
)  # fmt: skip
_TRIES, _CAUGHT_UP_S = 5, 2.0


class _LetGo(Exception):
    """The platform has let go of messages while the copy was made, and the copy lacks them."""


def copy_data(
    data: Path, to: Path, *, keys: bool = True, log_keys: bool = True, rows: bool = True
) -> None:
    """Copy the data folder at `data` to `to`, which must not exist yet; modes stay.

    `to` is no data folder before all is there. keys: the folder `keys`, too. log_keys: those of the
    log among them; without, nothing can be signed in the copy. rows: what is projected of the log,
    too, which can be made of the rest where its rules are this version's.
    Raises Stop("data-folder") where `data` is none, or `to` is there or inside it; Stop as the next
    start of a platform would where its stores contradict each other; Unavailable where a running
    platform never stands still long enough, or a server does not answer; OSError.
    """
    if not (data / FACTS).is_file():
        raise Stop("data-folder", f"{data} is no data folder of Gridseal")
    check_outside(data, to)
    if to.exists():
        raise Stop("data-folder", f"{to} exists already: name a new place for the copy")
    for _ in range(_TRIES):
        facts = (data / FACTS).read_bytes()  # what they say of the log, the log says before
        try:
            _copy(DataFolder(data), DataFolder(to), keys=keys, log_keys=log_keys, rows=rows)
        except _LetGo:
            shutil.rmtree(to)
        else:
            if not log_keys:
                seal(make_folder(to / "keys") / "log.signed")
            replace_file(to / FACTS, facts)
            return
    raise Unavailable("the bus was trimmed while it was being looked at", retry_after_s=5)


def _copy(data: DataFolder, to: DataFolder, *, keys: bool, log_keys: bool, rows: bool) -> None:
    make_folder(to.root)
    with ExitStack() as opened:
        opened.enter_context(translated("a store"))
        stopped = opened.enter_context(_stopped(data))
        servers = _servers(data)
        names = [name for name in _databases(data) if rows or name != ROWS]
        if servers is not None:
            opened.callback(servers.close)
        if stopped and servers is None:
            for name in names:
                _copy_plain(data.root, to.root, name)
        else:
            settle(data.root)
            _copy_running(data, to, names, servers)
        unwanted = {Path("keys", name) for name in LOG_KEYS} if not log_keys else set()
        _copy_files(data.root, to.root, unwanted, keys=keys)
        if servers is not None:
            servers.write_heads(to)
        version = _as_of_heads(to.root)
        size = _progress(to)
        if servers is not None:
            servers.write_rows(to, size if rows else 0)
        if not rows:
            for path in to.customer_db.glob(f"{PROGRESS.name}*"):
                path.unlink()
    if to.has_roles:
        from infra.copy_projection import begin_topics, project  # noqa: PLC0415 - not all need it

        begin_topics(to, version)
        if rows:
            project(to)
    _in_one_file(to.root)


def _servers(data: DataFolder) -> "Servers | None":
    if not (data.root / OUTSIDE).exists():
        return None
    from infra.copy_servers import Servers  # noqa: PLC0415 - embedded, nobody waits for its import

    return Servers(data)


def _take_messages(servers: "Servers", needed_from: int | None) -> None:
    try:
        servers.take_messages(needed_from)
    except Stop as stop:
        if stop.code != "bus-trimmed":
            raise
        raise _LetGo from stop


def check_outside(data: Path, place: Path) -> None:
    """Raise Stop("data-folder") where `place` lies in `data`: a copy would be part of the next."""
    if place.resolve().is_relative_to(data.resolve()):
        text = f"{place} lies in the data folder, which is only read: name a place outside of it"
        raise Stop("data-folder", text)


@contextmanager
def _stopped(data: DataFolder) -> Iterator[bool]:
    """Whether no platform runs on the folder; none can start before this ends."""
    try:
        lock = os.open(data.root / "lock", os.O_RDONLY)
    except FileNotFoundError:
        yield True
        return
    alone = fcntl.LOCK_EX if data.has_roles else fcntl.LOCK_SH  # roles share it
    try:
        try:
            fcntl.flock(lock, alone | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(lock)


def _databases(data: DataFolder) -> list[Path]:
    """Every SQLite file that is copied, in the order in which they are looked at."""

    def rank(name: Path) -> tuple[int, str]:
        text = name.as_posix()
        best = max((start for start in _ORDER if text.startswith(start)), key=len)
        return _ORDER.index(best), text

    found = (Path(at, name) for at, _, names in os.walk(data.root) for name in names)
    names = [path.relative_to(data.root) for path in found if path.suffix == ".db"]
    return sorted((n for n in names if not _is_left_out(n, roles=data.has_roles)), key=rank)


def _is_left_out(name: Path, *, roles: bool) -> bool:
    """Also what a backup or drill that was killed has left there."""
    if roles and name.parts[0] == "bus":
        return name != RAW and name.name != "bus"
    return name.parts[0] in LEFT_OUT or name.parts[0].startswith(".")


def _copy_plain(data: Path, to: Path, name: Path) -> None:
    make_folder((to / name).parent)
    shutil.copy2(data / name, to / name)
    wal = data / f"{name}-wal"
    if wal.exists() and wal.stat().st_size:
        shutil.copy2(wal, to / f"{name}-wal")


# -- while a platform runs, or servers ------------------------------------------------------------


def _copy_running(
    folder: DataFolder, copy_to: DataFolder, names: list[Path], servers: "Servers | None"
) -> None:
    """Raises _LetGo."""
    data, to, version = folder.root, copy_to.root, 0
    kept = _kept(data)
    if servers is not None:
        servers.begin(copy_to)
    with ExitStack() as opened:
        looks: dict[Path, sqlite3.Connection] = {}
        for name in _moments(names, servers):
            if servers is not None and name == HEADS and servers.has_heads:
                version = servers.see_heads()
                continue
            if servers is not None and name == BUS and servers.has_messages:
                servers.see_messages()
                continue
            db = opened.enter_context(closing(look_at_sqlite(data / name, "")))
            if name == HEADERS:
                _wait_for_headers(db, version, _copy_staging(data, to))
            db.execute("BEGIN")
            db.execute("SELECT count(*) FROM sqlite_master").fetchone()  # the moment is now
            looks[name] = db
            if name == HEADS:
                version = _version(db)
        if not _bus_is_whole(looks) or (RAW in looks and _kept_in(looks[RAW]) != kept):
            raise _LetGo
        if servers is not None:
            # Before the large files: storers let go of messages every few seconds, and these take
            # longer. What was accepted is bounded by `see_messages`, and the vault was looked at
            # behind that, whatever is copied first; what a look shows stays as it was.
            _take_messages(servers, None if folder.has_roles else _needed_from(looks) or 0)
        for name, db in looks.items():
            make_folder((to / name).parent)
            os.close(os.open(to / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            with closing(sqlite3.connect(to / name)) as copy:
                db.backup(copy)


def _moments(names: list[Path], servers: "Servers | None") -> list[Path]:
    """The names, and in their places those of what servers have instead."""
    if servers is None:
        return names
    made = list(names)
    if servers.has_messages:
        vault = [at for at, name in enumerate(made) if name.parts[0] == "vault"]
        made.insert(min(vault, default=len(made)), BUS)
    if servers.has_heads:
        made.insert(made.index(HEADERS), HEADS)
    return made


def _version(db: sqlite3.Connection) -> int:
    row = db.execute("SELECT version FROM heads").fetchone()
    return row[0] if row else 0


def _copy_staging(data: Path, to: Path) -> set[int]:
    """What is not whole in the files, perhaps, or not yet; the versions that were there.

    Behind the heads row and before anything that is made of it: it goes once that is durable.
    """
    staging, versions = to / STAGING, set()
    make_folder(staging)
    for path in (data / STAGING).iterdir() if (data / STAGING).is_dir() else ():
        if (number := path.name.split("-")[0]).isdigit():
            with suppress(FileNotFoundError):
                shutil.copy2(path, staging / path.name)
                versions.add(int(number))
    return versions


def _wait_for_headers(db: sqlite3.Connection, version: int, staged: set[int]) -> None:
    """Until the batch headers of the heads row are written or staged: right behind its swap.

    Raises Stop where they are neither: no later copy would have them either.
    """
    deadline = monotonic() + _CAUGHT_UP_S
    while True:
        (last,) = db.execute("SELECT max(version) FROM header").fetchone()
        if staged.issuperset(range((last or 0) + 1, version + 1)):
            return
        if monotonic() > deadline:
            text = f"the log is at version {version}, its headers end at {last or 0}"
            raise Stop("log-damaged", f"{text}: gridseal fsck says what else is missing")
        sleep(0.002)


def _bus_is_whole(looks: Mapping[Path, sqlite3.Connection]) -> bool:
    """Whether the bus still has what the projection may need."""
    bus, needed_from = looks.get(BUS), _needed_from(looks)
    if bus is None or needed_from is None:
        return True
    (first,) = bus.execute("SELECT min(offset) FROM raw").fetchone()
    (end,) = bus.execute("SELECT next FROM topic").fetchone()
    return bool(needed_from >= (end if first is None else first))


def _needed_from(looks: Mapping[Path, sqlite3.Connection]) -> int | None:
    """The first message that the projection of a platform in one process may ask for, if it ran."""
    progress = looks.get(PROGRESS)
    row = progress.execute("SELECT needed_from FROM progress").fetchone() if progress else None
    return row[0] if row else None


def _kept(data: Path) -> list[tuple[int, int]]:
    """By partition from where on roles' raw messages are kept: below, all was stored."""
    if not (data / RAW).exists():
        return []
    with closing(look_at_sqlite(data / RAW, "")) as db:
        return _kept_in(db)


def _kept_in(db: sqlite3.Connection) -> list[tuple[int, int]]:
    return db.execute("SELECT partition, low FROM ends ORDER BY partition").fetchall()


# -- files ---------------------------------------------------------------------------------------


def _copy_files(data: Path, to: Path, unwanted: set[Path], *, keys: bool) -> None:
    """Everything else. Tiles come and go: a partial one that went has a wider one in its place."""
    done = set(unwanted)
    while _copy_new(data, to, done, keys=keys):
        pass
    # A tile that became full was perhaps not yet in the one folder, and no longer in the other.
    _copy_new(data, to, done, keys=keys)


def _copy_new(data: Path, to: Path, done: set[Path], *, keys: bool) -> bool:
    """Copy what is not in `done`; whether anything was gone when its turn came."""
    vanished, roles = False, DataFolder(data).has_roles
    for folder, _, files in os.walk(data):
        inside = Path(folder).relative_to(data)
        if inside.parts[:1] == ("keys",) and not keys:
            continue
        if inside.parts and _is_left_out(inside, roles=roles):
            continue
        make_folder(to / inside)
        for name in {inside / file for file in files} - done:
            if name.name.startswith(".") or name.name.endswith((".db", *_SIDE, ".lock")):
                continue
            if _is_left_out(name, roles=roles) or not _is_file(data / name):
                continue
            try:
                shutil.copy2(data / name, to / name)
                done.add(name)
            except FileNotFoundError:
                vanished = True
    return vanished


def _is_file(path: Path) -> bool:
    """Also of one that has gone: its turn to be copied tells so."""
    return path.is_file() or not path.exists()


def _as_of_heads(to: Path) -> int:
    """Drop what was written behind the heads row; its version."""
    if not (to / HEADS).exists() or not (to / HEADERS).exists():
        return 0
    with closing(sqlite3.connect(to / HEADS)) as db:
        version = _version(db)
    with closing(sqlite3.connect(to / HEADERS)) as db, db:
        db.execute("DELETE FROM header WHERE version > ?", (version,))
    for staged in (to / STAGING).glob("*"):
        number = staged.name.split("-")[0]
        if not number.isdigit() or int(number) > version:
            staged.unlink()
    return version


def _progress(to: DataFolder) -> int:
    """Size up to which rows are stored for good.

    Of roles what all of them have stored: they begin with that, all at one place of the log.
    """
    path, row = to.root / PROGRESS, None
    if not path.exists():
        return 0
    with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(path)) as db, db:
        if to.has_roles:
            count, *least = db.execute(
                "SELECT count(*), min(version), min(size) FROM lane"
            ).fetchone()
            at = least if count == to.partitions else (0, 0)
            db.execute("UPDATE lane SET version = ?, size = ?, stored = 0, boot = ''", at)
            row = (at[1],)
        else:
            row = db.execute("SELECT size FROM progress").fetchone()
    return row[0] if row else 0


def _in_one_file(to: Path) -> None:
    """Leave every database without files beside it."""
    for path in sorted(to.rglob("*.db")):
        with closing(sqlite3.connect(path, isolation_level=None)) as db, suppress(sqlite3.Error):
            db.execute("PRAGMA journal_mode=WAL")  # as it was: a backup carries no journal mode
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
