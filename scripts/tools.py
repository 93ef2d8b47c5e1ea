"""Fetches what some tests need beside Python, once; a test without it is skipped and says so.

Node packages come from the locks with their hashes, scripts switched off; Go's module as go.sum has
it; the SimBench wheel is checked against the hash in field/simbench.py; what the real servers run
on against infra/servers/jars.lock.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
NODE_FOLDERS = ("contracts", "tests/adapters/clients")
GO_FOLDER = "tests/adapters/clients/tlog_go"


def main() -> int:
    """0 always: what is missing is the tests' to say."""
    npm = shutil.which("npm")
    for name in NODE_FOLDERS:
        folder = REPOSITORY / name
        stamp, lock = folder / "node_modules" / ".locked", folder / "package-lock.json"
        if stamp.is_file() and stamp.read_bytes() == lock.read_bytes():
            continue
        if npm is None:
            say(f"npm is not installed: tests that need {name}'s packages will be skipped")
            continue
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        if subprocess.run(command, cwd=folder, check=False).returncode:
            say(f"npm ci failed in {name}: tests that need its packages will be skipped")
            continue
        stamp.write_bytes(lock.read_bytes())
    go = shutil.which("go")
    if go is None:
        say("go is not installed: the test of its transparency log code will be skipped")
    else:
        settings = os.environ | {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"}
        command = [go, "mod", "download"]
        done = subprocess.run(command, cwd=REPOSITORY / GO_FOLDER, env=settings, check=False)
        if done.returncode:
            say(f"go mod download failed in {GO_FOLDER}: its test will be skipped")
    fetch = "from pathlib import Path; from field import simbench;"
    fetch += " simbench.fetch_wheel(Path('.cache'))"
    if subprocess.run([sys.executable, "-c", fetch], cwd=REPOSITORY, check=False).returncode:
        say("the SimBench wheel can't be had: tests that read it will be skipped")
    fetch = (
        "from pathlib import Path; from infra.servers import stack; stack.fetch_all(Path('.cache'))"
    )
    if subprocess.run([sys.executable, "-c", fetch], cwd=REPOSITORY, check=False).returncode:
        say("not all servers can be had: tests that need the others will be skipped")
    return 0


def say(text: str) -> None:
    """One line on standard error."""
    sys.stderr.write(f"tools: {text}\n")


if __name__ == "__main__":
    sys.exit(main())
