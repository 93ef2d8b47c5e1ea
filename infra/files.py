"""Files and folders that hold what others must not read: modes set before content."""

import errno
import os
import secrets
import sqlite3
import time
from pathlib import Path

from bal.errors import Stop

OPEN_TIMEOUT_S = 30
_FULL = {errno.ENOSPC, errno.EDQUOT}


def why(error: OSError) -> str:
    """What the system refused, in words for the operator: of a full disk always the same ones."""
    if error.errno in _FULL:
        return "the disk is full"
    return error.strerror or str(error)


def make_folder(path: Path) -> Path:
    """A folder for this user only (0700), with its parents."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def write_new(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file that must not exist yet, durably: it is there whole, with `mode`, or not at all.

    So a key is never half a key, whenever the process that made it was killed. Raises
    FileExistsError.
    """
    new = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(new)
        except FileExistsError:
            raise
        except OSError:  # no links there, as on a USB stick for a sender's files
            if path.exists():
                raise FileExistsError(path) from None
            new.replace(path)
    finally:
        new.unlink(missing_ok=True)
    sync_folder(path.parent)


def replace_file(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write a file (0600) so that a reader sees the old or the new content, never a part."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")  # containers share pids
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
    if durable:
        sync_folder(path.parent)


_unsynced: dict[Path, Stop] = {}  # of this process, what can't be made durable any more


def sync_file(path: Path) -> None:
    """fsync one file; one that is gone by now needs none.

    Raises Stop("disk-unsynced") where it fails: the kernel may have dropped what it could not
    write, and a second fsync would say that all is well. Only the next start makes it again, so
    this process hears the same from now on, however often it asks.
    """
    if path in _unsynced:
        raise _unsynced[path]
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        text = f"{path.name} can't be made durable: {why(error)}. Look at the disk, then start"
        stop = Stop("disk-unsynced", f"{text} again: what may be missing is made again")
        raise _unsynced.setdefault(path, stop) from error
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """fsync a folder, so that names made or replaced in it survive a power loss."""
    sync_file(path)


def make_private(path: Path) -> None:
    """Make an empty file (0600) where there is none: SQLite gives its mode to -wal and -shm."""
    if not path.exists():
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))


def open_sqlite(
    path: Path, schema: str, *, synchronous: str = "FULL", page_bytes: int = 4096
) -> sqlite3.Connection:
    """A SQLite database (0600, WAL) whose connection may be used by any one thread at a time.

    schema: statements that make its tables where they are absent. page_bytes: of a file that is
    made now; one that is there keeps its own. Whoever holds it is waited for: half a minute here,
    where all roles may start at once on a slow disk, later ten seconds.
    """
    make_private(path)
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=OPEN_TIMEOUT_S
    )
    deadline = time.monotonic() + OPEN_TIMEOUT_S
    while True:
        try:
            connection.execute(f"PRAGMA page_size={page_bytes}")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")  # its tables outlast a power cut
            connection.executescript(schema)
            connection.execute(f"PRAGMA synchronous={synchronous}")
            break
        except sqlite3.OperationalError as error:
            # Of two that turn a new file to WAL one is refused at once: SQLite does not wait there.
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                connection.close()
                raise
            time.sleep(0.05)
    connection.execute("PRAGMA busy_timeout=10000")
    return connection


def look_at_sqlite(path: Path, schema: str, form: int = 0) -> sqlite3.Connection:
    """A SQLite database to look at only: nothing is written to it, and no such file is made.

    Where there is none, this is an empty one in memory, of that schema and `user_version`. A
    platform may be at work on it, or have been killed. On read-only media SQLite is told that
    nobody writes. Raises Stop("data-folder") for a copy there that lacks what SQLite needs.
    """
    wal, shm = (path.with_name(f"{path.name}-{end}") for end in ("wal", "shm"))
    if not path.exists():
        options = "mode=memory&cache=shared"
    elif os.access(path.parent, os.W_OK):
        options = "mode=ro"
    elif not wal.exists() or wal.stat().st_size == 0:
        options = "immutable=1"
    elif shm.exists():
        options = "mode=ro"
    else:
        text = f"{path.parent} can't be written, and {wal.name} lies there without {shm.name}: copy"
        raise Stop("data-folder", f"{text} the data folder to where it can be written")
    connection = sqlite3.connect(
        f"file:{quoted(path)}?{options}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=10,
    )
    if not path.exists() and not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
        connection.executescript(f"{schema} PRAGMA user_version={form};")
    return connection


def quoted(path: Path) -> str:
    """As the path of a `file:` URI of SQLite."""
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
