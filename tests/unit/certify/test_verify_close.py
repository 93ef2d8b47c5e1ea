"""A close of the book on chain: the same as in the log, another one, or none."""

from dataclasses import dataclass, field
from hashlib import sha256

import pytest

from bal.certify.verify_chain import CloseClaim, check_closed
from bal.certify.verify_note import VerifyError
from bal.certify.verify_policy import ChainPolicy, Contract

ORIGIN = "gridseal.invalid/0123456789abcdef"
CODE = sha256(b"code").digest()
NEW, OLD = Contract("0x" + "0a" * 20, CODE), Contract("0x" + "0b" * 20)
POLICY = ChainPolicy(1337, "public", (NEW, OLD))
BOOKS = {k: sha256(b"book %d" % k).digest() for k in range(1, 9)}


@dataclass
class Chain:
    """Closes by contract, each from a block on; the newest block is 100, 64 is final."""

    closed: dict[tuple[str, int], tuple[int, bytes, int]] = field(default_factory=dict)
    codes: dict[str, bytes] = field(default_factory=lambda: {NEW.address: CODE, OLD.address: CODE})
    since: int = 0  # block of NEW's deployment
    counts: dict[str, int] = field(default_factory=dict)  # what an endpoint claims instead
    id: int = 1337

    def put(self, k: int, contract: Contract = NEW, *, at: int = 10, book: bytes = b"") -> "Chain":
        self.closed[contract.address, k] = (1000 * k, book or BOOKS[k], at)
        return self

    def chain_id(self) -> int:
        return self.id

    def block(self, depth: int | None) -> int | None:
        if depth is None:
            return 64
        return 100 - depth if depth <= 100 else None

    def code_hash(self, contract: str, block: int) -> bytes | None:
        return None if contract == NEW.address and block < self.since else self.codes.get(contract)

    def log_id(self, origin: str) -> bytes:
        return sha256(origin.encode()).digest()

    def latest_size(self, contract: str, origin: str, block: int) -> int:
        raise NotImplementedError

    def root_at(self, contract: str, origin: str, size: int, block: int) -> bytes:
        raise NotImplementedError

    def closes(self, contract: str, origin: str, block: int) -> int:
        ks = [k for at, k in self.closed if at == contract]
        ks = [k for k in ks if self.closed[contract, k][2] <= block and origin == ORIGIN]
        return self.counts.get(contract, max(ks, default=0))

    def close_at(self, contract: str, origin: str, k: int, block: int) -> tuple[int, bytes]:
        prefix, root, since = self.closed.get((contract, k), (0, bytes(32), 0))
        return (prefix, root) if since <= block and origin == ORIGIN else (0, bytes(32))


def claim(k: int = 1, **changes) -> CloseClaim:
    return CloseClaim(
        **({"origin": ORIGIN, "k": k, "prefix": 1000 * k, "book": BOOKS[k]} | changes)
    )


def refused(chain: Chain, policy: ChainPolicy = POLICY, **changes) -> VerifyError:
    with pytest.raises(VerifyError) as caught:
        check_closed(claim(**changes), policy, chain)
    return caught.value


def test_the_close_stands_as_the_log_says() -> None:
    text = check_closed(claim(), POLICY, Chain().put(1))
    assert NEW.address in text
    assert "chain 1337" in text
    assert "block 64, finalized." in text
    assert "newer" not in text


def test_a_newer_close_is_named() -> None:
    chain = Chain().put(1).put(2).put(3)
    assert "close 3 is newer" in check_closed(claim(1), POLICY, chain)
    assert "newer" not in check_closed(claim(3), POLICY, chain)


def test_an_older_close_is_found_in_the_parent() -> None:
    chain = Chain().put(1, OLD).put(2, OLD).put(2).put(3)  # the successor took 2 over
    for k, contract in ((1, OLD), (2, NEW), (3, NEW)):
        text = check_closed(claim(k), POLICY, chain)
        assert contract.address in text
        assert ("close 3 is newer" in text) == (k < 3)


def test_without_the_parent_in_the_policy_it_is_not_on_chain() -> None:
    chain = Chain().put(2).put(3)
    found = refused(chain, ChainPolicy(1337, "public", (NEW,)), k=1)
    assert found.code == "close-not-on-chain"
    assert "is 3" in found.text


@pytest.mark.parametrize(
    "changes", [{"prefix": 999}, {"prefix": 1001}, {"book": BOOKS[2]}], ids=["less", "more", "root"]
)
def test_another_close_of_that_number_is_a_fork(changes) -> None:
    found = refused(Chain().put(1), **changes)
    assert found.code == "close-differs"
    evidence = {"chain_id": "1337", "contract": NEW.address, "k": "1", "block": "64"}
    assert found.evidence is not None
    assert found.evidence.items() >= evidence.items()
    assert (found.evidence["prefix"], found.evidence["root"]) == ("1000", BOOKS[1].hex())


def test_a_fork_in_the_parent_is_one_too() -> None:
    assert refused(Chain().put(1, OLD, book=BOOKS[5]).put(2)).code == "close-differs"


def test_no_close_or_one_that_is_not_deep_enough_is_not_on_chain() -> None:
    for chain in (Chain(), Chain().put(1, at=65), Chain().put(2)):
        assert refused(chain).code == "close-not-on-chain"
    assert check_closed(
        claim(), ChainPolicy(1337, "public", (NEW,), depth=0), Chain().put(1, at=65)
    )


def test_the_close_of_another_log_does_not_count() -> None:
    found = refused(Chain().put(1), origin="gridseal.invalid/fedcba9876543210")
    assert found.code == "close-not-on-chain"


def test_an_endpoint_that_contradicts_itself_shows_nothing() -> None:
    assert refused(Chain(counts={NEW.address: 0}).put(1)).code == "close-not-on-chain"


def test_another_chain_or_code_is_refused() -> None:
    assert refused(Chain(id=1).put(1)).code == "chain-id-differs"
    assert refused(Chain(codes={}).put(1)).code == "contract-code-differs"
    other = {NEW.address: sha256(b"other").digest(), OLD.address: CODE}
    assert refused(Chain(codes=other).put(1)).code == "contract-code-differs"


def test_a_contract_that_is_too_young_is_passed_over() -> None:
    chain = Chain(since=80).put(1, OLD)
    assert OLD.address in check_closed(claim(), POLICY, chain)


def test_no_block_so_deep_is_not_on_chain_yet() -> None:
    policy = ChainPolicy(1337, "public", (NEW,), depth=101)
    assert refused(Chain().put(1), policy).code == "close-not-on-chain"


@pytest.mark.parametrize("kind", ["own", "unstated"])
def test_an_own_chain_proves_nothing_against_the_operator(kind) -> None:
    policy = ChainPolicy(1337, kind, (NEW,))
    found = refused(Chain().put(1), policy)
    assert found.code == "own-chain"
    assert "Close 1 of the book stands in" in found.text
    assert refused(Chain().put(1), policy, prefix=999).code == "close-differs"
