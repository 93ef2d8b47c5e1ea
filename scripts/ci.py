"""Runs commands one after the other for `.ci/run`, and lets none of them hang.

Each is shown while it runs. All together have GRIDSEAL_CI_LIMIT_S seconds (83 min): one that is at
work then is interrupted, so that it says how far it came. What a command leaves running is named
and ended. Standard library only; Linux.
"""

import contextlib
import ctypes
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import IO

LIMIT_S = float(os.environ.get("GRIDSEAL_CI_LIMIT_S", "5000"))
LAST_WORDS_S = 180  # what an interrupted command has for its last words
LEFT_GRACE_S = 120  # a session's servers are stopped by a guard of their own when it has ended
LAST_LINES = 60
PR_SET_CHILD_SUBREAPER = 36


def main(commands: list[str]) -> int:
    """0 when all passed, else 1."""
    # Who loses its parent becomes ours: nothing that a command starts gets out of sight.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # A shell lets what it starts in the background ignore it; ours must not.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    end = time.monotonic() + LIMIT_S
    for command in commands:
        say(f"\n=== {command}")
        began = time.monotonic()
        fault, last = run(shlex.split(command), end)
        took = f"after {time.monotonic() - began:.0f} s"
        if fault:
            say(f"\n=== {command} FAILED {took}: {fault}. Its last lines:")
            say("".join(last))
            return 1
        say(f"=== {command} passed {took}")
    say("=== all passed")
    return 0


def run(command: list[str], end: float) -> tuple[str, deque[str]]:
    """What was wrong with it, empty if nothing, and its last lines."""
    last: deque[str] = deque(maxlen=LAST_LINES)
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert child.stdout is not None
    shower = threading.Thread(target=show, args=(child.stdout, last), daemon=True)
    shower.start()
    fault = ended(child, end)
    for named in end_left():
        say(f"=== left running, ended now: {named}")
    shower.join(10)
    return fault, last


def ended(child: subprocess.Popen[bytes], end: float) -> str:
    """Wait for it until `end`; then interrupt all that it started, and then kill it."""
    try:
        code = child.wait(max(1.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        for pid in descendants():
            signal_to(pid, signal.SIGINT)
        try:
            child.wait(LAST_WORDS_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        return f"not ended within {LIMIT_S:.0f} s of all"
    return f"exit code {code}" if code else ""


def end_left() -> list[str]:
    """Give what is left a moment, then end it; the command lines of what had to be ended."""
    end = time.monotonic() + LEFT_GRACE_S
    while (left := descendants()) and time.monotonic() < end:
        time.sleep(0.2)
    named = [f"{pid} {command_of(pid)}" for pid in left]
    while left := descendants():
        for pid in left:
            signal_to(pid, signal.SIGKILL)
        time.sleep(0.2)
    return named


def descendants() -> list[int]:
    """Every process below this one that runs; those that ended are buried."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                break
        except ChildProcessError:
            return []
    found, seen = [os.getpid()], list[int]()
    while found:
        parent = found.pop()
        try:
            tasks = list(Path(f"/proc/{parent}/task").iterdir())
            below = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
        except OSError:
            continue  # it ended just now
        found += below
        seen += below
    return seen


def command_of(pid: int) -> str:
    """Its command line, as far as it can be read."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()[:200]
    except OSError:
        return "(ended)"


def signal_to(pid: int, number: signal.Signals) -> None:
    """Send it, unless the process ended meanwhile."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def show(output: IO[bytes], last: deque[str]) -> None:
    """Pass on what it prints, at once, and remember the end."""
    for line in iter(lambda: os.read(output.fileno(), 65536), b""):
        text = line.decode("utf-8", "replace")
        sys.stdout.write(text)
        sys.stdout.flush()
        remember(text, last)


def remember(text: str, last: deque[str]) -> None:
    """Whole lines; what is begun is gone on with."""
    for piece in text.splitlines(keepends=True):
        if last and not last[-1].endswith("\n"):
            last[-1] += piece
        else:
            last.append(piece)


def say(text: str) -> None:
    """One line of our own."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
