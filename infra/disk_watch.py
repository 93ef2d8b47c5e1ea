"""Watches the free space of the data folder: an alarm first, then an end of accepting.

What was accepted is still committed and stored: for that the room between the stop and a full disk
is kept. It accepts again by itself once there is room.
"""

import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Event, Thread

logger = logging.getLogger("gridseal.disk")

LOOK_EVERY_S = 0.5
RESUME_PART = 8  # accepting goes on at an eighth above the stop, or it would end again at once


def free_bytes(folders: Iterable[Path]) -> int:
    """Free bytes for this user where there are the fewest: folders may be mounts of their own."""
    found = []
    for folder in folders:
        try:
            stat = os.statvfs(folder)
        except FileNotFoundError:
            continue  # not made yet
        found.append(stat.f_bavail * stat.f_frsize)
    return min(found)


class DiskWatch:
    """`alarm` says what stands; `hold` is told why nothing is accepted, and "" when it is again."""

    def __init__(
        self,
        *,
        warn_bytes: int,
        stop_bytes: int,
        free: Callable[[], int],
        hold: Callable[[str], None],
    ) -> None:
        self._warn, self._stop = max(warn_bytes, stop_bytes), stop_bytes
        self._free, self._hold = free, hold
        self._ending = Event()
        self._held = False
        self._thread = Thread(target=self._run, name="disk", daemon=True)
        self.free_bytes = 0
        self.alarm = ""  # disk-full, disk-low or nothing

    def start(self) -> None:
        """Look now, then ever again."""
        self.look()
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> None:
        """Look once; alarm, hold or let go where something changed."""
        self.free_bytes = free = self._free()
        resume = self._stop + self._stop // RESUME_PART
        full = free < (resume if self._held else self._stop)
        alarm = "disk-full" if full else "disk-low" if free < self._warn else ""
        if full != self._held:
            self._held = full
            self._hold("the platform's disk is full" if full else "")
        if alarm != self.alarm:
            self.alarm = alarm
            if alarm:
                logger.error("%s: %s", alarm, self.text())
            else:
                logger.info("there is room on the disk again: %d bytes are free", free)

    def health(self) -> str:
        """For the health document: "ok", or the alarm with its code."""
        return f"{self.alarm}: {self.text()}" if self.alarm else "ok"

    def text(self) -> str:
        """How much is free, and what to do."""
        free = f"{self.free_bytes // 2**20} MiB are free"
        if self.alarm == "disk-full":
            return f"{free}, {self._stop // 2**20} are the least: nothing is accepted; make room"
        return f"{free}: make room"

    def _run(self) -> None:
        while not self._ending.wait(LOOK_EVERY_S):
            try:
                self.look()
            except OSError as error:
                logger.error("the free space can't be read: %s", error.strerror)  # noqa: TRY400
