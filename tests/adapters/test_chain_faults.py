"""The anchorer on Anvil while the chain fails: docs/reliability.md has the table of these.

Each test ends with `check`: one root a size, the newest head on chain, nothing sent twice.
GRIDSEAL_SOAK=1 runs the long forms.
"""

import os
import random
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from eth_account.typed_transactions import TypedTransaction
from hexbytes import HexBytes

from infra.anchor_contract import address_of
from infra.anchorer import RAISE_AFTER_S
from infra.chain_setup import OWN_NODE_DEPTH, open_chain
from infra.config import AnchorConfig
from infra.data_folder import DataFolder
from infra.files import make_folder
from infra.rpc_provider import remote_web3
from tests.adapters.anchoring import ANCHORER, FUNDED, LOG, state_of
from tests.adapters.chain_ground import NodeGround, check, on, settle, tried, turn
from tests.adapters.chain_nodes import Node, running

SOAK = os.environ.get("GRIDSEAL_SOAK") == "1"
HOUR_US = 3_600_000_000
pytestmark = pytest.mark.xdist_group("chain-nodes")


@pytest.fixture(scope="module")
def anvil_of_ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running("anvil", tmp_path_factory.mktemp("anvil"), history=True) as node:
        yield node


@pytest.fixture
def ground(anvil_of_ours: Node, tmp_path: Path) -> Iterator[NodeGround]:
    node = anvil_of_ours
    with on(node, tmp_path) as found:
        yield found
    node.ask("anvil_dropAllTransactions")
    node.ask("evm_setAutomine", True)
    node.mine(80)  # the base fee comes down again
    node.ask("anvil_setNextBlockBaseFeePerGas", hex(10**9))


def newest_raw(found: NodeGround) -> bytes:
    raw = found.running[-1]._journal.of_state("pending")[-1].raw
    assert raw is not None
    return raw


def fee_of(raw: bytes) -> int:
    return int(TypedTransaction.from_bytes(HexBytes(raw)).as_dict()["maxFeePerGas"])


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks at what the node undid: there is one node here."""
    monkeypatch.setattr("infra.anchorer.RELOOK_S", 0.01)


# -- reorganisations -----------------------------------------------------------------------------


@pytest.mark.parametrize("deepest", range(8, 65, 8))
def test_reorgs_of_every_depth_from_1_to_64(tmp_path: Path, deepest: int) -> None:
    """Up to four heads in the blocks that go; their transactions are lost with them."""
    # a node for each eight: after some 700 blocks Anvil 1.7.1 loses accounts in a reorg
    with running("anvil", tmp_path, history=True) as node, on(node, tmp_path) as ground:
        reorganise(ground, range(deepest - 7, deepest + 1))


def reorganise(ground: NodeGround, depths: Iterable[int]) -> None:
    anchorer = ground.anchorer()
    for depth in depths:
        heads = min(4, depth)
        ground.node.mine(depth % heads)
        for _ in range(heads):
            ground.node.mine(depth // heads - 1)
            ground.log.size += depth
            settle(ground, anchorer)
        before = len(ground.events())
        ground.node.ask("anvil_reorg", depth, [])
        assert len(ground.events()) == before - heads
        ground.log.size += 1
        assert settle(ground, anchorer) <= 3
        assert len(ground.events()) == before + 1
    check(ground, anchorer)
    assert ground.alarms == []


@pytest.mark.parametrize("depth", [1, 2, 7, 33, 64])
def test_a_chain_that_comes_back_shorter(ground: NodeGround, depth: int) -> None:
    """evm_revert: the newest blocks are gone, and none has come in their place yet."""
    anchorer = ground.anchorer()
    ground.log.size = 5
    settle(ground, anchorer)
    before = ground.node.ask("evm_snapshot")
    ground.close_book(prefix=4)
    ground.log.size = 9
    settle(ground, anchorer)
    ground.node.mine(depth - 1)
    assert ground.contract.closes(LOG) == 1
    ground.node.ask("evm_revert", before)
    assert (ground.contract.closes(LOG), len(ground.events())) == (0, 1)
    settle(ground, anchorer)
    check(ground, anchorer)
    assert ground.contract.closes(LOG) == 1
    assert ground.alarms == []


def test_what_a_node_of_ones_own_forgets_is_sent_again(
    anvil_of_ours: Node, ground: NodeGround, tmp_path: Path
) -> None:
    """Anvil keeps its state each second; a kill in between is no older chain that was restored."""
    config = AnchorConfig(rpc_url=anvil_of_ours.at.url, deploy=True)
    folder = DataFolder(make_folder(tmp_path / "data"))
    make_folder(folder.keys)
    anvil_of_ours.fund([address_of(folder.seed(name)) for name in ("admin", "anchorer")])
    chain = open_chain(config, folder, "gridseal.invalid/0123456789abcdef", "")
    assert (chain.kind, chain.depth) == ("own", OWN_NODE_DEPTH)
    anchorer = ground.anchorer(depth=chain.depth, own=True)
    ground.log.size = 5
    settle(ground, anchorer)
    before = ground.node.ask("evm_snapshot")
    ground.log.size = 9
    settle(ground, anchorer)
    ground.node.ask("evm_revert", before)
    settle(ground, anchorer)
    check(ground, anchorer)
    assert ground.alarms == []
    ground.node.mine(OWN_NODE_DEPTH)
    turn(anchorer)
    assert anchorer.final_size() == 9


def test_a_reorg_that_keeps_the_transactions_only_moves_them(ground: NodeGround) -> None:
    """What mostly happens on Ethereum: others put the same bytes into their own blocks."""
    anchorer = ground.anchorer()
    ground.node.mine(3)
    ground.log.size = 5
    settle(ground, anchorer)
    one = anchorer._journal.of_state("anchored")[0]
    assert one.raw is not None
    ground.node.mine(4)
    ground.node.ask("anvil_reorg", 6, [["0x" + one.raw.hex(), 4]])
    settle(ground, anchorer)
    again = anchorer.covering(0)
    assert again is not None
    assert one.block is not None
    assert again[0].tx == one.tx
    assert again[0].block != one.block
    check(ground, anchorer)
    assert ground.alarms == []


def test_a_reorg_while_a_transaction_waits(ground: NodeGround) -> None:
    anchorer = ground.anchorer()
    for size in (5, 9):
        ground.log.size = size
        settle(ground, anchorer)
    ground.node.ask("evm_setAutomine", False)
    ground.log.size = 12
    turn(anchorer)
    assert anchorer.status()["pending_sizes"] == [12]
    ground.node.ask("anvil_reorg", 2, [])
    for _ in range(6):
        tried(anchorer)
        ground.node.mine(1)
    ground.node.ask("evm_setAutomine", True)
    settle(ground, anchorer)
    check(ground, anchorer)
    assert ground.alarms == []


# -- the mempool ---------------------------------------------------------------------------------


def test_dropped_transactions_are_sent_again(ground: NodeGround) -> None:
    ground.node.ask("evm_setAutomine", False)
    anchorer = ground.anchorer()
    for number in range(1, 21):
        ground.log.size = 5 * number
        turn(anchorer)
        (one,) = anchorer._journal.of_state("pending")
        for _ in range(number % 3 + 1):
            ground.node.ask("anvil_dropTransaction", one.tx)
            turn(anchorer)
        ground.node.mine(1)
        turn(anchorer)
        assert anchorer.anchored_size() == ground.log.size
        found = anchorer.covering(ground.log.size - 1)
        assert found is not None
        assert found[0].tx == one.tx  # the same bytes
    check(ground, anchorer)
    assert ground.alarms == []


def test_a_stuck_transaction_gets_dearer_and_the_operator_hears_of_it(ground: NodeGround) -> None:
    ground.node.ask("evm_setAutomine", False)
    anchorer = ground.anchorer()
    ground.log.size = 5
    turn(anchorer)
    offered = [fee_of(newest_raw(ground))]
    for _ in range(20):
        ground.clock.us += (RAISE_AFTER_S + 1) * 1_000_000
        ground.log.size += 1
        assert tried(anchorer)
        offered.append(fee_of(newest_raw(ground)))
    assert len(set(offered)) == 13
    assert max(offered) <= 15 * offered[0]
    assert ground.alarms == ["anchor-delayed"]
    assert ground.cleared == []
    ground.node.mine(1)
    settle_by_mining(ground)
    check(ground, anchorer)
    assert len(ground.events()) == 2  # that head, and the newest: none for those between
    assert ground.alarms == ground.cleared == ["anchor-delayed"]


def settle_by_mining(ground: NodeGround) -> None:
    for _ in range(4):
        tried(ground.running[-1])
        ground.node.mine(1)
    settle(ground, ground.running[-1])


def test_a_gap_before_the_nonce_is_filled(ground: NodeGround) -> None:
    """Five transactions of the key, which somebody else sent, vanish from the mempool."""
    ground.node.ask("evm_setAutomine", False)
    other = sha256(b"another log of the same key").digest()
    blockers = []
    first = ground.contract.next_nonce(FUNDED[1])
    for number in range(5):
        signed = ground.contract.sign_anchor(
            LOG, 1, other, [], ANCHORER, nonce=first + number, gas=300_000
        )
        ground.contract.send(signed)
        blockers.append(signed.tx)
    anchorer = ground.anchorer()
    ground.log.size = 5
    turn(anchorer)
    assert anchorer._journal.of_state("pending")[0].nonce == first + 5
    for tx in blockers:
        ground.node.ask("anvil_dropTransaction", tx)
    ground.node.mine(1)
    assert len(ground.events()) == 0
    for _ in range(3):
        ground.clock.us += (RAISE_AFTER_S + 1) * 1_000_000
        tried(anchorer)
        ground.node.mine(1)
    settle(ground, anchorer)
    ground.node.ask("anvil_dropAllTransactions")
    check(ground, anchorer)


@pytest.mark.parametrize("times", [100, 10_000])
def test_the_base_fee_jumps(ground: NodeGround, times: int) -> None:
    ground.node.ask("evm_setAutomine", False)
    anchorer = ground.anchorer()
    ground.log.size = 5
    turn(anchorer)
    before = fee_of(newest_raw(ground))
    ground.node.ask("anvil_setNextBlockBaseFeePerGas", hex(before * times))
    ground.node.mine(1)
    assert ground.events() == []
    for _ in range(4):
        tried(anchorer)
    ground.clock.us += (RAISE_AFTER_S + 1) * 1_000_000
    tried(anchorer)
    assert fee_of(newest_raw(ground)) > before * times // 2
    settle_by_mining(ground)
    check(ground, anchorer)
    assert len(ground.events()) == 1


def test_no_more_is_paid_than_may_be_and_it_goes_on_when_it_is_cheap(ground: NodeGround) -> None:
    anchorer = ground.anchorer(fee_max_wei=5 * 10**9)
    ground.log.size = 5
    settle(ground, anchorer)
    ground.node.ask("anvil_setNextBlockBaseFeePerGas", hex(100 * 10**9))
    ground.node.mine(1)
    ground.log.size = 9
    nonce = ground.contract.next_nonce(FUNDED[1])
    for _ in range(5):
        assert not tried(anchorer)
        ground.clock.us += 60_000_000
    assert ground.contract.next_nonce(FUNDED[1]) == nonce
    assert ground.alarms == ["chain-unavailable"]
    assert "gwei" in ground.texts[0]
    ground.node.mine(80)
    settle(ground, anchorer)
    check(ground, anchorer)
    assert ground.cleared == ["chain-unavailable"]


# -- the node is away ----------------------------------------------------------------------------


@pytest.mark.parametrize("under_way", [False, True])
def test_the_chain_is_away_for_72_hours(ground: NodeGround, under_way: bool) -> None:
    """A turn every five minutes of a clock that is set: one line, and one transaction behind it."""
    anchorer = ground.anchorer()
    ground.log.size = 5
    settle(ground, anchorer)
    if under_way:
        ground.node.ask("evm_setAutomine", False)
        ground.log.size = 6
        turn(anchorer)
    ground.node.stop()
    for _ in range(72 * 12):
        ground.clock.us += HOUR_US // 12
        ground.log.size += 1
        assert not tried(anchorer)
    assert ground.alarms == ["chain-unavailable"]
    assert ground.cleared == []
    status = anchorer.status()
    assert status["outage_s"] == 72 * 3600 - 300
    assert len(anchorer._journal.of_state("pending")) == int(under_way)
    ground.node.start()
    assert settle(ground, anchorer) <= 3
    check(ground, anchorer)
    sizes = [size for size, _, _ in ground.events()]
    assert sizes == ([5, 6, ground.log.size] if under_way else [5, ground.log.size])
    assert ground.alarms == ground.cleared == ["chain-unavailable"]
    assert anchorer.status()["outage_s"] == 0


def test_a_node_that_takes_connections_and_does_not_answer(ground: NodeGround) -> None:
    anchorer = ground.anchorer(remote_web3(ground.node.at.url, timeout_s=0.3))
    ground.log.size = 5
    settle(ground, anchorer)
    ground.node.hold()
    try:
        ground.log.size = 9
        for _ in range(4):
            assert not tried(anchorer)
            ground.clock.us += 40_000_000
    finally:
        ground.node.go_on()
    settle(ground, anchorer)
    check(ground, anchorer)
    assert ground.alarms == ground.cleared == ["chain-unavailable"]


@pytest.mark.parametrize("name", ["anvil", "ganache"])
def test_kills_of_the_node(name: str, tmp_path: Path) -> None:
    """Anvil keeps what is a second old, so a kill is a reorg; Ganache keeps what it said."""
    kills = 20 if SOAK else 5
    chance = random.Random(name)
    with running(name, tmp_path) as node, on(node, tmp_path) as ground:
        node.ask("evm_mine")
        ground.log.size = 5
        anchorer = ground.anchorer()
        settle(ground, anchorer)
        kept(node)
        for _ in range(kills):
            for _ in range(chance.randrange(1, 4)):
                ground.log.size += chance.randrange(1, 50)
                tried(anchorer)
            node.kill()
            assert not tried(anchorer)
            node.start()
            ground.log.size += 1
            settle(ground, anchorer)
        check(ground, anchorer)
        assert ground.alarms == []


def kept(node: Node) -> None:
    """Wait until the node's file has the deployment: a kill would else take the contract, too."""
    node.restart()


# -- two of us -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(50 if SOAK else 8))
def test_two_anchorers_with_one_key(ground: NodeGround, seed: int) -> None:
    """Each with a journal of its own, over the same log: a standby that was started by mistake."""
    chance = random.Random(seed)
    two = [ground.anchorer(journal=f"{name}.db") for name in "ab"]
    automine = chance.random() < 0.5
    ground.node.ask("evm_setAutomine", automine)
    for _ in range(40):
        ground.log.size += chance.randrange(3)
        ground.clock.us += chance.randrange(200) * 1_000_000
        if ground.log.size:
            tried(chance.choice(two))
        if chance.random() < 0.4:
            ground.node.mine(1)
    ground.node.mine(1)
    ground.node.ask("evm_setAutomine", True)
    ground.log.size += 1
    for anchorer in two * 2:
        settle(ground, anchorer)
    wasted = ground.sent_and_mined() - len(ground.events())
    for anchorer in two:
        check(ground, anchorer, wasted=wasted)
    # each is told of what the other does, once: reverted, a nonce taken, a fee that is too low
    known = {"anchor-reverted", "anchor-key-shared", "anchor-delayed", "chain-unavailable"}
    assert set(ground.alarms) <= known
    assert wasted == ground.alarms.count("anchor-reverted")


# -- finality ------------------------------------------------------------------------------------


def test_heads_and_closes_become_final_by_the_chains_own_word(tmp_path: Path) -> None:
    """Two epochs of one block: `finalized` is two blocks behind the head."""
    with (
        running("anvil", tmp_path, "--slots-in-an-epoch", "1") as node,
        on(node, tmp_path) as ground,
    ):
        anchorer = ground.anchorer(depth=0)
        ground.log.size = 5
        settle(ground, anchorer)
        ground.close_book(prefix=4)
        settle(ground, anchorer)
        turn(anchorer)
        found = anchorer.covering(0)
        assert found is not None
        assert (found[2], state_of(anchorer, 1)) == ("anchored", "anchored")
        node.mine(3)
        for _ in range(3):
            turn(anchorer)
        found = anchorer.covering(0)
        assert found is not None
        assert (found[2], state_of(anchorer, 1)) == ("final", "final")
        check(ground, anchorer)


def test_two_weeks_without_finality(ground: NodeGround) -> None:
    """The chain goes on, `finalized` does not: nothing is said to be final, all is anchored."""
    anchorer = ground.anchorer(depth=0)
    final = ground.contract.finalized_number()
    assert final is not None
    for day in range(1, 15):
        ground.log.size = 10 * day
        ground.clock.us += 24 * HOUR_US
        settle(ground, anchorer)
    assert anchorer.final_size() == 0
    ground.node.mine(80)
    for _ in range(4):
        turn(anchorer)
    assert anchorer.final_size() == ground.log.size
    check(ground, anchorer)
    assert ground.alarms == []
