"""What the contract costs: exact gas from receipts, committed as gas.json.

python -m contracts.gas write     measure and write gas.json
python -m contracts.gas check     measure and compare

Heads are measured by depth: at 2^depth leaves, in the dearest case (from 2^depth - 1 leaves, where
every sibling is on the left and is hashed into both roots) and in a usual one. Trees are made up
from the proof's end: only the hashes on the path exist, so 2^30 leaves cost nothing.
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from contracts import load
from infra.anchor_contract import AnchorContract, address_of
from infra.chain_embedded import EmbeddedChain

SNAPSHOT = Path(__file__).parent / "gas.json"
DEPTHS = (10, 16, 20, 24, 30, 40)
ADMIN = sha256(b"gridseal gas admin").digest()  # keys of nothing: the chain lives in a temporary
ANCHORER = sha256(b"gridseal gas anchorer").digest()  # folder, and gas depends on no key


def pair(first: int, second: int) -> tuple[bytes, bytes, list[bytes]]:
    """Roots at two sizes, 0 < first < second, and the RFC 9162 §2.1.4.2 proof between them.

    The verifier's walk with made-up siblings: whatever roots it ends at are consistent.
    """
    count = 0

    def sibling() -> bytes:
        nonlocal count
        count += 1
        return sha256(b"sibling %d of %d in %d" % (count, first, second)).digest()

    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    old = new = sibling()
    proof = [old] if fn else []
    while sn:
        other = sibling()
        proof.append(other)
        if fn & 1 or fn == sn:
            old = sha256(b"\x01" + other + old).digest()
            new = sha256(b"\x01" + other + new).digest()
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            new = sha256(b"\x01" + new + other).digest()
        fn, sn = fn >> 1, sn >> 1
    return old, new, proof


def measure() -> dict[str, object]:
    """The snapshot: gas of each transaction, gas and hashes a head by depth, code size in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        addresses = [address_of(ADMIN), address_of(ANCHORER)]
        chain = EmbeddedChain(Path(folder) / "chain.db", addresses)
        try:
            return _measured(chain)
        finally:
            chain.close()


def _measured(chain: EmbeddedChain) -> dict[str, object]:
    contract = AnchorContract.deploy(chain.web3(), ADMIN)
    deployment = chain.request("eth_getBlockByNumber", ["0x1"])
    usual = (1 << 20) - 12_345
    return {
        "rules": "Prague",
        "code_bytes": len(load("CheckpointAnchor").deployed_bytecode) // 2 - 1,
        "deploy": int(deployment["gasUsed"], 16),
        "open": contract.open(_log(0), address_of(ANCHORER), ADMIN).gas,
        "anchor_first": contract.send_anchor(_log(0), usual, _root(), [], ANCHORER).gas,
        "close": contract.send_close(_log(0), 1, usual, _root(), ANCHORER).gas,
        "replaceAnchorer": contract.replace_anchorer(_log(0), address_of(ADMIN), ADMIN).gas,
        "retire": contract.retire(_log(0), usual, ADMIN).gas,
        "anchor": {
            f"2^{depth}": {
                "usual": _head(contract, 2 * depth, (1 << depth) - (1 << depth // 2) - 1, depth),
                "dearest": _head(contract, 2 * depth + 1, (1 << depth) - 1, depth),
            }
            for depth in DEPTHS
        },
    }


def _log(number: int) -> bytes:
    return sha256(b"log %d" % number).digest()


def _root() -> bytes:
    return sha256(b"root").digest()


def _head(contract: AnchorContract, number: int, first: int, depth: int) -> dict[str, int]:
    """Gas of a head from `first` to 2^depth leaves, in a log of its own that has two heads."""
    log, second = _log(number), 1 << depth
    old, new, proof = pair(first, second)
    contract.open(log, address_of(ANCHORER), ADMIN)
    contract.send_anchor(log, first, old, [], ANCHORER)
    return {
        "gas": contract.send_anchor(log, second, new, proof, ANCHORER).gas,
        "hashes": len(proof),
    }


def main(arguments: Sequence[str]) -> int:
    """Run `write` or `check`; exit code 1 when the snapshot differs, 2 for wrong use."""
    if list(arguments) not in (["write"], ["check"]):
        sys.stderr.write(f"{__doc__}")
        return 2
    text = json.dumps(measure(), indent=1) + "\n"
    if arguments[0] == "write":
        SNAPSHOT.write_text(text, encoding="utf-8")
        return 0
    if SNAPSHOT.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write(f"gas.json differs; measured now:\n{text}")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
