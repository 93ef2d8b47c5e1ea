"""The committed artifacts are what the sources say."""

import json
import shutil
from pathlib import Path

import pytest

from contracts import build, load

HAS_COMPILER = shutil.which("node") and (build.ROOT / "contracts/node_modules/solc").is_dir()


def test_artifacts_were_made_of_the_sources_on_disk() -> None:
    assert build.stale() == []


def test_a_changed_source_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for target in build.TARGETS:
        for name in build.reached(target.source):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(build.ROOT / name, tmp_path / name)
        copy = tmp_path / target.artifacts / f"{target.name}.json"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(target.artifact, copy)
    monkeypatch.setattr(build, "ROOT", tmp_path)
    assert build.stale() == []
    with (tmp_path / "contracts/Rfc9162.sol").open("a") as source:
        source.write("// a comment\n")
    assert build.stale() == [
        "CheckpointAnchor: contracts/Rfc9162.sol changed",
        "Rfc9162Harness: contracts/Rfc9162.sol changed",
    ]
    assert build.main(["check"]) == 1


@pytest.mark.skipif(
    not HAS_COMPILER, reason="no node or no `npm ci --ignore-scripts --prefix contracts` yet"
)
def test_the_compiler_gives_the_artifacts_byte_for_byte() -> None:
    assert build.differing() == []


def test_without_a_compiler_the_way_to_get_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build, "ROOT", tmp_path)
    assert build.main(["compile"]) == 1
    assert "npm ci" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["all"], ["write", "check"]])
def test_wrong_use(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main(arguments) == 2
    assert "python -m contracts.build check" in capsys.readouterr().err


def test_the_outside_of_the_contract_is_as_published() -> None:
    abi = load("CheckpointAnchor").abi
    functions = {
        one["name"] + "(" + ",".join(given["type"] for given in one["inputs"]) + ")"
        for one in abi
        if one["type"] == "function"
    }
    assert functions >= {
        "open(bytes32,address,address,uint64)",
        "anchor(bytes32,uint64,bytes32,bytes32[])",
        "retire(bytes32,uint64)",
        "close(bytes32,uint64,uint64,bytes32)",
        "closeAt(bytes32,uint64)",
        "closes(bytes32)",
        "latest(bytes32)",
        "rootAt(bytes32,uint64)",
        "verifyInclusion(bytes32,uint64,uint64,bytes,bytes32[])",
    }
    errors = {one["name"] for one in abi if one["type"] == "error"}
    assert errors >= {"UnknownLog", "NotAnchorer", "SizeNotGreater", "NotConsistent", "Retired"}
    assert errors >= {"NotNextClose", "PrefixLower", "NoBook"}


def test_no_lock_names_a_registry() -> None:
    text = (build.ROOT / "contracts/package-lock.json").read_text()
    assert "resolved" not in text
    packages = json.loads(text)["packages"]
    assert packages["node_modules/solc"]["version"] == "0.8.37"
    assert all("integrity" in about for name, about in packages.items() if name)
