"""The anchorer on a chain with depth: finality, reorgs, transactions that no block takes.

The embedded chain never goes back: a reorg puts a copy of its file in place, and what was mined
since is forgotten.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from eth_account.typed_transactions import TypedTransaction
from hexbytes import HexBytes
from web3 import Web3

from bal.errors import Stop
from infra.anchor_contract import AnchorContract
from infra.anchorer import RAISE_AFTER_S
from infra.chain_embedded import EmbeddedChain
from tests.adapters.anchoring import ADMIN, ANCHORER, FUNDED, LOG, Faulty, Ground, Log, prepared


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    yield from prepared(tmp_path)


class Remote(Faulty):
    """A chain on which nothing is `finalized` above block `final`."""

    final = 0

    def make_request(self, method: Any, params: Any) -> Any:
        if method == "eth_getBlockByNumber" and params[0] == "finalized":
            params = [hex(self.final), *params[1:]]
        return super().make_request(method, params)


@dataclass
class Reorg:
    """Remembers the chain, and puts it back."""

    ground: Ground
    remote: Remote
    copy: bytes = b""

    def remember(self) -> None:
        self.ground.chain.close()  # which also brings everything into the one file
        self.copy = (self.ground.folder / "chain.db").read_bytes()
        self._open()

    def happen(self) -> None:
        self.ground.chain.close()
        (self.ground.folder / "chain.db").write_bytes(self.copy)
        self._open()

    def _open(self) -> None:
        ground = self.ground
        ground.chain = self.remote.chain = EmbeddedChain(ground.folder / "chain.db", FUNDED)
        ground.contract = AnchorContract(ground.chain.web3(), ground.contract.address)


def test_a_head_is_final_when_blocks_lie_on_it(ground) -> None:
    remote = Remote(ground.chain)
    ground.log.size = 5
    anchorer = ground.anchorer(remote, depth=3, own=False)
    anchor = anchorer.anchor_now()
    assert anchorer.covering(0)[2] == "anchored"
    ground.mine(2)
    anchorer.anchor_now()
    assert anchorer.covering(0)[2] == "anchored"
    ground.mine(1)
    anchorer.anchor_now()
    assert anchorer.covering(0) == (anchor, b"note of 5", "final")
    assert len(ground.anchored) == 1


def test_a_head_is_final_when_the_chain_says_so(ground) -> None:
    remote = Remote(ground.chain)
    ground.log.size = 5
    anchorer = ground.anchorer(remote, depth=1_000, own=False)
    anchor = anchorer.anchor_now()
    remote.final = anchor.block - 1
    anchorer.anchor_now()
    assert anchorer.covering(0)[2] == "anchored"
    remote.final = anchor.block
    anchorer.anchor_now()
    assert anchorer.covering(0)[2] == "final"


def test_without_a_depth_only_the_chain_says_what_is_final(ground) -> None:
    """On a chain of others nothing is final at once, whatever the configuration leaves out."""
    remote = Remote(ground.chain)
    ground.log.size = 5
    anchorer = ground.anchorer(remote, depth=0, own=False)
    anchor = anchorer.anchor_now()
    ground.mine(20)
    anchorer.anchor_now()
    assert anchorer.covering(0)[2] == "anchored"
    remote.final = anchor.block
    anchorer.anchor_now()
    assert anchorer.covering(0)[2] == "final"


def test_a_reorg_takes_a_head_back_and_it_is_sent_again(ground) -> None:
    remote = Remote(ground.chain)
    reorg = Reorg(ground, remote)
    ground.log.size = 5
    anchorer = ground.anchorer(remote, depth=10, own=False)
    first = anchorer.anchor_now()
    reorg.remember()
    for size in (8, 11):
        ground.log.size = size
        anchorer.anchor_now()
    assert ground.count() == 3
    reorg.happen()
    assert ground.count() == 1
    ground.mine(3)  # another history, in which the same heads come later
    ground.log.size = 12
    assert anchorer.anchor_now().size == 12
    assert ground.count() == 4
    assert [one.size for one, _ in ground.anchored] == [5, 8, 11, 8, 11, 12]
    assert anchorer.covering(0)[0] == first
    moved = anchorer.covering(7)[0]
    assert moved.size == 8
    assert ground.contract.mined(moved.tx).block == moved.block
    assert ground.alarms == []


def test_a_block_that_only_moved_moves_the_anchor(ground) -> None:
    remote = Remote(ground.chain)
    reorg = Reorg(ground, remote)
    reorg.remember()
    ground.log.size = 5
    anchorer = ground.anchorer(remote, depth=10, own=False)
    first = anchorer.anchor_now()
    raw = ground.chain.request("eth_getTransactionByHash", [first.tx])
    signed = anchorer._journal.newest().raw
    reorg.happen()
    ground.mine(2)
    ground.chain.request("eth_sendRawTransaction", [Web3.to_hex(signed)])  # others rebroadcast it
    assert ground.contract.mined(first.tx).block == first.block + 2
    anchorer.anchor_now()
    assert anchorer.covering(0)[0].block == first.block + 2
    assert raw["hash"] == first.tx
    assert len(remote.sent) == 1


def test_another_root_after_a_reorg_stops(ground) -> None:
    """Who holds the anchorer's key forked the log while a reorg was under way."""
    remote = Remote(ground.chain)
    reorg = Reorg(ground, remote)
    reorg.remember()
    ground.log.size = 5
    anchorer = ground.anchorer(remote, depth=10, own=False)
    anchorer.anchor_now()
    reorg.happen()
    forged = Log(5, b"another ").newest()[0]
    ground.contract.send_anchor(LOG, 5, forged.root, [], ANCHORER)
    with pytest.raises(Stop, match="anchor-fork"):
        anchorer.anchor_now()


def test_a_transaction_that_no_block_takes_is_sent_again_then_made_dearer(ground) -> None:
    remote = Remote(ground.chain)
    remote.forget_sends = True
    ground.log.size = 5
    anchorer = ground.anchorer(remote, depth=1, own=False)
    for _ in range(3):
        with anchorer._turn:
            anchorer._step()
    assert len(remote.sent) == 3
    assert len(set(remote.sent)) == 1  # the same bytes each time
    ground.clock.us += RAISE_AFTER_S * 1_000_000
    ground.log.size = 9
    with anchorer._turn:
        anchorer._step()
    assert len(set(remote.sent)) == 2
    assert anchorer.status()["pending_sizes"] == [5]
    raws = [one.raw for one in anchorer._journal.of_state("pending")]
    remote.forget_sends = False
    assert anchorer.anchor_now().size == 9
    assert ground.count() == 2
    assert anchorer.covering(4)[0].size == 5
    before, after = (TypedTransaction.from_bytes(HexBytes(raw)).as_dict() for raw in raws[-2:])
    assert before["nonce"] == after["nonce"]
    for name in ("maxFeePerGas", "maxPriorityFeePerGas"):
        assert after[name] * 10 >= before[name] * 11  # what nodes ask of a replacement


def test_a_nonce_used_up_by_others_is_no_dead_end(ground) -> None:
    """Another program with the same key sent something; our attempt can't be mined any more."""
    remote = Remote(ground.chain)
    remote.forget_sends = True
    ground.log.size = 5
    anchorer = ground.anchorer(remote, depth=1, own=False)
    with anchorer._turn:
        anchorer._step()
    remote.forget_sends = False
    other = sha256(b"a log of somebody's").digest()
    ground.contract.open(other, FUNDED[1], ADMIN)
    ground.contract.send_anchor(other, 1, LOG, [], ANCHORER)
    assert anchorer.anchor_now().size == 5
    assert ground.count() == 1
