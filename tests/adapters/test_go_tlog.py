"""Go's golang.org/x/mod/sumdb/tlog and note read a log's folder, its proofs and its checkpoints."""

import json
import os
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bal.certify.log import Batch, Sequencer
from bal.certify.tiles import TileNodes
from bal.certify.tree import consistency_path, inclusion_path
from infra.file_log import FileLog
from infra.key_signer import CheckpointSigner

SOURCE = Path(__file__).parent / "clients" / "tlog_go"
ORIGIN = "gridseal.invalid/0123456789abcdef"
# The toolchain that is there, the module as go.sum has it; `make tools` downloads it.
ENVIRONMENT = {
    "GOTOOLCHAIN": "local",
    "GOFLAGS": "-mod=readonly",
    "GOPROXY": "off",
    "GOWORK": "off",
}
FIRST, SECOND = 300, 66_000  # tiles of three levels
PART = 8_192


class Still:
    def now_us(self) -> int:
        return 1_700_000_000_000_000


@pytest.fixture(scope="module")
def command(tmp_path_factory) -> Path:
    go = shutil.which("go")
    if go is None:
        pytest.skip("go is not installed")
    found = tmp_path_factory.mktemp("go") / "tlog"
    done = subprocess.run(
        [go, "build", "-buildvcs=false", "-o", str(found), "."],
        cwd=SOURCE,
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode and "GOPROXY=off" in done.stderr:
        pytest.skip("Go's module is not there: `make tools` downloads it")
    assert done.returncode == 0, done.stderr
    return found


@dataclass(frozen=True)
class Log:
    folder: Path
    request: dict[str, Any]


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Log:
    """66,000 entries in a real log's files, with checkpoints at two sizes."""
    folder = tmp_path_factory.mktemp("log")
    store = FileLog(folder / "log", Still())
    signer = CheckpointSigner(ORIGIN, b"s" * 32, folder / "signed")
    sequencer = Sequencer(store, store, signer, ORIGIN)
    entries = [n.to_bytes(32, "big") for n in range(SECOND)]
    entries[1] = b'{"text":"a public record, in clear, of some length"}'
    checkpoints = []
    for part, (start, stop) in enumerate(parts()):
        found = entries[start:stop]
        sequencer.commit([Batch("e" * 16, 0, part, part - 1, found, {"rules": "r"})])
        if stop in {FIRST, SECOND}:
            checkpoints.append(sequencer.publish()[1].decode())
    node = TileNodes(store).at(SECOND)
    older, newer = checkpoints
    asked = [0, 1, 255, 256, 299, 300, 65_535, 65_536, SECOND - 1]
    request = {
        "vkey": signer.vkey,
        "tiles": str(folder / "log"),
        "older": older,
        "newer": newer,
        "entries": [
            {"index": n, "entry": text(entries[n]), "path": texts(inclusion_path(n, SECOND, node))}
            for n in asked
        ],
        "consistency": texts(consistency_path(FIRST, SECOND, node)),
    }
    store.close()
    return Log(folder / "log", request)


def parts() -> list[tuple[int, int]]:
    cuts = [0, FIRST, *range(PART, SECOND, PART), SECOND]
    return list(pairwise(cuts))


def text(data: bytes) -> str:
    return b64encode(data).decode()


def texts(hashes: Sequence[bytes]) -> list[str]:
    return [text(one) for one in hashes]


def run(command: Path, request: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    given = json.dumps(request)
    return subprocess.run(
        [str(command)], input=given, capture_output=True, text=True, check=False, timeout=60
    )


def test_go_reads_the_log(command, log) -> None:
    done = run(command, log.request)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"checkpoints {FIRST} {SECOND}", "entries 9", "consistency holds",
    ]  # fmt: skip


def test_go_refuses_what_does_not_hold(command, log) -> None:
    request = log.request
    first, *others = request["entries"]
    wrong: dict[str, Any]
    for wrong, said in (
        ({"newer": request["newer"].replace("66000", "66001")}, "checkpoint"),
        ({"entries": [first | {"index": 2}]}, "our inclusion path"),
        ({"entries": [first | {"entry": others[0]["entry"]}]}, "our inclusion path"),
        ({"consistency": request["consistency"][::-1]}, "our consistency proof"),
    ):
        done = run(command, request | wrong)
        assert done.returncode == 1
        assert said in done.stderr
