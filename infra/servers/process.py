"""Child processes that outlive us: started once, found again by pid and start time, ended by both.

A pid alone may be somebody else's by now; with the kernel's start time and the boot's id it is
the child's for certain, and a signal goes through a pidfd, which can't come to mean another one.
"""

import ctypes
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from bal.errors import GridsealError, Stop
from infra.files import make_folder, replace_file

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_POLL_S = 0.05
_KILL_WAIT_S = 10
_KNOCK_TIMEOUT_S = 2
_PR_SET_TIMERSLACK = 29
LOG_BYTES = 16 * 1024 * 1024  # a longer log is put aside at the next start, one is kept


@dataclass(frozen=True, slots=True)
class Child:
    """A process that we started."""

    pid: int
    started: int  # clock ticks after boot, field 22 of proc_pid_stat(5)
    boot: str


def spawn(folder: Path, log: Path, command: Sequence[str], *, timer_slack_us: int = 0) -> Child:
    """Start a server in a session of its own; output goes to `log`, its pid to `folder`/pid.

    timer_slack_us: how late its threads may wake from a sleep; 0: as the system has it.
    Raises Stop("servers-start") when it can't be run.
    """
    make_folder(folder)
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        with _timer_slack(timer_slack_us):
            process = subprocess.Popen(  # noqa: S603 - the commands stand in this package
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # neither Ctrl-C nor the end of a terminal reaches it
            )
    except OSError as error:
        raise Stop("servers-start", f"{command[0]} can't be run: {error.strerror}") from error
    finally:
        os.close(descriptor)
    child = of_pid(process.pid) or Child(process.pid, 0, "")
    process.returncode = 0  # it is not waited for by this object: it may outlive us
    replace_file(folder / "pid", json.dumps(asdict(child)).encode(), durable=False)
    return child


@contextmanager
def _timer_slack(microseconds: int) -> Iterator[None]:
    """Of this thread, and for good of what it starts meanwhile; none where there is no such call.

    prctl(2), PR_SET_TIMERSLACK: 0 is what the thread began with.
    """
    if not microseconds:
        yield
        return
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(1000 * microseconds))
    try:
        yield
    finally:
        if prctl is not None:
            prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(0))


def of_pid(pid: int) -> Child | None:
    """The process that has this pid now, so that it can be told from a later one."""
    started = _started(pid)
    return None if started is None else Child(pid, started, _BOOT.read_text().strip())


def found(folder: Path) -> Child | None:
    """The child that was started in this folder, if it still runs."""
    try:
        child = Child(**json.loads((folder / "pid").read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return child if running(child) else None


def running(child: Child) -> bool:
    """Whether this very process is alive; one that ended and is not yet reaped is not."""
    with suppress(ChildProcessError):
        os.waitpid(child.pid, os.WNOHANG)  # where it is our own child
    return child.boot == _BOOT.read_text().strip() and _started(child.pid) == child.started


def stop(child: Child, grace_s: float) -> str:
    """End it by SIGTERM, after `grace_s` by SIGKILL: "stopped", "killed" or "not running"."""
    try:
        handle = os.pidfd_open(child.pid)
    except ProcessLookupError:
        return "not running"
    try:
        if not running(child):
            return "not running"
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        if _gone(child, grace_s):
            return "stopped"
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        if _gone(child, _KILL_WAIT_S):
            return "killed"
    except ProcessLookupError:
        return "stopped"
    finally:
        os.close(handle)
    raise Stop("servers-start", f"process {child.pid} can't be ended: look at its disk")


def send(child: Child, number: signal.Signals) -> None:
    """Send a signal to this very process. Raises Stop("servers-down") when it is gone."""
    try:
        handle = os.pidfd_open(child.pid)
    except ProcessLookupError:
        handle = -1
    try:
        if handle < 0 or not running(child):
            raise Stop("servers-down", "the server does not run: run `gridseal servers up`")
        signal.pidfd_send_signal(handle, number)
    finally:
        if handle >= 0:
            os.close(handle)


def knock(host: str, port: int) -> None:
    """Return if something listens there; it need not be ours. Raises OSError.

    Before a client library is asked, which would tell of each try.
    """
    socket.create_connection((host, port), _KNOCK_TIMEOUT_S).close()


def wait_ready(child: Child, prove: Callable[[], None], log: Path, timeout_s: float) -> None:
    """Return once `prove` does. Raises Stop("servers-start") with the log's last lines."""
    deadline, doubt = time.monotonic() + timeout_s, "no answer"
    while True:
        if not running(child):
            raise Stop("servers-start", f"it ended by itself; {log} says: {last_words(log)}")
        try:
            return prove()
        except (OSError, GridsealError) as error:
            doubt = str(error) or type(error).__name__
        if time.monotonic() > deadline:
            said = f"it did not answer as it should within {timeout_s:g} s ({doubt})"
            raise Stop("servers-start", f"{said}; {log} says: {last_words(log)}")
        time.sleep(_POLL_S)


def last_words(log: Path, lines: int = 4) -> str:
    """The last lines of a log, in one."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return "nothing"
    return " | ".join(text.strip().splitlines()[-lines:]) or "nothing"


def memory_bytes(child: Child) -> int:
    """Resident memory of it; 0 when it is gone."""
    try:
        status = Path(f"/proc/{child.pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    sizes = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(sizes[0]) * 1024 if sizes else 0


def _gone(child: Child, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while running(child):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _started(pid: int) -> int | None:
    """Start time of a living process in clock ticks after boot; None for a dead one."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    return None if fields[0] in {"Z", "X"} else int(fields[19])
