"""A process that works for the platform: errors as what they were, and no end that is not seen."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bal.errors import Stop, Unavailable
from infra import child_process
from infra.child_process import ChildProcess
from tests.bounded import until

MODULE = "some_work"  # beside this file
BEGIN = [1, b"\0" * 3_000_000, ("a", None, 2.5), {"k": frozenset({"x"})}]
REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChildProcess]:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    with closing(ChildProcess(MODULE, BEGIN, "works")) as made:
        yield made


def runs(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_values_come_as_they_were_sent_and_errors_as_what_they_were(child: ChildProcess) -> None:
    assert child.pid is None
    child.ask("said", *BEGIN)
    pid = child.pid
    with pytest.raises(Unavailable, match="the server is away") as away:
        child.ask("away")
    assert away.value.retry_after_s == 7
    with pytest.raises(Stop) as stop:
        child.ask("stop")
    assert (stop.value.code, stop.value.text) == ("store-damaged", "a piece is damaged")
    with pytest.raises(RuntimeError, match="the process that works: KeyError: 'x'"):
        child.ask("defect", "x")
    child.ask("said", *BEGIN)
    assert child.pid == pid, "none of it ends the process"


def test_one_that_ends_is_started_again_but_not_at_once(
    child: ChildProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    child.ask("said", *BEGIN)
    pid = child.pid
    with pytest.raises(Unavailable, match=r"the process that works ended$"):
        child.ask("end")
    with pytest.raises(Unavailable, match="ended a moment ago") as caught:
        child.ask("said", *BEGIN)
    assert caught.value.retry_after_s >= 1
    monkeypatch.setattr(child_process, "AGAIN_S", 0.0)
    child.ask("said", *BEGIN)
    assert child.pid not in {None, pid}


def test_one_that_stands_still_is_ended(
    child: ChildProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    child.ask("said", *BEGIN)
    pid = child.pid
    assert pid is not None
    monkeypatch.setattr(child_process, "ANSWER_S", 0.5)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(Unavailable, match="ended"):
        child.ask("said", 1)
    until(lambda: not runs(pid), "it ends", 30)


def test_what_can_not_be_sent_is_no_reason_to_end(child: ChildProcess) -> None:
    child.ask("said", *BEGIN)
    pid = child.pid
    with pytest.raises(ValueError, match="unmarshallable"):
        child.ask("said", object())
    child.ask("said", *BEGIN)
    assert child.pid == pid


def test_it_ends_with_a_platform_that_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, Path(__file__).with_name("some_work.py")],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as platform:
        assert platform.stdout is not None
        pid = int(platform.stdout.readline())
        assert runs(pid)
        platform.kill()
    until(lambda: not runs(pid), "it ends", 30)
