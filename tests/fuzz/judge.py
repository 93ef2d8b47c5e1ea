"""Runs inputs one by one, in a child process, and keeps what each defect came of.

A defect is an error that the target may not raise, more than a second of processor time, or more
than 256 MiB above what the process had when its imports and seeds were done. The input under way
stands in a file in memory, so that it is known even where the process is killed.
"""

import json
import mmap
import resource
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from struct import Struct
from types import FrameType

from tests.fuzz import corpus
from tests.fuzz.targets import Run

LIMIT_S = 1.0
MEMORY_BYTES = 256 * 1024 * 1024
HEAD = Struct("<QQQI")  # inputs so far, slowest in µs, KiB above the begin, size of the input
ROOT = Path(__file__).resolve().parents[2]
_INPUT_MAX = 1 << 20


class _TooSlow(BaseException):
    """One input has had its second. No `except Exception` of a parser holds it."""


class Judge:
    """Takes inputs and never raises; `defects` is appended to a file as they are found."""

    def __init__(self, run: Run, folder: Path) -> None:
        self._run = run
        self._folder = folder
        self.count = 0
        self.slowest_us = 0
        self._known: set[str] = set()
        with (folder / "state").open("w+b") as file:
            file.truncate(HEAD.size + _INPUT_MAX)
            self._state = mmap.mmap(file.fileno(), HEAD.size + _INPUT_MAX)
        self._begin_kib = 0
        self._grown_kib = 0
        signal.signal(signal.SIGPROF, self._too_slow)

    def begin(self, seeds: Sequence[bytes]) -> None:
        """Run the seeds, so that what is imported late is there, and take the memory from there."""
        for one in seeds:
            self(one)
        self._begin_kib = _peak_kib()

    def limit(self) -> None:
        """Let the kernel refuse more address space; a parser that wants it gets a MemoryError."""
        if sys.platform != "linux":
            return
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))

    @property
    def limit_mib(self) -> int:
        """Resident memory at which it is too much, in MiB."""
        return (self._begin_kib * 1024 + MEMORY_BYTES) >> 20

    def __call__(self, data: bytes) -> None:
        self._state[HEAD.size : HEAD.size + len(data)] = data
        self._note(len(data))
        begin = time.process_time_ns()
        try:
            signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
            try:
                self._run(data)
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
        except (Exception, _TooSlow) as error:  # noqa: BLE001 - each is a defect
            self._defect(data, error)
        took_us = (time.process_time_ns() - begin) // 1000
        self.slowest_us = max(self.slowest_us, took_us)
        self.count += 1

    def close(self) -> None:
        """Write the last counts."""
        self._note(0)
        self._state.flush()

    def _note(self, size: int) -> None:
        if self._begin_kib and (not size or self.count % 1024 == 0):
            self._grown_kib = max(0, _peak_kib() - self._begin_kib)
        HEAD.pack_into(self._state, 0, self.count, self.slowest_us, self._grown_kib, size)

    def _too_slow(self, _: int, __: FrameType | None) -> None:
        raise _TooSlow(f"more than {LIMIT_S:g} s")

    def _defect(self, data: bytes, error: BaseException) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [one for one in frames if Path(one.filename).is_relative_to(ROOT)] or list(frames)
        inside = [one for one in ours if ".venv" not in one.filename]
        where = f"{Path(inside[-1].filename).name}:{inside[-1].lineno}" if inside else "?"
        kind = type(error).__name__.lstrip("_")
        if (key := f"{kind} {where}") in self._known:
            return
        self._known.add(key)
        path = corpus.write(self._folder / "found", "", data)
        told = {"what": kind, "where": where, "text": str(error)[:200], "input": str(path)}
        with (self._folder / "defects.jsonl").open("a") as file:
            file.write(json.dumps(told) + "\n")
        sys.stderr.write(f"defect: {json.dumps(told)}\n")


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
