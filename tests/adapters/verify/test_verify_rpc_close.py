"""A close of the book, looked for on a real contract through the own chain's JSON-RPC."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256

import pytest

from bal.certify.verify_chain import CloseClaim, check_closed
from bal.certify.verify_note import VerifyError
from bal.certify.verify_policy import ChainPolicy, Contract
from infra.anchor_contract import AnchorContract, address_of
from infra.chain_embedded import EmbeddedChain
from infra.rpc_face import RpcFace
from infra.verify_rpc import RpcChain, keccak256

ORIGIN = "gridseal.invalid/0123456789abcdef"
LOG = keccak256(ORIGIN.encode())
ADMIN, ANCHORER = sha256(b"admin").digest(), sha256(b"anchorer").digest()
BOOKS = [sha256(b"book %d" % k).digest() for k in range(4)]
SIZE_MAX = (1 << 64) - 1


@dataclass
class Closed:
    """Closes 1 and 2 in a parent, 3 in its successor, and the face that shows them."""

    old: AnchorContract
    new: AnchorContract
    chain: RpcChain

    def policy(self, *contracts: AnchorContract) -> ChainPolicy:
        named = tuple(Contract(one.address, _digest(one.code_hash())) for one in contracts)
        return ChainPolicy(self.chain.chain_id(), "public", named, depth=0)


def _digest(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


@pytest.fixture
def closed(tmp_path, serving) -> Iterator[Closed]:
    chain = EmbeddedChain(tmp_path / "chain.db", [address_of(ADMIN), address_of(ANCHORER)])
    old, new = (AnchorContract.deploy(chain.web3(), ADMIN) for _ in range(2))
    old.open(LOG, address_of(ANCHORER), ADMIN)
    old.send_close(LOG, 1, 100, BOOKS[1], ANCHORER)
    old.send_close(LOG, 2, SIZE_MAX, BOOKS[2], ANCHORER)
    old.retire(LOG, 0, ADMIN)
    new.open(LOG, address_of(ANCHORER), ADMIN, parent=old.address)
    new.send_close(LOG, 3, SIZE_MAX, BOOKS[3], ANCHORER)
    face = RpcFace(chain)
    with serving(lambda _, body: (200, face.handle(body), {})) as address:
        yield Closed(old, new, RpcChain(f"{address}/rpc"))
    chain.close()


def claim(k: int, prefix: int = SIZE_MAX) -> CloseClaim:
    return CloseClaim(ORIGIN, k, prefix, BOOKS[k])


def test_views_of_the_real_contract(closed) -> None:
    chain, new, old = closed.chain, closed.new.address, closed.old.address
    block = chain.block(0)
    assert (chain.closes(old, ORIGIN, block), chain.closes(new, ORIGIN, block)) == (2, 3)
    assert chain.closes(new, ORIGIN, block - 1) == 2
    assert chain.closes(new, "another log", block) == 0
    assert chain.close_at(old, ORIGIN, 1, block) == (100, BOOKS[1])
    assert chain.close_at(new, ORIGIN, 3, block) == (SIZE_MAX, BOOKS[3])
    for contract, k in ((new, 1), (new, 4), (old, 0), (old, SIZE_MAX), ("0x" + "12" * 20, 1)):
        assert chain.close_at(contract, ORIGIN, k, block) == (0, bytes(32))


def test_each_close_is_found_in_its_contract(closed) -> None:
    policy = closed.policy(closed.new, closed.old)
    for one, where in ((claim(1, 100), closed.old), (claim(2), closed.new), (claim(3), closed.new)):
        text = check_closed(one, policy, closed.chain)
        assert where.address in text
        assert ("close 3 is newer" in text) == (one.k < 3)


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (claim(1, 101), "close-differs"),
        (replace(claim(3), book=BOOKS[1]), "close-differs"),
        (replace(claim(3), k=4), "close-not-on-chain"),
        (replace(claim(3), k=SIZE_MAX), "close-not-on-chain"),
        (replace(claim(3), origin="gridseal.invalid/fedcba9876543210"), "close-not-on-chain"),
    ],
)
def test_what_the_chain_does_not_hold(closed, wrong, code) -> None:
    with pytest.raises(VerifyError) as caught:
        check_closed(wrong, closed.policy(closed.new, closed.old), closed.chain)
    assert caught.value.code == code


def test_a_call_that_reverts_holds_no_close(serving) -> None:
    """As of a contract that has no such functions."""
    reverted = b'{"error":{"code":3,"message":"execution reverted","data":"0x"}}'
    with serving(lambda *_: (200, reverted, {})) as origin:
        chain = RpcChain(origin)
        assert chain.close_at("0x" + "12" * 20, ORIGIN, 1, 1) == (0, bytes(32))
        assert chain.closes("0x" + "12" * 20, ORIGIN, 1) == 0


def test_a_parent_that_the_policy_does_not_name_is_not_asked(closed) -> None:
    policy = closed.policy(closed.new)
    with pytest.raises(VerifyError) as caught:
        check_closed(claim(1, 100), policy, closed.chain)
    assert caught.value.code == "close-not-on-chain"
    assert "is 3." in caught.value.text
