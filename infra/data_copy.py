"""Copies a data folder as of one moment, also while a platform is at work on it.

Of a stopped platform the files are copied as they are, under its lock. Of a running one every
SQLite file is looked at in a read transaction; all of them are begun, in an order in which each
store may be ahead of the one before it and never behind, before the first byte is copied. So a copy
is what a kill at that moment would have left. The original is never written.
"""

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

from bal.errors import Stop, Unavailable
from infra.control import settle
from infra.data_folder import FACTS, OUTSIDE, ROLES
from infra.files import look_at_sqlite, make_folder
from infra.sqlite_file import translated

# What belongs to the running process or to whoever looks on, and not to the data; the files of
# servers at work are nothing that a copy could be made of.
LEFT_OUT = frozenset({"control.sock", "lock", "ready.json", "demo", "servers"})
_SIDE = ("-wal", "-shm", "-journal")
# A published checkpoint is never beyond the heads row, a stored row never beyond its log, …
_BEFORE = ["log/published.db", "chain/anchors", "chain/", "chain/chain.db", "scd/progress.db",
           "scd/customer.db", "archive/", "scd/", "vault/"]  # fmt: skip
_LAST = ["log/heads.db", "log/headers.db", "bus/bus.db"]
_TRIES, _CAUGHT_UP_S = 5, 2.0


def copy_data(data: Path, to: Path, *, keys: bool = True) -> None:
    """Copy the data folder at `data` to `to`, which must not exist yet; modes stay.

    keys: the folder `keys`, too. Raises Stop("data-folder") where `data` is none, or `to` is there
    or inside it, Stop("stores-elsewhere") where not all is in the folder; Unavailable where a
    running platform never stands still long enough; OSError.
    """
    if not (data / FACTS).is_file():
        raise Stop("data-folder", f"{data} is no data folder of Gridseal")
    if (data / OUTSIDE).exists():
        text = f"bus or rows of {data} are on servers ({OUTSIDE}): a copy of it would not be whole"
        raise Stop("stores-elsewhere", text)
    if (data / ROLES).exists():
        text = f"roles run on {data}: a copy of a folder whose topics others write is not made yet"
        raise Stop("stores-elsewhere", text)
    check_outside(data, to)
    if to.exists():
        raise Stop("data-folder", f"{to} exists already: name a new place for the copy")
    make_folder(to)
    with translated("a store"), _stopped(data) as stopped:
        names = [path.relative_to(data) for path in _databases(data)]
        if stopped:
            for name in names:
                _copy_plain(data, to, name)
        else:
            settle(data)
            _copy_running(data, to, names)
        _copy_files(data, to, keys=keys)
    _as_of_heads(to)


def check_outside(data: Path, place: Path) -> None:
    """Raise Stop("data-folder") where `place` lies in `data`: a copy would be part of the next."""
    if place.resolve().is_relative_to(data.resolve()):
        text = f"{place} lies in the data folder, which is only read: name a place outside of it"
        raise Stop("data-folder", text)


@contextmanager
def _stopped(data: Path) -> Iterator[bool]:
    """Whether no platform runs on the folder; none can start before this ends."""
    try:
        lock = os.open(data / "lock", os.O_RDONLY)
    except FileNotFoundError:
        yield True
        return
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(lock)


def _databases(data: Path) -> list[Path]:
    """Every SQLite file, in the order in which they are looked at."""

    def rank(path: Path) -> tuple[int, str]:
        name = path.relative_to(data).as_posix()
        if name in _LAST:
            return len(_BEFORE) + 1 + _LAST.index(name), name
        found = [n for n, start in enumerate(_BEFORE) if name.startswith(start)]
        exact = [n for n in found if _BEFORE[n] == name]
        return (exact or found or [len(_BEFORE)])[0], name

    found = (Path(at) / name for at, _, names in os.walk(data) for name in names)
    return sorted((p for p in found if p.suffix == ".db" and not _is_left_out(p, data)), key=rank)


def _is_left_out(path: Path, data: Path) -> bool:
    """Also what a backup or drill that was killed has left there."""
    parts = path.relative_to(data).parts
    return parts[0] in LEFT_OUT or parts[0].startswith(".")


def _copy_plain(data: Path, to: Path, name: Path) -> None:
    make_folder((to / name).parent)
    shutil.copy2(data / name, to / name)
    wal = data / f"{name}-wal"
    if wal.exists() and wal.stat().st_size:
        shutil.copy2(wal, to / f"{name}-wal")


# -- while a platform runs ----------------------------------------------------------------------


def _copy_running(data: Path, to: Path, names: list[Path]) -> None:
    for _ in range(_TRIES):
        with ExitStack() as opened:
            looks: dict[Path, sqlite3.Connection] = {}
            for name in names:
                db = opened.enter_context(closing(look_at_sqlite(data / name, "")))
                if name.as_posix() == "log/headers.db":
                    _wait_for_headers(db, looks.get(Path("log/heads.db")))
                db.execute("BEGIN")
                db.execute("SELECT count(*) FROM sqlite_master").fetchone()  # the moment is now
                looks[name] = db
            if not _bus_is_whole(looks):
                continue
            for name, db in looks.items():
                make_folder((to / name).parent)
                os.close(os.open(to / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
                with closing(sqlite3.connect(to / name)) as copy:
                    db.backup(copy)
            return
    raise Unavailable("the bus was trimmed while it was being looked at", retry_after_s=5)


def _wait_for_headers(db: sqlite3.Connection, heads: sqlite3.Connection | None) -> None:
    """Until the batch headers of the heads row are written, which comes right behind its swap."""
    row = heads.execute("SELECT version FROM heads").fetchone() if heads else None
    deadline = monotonic() + _CAUGHT_UP_S
    while row is not None and monotonic() < deadline:
        (last,) = db.execute("SELECT max(version) FROM header").fetchone()
        if (last or 0) >= row[0]:
            return
        sleep(0.002)


def _bus_is_whole(looks: dict[Path, sqlite3.Connection]) -> bool:
    """Whether the bus still has what the projection may need."""
    progress, bus = looks.get(Path("scd/progress.db")), looks.get(Path("bus/bus.db"))
    row = progress.execute("SELECT needed_from FROM progress").fetchone() if progress else None
    if row is None or bus is None:
        return True
    (first,) = bus.execute("SELECT min(offset) FROM raw").fetchone()
    (end,) = bus.execute("SELECT next FROM topic").fetchone()
    return bool(row[0] >= (end if first is None else first))


# -- files ---------------------------------------------------------------------------------------


def _copy_files(data: Path, to: Path, *, keys: bool) -> None:
    """Everything else. Tiles come and go: a partial one that went has a wider one in its place."""
    done: set[Path] = set()
    while _copy_new(data, to, done, keys=keys):
        pass
    # A tile that became full was perhaps not yet in the one folder, and no longer in the other.
    _copy_new(data, to, done, keys=keys)


def _copy_new(data: Path, to: Path, done: set[Path], *, keys: bool) -> bool:
    """Copy what is not in `done`; whether anything was gone when its turn came."""
    vanished = False
    for folder, _, files in os.walk(data):
        inside = Path(folder).relative_to(data)
        if inside.parts[:1] == ("keys",) and not keys:
            continue
        if inside.parts and _is_left_out(data / inside, data):
            continue
        make_folder(to / inside)
        for name in {inside / file for file in files} - done:
            if name.name.startswith(".") or name.name.endswith((".db", *_SIDE, ".lock")):
                continue
            if _is_left_out(data / name, data) or not _is_file(data / name):
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


def _as_of_heads(to: Path) -> None:
    """Drop what was written behind the heads row, and leave every database in one file."""
    heads, headers = to / "log" / "heads.db", to / "log" / "headers.db"
    if not heads.exists() or not headers.exists():
        return
    with closing(sqlite3.connect(heads)) as db:
        row = db.execute("SELECT version FROM heads").fetchone()
    version = row[0] if row else 0
    with closing(sqlite3.connect(headers)) as db, db:
        db.execute("DELETE FROM header WHERE version > ?", (version,))
    for staged in (to / "log" / "staging").glob("*"):
        number = staged.name.split("-")[0]
        if not number.isdigit() or int(number) > version:
            staged.unlink()
    for path in sorted(to.rglob("*.db")):
        with closing(sqlite3.connect(path, isolation_level=None)) as db, suppress(sqlite3.Error):
            db.execute("PRAGMA journal_mode=WAL")  # as it was: a backup carries no journal mode
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
