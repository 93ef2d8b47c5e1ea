"""A child process that does work for the platform which the interpreter would make others wait for.

It is asked one thing at a time and answers what came of it; errors come back as what they were.
Nothing that it has is the only one of its kind, so it may be killed at any time, and is started
again with the next question. Both ends are one version of one program on one interpreter.

Frames through two pipes: a length and a value in the form of `marshal`, which has plain values
only.
"""

import logging
import marshal
import os
import select
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread
from time import monotonic
from typing import Any, TypeAlias

from bal.errors import Stop, Unavailable
from infra import log_output
from infra.interpreter import tune_threads

logger = logging.getLogger("gridseal.child")

AGAIN_S = 10.0  # from one start to the next, where it ends by itself
ANSWER_S = 300.0  # what it asks servers has time limits of its own, of a minute at most
_LENGTH = struct.Struct(">I")
_DONE, _UNAVAILABLE, _STOP, _DEFECT = "done", "unavailable", "stop", "defect"

Work: TypeAlias = Callable[..., int | None]
"""What a child does, by the values of a question; a number may be the answer."""

# The platform's own path, and neither environment nor site: `infra` must be the same one.
_CODE = (
    "import sys; sys.path[:] = {path!r}; from infra.child_process import serve;"
    " from {module} import made; serve(made)"
)


class ChildProcess:
    """Started with the first question. For one thread, but for `close`."""

    def __init__(self, module: str, begin: Any, what: str, *, nice: int = 0) -> None:
        """module: whose `made` makes the `Work` of `begin`; what: it does, for who reads errors."""
        self._module, self._begin, self._what, self._nice = module, begin, what, nice
        self._child: subprocess.Popen[bytes] | None = None
        self._started_s = float("-inf")
        self._lock, self._busy, self._closed = Lock(), Lock(), False

    @property
    def pid(self) -> int | None:
        """Of the process; changes where it was started again, None where there is none."""
        child = self._child
        return None if child is None else child.pid

    def start(self) -> None:
        """Unless it runs. Raises Unavailable where it can't, or did a moment ago and ended."""
        with self._lock:
            if self._closed:
                raise Unavailable(f"the process that {self._what} is closed")
            if self._child is not None:
                return
            if (wait_s := self._started_s + AGAIN_S - monotonic()) > 0:
                text = f"the process that {self._what} ended a moment ago"
                raise Unavailable(text, retry_after_s=1 + int(wait_s))
            self._started_s = monotonic()
            try:
                self._child = self._opened()
            except OSError as error:
                text = f"the process that {self._what} does not start: {error.strerror}"
                raise Unavailable(text, retry_after_s=int(AGAIN_S)) from error

    def ask(self, *values: Any) -> int:
        """Have it work on these, and wait until that is done: the number it answers, or 0.

        Raises what that raised, and Unavailable where the process ended.
        """
        with self._busy:
            self.start()
            child, question = self._child, _framed(values)
            answer = None
            if child is not None:
                with suppress(OSError, EOFError, ValueError, TypeError):
                    _write(_end(child.stdin), question)
                    answer = _read(_end(child.stdout), ANSWER_S)
            if answer is None:
                self._let_go()
                raise Unavailable(f"the process that {self._what} ended")
        return _number(answer, self._what)

    def close(self) -> None:
        """End it, whatever it works on; nobody may ask any more. From any thread."""
        with self._lock:
            self._closed = True
            if self._child is not None:
                self._child.kill()
        with self._busy:  # for a moment: who asked reads that it has ended
            self._let_go()

    def _opened(self) -> "subprocess.Popen[bytes]":
        level = logging.getLevelName(logging.getLogger().level)
        child = subprocess.Popen(  # noqa: S603 - the command stands here
            [
                sys.executable, "-I", "-S", "-B", "-c",
                _CODE.format(path=sys.path, module=self._module),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )  # fmt: skip
        with suppress(OSError):  # it ended at once, as the first question finds
            _write(_end(child.stdin), _framed((level, self._nice, self._begin)))
        return child

    def _let_go(self) -> None:
        with self._lock:
            child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for end in (child.stdin, child.stdout):
            assert end is not None
            end.close()
        if not self._closed:
            logger.warning("the process that %s ended, with %s", self._what, child.returncode)


def _end(pipe: Any) -> int:
    number: int = pipe.fileno()
    return number


def _framed(value: Any) -> bytes:
    data = marshal.dumps(value)
    return _LENGTH.pack(len(data)) + data


def _write(end: int, frame: bytes) -> None:
    left = memoryview(frame)
    while left:
        left = left[os.write(end, left) :]


def _read(end: int, within_s: float) -> Any:
    """The next value. Raises EOFError where there is none, or none in time."""
    deadline_s = monotonic() + within_s
    (size,) = _LENGTH.unpack(_bytes(end, _LENGTH.size, deadline_s))
    return marshal.loads(_bytes(end, size, deadline_s))  # noqa: S302 - of our own process


def _bytes(end: int, size: int, deadline_s: float) -> bytearray:
    data, poll = bytearray(), select.poll()
    poll.register(end, select.POLLIN)
    while len(data) < size:
        left_s = deadline_s - monotonic()
        if left_s <= 0 or not poll.poll(min(left_s, 3600) * 1000):
            raise EOFError
        if not (piece := os.read(end, min(size - len(data), 1 << 20))):
            raise EOFError
        data += piece
    return data


def _number(answer: tuple[str, str, str, int], what: str) -> int:
    kind, code, text, number = answer
    if kind == _UNAVAILABLE:
        raise Unavailable(text, retry_after_s=number)
    if kind == _STOP:
        raise Stop(code, text)
    if kind != _DONE:
        raise RuntimeError(f"the process that {what}: {text}")
    return number


# -- the child ------------------------------------------------------------------------------


def serve(made: Callable[[Any], Work]) -> None:
    """Answer until the input ends: then the platform has, and so do we, in the midst of anything.

    made: gets what the process was begun with, and does no work yet.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the platform, which tells us
    tune_threads()
    source, target = os.dup(0), os.dup(1)
    os.dup2(2, 1)  # nothing else may come between the frames
    questions: SimpleQueue[Any] = SimpleQueue()
    Thread(target=_listen, args=(source, questions), daemon=True).start()
    level, nice, begin = questions.get()
    os.nice(nice)
    log_output.begin(level)
    work = made(begin)
    while True:
        answer = _answer(work, questions.get())
        with suppress(BrokenPipeError):  # as `_listen` finds
            _write(target, _framed(answer))


def _listen(source: int, questions: "SimpleQueue[Any]") -> None:
    try:
        while True:
            questions.put(_read(source, float("inf")))
    except EOFError:
        os._exit(0)  # there is nothing to tidy up


def _answer(work: Work, values: tuple[Any, ...]) -> tuple[str, str, str, int]:
    try:
        number = work(*values) or 0
    except Unavailable as error:
        return _UNAVAILABLE, "", str(error), error.retry_after_s
    except Stop as error:
        return _STOP, error.code, error.text, 0
    except Exception as error:
        logger.critical("unexpected", exc_info=error)
        return _DEFECT, "", f"{type(error).__name__}: {error}", 0
    return _DONE, "", "", number
