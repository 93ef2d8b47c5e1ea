"""Solidity, Python and the RFC's own definitions give one verdict on every proof.

The harness contract reaches the library as CheckpointAnchor does, a hundred cases in a call: an
interpreter in Python takes a millisecond a case, so every case counts.
"""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest
from eth_account import Account

from bal.certify.tree import check_consistency, check_inclusion, leaf_hash
from bal.errors import ProofInvalid
from bal.model import Digest, TreeHead
from contracts import load
from contracts.gas import pair

ROOT = Path(__file__).resolve().parents[3]
SIZE_MAX = 64
CASES_PER_CALL = 100


@dataclass(frozen=True)
class Consistency:
    first: int
    second: int
    first_root: bytes
    second_root: bytes
    proof: tuple[bytes, ...]


@dataclass(frozen=True)
class Inclusion:
    entry: bytes
    index: int
    size: int
    root: bytes
    proof: tuple[bytes, ...]


@pytest.fixture(scope="module")
def harness(ground):
    artifact = load("Rfc9162Harness", Path(__file__).parent)
    web3 = ground.chain.web3()
    account = Account.from_key(ground.stranger)
    creation = {
        "data": artifact.bytecode,
        "gas": 3_000_000,
        "nonce": 0,
        "chainId": ground.chain.chain_id,
        "maxFeePerGas": 10**10,
        "maxPriorityFeePerGas": 0,
        "value": 0,
    }
    sent = web3.eth.send_raw_transaction(account.sign_transaction(creation).raw_transaction)
    place = web3.eth.wait_for_transaction_receipt(sent)["contractAddress"]
    return web3.eth.contract(address=place, abi=artifact.abi).functions


def asked(function, cases) -> list[bool]:
    """Solidity's verdicts."""
    found: list[bool] = []
    for start in range(0, len(cases), CASES_PER_CALL):
        part = cases[start : start + CASES_PER_CALL]
        rows = [tuple(getattr(case, name) for name in case.__dataclass_fields__) for case in part]
        found += function(rows).call()
    return found


def verdict(check: Callable[[], None]) -> bool:
    try:
        check()
    except ProofInvalid:
        return False
    return True


def python_consistency(case: Consistency) -> bool:
    old = TreeHead(case.first, Digest(case.first_root))
    new = TreeHead(case.second, Digest(case.second_root))
    return verdict(lambda: check_consistency(old, new, [Digest(one) for one in case.proof]))


def python_inclusion(case: Inclusion) -> bool:
    head = TreeHead(case.size, Digest(case.root))
    path = [Digest(one) for one in case.proof]
    return verdict(lambda: check_inclusion(leaf_hash(case.entry), case.index, path, head))


def flipped(value: bytes, rng: random.Random) -> bytes:
    place, bit = rng.randrange(len(value)), 1 << rng.randrange(8)
    return value[:place] + bytes([value[place] ^ bit]) + value[place + 1 :]


def other_proofs(proof: tuple[bytes, ...], rng: random.Random) -> Iterator[tuple[bytes, ...]]:
    """One hash too many, at either end, and one too few, from either end."""
    more = rng.randbytes(32)
    yield rng.choice([(*proof, more), (more, *proof)])
    if proof:
        yield rng.choice([proof[1:], proof[:-1]])


def spoiled_consistency(case: Consistency, rng: random.Random) -> Iterator[Consistency]:
    """One bit flipped anywhere, one hash too many, one too few."""
    yield from (replace(case, proof=proof) for proof in other_proofs(case.proof, rng))
    place = rng.randrange(-2, len(case.proof))
    if place == -2:
        yield replace(case, first_root=flipped(case.first_root, rng))
    elif place == -1:
        yield replace(case, second_root=flipped(case.second_root, rng))
    else:
        yield replace(case, proof=with_flip(case.proof, place, rng))


def spoiled_inclusion(case: Inclusion, rng: random.Random) -> Iterator[Inclusion]:
    """One bit flipped anywhere, or a neighbour's index; one hash too many, one too few."""
    yield from (replace(case, proof=proof) for proof in other_proofs(case.proof, rng))
    place = rng.randrange(-3, len(case.proof))
    if place == -3:
        yield replace(case, index=(case.index + 1) % (case.size + 1))
    elif place == -2:
        yield replace(case, root=flipped(case.root, rng))
    elif place == -1:
        yield replace(case, entry=flipped(case.entry, rng))
    else:
        yield replace(case, proof=with_flip(case.proof, place, rng))


def with_flip(proof: tuple[bytes, ...], place: int, rng: random.Random) -> tuple[bytes, ...]:
    return (*proof[:place], flipped(proof[place], rng), *proof[place + 1 :])


def test_the_published_vectors(harness) -> None:
    found = json.loads((ROOT / "tests/vectors/trees.json").read_text(encoding="utf-8"))
    inclusions = [
        Inclusion(one["entry"].encode(), int(one["index"]), int(one["size"]),
                  bytes.fromhex(one["root"]), tuple(map(bytes.fromhex, one["path"])))
        for one in found["inclusions"]
    ]  # fmt: skip
    consistencies = [
        Consistency(int(one["first"]), int(one["second"]), bytes.fromhex(one["first_root"]),
                    bytes.fromhex(one["second_root"]), tuple(map(bytes.fromhex, one["proof"])))
        for one in found["consistencies"]
    ]  # fmt: skip
    holds = [one["code"] == "holds" for one in found["inclusions"]]
    continues = [one["holds"] for one in found["consistencies"]]
    assert {*holds, *continues} == {True, False}
    assert asked(harness.inclusions, inclusions) == holds
    assert [python_inclusion(one) for one in inclusions] == holds
    assert asked(harness.consistencies, consistencies) == continues
    assert [python_consistency(one) for one in consistencies] == continues


@cache
def roots(reference) -> list[bytes]:
    entries = reference.entries(SIZE_MAX)
    return [reference.mth(entries[:size]) for size in range(SIZE_MAX + 1)]


def test_every_honest_pair_of_sizes_is_consistent(harness, reference) -> None:
    """RFC 9162 §2.1.4.2, for proofs made as RFC 9162 §2.1.4.1 says."""
    entries = reference.entries(SIZE_MAX)
    cases = [
        Consistency(
            first, second, roots(reference)[first], roots(reference)[second],
            tuple(reference.proof(first, entries[:second])),
        )
        for second in range(1, SIZE_MAX + 1)
        for first in range(1, second + 1)
    ]  # fmt: skip
    assert all(python_consistency(case) for case in cases)
    assert all(asked(harness.consistencies, cases))


@pytest.mark.slow
@pytest.mark.parametrize("quarter", range(4))
def test_no_spoiled_pair_of_sizes_is_consistent(harness, reference, quarter: int) -> None:
    rng = random.Random(quarter)
    entries = reference.entries(SIZE_MAX)
    cases: list[Consistency] = []
    for second in range(1 + quarter, SIZE_MAX + 1, 4):
        for first in range(1, second + 1):
            proof = tuple(reference.proof(first, entries[:second]))
            honest = Consistency(
                first, second, roots(reference)[first], roots(reference)[second], proof
            )
            cases += spoiled_consistency(honest, rng)
    assert not any(python_consistency(case) for case in cases)
    assert not any(asked(harness.consistencies, cases))


def test_sizes_out_of_order_are_refused(harness, reference) -> None:
    root = roots(reference)
    cases = [
        Consistency(0, 5, root[0], root[5], ()),
        Consistency(6, 5, root[6], root[5], ()),
        Consistency(5, 5, root[5], root[5], (root[1],)),
        Consistency(0, 0, root[0], root[0], ()),
        Consistency(2**64 - 1, 1, root[6], root[1], ()),
    ]
    assert not any(asked(harness.consistencies, cases))
    # the two that a caller may ask of Python: nothing is a prefix of everything
    assert [python_consistency(case) for case in cases] == [True, False, False, True, False]


def test_every_entry_of_every_size_is_included(harness, reference) -> None:
    """RFC 9162 §2.1.3.2."""
    entries = reference.entries(SIZE_MAX)
    cases = [
        Inclusion(
            entries[index], index, size, roots(reference)[size],
            tuple(reference.path(index, entries[:size])),
        )
        for size in range(1, SIZE_MAX + 1)
        for index in range(size)
    ]  # fmt: skip
    assert all(python_inclusion(case) for case in cases)
    assert all(asked(harness.inclusions, cases))


@pytest.mark.slow
@pytest.mark.parametrize("quarter", range(4))
def test_no_spoiled_entry_is_included(harness, reference, quarter: int) -> None:
    rng = random.Random(quarter)
    entries = reference.entries(SIZE_MAX)
    cases: list[Inclusion] = []
    for size in range(1 + quarter, SIZE_MAX + 1, 4):
        for index in range(size):
            path = tuple(reference.path(index, entries[:size]))
            honest = Inclusion(entries[index], index, size, roots(reference)[size], path)
            cases += spoiled_inclusion(honest, rng)
    assert not any(python_inclusion(case) for case in cases)
    assert not any(asked(harness.inclusions, cases))


def test_an_inner_node_is_no_entry(harness, reference) -> None:
    """RFC 9162 §2.1.1, the 0x00 prefix: a tree of 4 passed off as one of 2, of its inner nodes."""
    entries = reference.entries(4)
    left, right = reference.mth(entries[:2]), reference.mth(entries[2:])
    case = Inclusion(left + right, 0, 1, reference.mth(entries), ())
    half = Inclusion(left, 0, 2, reference.mth(entries), (right,))
    assert asked(harness.inclusions, [case, half]) == [False, False]


def test_large_random_sizes_give_one_verdict(harness) -> None:
    rng = random.Random(9162)
    honest, spoiled = [], []
    for _ in range(60):
        second = rng.randrange(2, 1 << rng.randrange(2, 64))
        first = rng.randrange(1, second)
        first_root, second_root, proof = pair(first, second)
        case = Consistency(first, second, first_root, second_root, tuple(proof))
        honest.append(case)
        spoiled += spoiled_consistency(case, rng)
        spoiled.append(replace(case, first=first - 1 or 2**63))
        spoiled.append(replace(case, second=second + (1 << rng.randrange(60))))
    assert all(python_consistency(case) for case in honest)
    assert all(asked(harness.consistencies, honest))
    assert asked(harness.consistencies, spoiled) == [python_consistency(case) for case in spoiled]


def test_proofs_of_the_longest_path_work(harness) -> None:
    first, second = 2**63 - 1, 2**64 - 1
    first_root, second_root, proof = pair(first, second)
    case = Consistency(first, second, first_root, second_root, tuple(proof))
    assert asked(harness.consistencies, [case]) == [True] == [python_consistency(case)]
