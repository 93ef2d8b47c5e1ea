"""A child process at the other end of two pipes; see infra/bulk_child.py for what it does."""

import fcntl
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

from infra.bulk_wire import FRAME_BYTES_MAX, LENGTH, READY, Places, read_frame

PIPE_BYTES = 1 << 20  # some messages; each more turn costs a wait for the interpreter
READ_BYTES = 1 << 16  # answers themselves are in shared memory
SEND_WITHIN_S = 5.0  # it reads at once, whatever it works on

# The platform's own path, and neither environment nor site: `infra` must be the same one.
_CODE = "import sys; sys.path[:] = {path!r}; from infra.bulk_child import main; main({memory})"


class ProcessGone(Exception):
    """It has ended, does not answer in time, or answers what is no answer."""


@contextmanager
def _understood() -> Iterator[None]:
    """What marshal raises, and who takes apart what it gives, is that of no answer."""
    try:
        yield
    except (ValueError, TypeError, EOFError) as error:
        raise ProcessGone(f"its answer is none: {error}") from error


class BulkProcess:
    """One process. All methods but `kill` are for one thread."""

    def __init__(self) -> None:
        """Start it; `ready` says once it is. Raises OSError where the system refuses."""
        memory = Places.make()
        try:
            self._child = self._start(memory)
            self._places = Places(memory)
        finally:
            os.close(memory)
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._to, self._from = self._child.stdin.fileno(), self._child.stdout.fileno()
        for end in (self._to, self._from):
            os.set_blocking(end, False)
            with suppress(OSError):  # a limit of the system: smaller pipes take more turns
                fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._buffer = bytearray()
        self._ready = False
        self.started_s = monotonic()

    @staticmethod
    def _start(memory: int) -> "subprocess.Popen[bytes]":
        code = _CODE.format(path=sys.path, memory=memory)
        return subprocess.Popen(  # noqa: S603 - the command stands here
            [sys.executable, "-I", "-S", "-B", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            pass_fds=[memory],
        )

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._child.pid

    def ready(self) -> bool:
        """Whether it has started up; does not wait. Raises ProcessGone."""
        if not self._ready:
            self._ready = self._receive(0) == READY
        return self._ready

    def send(self, data: bytes) -> None:
        """Send one frame. Raises ProcessGone."""
        left, deadline_s = memoryview(data), monotonic() + SEND_WITHIN_S
        while left:
            try:
                left = left[os.write(self._to, left) :]
            except BlockingIOError:
                self._wait(self._to, select.POLLOUT, deadline_s)
            except OSError as error:
                raise ProcessGone(f"it takes nothing more: {error.strerror}") from error

    def answer(self, within_s: float) -> Any:
        """The next answer; None where `within_s` is 0 and it is not there. Raises ProcessGone."""
        told = self._receive(within_s)
        with _understood():
            return None if told is None else self._places.get(told)

    def _receive(self, within_s: float) -> Any:
        deadline_s = monotonic() + within_s
        while (value := self._next()) is None:
            try:
                data = os.read(self._from, READ_BYTES)
            except BlockingIOError:
                if not within_s:
                    return None
                self._wait(self._from, select.POLLIN, deadline_s)
                continue
            if not data:
                raise ProcessGone("it has ended")
            self._buffer += data
        return value

    def _next(self) -> Any:
        """The first value in the buffer."""
        buffer = self._buffer
        if len(buffer) < LENGTH.size:
            return None
        end = LENGTH.size + LENGTH.unpack_from(buffer)[0]
        if end > FRAME_BYTES_MAX:
            raise ProcessGone(f"it begins an answer of {end} bytes")
        if len(buffer) < end:
            return None
        with _understood(), memoryview(buffer) as whole, whole[LENGTH.size : end] as data:
            value = read_frame(data)
        del buffer[:end]
        return value

    def _wait(self, end: int, event: int, deadline_s: float) -> None:
        poll = select.poll()
        poll.register(end, event)
        left_s = deadline_s - monotonic()
        if left_s <= 0 or not poll.poll(left_s * 1000):
            raise ProcessGone("it does not answer")

    def kill(self) -> None:
        """End it; it has nothing that could be lost. For any thread."""
        self._child.kill()

    def close(self) -> None:
        """End it and let go of it."""
        self.kill()
        self._child.wait()
        for end in (self._child.stdin, self._child.stdout):
            assert end is not None
            end.close()
        self._places.close()
