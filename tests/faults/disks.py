"""File systems of a test's own: a small one that fills, and one that forgets as a power cut does.

Each belongs to a child process that mounts it and takes it away at its end, however the test ends:

    with small(folder, mebibytes=16) as disk: disk.fill(); disk.free()
    with lossy(folder) as disk: disk.cut("none", seed)

Mounting is for root; where it is refused the test skips, and says so.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.bounded import END_S, killed, line_of

REPOSITORY = Path(__file__).resolve().parents[2]
FILLER = "filler"


class Mounted:
    """What a child process of this module has mounted at `at`."""

    def __init__(self, kind: str, at: Path, *more: object) -> None:
        at.mkdir(parents=True, exist_ok=True)
        self.at = at
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"tests.faults.{kind}", str(at), *map(str, more)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        said = self._line()
        if said != "mounted":
            self.close()
            pytest.skip(f"optional: no file system can be mounted here: {said}")

    def ask(self, *words: object) -> str:
        """Have it do something; its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> str:
        return line_of(self._process, f"the file system at {self.at}")

    def close(self) -> None:
        """Unmount, whatever is still open on it."""
        try:
            self._process.communicate(timeout=END_S)
        except subprocess.TimeoutExpired:  # the mount goes with its process' end, or stays broken
            killed(self._process, f"the file system at {self.at}")
            raise


class Small(Mounted):
    """A disk of so many mebibytes."""

    def fill(self, leave: int = 0) -> None:
        """Take all of its room but `leave` bytes."""
        block = bytes(1 << 16)
        with (self.at / FILLER).open("ab", buffering=0) as file:
            free = 1
            while free > 0:
                stat = os.statvfs(self.at)
                free = stat.f_bavail * stat.f_frsize - leave
                try:
                    file.write(block[: max(0, free)])
                except OSError:
                    break

    def free(self) -> None:
        """Give it back."""
        (self.at / FILLER).unlink(missing_ok=True)


class Lossy(Mounted):
    """A disk that keeps what is not fsynced in memory only (tests/faults/lossy.py)."""

    def cut(self, kept: str, seed: int) -> str:
        """Cut the power; nobody may be at work on it. What was lost, as `files/names`.

        kept: "none" of what was not fsynced, or "some" of it, by `seed`.
        """
        return self.ask("cut", kept, seed)

    def lie(self) -> None:
        """From now on fsync keeps nothing."""
        self.ask("lie", "none", 0)


@contextmanager
def small(at: Path, *, mebibytes: int) -> Iterator[Small]:
    disk = Small("tmpfs", at, mebibytes)
    try:
        yield disk
    finally:
        disk.close()


@contextmanager
def lossy(at: Path) -> Iterator[Lossy]:
    disk = Lossy("lossy", at)
    try:
        yield disk
    finally:
        disk.close()
