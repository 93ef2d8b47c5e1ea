"""The closer on a chain with depth: finality, reorgs, transactions that no block takes."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from eth_account.typed_transactions import TypedTransaction
from hexbytes import HexBytes

from bal.errors import Stop, Unavailable
from infra.anchorer import Anchorer
from infra.closer import RAISE_AFTER_S
from tests.adapters.anchoring import ADMIN, ANCHORER, FUNDED, LOG, Ground, prepared, state_of
from tests.adapters.test_anchorer_remote import Remote, Reorg

OTHER = sha256(b"another book").digest()


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    yield from prepared(tmp_path)


def turn(anchorer: Anchorer) -> None:
    with anchorer._turn:
        anchorer._guarded(anchorer._step)


def waiting(ground: Ground, remote: Remote, *, depth: int = 3) -> Anchorer:
    """An anchorer with a head of 5 on chain, and a close that it covers and that is not sent."""
    ground.log.size = 5
    anchorer = ground.anchorer(remote, depth=depth, own=False)
    anchorer.anchor_now()
    ground.close_book(prefix=4)
    return anchorer


def test_a_close_is_final_when_blocks_lie_on_it(ground) -> None:
    anchorer = waiting(ground, Remote(ground.chain))
    turn(anchorer)
    assert state_of(anchorer, 1) == "anchored"
    ground.mine(2)
    turn(anchorer)
    assert state_of(anchorer, 1) == "anchored"
    assert anchorer.closer.unsettled()
    ground.mine(1)
    turn(anchorer)
    assert state_of(anchorer, 1) == "final"
    assert not anchorer.closer.unsettled()


@pytest.mark.parametrize("depth", [0, 1_000])
def test_a_close_is_final_when_the_chain_says_so(ground, depth: int) -> None:
    remote = Remote(ground.chain)
    anchorer = waiting(ground, remote, depth=depth)
    turn(anchorer)
    block = ground.contract.head_number()
    for remote.final in (0, 1, block - 1):
        turn(anchorer)
        assert state_of(anchorer, 1) == "anchored"
    remote.final = block
    turn(anchorer)
    assert state_of(anchorer, 1) == "final"


def test_a_reorg_takes_a_close_back_and_it_is_sent_again(ground) -> None:
    remote = Remote(ground.chain)
    reorg = Reorg(ground, remote)
    anchorer = waiting(ground, remote, depth=10)
    reorg.remember()
    ground.close_book(prefix=4)
    turn(anchorer)
    assert [state_of(anchorer, k) for k in (1, 2)] == ["anchored", "anchored"]
    before = list(remote.sent)
    reorg.happen()
    assert ground.contract.closes(LOG) == 0
    ground.mine(3)
    turn(anchorer)
    turn(anchorer)
    assert ground.contract.closes(LOG) == 2
    assert [state_of(anchorer, k) for k in (1, 2)] == ["anchored", "anchored"]
    assert remote.sent[len(before) :] == before[-2:]  # the same bytes
    assert ground.alarms == []


def test_a_head_and_a_close_come_back_together(ground) -> None:
    remote = Remote(ground.chain)
    reorg = Reorg(ground, remote)
    reorg.remember()
    anchorer = waiting(ground, remote, depth=10)
    turn(anchorer)
    reorg.happen()
    assert (ground.count(), ground.contract.closes(LOG)) == (0, 0)
    for _ in range(3):
        turn(anchorer)
    assert (ground.count(), ground.contract.closes(LOG)) == (1, 1)
    assert state_of(anchorer, 1) == "anchored"


def test_another_close_after_a_reorg_stops(ground) -> None:
    remote = Remote(ground.chain)
    reorg = Reorg(ground, remote)
    anchorer = waiting(ground, remote, depth=10)
    reorg.remember()
    turn(anchorer)
    reorg.happen()
    ground.contract.send_close(LOG, 1, 4, OTHER, ANCHORER)
    with pytest.raises(Stop, match="close-differs"):
        turn(anchorer)
    assert ground.alarms == ["close-differs"]


def test_a_node_that_lags_is_no_contradiction(ground) -> None:
    remote = Remote(ground.chain)
    reorg = Reorg(ground, remote)
    anchorer = waiting(ground, remote)
    reorg.remember()
    turn(anchorer)
    ground.mine(3)
    turn(anchorer)
    assert state_of(anchorer, 1) == "final"
    reorg.happen()
    with pytest.raises(Unavailable, match="lags"):
        turn(anchorer)
    assert state_of(anchorer, 1) == "final"
    assert ground.alarms == []


@pytest.mark.parametrize("events", [True, False])
def test_a_node_without_old_state_tells_by_events_or_later(ground, events: bool) -> None:
    """Full nodes keep the state of 128 blocks, Anvil that of one; events are kept by all."""
    remote = Remote(ground.chain)
    anchorer = waiting(ground, remote)
    turn(anchorer)
    ground.mine(3)
    contract = anchorer.closer._contract
    asked, found = contract.closes, contract.find_closed
    refuse = True

    def closes(log: bytes, block: int | None = None) -> int:
        if block is not None and refuse:
            raise Unavailable("missing trie node")
        return asked(log, block)

    contract.closes = closes
    contract.find_closed = lambda log, k: found(log, k) if events else None
    turn(anchorer)
    assert state_of(anchorer, 1) == ("final" if events else "anchored")
    refuse = False
    turn(anchorer)
    assert state_of(anchorer, 1) == "final"


def test_a_close_that_no_block_takes_is_sent_again_then_made_dearer(ground) -> None:
    remote = Remote(ground.chain)
    anchorer = waiting(ground, remote)
    remote.forget_sends = True
    remote.sent.clear()
    for _ in range(3):
        turn(anchorer)
    assert len(remote.sent) == 3
    assert len(set(remote.sent)) == 1
    ground.clock.us += RAISE_AFTER_S * 1_000_000
    turn(anchorer)
    assert len(set(remote.sent)) == 2
    assert anchorer.status()["closes"] == {"anchored": 0, "final": 0, "under_way": 1}
    before, after = (
        TypedTransaction.from_bytes(HexBytes(one.raw)).as_dict()
        for one in anchorer.closer._journal.attempts(1)
    )
    assert before["nonce"] == after["nonce"]
    for name in ("maxFeePerGas", "maxPriorityFeePerGas"):
        assert after[name] * 10 >= before[name] * 11
    remote.forget_sends = False
    turn(anchorer)
    assert state_of(anchorer, 1) == "anchored"
    assert ground.contract.closes(LOG) == 1


def test_one_transaction_at_a_time(ground) -> None:
    """While a close is out no head follows it, and the other way round: they share the nonces."""
    remote = Remote(ground.chain)
    anchorer = waiting(ground, remote)
    remote.forget_sends = True
    turn(anchorer)
    assert anchorer.closer.under_way()
    ground.log.size = 9
    turn(anchorer)
    assert anchorer.status()["pending_sizes"] == []
    remote.forget_sends = False
    assert anchorer.anchor_now().size == 9
    assert state_of(anchorer, 1) == "anchored"
    remote.forget_sends = True
    ground.log.size = 12
    turn(anchorer)
    assert anchorer.status()["pending_sizes"] == [12]
    ground.close_book(prefix=4)
    turn(anchorer)
    assert not anchorer.closer.under_way()
    remote.forget_sends = False
    turn(anchorer)
    assert state_of(anchorer, 2) == "anchored"


def test_a_nonce_used_up_by_others_is_no_dead_end(ground) -> None:
    remote = Remote(ground.chain)
    anchorer = waiting(ground, remote)
    remote.forget_sends = True
    turn(anchorer)
    remote.forget_sends = False
    other = sha256(b"a log of somebody's").digest()
    ground.contract.open(other, FUNDED[1], ADMIN)
    ground.contract.send_anchor(other, 1, LOG, [], ANCHORER)
    for _ in range(2):
        turn(anchorer)
    assert state_of(anchorer, 1) == "anchored"
    assert ground.contract.closes(LOG) == 1


def test_a_close_that_is_mined_and_reverts_is_told_and_sent_anew(ground) -> None:
    remote = Remote(ground.chain)
    anchorer = waiting(ground, remote)
    remote.forget_sends = True
    turn(anchorer)
    remote.forget_sends = False
    ground.contract.replace_anchorer(LOG, FUNDED[0], ADMIN)  # for a moment, by mistake
    (attempt,) = anchorer.closer._journal.attempts(1)
    ground.chain.request("eth_sendRawTransaction", ["0x" + attempt.raw.hex()])
    ground.contract.replace_anchorer(LOG, FUNDED[1], ADMIN)
    turn(anchorer)
    assert ground.alarms == ["anchor-reverted"]
    assert state_of(anchorer, 1) == "anchored"
    assert ground.contract.closes(LOG) == 1
