"""`gridseal simulate` as its user meets it: enrolment, a day on a real platform, wrong use."""

import asyncio
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bal.errors import GridsealError, Rejected
from field.simbench import WHEEL
from infra.demo_platform import Platform
from infra.simulate import finish
from tests.conftest import REPOSITORY

TIMEOUT_S = 120


def simulate(files: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    common = ["--grid", "LV1.101", "--files", str(files), "--cache", str(REPOSITORY / ".cache")]
    return subprocess.run(
        [sys.executable, "-m", "infra.cli", "simulate", *common, *arguments],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.fixture(autouse=True)
def _wheel() -> None:
    if not (REPOSITORY / ".cache" / WHEEL).exists():
        pytest.skip("optional: SimBench's wheel is not in .cache; `make demo` fetches it")


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    running = Platform(tmp_path / "data", tmp_path / "log", None)
    running.start()
    yield running
    running.stop()


@pytest.mark.slow
def test_a_platform_is_loaded_and_what_it_refuses_is_told(
    platform: Platform, tmp_path: Path
) -> None:
    files = tmp_path / "files"
    enrolled = simulate(files, "--no-pmu", "--enrol", str(platform.data), "--days", "0")
    assert enrolled.returncode == 0, enrolled.stderr
    assert "8 senders enrolled, 8 in" in enrolled.stderr
    again = simulate(files, "--no-pmu", "--enrol", str(platform.data), "--days", "0")
    assert "0 senders enrolled, 8 in" in again.stderr
    day = ("--no-pmu", "--date", "2026-01-15", "--to", platform.facts["mqtt"])
    played = simulate(files, *day, "--window", "16")
    assert played.returncode == 0, played.stdout + played.stderr
    for code in ("value-not-decimal", "subject-not-allowed"):
        assert code in played.stdout
    assert "wrong on purpose on 2026-01-15" in played.stdout
    assert "Traceback" not in played.stdout + played.stderr
    whole = simulate(files, *day, "--no-faults", "--seed", "7")
    assert whole.returncode == 0
    assert "refused" not in whole.stdout.splitlines()[-1]
    assert "wrong on purpose" not in whole.stdout


@pytest.mark.parametrize(
    ("raised", "sentence"),
    [
        (sqlite3.OperationalError("database or disk is full"), "senders first.*disk is full"),
        (Rejected("sender-revoked", "the sender was revoked"), "was revoked"),
    ],
)
def test_what_ends_a_play_is_a_sentence(raised: Exception, sentence: str) -> None:
    async def playing() -> None:
        async with asyncio.TaskGroup() as all_senders:
            all_senders.create_task(one_sender())

    async def one_sender() -> None:
        async with asyncio.TaskGroup() as messages:
            messages.create_task(one_message())

    async def one_message() -> None:
        raise raised

    with pytest.raises(GridsealError, match=sentence):
        finish(playing(), Path("senders"))


def test_the_commands_that_enrol_elsewhere(tmp_path: Path) -> None:
    files = tmp_path / "files"
    done = simulate(files, "--commands", "--group", "feeder-1")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 9
    assert all(
        re.match(r"gridseal device enrol \S+ --subjects \S+ --group feeder-1", x) for x in lines
    )
    assert "--subjects any" in lines[0]
    assert "--bulk" in lines[0]
    listed = (files / "gateway-lv1-101.csv").read_text().splitlines()
    assert listed[0] == "identity,group,zone,kind"
    assert len(listed) == 7


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "client.json is missing: enrol headend-lv1-101"),
        (("--speed", "fast"), "a speed is max or a number above 0"),
        (("--days", "-1"), "--days is 1 to 366"),
        (("--days", "0"), "--days is 1 to 366"),
        (("--window", "0"), "--window 1 to 1000"),
        (("--date", "tomorrow"), "is not YYYY-MM-DD"),
        (("--grid", "LV9"), "no loads in a grid LV9"),
        (("--enrol", "nowhere", "--days", "0"), "no data folder"),
    ],
)
def test_wrong_use_is_a_sentence(tmp_path: Path, arguments: tuple[str, ...], sentence: str) -> None:
    done = simulate(tmp_path / "files", *arguments)
    assert done.returncode in (1, 3)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
