"""From a PMU that answers by TCP over `gridseal pdc` to a proved frame; and from a capture."""

import asyncio
import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bal.c37118.config import Config
from bal.c37118.frame import CFG_3
from tests.c37118_streams import config, messages, pmu
from tests.journey.conftest import REPOSITORY, Caller, Running
from tests.pmu_server import PmuServer, frames_of

WAIT_S = 60.0
CONFIG = config(pmu(7, station="North"), pmu(8, 0, station="South"), kind=CFG_3)


@pytest.fixture(scope="module")
def caller(platform: Running) -> Caller:
    return platform.client("operator", "messages.write readings.read", "--all-devices")


@pytest.fixture(scope="module")
def files(platform: Running) -> Path:
    return platform.enrol("pdc-1", "--subjects", "any")


@contextmanager
def serving(of: Config, frames: list[bytes]) -> Iterator[str]:
    """A PMU on a loop of its own; its URL."""
    begun: queue.Queue[tuple[asyncio.AbstractEventLoop, asyncio.Event, str]] = queue.Queue()

    async def serve() -> None:
        end = asyncio.Event()
        async with PmuServer(of, frames=frames, pause_s=0.004).by_tcp() as url:
            begun.put((asyncio.get_running_loop(), end, url))
            await end.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    loop, end, url = begun.get(timeout=10)
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(10)


def test_a_stream_over_tcp_ends_as_proved_frames(
    platform: Running, caller: Caller, files: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "infra.cli", "pdc", "--idcode", "60", "--config", "3"]
    with serving(CONFIG, frames_of(CONFIG, 0, 130)) as url:
        process = subprocess.Popen(
            [*command, "--source", url, "--files", str(files)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY,
        )  # fmt: skip
        deadline = time.monotonic() + WAIT_S
        items = []
        while len(items) < 6:  # of two PMUs; the last second's by a flush
            assert time.monotonic() < deadline, platform.tail()
            time.sleep(0.2)
            items = caller.readings(kind="phasors")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert out.startswith("130 frames in "), out
    assert "damaged: none; refused: 0; without a receipt: 0" in out
    records = [item["record"] for item in items]
    assert sorted(one["frames"] for one in records) == ["30", "30", "50", "50", "50", "50"]
    assert {tuple(one["quality"]) for one in records} == {("1.0.0",)}
    assert len({one["device"] for one in records}) == 2
    for item in items:
        kinds = {(one["measurand"], one["phase"]) for one in item["record"]["observes"]}
        assert ("voltmagnitude", "A") in kinds
        assert ("rocof", "none") in kinds
    index = items[0]["index"]
    frames = caller.get(f"/v1/phasors/{index}/frames")
    assert frames[0]["stat"] == "0000"
    receipt = caller.request("GET", f"/v1/receipts/{index}", params={"frame": "7"})
    file, policy = tmp_path / "frame.tlog-proof", tmp_path / "policy"
    file.write_text(receipt.text)
    policy.write_text(platform.cli("policy", "--data", platform.data))
    told = platform.cli(
        "verify", file, "--policy", policy, "--ca", platform.ready["ca"], "--json", code=None
    )
    assert json.loads(told)["verdicts"]["authentic"]["code"] == "authentic"


def test_by_rest_one_bad_frame_costs_no_other(caller: Caller) -> None:
    of = config(pmu(9, station="West"), idcode=9)
    [raw] = messages(of, 0, 3)
    answer = caller.request("POST", "/v1/messages?format=c37118", content=raw[:-1] + b"\0")
    assert answer.status_code in {200, 202}, answer.text
    assert "checksum-wrong" in answer.text
    answer = caller.request("POST", "/v1/messages?format=c37118", content=b"{}")
    assert answer.status_code == 422
    assert "sync-lost" in answer.text


def test_a_capture_is_told_and_replayed(
    platform: Running, caller: Caller, files: Path, shared_data: Path
) -> None:
    file = shared_data / "captures" / "c37118" / "C37.118_1PMU_UDP.pcap"
    told = platform.cli("replay-capture", file)
    assert "station PMU1, IDCODE 61, 50 Hz" in told
    assert "lost 0 frames" in told
    told = platform.cli("replay-capture", file, "--files", files)
    assert "sent 8 messages: 8 certified, 0 unanswered" in told
    day = {"from": "2008-08-01T00:00:00Z", "to": "2008-08-02T00:00:00Z"}
    found = caller.readings(kind="phasors", **day)
    assert [one["record"]["frames"] for one in found][:6] == ["21", "50", "50", "50", "50", "50"]
    assert platform.refused("replay-capture", __file__).startswith("gridseal: capture-malformed")


def test_replay_makes_the_same_entries(platform: Running) -> None:
    platform.check()
