"""What stops the tests' own children by a signal comes through wherever the signal hits them."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.bounded import line_of, told_to_end

REPOSITORY = Path(__file__).resolve().parents[3]
# Hardly ever outside of `wait`: a handler that calls `set` would hang most of these.
WAITING = """
import signal
from tests.stop_signal import stopped_by

stopping = stopped_by(signal.SIGTERM)
print("waits", flush=True)
while not stopping.wait(0):
    pass
print("ended")
"""


@contextmanager
def started(code: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-X", "faulthandler", "-c", code]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=REPOSITORY) as child:
        try:
            yield child
        finally:
            child.kill()


@pytest.mark.parametrize("number", range(5))
def test_a_signal_in_the_middle_of_a_wait_is_heard(number: int) -> None:
    with started(WAITING) as child:
        assert line_of(child, f"child {number}") == "waits"
        assert told_to_end(child, f"child {number}") == "ended\n"


def test_one_that_does_not_end_says_where_it_is() -> None:
    deaf = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    deaf += "print('waits', flush=True)\ndef asleep(): time.sleep(60)\nasleep()\n"
    words = r"not ended 0\.2 s after SIGTERM\n(?s:.*)in asleep"
    with started(deaf) as child:
        assert line_of(child, "the deaf") == "waits"
        with pytest.raises(AssertionError, match=words):
            told_to_end(child, "the deaf", within_s=0.2)
