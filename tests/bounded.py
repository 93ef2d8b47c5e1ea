"""Waits that end: for a line of a child process, for its end, for something to become true.

Each has its limit and says what it waited for. The limits are for machines that are slow and
busy; a machine that is neither waits for none of them.
"""

import select
import signal
import subprocess
import time
from collections.abc import Callable

LINE_S = 180  # a child's next line: an interpreter starts, servers are asked
END_S = 60  # a child that was killed, or told to end
TRUE_S = 240


def line_of(process: "subprocess.Popen[str]", what: str, within_s: float = LINE_S) -> str:
    """The child's next line, with nothing around it; "" when its output ended.

    Only for a child that says a line and then waits or is silent.
    """
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], within_s)
    assert ready, f"{what}: no line within {within_s:g} s"
    return process.stdout.readline().strip()


def killed(process: "subprocess.Popen[str]", what: str) -> None:
    """End it by SIGKILL, and wait until it has ended."""
    process.kill()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"{what}: not ended {END_S} s after SIGKILL") from error


def told_to_end(process: "subprocess.Popen[str]", what: str, within_s: float = END_S) -> str:
    """By SIGTERM, and well; what it said. One that does not end says where it is.

    Only for a child of `python -X faulthandler`, with pipes of its own.
    """
    process.terminate()
    try:
        said, errors = process.communicate(timeout=within_s)
    except subprocess.TimeoutExpired as error:
        process.send_signal(signal.SIGABRT)  # every thread's stack, to its standard error
        _, errors = process.communicate(timeout=END_S)
        raise AssertionError(f"{what}: not ended {within_s:g} s after SIGTERM\n{errors}") from error
    assert process.returncode == 0, f"{what}: {errors}"
    return said


def until(
    holds: Callable[[], object], what: str | Callable[[], str], within_s: float = TRUE_S
) -> None:
    """Wait until it holds; `what` says what was waited for, and is asked only if it does not."""
    end = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > end:
            said = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {within_s:g} s: {said}")
        time.sleep(0.05)
