"""Inclusion proofs made from cached tiles, and checked; canonical form against the reference."""

import json
import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import rfc8785

from bal import jcs
from bal.certify.log import Batch, Sequencer
from bal.certify.tiles import TileNodes
from bal.certify.tree import check_inclusion, inclusion_path, leaf_hash
from bal.model import TreeHead
from infra.file_log import FileLog
from infra.key_signer import CheckpointSigner
from infra.system_clock import SystemClock

SIZE = 100_003
RECORD = {
    "begin": "2026-01-15T10:00:00Z", "device": "A" * 43, "end": "2026-01-15T10:15:00Z",
    "evidence": "ab" * 32, "id": "", "kind": "reading", "quality": ["0.0.0"], "unit": "Wh",
    "register": "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0", "v": "1", "value": "210",
}  # fmt: skip


def rate(run: Callable[[int], object], count: int) -> float:
    """Calls a second."""
    started = time.perf_counter()
    for number in range(count):
        run(number)
    return count / (time.perf_counter() - started)


def main(count: int = 20_000) -> dict[str, float]:
    """Proofs made, proofs checked and canonical encodings a second, one core."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = FileLog(folder / "log", SystemClock())
        signer = CheckpointSigner("bench", b"k" * 32, folder / "signed")
        sequencer = Sequencer(log, log, signer, "bench")
        entries = [os.urandom(32) for _ in range(SIZE)]
        for offset, start in enumerate(range(0, SIZE, 8192)):
            sequencer.commit([Batch("b", 0, offset, offset - 1, entries[start : start + 8192], {})])
        head = TreeHead(sequencer.heads.size, sequencer.heads.root)
        nodes = TileNodes(log).at(head.size)
        chance = random.Random(1)
        asked = [chance.randrange(SIZE) for _ in range(count)]
        for index in range(0, SIZE, 256):
            inclusion_path(index, head.size, nodes)  # warm the tiles
        made = rate(lambda i: inclusion_path(asked[i], head.size, nodes), count)
        paths = [inclusion_path(index, head.size, nodes) for index in asked]
        leaves = [leaf_hash(entries[index]) for index in asked]
        checked = rate(lambda i: check_inclusion(leaves[i], asked[i], paths[i], head), count)
        log.close()
    assert jcs.encode(RECORD) == rfc8785.dumps(json.loads(json.dumps(RECORD)))
    ours = rate(lambda _: jcs.encode(RECORD), count)
    reference = rate(lambda _: rfc8785.dumps(RECORD), count // 10)
    return {"made": made, "checked": checked, "canonical": ours, "rfc8785": reference}


if __name__ == "__main__":
    print(main())
