"""What a head costs is committed, and stays below the promise."""

import json

from bal.certify.tree import check_consistency
from bal.model import Digest, TreeHead
from contracts.gas import SNAPSHOT, measure, pair


def test_gas_is_as_committed() -> None:
    assert measure() == json.loads(SNAPSHOT.read_text())


def test_a_head_stays_below_its_limit() -> None:
    anchor = json.loads(SNAPSHOT.read_text())["anchor"]
    assert all(case["gas"] <= 85_000 for case in anchor["2^20"].values())
    assert all(case["gas"] <= 100_000 for case in anchor["2^30"].values())


def test_the_dearest_proof_is_the_longest() -> None:
    for depth in (10, 20, 30):
        first, second = (1 << depth) - 1, 1 << depth
        old, new, proof = pair(first, second)
        assert len(proof) == depth + 1
        check_consistency(
            TreeHead(first, Digest(old)), TreeHead(second, Digest(new)), list(map(Digest, proof))
        )
