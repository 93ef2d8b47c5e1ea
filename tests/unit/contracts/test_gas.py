"""What a head costs is committed, and stays below the promise."""

import json
from hashlib import sha256

import pytest

from bal.certify.tree import check_consistency
from bal.model import Digest, TreeHead
from contracts.gas import SNAPSHOT, measure, pair
from infra.anchor_contract import address_of


def test_gas_is_as_committed() -> None:
    assert measure() == json.loads(SNAPSHOT.read_text())


def test_a_head_stays_below_its_limit() -> None:
    anchor = json.loads(SNAPSHOT.read_text())["anchor"]
    assert all(case["gas"] <= 85_000 for case in anchor["2^20"].values())
    assert all(case["gas"] <= 100_000 for case in anchor["2^30"].values())


def test_a_close_stays_below_its_limit() -> None:
    assert json.loads(SNAPSHOT.read_text())["close"] <= 80_000


@pytest.mark.parametrize("prefix", [0, 1 << 40, (1 << 64) - 1])
def test_each_close_costs_the_same_but_for_its_bytes(ground, prefix: int) -> None:
    contract, log, root = ground.deploy(), sha256(b"%d" % prefix).digest(), b"\xff" * 32
    contract.open(log, address_of(ground.anchorer), ground.admin)
    contract.send_anchor(log, 5, root, [], ground.anchorer)  # always before the first close
    spent = [contract.send_close(log, k, prefix, root, ground.anchorer).gas for k in (1, 2, 3)]
    assert max(spent) <= 80_000
    assert max(spent) - min(spent) <= 32


def test_the_dearest_proof_is_the_longest() -> None:
    for depth in (10, 20, 30):
        first, second = (1 << depth) - 1, 1 << depth
        old, new, proof = pair(first, second)
        assert len(proof) == depth + 1
        check_consistency(
            TreeHead(first, Digest(old)), TreeHead(second, Digest(new)), list(map(Digest, proof))
        )
