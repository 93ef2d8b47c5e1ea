"""What a device has measured and the platform has not yet promised to keep, on its own disk."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
_Row = tuple[str, str, bytes]  # message, form, raw


@dataclass(frozen=True, slots=True)
class Spooled:
    """One message; `place` orders messages as they were published."""

    place: int
    message: str  # hex SHA-256 of raw
    form: str
    raw: bytes


class Spool:
    """A SQLite file of messages. Additions are durable when `add` returns, in groups per fsync.

    Removals are written with the next group: one that a crash forgets costs a second sending,
    which the platform recognises. Used on one event loop; all disk work is on one thread.
    """

    def __init__(self, path: Path) -> None:
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._file = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._file.execute("PRAGMA journal_mode=WAL")
        self._file.execute("PRAGMA synchronous=FULL")
        self._file.execute(
            "CREATE TABLE IF NOT EXISTS spool(place INTEGER PRIMARY KEY AUTOINCREMENT,"
            " message TEXT UNIQUE NOT NULL, form TEXT NOT NULL, raw BLOB NOT NULL)"
        )
        self._messages = {row[0] for row in self._file.execute("SELECT message FROM spool")}
        self._added: list[tuple[_Row, asyncio.Future[None]]] = []
        self._removed: list[str] = []
        self._writing: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._messages)

    def __contains__(self, message: object) -> bool:
        return message in self._messages

    async def add(self, message: str, form: str, raw: bytes) -> None:
        """Keep a message; one that is here already stays where it is. Raises sqlite3.Error."""
        self._messages.add(message)
        done = asyncio.get_running_loop().create_future()
        self._added.append(((message, form, raw), done))
        self._start_writing()
        await done

    def forget(self, message: str) -> None:
        """Let go of a message that has its receipt."""
        if message in self._messages:
            self._messages.discard(message)
            self._removed.append(message)
            self._start_writing()

    async def after(self, place: int, limit: int) -> list[Spooled]:
        """At most `limit` messages behind `place`, in the order of publishing."""
        query = "SELECT place, message, form, raw FROM spool WHERE place > ? ORDER BY place LIMIT ?"
        rows = await self._on_disk(lambda: self._file.execute(query, (place, limit)).fetchall())
        return [Spooled(*row) for row in rows]

    async def close(self) -> None:
        """Write what is left to write and close the file."""
        if self._writing is not None:
            await self._writing
        await self._on_disk(self._file.close)
        self._disk.shutdown()

    def _start_writing(self) -> None:
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        """Write group after group; what comes in meanwhile is the next group."""
        while self._added or self._removed:
            added, self._added = self._added, []
            removed, self._removed = self._removed, []
            try:
                await self._on_disk(partial(self._commit, [row for row, _ in added], removed))
            except sqlite3.Error as error:
                for row, done in added:
                    self._messages.discard(row[0])
                    _settle(done, error)
            else:
                for _, done in added:
                    _settle(done, None)
        self._writing = None

    def _commit(self, added: list[_Row], removed: list[str]) -> None:
        with self._file:
            self._file.execute("BEGIN IMMEDIATE")
            self._file.executemany(
                "DELETE FROM spool WHERE message = ?", [(message,) for message in removed]
            )
            self._file.executemany(
                "INSERT OR IGNORE INTO spool(message, form, raw) VALUES(?, ?, ?)", added
            )

    async def _on_disk(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work)


def _settle(done: asyncio.Future[None], error: sqlite3.Error | None) -> None:
    if done.done():  # its publisher was cancelled
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
