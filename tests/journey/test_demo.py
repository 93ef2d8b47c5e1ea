"""`make demo` as CI runs it: to the end, by itself, and in sentences when something is wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from field.simbench import WHEEL
from tests.conftest import REPOSITORY

TIMEOUT_S = 170


def demo(data: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"ONCE": "1", "DATA": str(data), "COLUMNS": "200", "NO_COLOR": "1"}
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
    first = demo(data)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "80 readings in all" in first.stdout
    assert first.stdout.count("all that was asked holds") == 1
    assert first.stdout.count("a proof fails") == 1
    assert "All of it held" in first.stdout
    assert "Open Database License" in first.stdout
    assert "Traceback" not in first.stdout + first.stderr
    again = demo(data)  # the head-end sends the same hour again: a retry, not new readings
    assert again.returncode == 0, again.stdout + again.stderr


def test_a_folder_that_is_no_data_folder_is_said_in_a_sentence(tmp_path: Path) -> None:
    blocked = tmp_path / "data"
    blocked.write_text("a file")
    done = demo(blocked)
    assert done.returncode == 1
    assert "demo: the platform did not start" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
