"""The Solidity contracts, and their compiled form as it stands in the repository.

Running needs no compiler: ABI and bytecode are committed, `python -m contracts.build` makes them.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ARTIFACTS = Path(__file__).parent / "artifacts"


@dataclass(frozen=True, slots=True)
class Artifact:
    """One compiled contract."""

    name: str
    abi: list[dict[str, Any]]  # Solidity's JSON ABI
    bytecode: str  # 0x…, creation code without constructor arguments
    deployed_bytecode: str  # 0x…, what eth_getCode answers for it


@cache
def load(name: str, folder: Path = ARTIFACTS) -> Artifact:
    """The committed artifact of one contract; FileNotFoundError where there is none."""
    found = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return Artifact(found["name"], found["abi"], found["bytecode"], found["deployedBytecode"])
