"""`make fuzz`: every target, or those named, each in a child process; a table at the end."""

import argparse
import json
import os
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from tests.fuzz import corpus
from tests.fuzz.judge import HEAD, ROOT
from tests.fuzz.targets import TARGETS

HANG_S = 90  # without another input the child is ended, and the input it is at is a defect


@dataclass(slots=True)
class Outcome:
    """What became of one target."""

    target: str
    inputs: int = 0
    seconds: float = 0
    slowest_us: int = 0
    grown_kib: int = 0
    defects: list[str] = field(default_factory=list)

    def line(self) -> str:
        """A row of the table."""
        rate = self.inputs / self.seconds if self.seconds else 0
        return (
            f"{self.target:<14} {self.inputs:>9} {rate:>9.0f} {self.slowest_us / 1000:>10.1f}"
            f" {self.grown_kib / 1024:>10.0f} {len(self.defects):>8}"
        )


HEADER = (
    f"{'target':<14} {'inputs':>9} {'inputs/s':>9} {'slowest ms':>10} {'memory MiB':>10} defects"
)


def fuzz(target: str, folder: Path, *arguments: str, is_told: bool = False) -> Outcome:
    """Run one target until its child ends. arguments: those of tests.fuzz.child."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("state", "defects.jsonl"):
        (folder / name).unlink(missing_ok=True)
    found, begin = Outcome(target), time.monotonic()
    moved, told = begin, begin
    command = child_command(target, folder, *arguments)
    with (folder / "output").open("wb") as output:
        child = subprocess.Popen(command, stdout=output, stderr=output, cwd=ROOT)
        try:
            while child.poll() is None:
                time.sleep(0.05)
                count, now = _state(folder)[0], time.monotonic()
                if count != found.inputs:
                    found.inputs, moved = count, now
                if now - moved > HANG_S:
                    child.kill()
                if is_told and now - told > 10:
                    told = now
                    sys.stderr.write(f"{target}: {count} inputs in {now - begin:.0f} s\n")
        finally:
            child.kill()
            child.wait()
    found.seconds = time.monotonic() - begin
    found.inputs, found.slowest_us, found.grown_kib, size = _state(folder)
    lines = folder / "defects.jsonl"
    if lines.exists():
        found.defects = [_sentence(line) for line in lines.read_text().splitlines()]
    if child.returncode:
        data = (folder / "state").read_bytes()[HEAD.size :][:size] if size else b""
        kept = corpus.write(folder / "found", "", data)
        ending = (folder / "output").read_text(errors="replace")[-600:]
        found.defects.append(f"ended by {child.returncode} at {kept}: {ending}")
    return found


def child_command(target: str, folder: Path, *arguments: str) -> list[str]:
    """What runs one target."""
    return [sys.executable, "-m", "tests.fuzz.child", target, str(folder), *arguments]


def _sentence(line: str) -> str:
    told = json.loads(line)
    return f"{told['what']} at {told['where']}: {told['text']} ({told['input']})"


def _state(folder: Path) -> tuple[int, int, int, int]:
    try:
        with (folder / "state").open("rb") as file:
            count, slowest_us, grown_kib, size = HEAD.unpack(file.read(HEAD.size))
    except (OSError, struct.error):  # not yet written
        return 0, 0, 0, 0
    return count, slowest_us, grown_kib, size


def main() -> int:
    """Run what is asked for; 1 where there is a defect."""
    parser = argparse.ArgumentParser(prog="make fuzz")
    parser.add_argument("targets", nargs="*", help="all of them where none is named")
    parser.add_argument("--inputs", default="1000000", help="for each target")
    parser.add_argument("--seconds", default="0", help="for each target at most; 0: no limit")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--engine", choices=["atheris", "plain"])
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache" / "fuzz")
    given = parser.parse_args()
    engine = given.engine or ("atheris" if find_spec("atheris") else "plain")
    arguments = ("--inputs", given.inputs, "--seconds", given.seconds, "--seed", given.seed,
                 "--engine", engine)  # fmt: skip
    found = [
        fuzz(target, given.folder / target, *arguments, is_told=True)
        for target in given.targets or sorted(TARGETS)
    ]
    sys.stdout.write(f"engine {engine}, {os.cpu_count()} processors\n{HEADER}\n")
    for one in found:
        sys.stdout.write(f"{one.line()}\n")
    for one in found:
        for defect in one.defects:
            sys.stdout.write(f"{one.target}: {defect}\n")
    return int(any(one.defects for one in found))


if __name__ == "__main__":
    sys.exit(main())
