"""A share of `make fuzz` in every run: the seeds, what ever found a defect, 2,000 damaged inputs.

The same inputs everywhere, by seed; each target in a process of its own, as in the long form.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from bal.harmonise import FORMATS
from tests.fuzz import corpus, mutate
from tests.fuzz.__main__ import Outcome, fuzz
from tests.fuzz.judge import MEMORY_BYTES
from tests.fuzz.targets import TARGETS

INPUTS = 2_000
SLOW = {"cls-content": 200, "rdf-turtle": 400, "rdf-xml": 400, "sparql": 300}  # inputs of these


def run(target: str, folder: Path) -> Outcome:
    wanted = str(SLOW.get(target, INPUTS))
    return fuzz(target, folder, "--inputs", wanted, "--engine", "plain", "--seed", "1")


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_no_damaged_input_is_a_defect(target: str, tmp_path: Path) -> None:
    found = run(target, tmp_path)
    assert found.defects == []
    assert found.inputs >= SLOW.get(target, INPUTS)
    assert found.grown_kib * 1024 <= MEMORY_BYTES


def test_every_format_has_a_target_and_every_target_seeds() -> None:
    assert FORMATS.keys() <= TARGETS.keys()
    folders = {path.name for path in corpus.SEEDS.iterdir()}
    assert folders == TARGETS.keys()
    assert {path.name for path in corpus.FOUND.iterdir()} - {"README.md"} <= TARGETS.keys()


def test_the_seeds_are_small() -> None:
    sizes = [len(one) for target in TARGETS for one in corpus.read(corpus.SEEDS / target)]
    assert max(sizes) <= mutate.SIZE_MAX
    assert sum(sizes) < 300_000


def test_the_judge_finds_what_it_is_there_for(tmp_path: Path) -> None:
    """Errors, time and memory: each in a child, since the judge sets limits."""
    code = """
import sys
from pathlib import Path
from tests.fuzz.judge import Judge
def run(data):
    if data == b"raise":
        return {}["missing"]
    if data == b"loop":
        while True:
            try:
                pass
            except Exception:
                pass
    if data == b"memory":
        return bytearray(400 << 20)
judge = Judge(run, Path(sys.argv[1]))
judge.begin([b"good"])
judge.limit()
for data in (b"raise", b"loop", b"memory", b"good"):
    judge(data)
judge.close()
"""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    told = [line.split('"')[3] for line in done.stderr.splitlines()]
    assert told == ["KeyError", "TooSlow", "MemoryError"], done.stderr
    kept = {path.read_bytes() for path in (tmp_path / "found").iterdir()}
    assert kept == {b"raise", b"loop", b"memory"}


def test_the_input_that_kills_the_process_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.fuzz import __main__ as parent

    code = (
        "import os, sys; from pathlib import Path; from tests.fuzz.judge import Judge;"
        "Judge(lambda data: os.abort(), Path(sys.argv[1]))(b'bad')"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    monkeypatch.setattr(parent, "child_command", lambda *_: command)
    found = fuzz("accept", tmp_path)
    assert len(found.defects) == 1
    assert [path.read_bytes() for path in (tmp_path / "found").iterdir()] == [b"bad"]


def test_the_same_seed_gives_the_same_inputs() -> None:
    seeds = corpus.read(corpus.SEEDS / "cim")
    first, again = mutate.inputs(seeds, 1), mutate.inputs(seeds, 1)
    assert [next(first) for _ in range(50)] == [next(again) for _ in range(50)]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    several = (b"", b"<a>\n</a>", b"\r\n", bytes(range(256)), "é\u202e".encode())
    for number, data in enumerate(several):
        corpus.write(tmp_path / str(number), "", data)
        assert corpus.read(tmp_path / str(number)) == [data]
