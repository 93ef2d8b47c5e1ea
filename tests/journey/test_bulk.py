"""Bulk messages on a core of their own: the same log, the same end, whatever becomes of the child.

What it makes of each message is tests/adapters/test_bulk_worker.py's.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infra.fsck import fsck
from infra.replay import replay
from tests.journey import conftest
from tests.journey.conftest import Caller, Running
from tests.journey.small_platform import Small, cim

METERS = range(400)  # a message of more than 64 KiB
WAIT_S = 20
STOP_WITHIN_S = 5


def begun(root: Path) -> tuple[Small, int]:
    """A platform whose process is ready, and its pid; the 400 meters are known."""
    small = Small(root, bulk_processes=1)
    small.start()
    small.enrol("headend")
    small.take("headend", cim(0, METERS))
    small.take("headend", cim(1, METERS))
    numbers = iter(range(2, 96))
    deadline = time.monotonic() + WAIT_S
    while not small.engine._bulk.answered:
        assert time.monotonic() < deadline
        small.take("headend", cim(next(numbers), METERS))
    [helper] = small.engine._bulk._helpers
    return small, helper.process.pid


def check(root: Path) -> None:
    """All that was made by the process is made again without one, and compared."""
    for audit in (fsck(root), replay(root)):
        assert audit.differences == []
        assert audit.unchecked == {}


def mixed(first: int) -> list[bytes]:
    """Bulk messages, some twice, with small ones between them."""
    raws = []
    for number in range(first, first + 12):
        raws += [cim(number, METERS), cim(number, [number])]
        if number % 3 == 0:
            raws.append(cim(number, METERS))
    return raws


def test_the_log_has_the_order_of_the_bus(tmp_path: Path) -> None:
    small, _ = begun(tmp_path)
    before, answered = len(small.certified), small.engine._bulk.answered
    raws = mixed(100)
    small.put("headend", *raws)
    small.wait(before + len(raws))
    batches = [str(one.summary["batch"]) for one in small.certified[before:]]
    offsets = [int(batch.rsplit("/", 1)[1]) for batch in batches]
    firsts = [offset for n, offset in enumerate(offsets) if offset not in offsets[:n]]
    assert firsts == sorted(firsts)
    assert len(firsts) == 24  # the others are retries
    assert small.engine._bulk.answered >= answered + 8
    small.close()
    check(tmp_path)


def test_a_child_that_is_killed_costs_nothing(tmp_path: Path) -> None:
    small, pid = begun(tmp_path)
    before, raws = len(small.certified), mixed(100)
    small.put("headend", *raws[:10])
    os.kill(pid, signal.SIGKILL)
    small.put("headend", *raws[10:])
    small.wait(before + len(raws))
    assert small.stopped == []
    small.close()
    assert not alive(pid)
    check(tmp_path)


def test_a_platform_that_ends_leaves_no_child(running: Running) -> None:
    """By SIGTERM within five seconds, with work under way; and by SIGKILL."""
    caller = running.client("dso", "messages.write", "--all-devices")
    child = bulk_child(running, caller, 0)
    for number in range(20, 24):
        post(caller, number, wait=False)
    began = time.monotonic()
    assert running.stop() == 0
    assert time.monotonic() - began < STOP_WITHIN_S
    assert not alive(child)
    running.start()
    child = bulk_child(running, caller, 40)
    running.kill()
    wait_for(lambda: not alive(child))
    running.start()
    assert running.stop() == 0
    running.check()


def bulk_child(running: Running, caller: Caller, first: int) -> int:
    """The process's pid; it is started by the first bulk message."""
    assert running.process is not None
    pid = running.process.pid
    assert children(pid) == []
    post(caller, first)
    [child] = children(pid)
    post(caller, first + 1)
    post(caller, first + 2)
    assert children(pid) == [child]
    return child


def post(caller: Caller, number: int, *, wait: bool = True) -> Any:
    end = f"2026-01-{1 + number // 24:02d}T{number % 24:02d}:00:00Z"
    raw = conftest.cim(*((f"meter-{meter:04d}", end, "1.5") for meter in METERS))
    answer = caller.request("POST", "/v1/messages?format=cim", content=raw)
    assert answer.status_code in {200, 202}, answer.text
    if wait:
        assert answer.status_code == 200


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return sorted(int(child) for task in tasks for child in task.read_text().split())


def alive(pid: int) -> bool:
    """Neither gone nor a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)
