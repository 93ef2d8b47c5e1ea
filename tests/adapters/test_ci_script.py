"""CI says which command failed, waits for none that hangs, and names what was left running."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "ci.py"
QUICK = "import sys, runpy; sys.argv = sys.argv[1:]; m = runpy.run_path(sys.argv[0]);"
QUICK += " m['main'].__globals__.update(LEFT_GRACE_S=1); sys.exit(m['main'](sys.argv[1:]))"


def ci(*commands: str, limit_s: float = 60) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", QUICK, str(SCRIPT), *commands],
        env=os.environ | {"GRIDSEAL_CI_LIMIT_S": str(limit_s)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


def test_all_passed() -> None:
    code, said = ci("echo one", "echo two")
    assert code == 0
    assert re.findall(r"^(one|two|=== all passed)$", said, re.M) == ["one", "two", "=== all passed"]


def test_the_first_that_fails_ends_the_run_with_its_last_words() -> None:
    code, said = ci("sh -c 'echo because; exit 3'", "echo never")
    assert code == 1
    assert "FAILED after 0 s: exit code 3. Its last lines:\nbecause" in said
    assert "never" not in said


def test_one_that_hangs_is_interrupted() -> None:
    code, said = ci("sh -c 'echo begun; sleep 50'", limit_s=1)
    assert code == 1
    assert "not ended within 1 s of all. Its last lines:\nbegun" in said


def test_an_interrupted_one_has_its_last_words_though_we_were_started_in_the_background() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        code, said = ci(
            f"{sys.executable} -c 'import time\ntry: time.sleep(50)\nfinally: print(\"so far\")'",
            limit_s=2,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert code == 1
    assert "so far" in said


def test_what_leaves_its_session_is_found_named_and_ended() -> None:
    code, said = ci("sh -c 'setsid sleep 47.11 & echo done'")
    assert code == 0
    found = re.search(r"left running, ended now: (\d+) sleep 47\.11", said)
    assert found is not None
    assert not Path(f"/proc/{found[1]}").exists()
