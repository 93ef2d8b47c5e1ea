"""Files and folders that hold what others must not read: modes set before content."""

import os
import sqlite3
from pathlib import Path


def make_folder(path: Path) -> Path:
    """A folder for this user only (0700), with its parents."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def write_new(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file that must not exist yet, durably; it has `mode` before its first byte.

    Raises FileExistsError.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def replace_file(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write a file (0600) so that a reader sees the old or the new content, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    temporary.replace(path)
    if durable:
        sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """fsync one file; one that is gone by now needs none."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """fsync a folder, so that names made or replaced in it survive a power loss."""
    sync_file(path)


def make_private(path: Path) -> None:
    """Make an empty file (0600) where there is none: SQLite gives its mode to -wal and -shm."""
    if not path.exists():
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))


def open_sqlite(path: Path, *, synchronous: str = "FULL") -> sqlite3.Connection:
    """A SQLite database (0600, WAL) whose connection may be used by any one thread at a time."""
    make_private(path)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(f"PRAGMA synchronous={synchronous}")
    return connection
