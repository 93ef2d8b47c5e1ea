"""Each folder of a platform on a disk of its own, which fills under load and has room again.

First as the platform's watch sees it: it refuses at once, says so, and goes on by itself. Then to
the last byte, as if somebody else took it before the watch could look.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.faults.disks import Small, small
from tests.faults.load import Sender, check_receipts, check_stores
from tests.journey.conftest import Caller, Running, cim

PARTS = ("bus", "log", "scd", "archive", "vault", "chain")
ROUNDS = 5 if os.environ.get("GRIDSEAL_SOAK") == "1" else 1
MEBIBYTES, ALARM, STOP = 48, 8 << 20, 4 << 20
PATIENCE_S = 120

pytestmark = [
    pytest.mark.slow,
    # paho drops a socket unclosed where the platform ends in the middle of the TLS handshake
    pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket"),
]


@contextmanager
def platform(folder: Path, stop_bytes: int) -> Iterator[tuple[Running, dict[str, Small]]]:
    """A platform that runs, each part of its data on a disk of its own."""
    limits = f"disk_free_bytes = {max(ALARM, stop_bytes)}\ndisk_stop_bytes = {stop_bytes}\n"
    running = Running(folder, f"[anchor]\ninterval_s = 1\n[limits]\n{limits}")
    running.start()
    running.stop()
    with ExitStack() as mounted:
        disks = {}
        for part in PARTS:
            at = running.data / part
            before = at.rename(folder / part)
            disks[part] = mounted.enter_context(small(at, mebibytes=MEBIBYTES))
            shutil.copytree(before, at, dirs_exist_ok=True)
        running.start()
        try:
            yield running, disks
        finally:
            if running.process is not None:
                running.kill()


def until(holds: object, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def alarms(caller: Caller) -> tuple[str, str]:
    """What stands of the disk in the health document, and in the metrics."""
    health = caller.http.get("/healthz").json()["disk"]
    metrics = caller.http.get("/metrics").text.splitlines()
    (line, *_) = [*(one for one in metrics if one.startswith("gridseal_alarm{")), ""]
    return str(health).split(":")[0], line


def test_a_full_disk_is_told_refused_and_survived(tmp_path: Path) -> None:
    with platform(tmp_path, STOP) as (running, disks):
        caller = running.client("dso", "messages.write readings.read", "--all-devices")
        with Sender(running.enrol("meter-1"), "meter-1", running.mqtt_at) as sender:
            for number, part in enumerate(PARTS * ROUNDS):
                sender.more("certified", 5)
                disks[part].fill(leave=STOP // 2)
                until(lambda: alarms(caller)[0] == "disk-full", "no alarm")
                assert alarms(caller)[1] == 'gridseal_alarm{code="disk-full"} 1.0'
                end = f"2026-02-{1 + number % 28:02}T00:00:00Z"
                answer = caller.request(
                    "POST", "/v1/messages?format=cim", content=cim(("other", end, "1"))
                )
                assert answer.status_code == 503
                assert int(answer.headers["retry-after"]) > 0
                accepted = set(sender.accepted)
                until(lambda: accepted <= set(sender.certified), "accepted waits")  # noqa: B023
                disks[part].free()
                until(lambda: alarms(caller) == ("ok", ""), "the alarm stays")
                sender.more("certified", 5)
                assert running.process is not None
                assert running.process.poll() is None
                check_stores(running.data)
                assert check_receipts(running.data, list(sender.receipts)) > 10
            sender.finish()
        finish(running, sender)


def test_a_disk_full_to_the_last_byte_costs_nothing_that_has_a_receipt(tmp_path: Path) -> None:
    ended = []
    with platform(tmp_path, 1) as (running, disks):
        with Sender(running.enrol("meter-1"), "meter-1", running.mqtt_at) as sender:
            for part in PARTS * ROUNDS:
                sender.more("certified", 5)
                disks[part].fill()
                sent = len(sender.sent) + 100
                until(lambda: len(sender.sent) >= sent or gone(running), "neither")  # noqa: B023
                disks[part].free()
                until(lambda: goes_on(sender, sent) or gone(running), "neither")  # noqa: B023
                if gone(running):
                    ended.append((part, running.tail(1)))
                    running.kill()
                    running.start()
                sender.more("certified", 5)
                check_stores(running.data)
                assert check_receipts(running.data, list(sender.receipts)) > 10
            sender.finish()
        finish(running, sender)
    print(f"ended by themselves: {ended}")
    assert [
        one for one in ended if not ("store-unavailable: " in one[1] and "full" in one[1])
    ] == []


def goes_on(sender: Sender, sent: int) -> bool:
    """Whether a message behind the first `sent` is certified: no end is under way any more."""
    return any(message in sender.certified for message in list(sender.sent)[sent:])


def gone(running: Running) -> bool:
    assert running.process is not None
    return running.process.poll() is not None


def finish(running: Running, sender: Sender) -> None:
    assert running.stop() == 0
    check_receipts(running.data, sender.receipts)
    running.check()
