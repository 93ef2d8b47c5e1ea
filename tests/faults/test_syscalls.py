"""Every system call of one commit fails in turn: all or nothing, and no receipt without its entry.

A child does one message's whole way on a real data folder: bus, log, heads row, checkpoint,
archive, database, settling. strace lets the n-th write, fsync, rename, … of it fail by EIO or
ENOSPC, or kills it there; a restart has to make everything true again. With GRIDSEAL_SOAK=1 every
call fails in all three ways, and faults come twice; else a share of them.
"""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from tests.bounded import END_S, killed, line_of
from tests.faults.disks import REPOSITORY
from tests.faults.one_commit import NEW_METERS

SOAK = os.environ.get("GRIDSEAL_SOAK") == "1"
EVERY = 1 if SOAK else 20  # of (call, fault)
TWICE = 100 if SOAK else 4
CALLS = (
    "write", "pwrite64", "fsync", "fdatasync", "rename", "openat", "ftruncate", "unlink", "mkdir",
    "rmdir", "link",
)  # fmt: skip
FAULTS = ("error=EIO", "error=ENOSPC", "signal=KILL")
_LINE = re.compile(r"(\w+)\((.*)")

pytestmark = pytest.mark.slow


class Point(NamedTuple):
    """One call of the commit: the n-th of its name since the child was taken hold of."""

    call: str
    n: int


class Bench:
    """The process that forks for each case, a folder to copy, and the cases' own."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.data, self._said = folder, folder / "data", folder / "said"
        same = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}  # the same calls each time
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.one_commit"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY,
            env=os.environ | same,
        )  # fmt: skip
        pid = self._ask("prepare", folder / "template", self._said)
        assert self._ask("wait", pid) == 0, self._said.read_text()
        self._count = 0

    def close(self) -> None:
        try:
            self._server.communicate(timeout=END_S)
        except subprocess.TimeoutExpired:
            killed(self._server, "the bench of system calls")
            raise

    def begin(self) -> None:
        """The data folder is as it was."""
        shutil.rmtree(self.data, ignore_errors=True)
        shutil.copytree(self._folder / "template", self.data)

    def run(self, work: str, *options: str) -> tuple[int, list[list[Any]], str]:
        """Commit or restart under strace: status, what was told, and the trace."""
        pid, trace = self._ask(work, self.data, self._said), self._folder / "trace"
        trace.unlink(missing_ok=True)
        hold = self._hold(pid, "-o", str(trace), *options) if options else None
        os.kill(pid, signal.SIGCONT)
        status = self._ask("wait", pid)
        if hold is not None:
            hold.communicate(timeout=END_S)
        told = [json.loads(line) for line in self._said.read_text().splitlines()]
        return status, told, trace.read_text() if hold is not None else ""

    def _ask(self, *words: object) -> int:
        assert self._server.stdin is not None
        asked = " ".join(map(str, words))
        self._server.stdin.write(asked + "\n")
        self._server.stdin.flush()
        return int(line_of(self._server, asked).split()[1])

    def _hold(self, pid: int, *options: str) -> "subprocess.Popen[str]":
        """strace, once it has taken hold of the child."""
        command = ["strace", "-f", "-p", str(pid), "-e", f"trace={','.join(CALLS)}", *options]
        hold = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert hold.stderr is not None
        ready, _, _ = select.select([hold.stderr], [], [], END_S)
        if "attached" not in (said := hold.stderr.readline() if ready else "it says nothing"):
            os.kill(pid, signal.SIGKILL)
            hold.kill()
            hold.communicate(timeout=END_S)
            pytest.skip(f"optional: no process may be traced here: {said.strip()}")
        return hold


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: install the system's package strace")
    made = Bench(tmp_path_factory.mktemp("syscalls"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def points(bench: Bench) -> list[Point]:
    """Every call of a commit that changes something in the data folder, in order."""
    bench.begin()
    status, told, trace = bench.run("commit", "-y")
    assert (status, told[-1]) == (0, ["settled"]), told
    found, counts, inside = list[Point](), Counter[str](), str(bench.data)
    for line in trace.splitlines():
        call = _LINE.search(line)
        if call is None:
            continue
        name, arguments = call.groups()
        counts[name] += 1
        if inside in arguments and (name != "openat" or "O_CREAT" in arguments):
            found.append(Point(name, counts[name]))
    assert {"fsync", "fdatasync", "pwrite64", "rename", "mkdir"} <= {point.call for point in found}
    return found


def check(bench: Bench, told: list[list[Any]]) -> None:
    """After a fault: what was told before it holds, whatever else is whole or not there."""
    assert not [one for one in told if one[0] == "defect"], told
    status, seen, _ = bench.run("restart")
    assert status == 0, seen
    found = {what: values for what, *values in seen}
    assert found["differences"] == [[]]
    [at, readings] = found["found"]
    assert (len(at), readings) in {(0, 0), (1, len(NEW_METERS))}, "neither all nor nothing"
    said = {what: values for what, *values in told}
    if "accepted" in said:
        assert at, "what was accepted is not in the log"
    if "committed" in said:
        assert at == said["committed"], "what was committed is elsewhere in the log"


def test_every_call_of_a_commit_fails_in_turn(bench: Bench, points: list[Point]) -> None:
    cases = [(point, fault) for point in points for fault in FAULTS]
    seen = Counter[str]()
    for point, fault in cases[::EVERY]:
        bench.begin()
        inject = f"inject={point.call}:{fault}:when={point.n}"
        status, told, trace = bench.run("commit", "-e", inject)
        killed = fault.startswith("signal")
        assert (status == -signal.SIGKILL) if killed else ("INJECTED" in trace), (point, fault)
        try:
            check(bench, told)
        except AssertionError as error:
            raise AssertionError(f"{point} {fault}: told {told}") from error
        seen["killed" if killed else "ended" if status else "went on"] += 1
        seen.update(f"{what}" for what, *_ in told if what in {"unavailable", "error"})
    print(f"{len(points)} calls, {len(cases[::EVERY])} faults: {dict(seen)}")


@pytest.mark.parametrize("seed", range(TWICE))
def test_the_restart_is_killed_too(bench: Bench, points: list[Point], seed: int) -> None:
    """A fault of the commit, and one or two of the restarts that should mend it."""
    chance = Random(seed)
    bench.begin()
    point, fault = chance.choice(points), chance.choice(FAULTS)
    _, told, _ = bench.run("commit", "-e", f"inject={point.call}:{fault}:when={point.n}")
    for _ in range(chance.choice((1, 2))):
        call = chance.choice(("pwrite64", "pwrite64", "fdatasync", "fsync", "rename", "unlink"))
        inject = f"inject={call}:{chance.choice(FAULTS)}:when={chance.randint(1, 12)}"
        with suppress(ValueError):  # killed while it wrote what it found
            bench.run("restart", "-e", inject)
    check(bench, told)
