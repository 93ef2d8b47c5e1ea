"""Compile the contracts and keep the committed artifacts true.

python -m contracts.build write     compile and write artifacts/NAME.json
python -m contracts.build check     compare digests of the sources with the artifacts; no compiler
python -m contracts.build compile   compile again and compare the artifacts byte for byte

`write` and `compile` need node and, once, `npm ci --ignore-scripts --prefix contracts`. Settings
leave no metadata in the code, so it depends on what the sources do and not on their comments.
"""

import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_utils.crypto import keccak

ROOT = Path(__file__).resolve().parent.parent
SOLC = ROOT / "contracts" / "solc.cjs"
IMPORT = re.compile(r'^import .*"(?P<path>[^"]+)";$', re.MULTILINE)

# Ganache runs no later fork than shanghai. Runs: heads are anchored for years, deployed once.
SETTINGS: dict[str, Any] = {
    "evmVersion": "shanghai",
    "metadata": {"appendCBOR": False, "bytecodeHash": "none"},
    "optimizer": {"enabled": True, "runs": 1_000_000},
}


@dataclass(frozen=True, slots=True)
class Target:
    """One contract that gets an artifact; paths are relative to the repository."""

    source: str
    name: str
    artifacts: str

    @property
    def artifact(self) -> Path:
        """Where its artifact is committed."""
        return ROOT / self.artifacts / f"{self.name}.json"


TARGETS = (
    Target("contracts/CheckpointAnchor.sol", "CheckpointAnchor", "contracts/artifacts"),
    # only a test deploys it: it reaches the library without a log around it
    Target("tests/unit/contracts/Rfc9162Harness.sol", "Rfc9162Harness", "tests/unit/contracts"),
)


class BuildError(Exception):
    """The sources cannot be compiled as they stand."""


def reached(source: str) -> list[str]:
    """`source` and all that it imports, relative to the repository, sorted."""
    found: set[str] = set()
    left = [source]
    while left:
        name = left.pop()
        if name in found:
            continue
        found.add(name)
        text = (ROOT / name).read_text(encoding="utf-8")
        for match in IMPORT.finditer(text):
            path = (ROOT / name).parent / match["path"]
            left.append(path.resolve().relative_to(ROOT).as_posix())
    return sorted(found)


def digests(sources: Iterable[str]) -> dict[str, str]:
    """keccak256 of each source, as Solidity's own metadata gives it."""
    return {name: "0x" + keccak((ROOT / name).read_bytes()).hex() for name in sources}


def compiled() -> dict[Target, str]:
    """The text of every artifact, freshly compiled.

    Raises BuildError where the compiler is not installed; py-solc-x's SolcError for its errors.
    """
    if not (ROOT / "contracts" / "node_modules" / "solc").is_dir():
        raise BuildError("no compiler: run `npm ci --ignore-scripts --prefix contracts`")
    import solcx  # noqa: PLC0415  a development tool; `check` runs without it

    names = sorted({name for target in TARGETS for name in reached(target.source)})
    wanted = ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "metadata"]
    task = {
        "language": "Solidity",
        "sources": {name: {"content": (ROOT / name).read_text("utf-8")} for name in names},
        "settings": {**SETTINGS, "outputSelection": {"*": {"*": wanted}}},
    }
    answer = solcx.compile_standard(task, solc_binary=SOLC)
    warnings = [error["formattedMessage"] for error in answer.get("errors", [])]
    if warnings:
        raise BuildError("\n".join(warnings))
    return {target: _artifact(target, answer) for target in TARGETS}


def _artifact(target: Target, answer: dict[str, Any]) -> str:
    output = answer["contracts"][target.source][target.name]
    metadata = json.loads(output["metadata"])
    sources = {name: about["keccak256"] for name, about in metadata["sources"].items()}
    if sources != digests(reached(target.source)):
        raise BuildError(f"{target.source}: the compiler saw other sources than stand on disk")
    artifact = {
        "name": target.name,
        "source": target.source,
        "compiler": metadata["compiler"]["version"],
        "settings": SETTINGS,
        "sources": sources,
        "abi": output["abi"],
        "bytecode": "0x" + output["evm"]["bytecode"]["object"],
        "deployedBytecode": "0x" + output["evm"]["deployedBytecode"]["object"],
    }
    return json.dumps(artifact, indent=1, sort_keys=True) + "\n"


def stale() -> list[str]:
    """What differs between the sources on disk and those the artifacts were made of."""
    found = []
    for target in TARGETS:
        if not target.artifact.is_file():
            found.append(f"{target.name}: no artifact")
            continue
        artifact = json.loads(target.artifact.read_text(encoding="utf-8"))
        now = digests(reached(target.source))
        then = artifact["sources"]
        names = sorted(now.keys() | then.keys())
        found += [f"{target.name}: {one} changed" for one in names if now.get(one) != then.get(one)]
        if artifact["settings"] != SETTINGS:
            found.append(f"{target.name}: compiler settings changed")
    return found


def differing() -> list[str]:
    """The committed artifacts that a fresh compilation does not give byte for byte."""
    return [
        f"{target.name}: differs from what the compiler gives"
        for target, text in compiled().items()
        if not target.artifact.is_file() or target.artifact.read_text(encoding="utf-8") != text
    ]


def main(arguments: list[str]) -> int:
    """Run one of write, check, compile; exit code 1 when something differs, 2 for wrong use."""
    if arguments not in (["write"], ["check"], ["compile"]):
        sys.stderr.write(f"{__doc__}")
        return 2
    try:
        if arguments == ["write"]:
            for target, text in compiled().items():
                target.artifact.parent.mkdir(parents=True, exist_ok=True)
                target.artifact.write_text(text, encoding="utf-8")
            return 0
        wrong = stale() if arguments == ["check"] else differing()
    except (BuildError, OSError) as error:
        wrong = [str(error)]
    sys.stderr.writelines(f"{line}\n" for line in wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
