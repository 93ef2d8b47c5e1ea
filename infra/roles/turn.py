"""Whose turn it is, of processes of one host that may each do a thing, one at a time.

The kernel frees it the moment that the process ends, however it ends.
"""

import asyncio
import fcntl
import os
from pathlib import Path

ASK_S = 0.5


class Turn:
    """A lock on a file in the data folder, which stays."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: int | None = None

    def take(self) -> bool:
        """Take it, if no other process has it; whether this one has it now."""
        if self._held is not None:
            return True
        held = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(held)
            return False
        self._held = held
        return True

    async def wait(self) -> None:
        """Until it is this process's."""
        while not self.take():
            await asyncio.sleep(ASK_S)

    def beat(self) -> None:
        """Show those who wait that this process, which has it, does not stand still."""
        if self._held is not None:
            os.utime(self._held)

    def last_beat(self) -> int:
        """Another number after each beat of whoever has it; 0 where nobody ever had."""
        try:
            return self._path.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def release(self) -> None:
        """Let another one have it."""
        if self._held is not None:
            os.close(self._held)
            self._held = None
