"""`python -m tests.faults.reboot FILE COMMAND…`: COMMAND in a machine that was started again.

The kernel's boot id is what stands in FILE, to this process and what it starts: a mount over it in
a name space of their own. So a test that cuts the power has not to know who looks at it.
"""

import ctypes
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.bounded import END_S

BOOT_ID = "/proc/sys/kernel/random/boot_id"
REPOSITORY = Path(__file__).resolve().parents[2]
_CLONE_NEWNS, _MS_BIND, _MS_REC, _MS_PRIVATE = 0x20000, 4096, 16384, 1 << 18


class Boots:
    """Which start of the machine this is: `prefix` comes before what runs in it."""

    def __init__(self, file: Path) -> None:
        """Skips the test, aloud, where no name space of mounts can be had."""
        self._file = file
        self.again()
        self.prefix = [sys.executable, "-m", "tests.faults.reboot", str(file)]
        done = subprocess.run(
            [*self.prefix, sys.executable, "-c", f"print(open({BOOT_ID!r}).read().strip())"],
            capture_output=True, text=True, timeout=END_S, check=False, cwd=REPOSITORY,
        )  # fmt: skip
        if done.stdout != file.read_text():
            pytest.skip(f"optional: no other boot id can be mounted here: {done.stderr.strip()}")

    def again(self) -> None:
        """The machine is started again; nothing of the last start runs any more."""
        self._file.write_text(f"{uuid.uuid4()}\n")


def mount_over(source: str, target: str) -> None:
    """To this process and its children, `target` is `source` from now on. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)

    def call(name: str, *arguments: object) -> None:
        if getattr(libc, name)(*arguments):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), name)

    call("unshare", _CLONE_NEWNS)
    call("mount", b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None)
    call("mount", source.encode(), target.encode(), None, ctypes.c_ulong(_MS_BIND), None)


def main() -> None:
    try:
        mount_over(sys.argv[1], BOOT_ID)
    except OSError as error:
        sys.exit(str(error))
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
