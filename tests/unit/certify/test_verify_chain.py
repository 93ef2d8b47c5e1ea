"""The verdict *anchored*: what the chain must show, and what contradicts it."""

from dataclasses import dataclass, field, replace

import pytest

from bal.certify.verify import (
    ChainPolicy,
    Contract,
    Policy,
    Verdicts,
    VerifyError,
    parse_policy,
    verify_receipt,
)
from bal.certify.verify_proof import node_hash
from tests.vectors import vector_log as vector

LOG = vector.vector_log()
CODE = vector.keccak256(b"code")
NEW, OLD = Contract("0x" + "0a" * 20, CODE), Contract("0x" + "0b" * 20)
CHAIN = ChainPolicy(1337, "public", (NEW, OLD))


def policy(chain: ChainPolicy = CHAIN) -> Policy:
    return replace(parse_policy(vector.policies()["plain"].encode()), chain=chain)


@dataclass
class Chain:
    """A chain of 100 blocks: (contract, size) → (root, block from which on it stands there)."""

    heads: dict[tuple[str, int], tuple[bytes, int]] = field(default_factory=dict)
    codes: dict[str, tuple[bytes, int]] = field(
        default_factory=lambda: {NEW.address: (CODE, 0), OLD.address: (vector.keccak256(b"old"), 0)}
    )
    id: int = 1337
    latest: int = 100
    finalized: int | None = 64

    def source(self) -> str:
        return "the RPC endpoint at https://rpc.invalid says so"

    def chain_id(self) -> int:
        return self.id

    def block(self, depth: int | None) -> int | None:
        if depth is None:
            return self.finalized
        return self.latest - depth if depth <= self.latest else None

    def code_hash(self, contract: str, block: int) -> bytes | None:
        code, since = self.codes.get(contract, (None, 0))
        return code if block >= since else None

    def log_id(self, origin: str) -> bytes:
        return vector.keccak256(origin.encode())

    def latest_size(self, contract: str, origin: str, block: int) -> int:
        sizes = [size for (at, size), (_, since) in self.heads.items() if at == contract]
        return max((size for size in sizes if self.heads[contract, size][1] <= block), default=0)

    def root_at(self, contract: str, origin: str, size: int, block: int) -> bytes:
        root, since = self.heads.get((contract, size), (bytes(32), 0))
        return root if block >= since and origin == vector.ORIGIN else bytes(32)

    def anchor(self, size: int, contract: Contract = NEW, block: int = 10) -> "Chain":
        self.heads[contract.address, size] = (LOG.root(size), block)
        return self


class Tiles:
    """The log's tiles; `spoilt`: (level, n) of one with its last hash changed."""

    def __init__(self, spoilt: tuple[int, int] | None = None) -> None:
        self.spoilt = spoilt

    def tile(self, origin: str, level: int, n: int, width: int) -> bytes:
        found = LOG.tile(level, n, width)
        return found if (level, n) != self.spoilt else found[:-1] + bytes([found[-1] ^ 1])


def verdicts(
    chain: Chain | None, tiles=None, *, size: int = 7, chain_policy=CHAIN, **times
) -> Verdicts:
    return verify_receipt(LOG.receipt(3, size), policy(chain_policy), chain, tiles, **times)


def code(*args, **kwargs) -> str:
    found = verdicts(*args, **kwargs)
    assert found.authentic.code == "authentic"
    return found.anchored.code


def test_anchored_at_the_receipts_own_size() -> None:
    found = verdicts(Chain().anchor(7))
    assert (found.anchored.code, found.exit_code()) == ("anchored", 0)
    assert NEW.address in found.anchored.text
    assert "chain 1337" in found.anchored.text
    assert found.evidence is None


def test_an_older_contract_of_the_policy_counts() -> None:
    found = verdicts(Chain().anchor(7, OLD).anchor(300, NEW))
    assert found.anchored.code == "anchored"
    assert OLD.address in found.anchored.text


def test_nothing_asked_is_not_checked() -> None:
    found = verify_receipt(LOG.receipt(3, 7), replace(policy(), chain=None))
    assert (found.anchored.code, found.exit_code()) == ("not-checked", 0)


def test_a_chain_without_an_endpoint_is_not_decidable() -> None:
    found = verdicts(None)
    assert (found.anchored.code, found.exit_code()) == ("rpc-unreachable", 2)


@pytest.mark.parametrize("kind", ["own", "unstated"])
def test_an_own_chain_shows_the_mechanism_only(kind) -> None:
    own = replace(CHAIN, kind=kind)
    found = verdicts(Chain().anchor(7), chain_policy=own)
    assert (found.anchored.code, found.exit_code()) == ("own-chain", 2)
    assert "shows the mechanism, it proves nothing against the operator" in found.anchored.text
    assert found.exit_code(accept_own_chain=True) == 0
    missing = verdicts(Chain(), chain_policy=own)
    assert (missing.anchored.code, missing.exit_code(accept_own_chain=True)) == (
        "not-anchored-yet",
        2,
    )


def test_the_chain_id_must_be_the_policys() -> None:
    assert code(Chain(id=1).anchor(7)) == "chain-id-differs"
    assert code(Chain(id=1).anchor(7), chain_policy=replace(CHAIN, chain_id=None)) == "anchored"


def test_the_code_must_be_the_policys() -> None:
    chain = Chain().anchor(7)
    chain.codes[NEW.address] = (vector.keccak256(b"another"), 0)
    assert code(chain) == "contract-code-differs"
    del chain.codes[NEW.address]
    assert code(chain) == "contract-code-differs"


def test_a_successor_younger_than_the_block_that_counts_is_passed_over() -> None:
    chain = Chain().anchor(7, OLD)
    chain.codes[NEW.address] = (CODE, 90)
    assert code(chain) == "anchored"


def test_only_a_deep_block_counts() -> None:
    shallow = Chain().anchor(7, block=80)
    found = verdicts(shallow)
    assert (found.anchored.code, found.exit_code()) == ("not-anchored-yet", 2)
    assert "block 100 has it, but is not deep enough" in found.anchored.text
    assert code(shallow, chain_policy=replace(CHAIN, depth=20)) == "anchored"
    assert code(shallow, chain_policy=replace(CHAIN, depth=21)) == "not-anchored-yet"
    assert code(shallow, chain_policy=replace(CHAIN, depth=101)) == "not-anchored-yet"
    assert code(Chain(finalized=None).anchor(7)) == "not-anchored-yet"


def test_a_root_on_chain_that_differs_is_a_fork_with_evidence() -> None:
    chain = Chain()
    chain.heads[NEW.address, 7] = (LOG.root(8), 10)
    found = verdicts(chain)
    assert (found.anchored.code, found.exit_code()) == ("anchor-root-differs", 1)
    assert found.evidence is not None
    assert found.evidence == {
        "checkpoint": LOG.checkpoint(7),
        "chain_id": "1337",
        "contract": NEW.address,
        "log": "0x" + vector.keccak256(vector.ORIGIN.encode()).hex(),
        "size": "7",
        "root": LOG.root(8).hex(),
        "block": "64",
        "ranges": [],
    }
    assert found.as_json()["evidence"] == found.evidence


@pytest.mark.parametrize(("size", "m"), [(7, 8), (7, 300), (256, 300), (257, 300), (4, 256)])
def test_a_receipt_is_brought_up_to_an_anchored_size(size, m) -> None:
    found = verdicts(Chain().anchor(m), Tiles(), size=size)
    assert found.anchored.code == "anchored"
    assert f"size {m}" in found.anchored.text


def test_bringing_up_needs_the_log() -> None:
    found = verdicts(Chain().anchor(300))
    assert (found.anchored.code, found.exit_code()) == ("log-needed", 2)


@pytest.mark.parametrize(("spoilt", "size"), [((0, 0), 7), ((0, 1), 7), ((1, 0), 257)])
def test_tiles_are_not_trusted(spoilt, size) -> None:
    found = verdicts(Chain().anchor(300), Tiles(spoilt), size=size)
    assert (found.anchored.code, found.exit_code()) == ("tiles-mismatch", 1)


def test_a_tile_of_the_wrong_length_is_refused() -> None:
    class Short(Tiles):
        def tile(self, origin: str, level: int, n: int, width: int) -> bytes:
            return super().tile(origin, level, n, width)[:-1]

    assert code(Chain().anchor(300), Short()) == "tiles-mismatch"


def test_a_log_that_does_not_answer_is_said_so() -> None:
    class Silent(Tiles):
        def tile(self, origin: str, level: int, n: int, width: int) -> bytes:
            raise VerifyError("log-unreachable", "no answer")

    found = verdicts(Chain().anchor(300), Silent())
    assert (found.anchored.code, found.exit_code()) == ("log-unreachable", 2)


def test_a_head_that_is_no_prefix_of_the_anchored_tree_is_a_proven_fork() -> None:
    """The log signs another tree of 7 for this holder; the chain has the tree of 300."""
    other = vector.VectorLog((*LOG.records[:6], LOG.records[40]))
    text = other.receipt(3, 7)
    found = verify_receipt(text, policy(), Chain().anchor(300), Tiles())
    assert (found.authentic.code, found.anchored.code) == ("authentic", "anchor-root-differs")
    assert found.exit_code() == 1
    evidence = found.evidence
    assert evidence is not None
    assert evidence["checkpoint"] == other.checkpoint(7)
    # Anybody can fold the ranges: all of them to the root on chain, those up to 7 to another
    # root than the signed one.
    ranges = evidence["ranges"]
    nodes = {(int(item["from"]), int(item["to"])): bytes.fromhex(item["hash"]) for item in ranges}
    assert fold(nodes, 0, 300) == LOG.root(300).hex() == evidence["root"]
    assert fold(nodes, 0, 7) == LOG.root(7).hex() != other.root(7).hex()


def fold(nodes, start: int, end: int) -> str:
    def at(start: int, end: int) -> bytes:
        if (start, end) in nodes:
            return nodes[start, end]
        middle = start + (1 << ((end - start - 1).bit_length() - 1))
        return node_hash(at(start, middle), at(middle, end))

    return at(start, end).hex()


def test_a_head_that_the_chain_names_but_does_not_hold_is_no_anchor() -> None:
    chain = Chain().anchor(300)
    chain.heads[NEW.address, 300] = (bytes(32), 10)
    assert code(chain, Tiles()) == "not-anchored-yet"


@pytest.mark.parametrize(
    ("now_s", "expected"),
    [(1900, "not-anchored-yet"), (1901, "anchor-overdue"), (None, "not-anchored-yet")],
)
def test_a_promise_to_anchor_falls_due(now_s, expected) -> None:
    promising = replace(CHAIN, anchor_within_s=900)
    found = verdicts(Chain(), chain_policy=promising, now_s=now_s, held_since_s=1000)
    assert found.anchored.code == expected
    assert found.exit_code() == (1 if expected == "anchor-overdue" else 2)
    assert code(Chain(), now_s=10**9, held_since_s=1) == "not-anchored-yet"


def test_a_witness_time_counts_for_the_promise() -> None:
    text = LOG.checkpoint_text(7)
    note = LOG.checkpoint(7, vector.WITNESSES[0].line(text, 1000))
    names = vector.policies()["two of three witnesses"].replace("quorum two", "quorum w1")
    promising = replace(CHAIN, anchor_within_s=900)
    watched = replace(parse_policy(names.encode()), chain=promising)
    receipt = LOG.receipt(3, 7, checkpoint=note)
    found = verify_receipt(receipt, watched, Chain(), now_s=2000, held_since_s=1999)
    assert found.anchored.code == "anchor-overdue"
    assert "1000 s" in found.anchored.text


def test_the_receipts_own_hint_decides_nothing() -> None:
    good = vector.anchor_hint(7) | {"contract": NEW.address}
    lies = {"chain_id": "1", "contract": "0x" + "ee" * 20, "log": "0x" + "ee" * 32, "size": "300"}
    for name, lie in [("", ""), *lies.items()]:
        hint = good | ({name: lie} if name else {})
        receipt = LOG.receipt(3, 7, anchor=hint)
        found = verify_receipt(receipt, policy(), Chain().anchor(7))
        assert found.anchored.code == "anchored"
        said = f"hint was ignored: {name} differs" in found.anchored.text
        assert said is bool(name)
    receipt = LOG.receipt(3, 7, anchor=good)
    assert verify_receipt(receipt, policy(), Chain()).anchored.code == "not-anchored-yet"


def test_what_is_not_authentic_is_not_looked_for() -> None:
    class Untouched(Chain):
        def chain_id(self) -> int:
            raise AssertionError("asked all the same")

    text = LOG.receipt(3, 7).replace("index 3", "index 2")
    found = verify_receipt(text, policy(), Untouched())
    assert [found.authentic.code, found.anchored.code] == ["root-mismatch", "not-checked"]
