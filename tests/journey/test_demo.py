"""`make demo` as CI runs it: to the end, by itself, and in sentences when something is wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from field.simbench import WHEEL
from tests.conftest import REPOSITORY

TIMEOUT_S = 170
SMALL = {"GRID": "LV1.101", "DATE": "2026-11-20"}  # 14 meters, 12 PV and storage units


def demo(data: Path, **wishes: str) -> subprocess.CompletedProcess[str]:
    fast = {"ONCE": "1", "PMU_SPEED": "max", "COLUMNS": "200", "NO_COLOR": "1"}
    environment = os.environ | fast | {"DATA": str(data), **wishes}
    return subprocess.run(
        [sys.executable, "-m", "infra.demo"],
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.fixture(scope="module", autouse=True)
def _wheel() -> None:
    if not (REPOSITORY / ".cache" / WHEEL).exists():
        pytest.skip("optional: SimBench's wheel is not in .cache; `make demo` fetches it")


@pytest.mark.slow
def test_the_story_holds_and_may_be_told_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    first = demo(data, **SMALL)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "2,502 readings in" in first.stdout
    for code in ("value-not-decimal", "subject-not-allowed"):  # what is wrong on purpose
        assert code in first.stdout
    assert "96 of 96" in first.stdout
    assert "88 of 96" in first.stdout  # two hours are missing
    assert "version 2 of that day" in first.stdout
    assert "all PV units trip" in first.stdout
    assert "60 windows of one second hold 2,997" in first.stdout
    assert "of one frame alone" in first.stdout
    assert "8 of 96 slots are missing" in first.stdout  # the verifier's own words
    assert "10 of 10 attacks" in first.stdout
    assert first.stdout.count("all that was asked holds") == 1
    assert first.stdout.count("a proof fails") == 1
    for word in ("Proved:", "Missing:", "Refused:", "Caught:", "Anchor:", "gas"):
        assert word in first.stdout
    assert "All of it held" in first.stdout
    assert "Open Database License" in first.stdout
    assert "Traceback" not in first.stdout + first.stderr
    again = demo(data, **SMALL)  # everybody sends the same day again: retries, not new readings
    assert again.returncode == 0, again.stdout + again.stderr
    assert "came in an earlier run" in again.stdout


@pytest.mark.parametrize(
    ("wishes", "sentence"),
    [
        ({"DAYS": "many"}, "DAYS is a whole number"),
        ({"DAYS": "400"}, "DAYS is 1 to 31"),
        ({"DATE": "yesterday"}, "DATE is YYYY-MM-DD"),
        ({"SPEED": "0"}, "a speed is max or a number above 0"),
        ({"GRID": "LV9"}, "no loads in a grid LV9"),
    ],
)
def test_wishes_that_can_not_be_met(tmp_path: Path, wishes: dict[str, str], sentence: str) -> None:
    done = demo(tmp_path / "data", **wishes)
    assert done.returncode == 1
    assert sentence in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_folder_that_is_no_data_folder_is_said_in_a_sentence(tmp_path: Path) -> None:
    blocked = tmp_path / "data"
    blocked.write_text("a file")
    done = demo(blocked)
    assert done.returncode == 1
    assert "demo: the platform did not start" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
