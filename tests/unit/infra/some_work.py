"""What a child process does in test_child_process.py."""

import os
import sys
from typing import Any

from bal.errors import Stop, Unavailable
from infra.child_process import ChildProcess, Work


def made(begin: Any) -> Work:
    def work(what: str, *values: Any) -> None:
        if what == "away":
            raise Unavailable("the server is away", retry_after_s=7)
        if what == "stop":
            raise Stop("store-damaged", "a piece is damaged")
        if what == "defect":
            raise KeyError(values[0])
        if what == "end":
            os._exit(3)
        assert (what, begin) == ("said", list(values)), "plain values come as they were sent"
        sys.stdout.write("not between the frames\n")

    return work


if __name__ == "__main__":  # a platform that is killed
    child = ChildProcess("some_work", [1], "works")
    child.ask("said", 1)
    sys.stdout.write(f"{child.pid}\n")
    sys.stdout.flush()
    sys.stdin.read()
