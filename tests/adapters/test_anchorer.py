"""The anchorer under every fault: one head, not two, and never a lie about what stands on chain.

The chain is the embedded one; a second face of it plays a remote chain that mines when it is told,
forgets blocks, loses answers or goes away.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import requests
from eth_account.typed_transactions import TypedTransaction
from eth_utils.crypto import keccak
from hexbytes import HexBytes
from web3 import Web3
from web3.providers.base import BaseProvider

from bal.certify.tree import consistency_path, leaf_hash, node_hash, root_of
from bal.errors import Stop, Unavailable
from bal.model import Anchor, Digest, TreeHead
from infra.anchor_contract import AnchorContract, address_of
from infra.anchorer import RAISE_AFTER_S, Anchorer
from infra.chain_embedded import EmbeddedChain
from infra.chain_json import RpcError

ADMIN, ANCHORER = sha256(b"admin").digest(), sha256(b"anchorer").digest()
FUNDED = [address_of(ADMIN), address_of(ANCHORER)]
LOG = keccak(b"gridseal.invalid/0123456789abcdef")


class Log:
    """A log as its tiles would show it; `salt` makes another one of the same sizes."""

    def __init__(self, size: int, salt: bytes = b"") -> None:
        self.size = size
        self.salt = salt

    def _node(self, level: int, n: int) -> Digest:
        if level == 0:
            return leaf_hash(self.salt + b"entry %d" % n)
        return node_hash(self._node(level - 1, 2 * n), self._node(level - 1, 2 * n + 1))

    def newest(self) -> tuple[TreeHead, bytes] | None:
        if self.size == 0:
            return None
        return TreeHead(self.size, root_of(self.size, self._node)), b"note of %d" % self.size

    def consistency(self, first: int, second: int) -> list[bytes]:
        return list(consistency_path(first, second, self._node))


class Tick:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.us = 1_800_000_000_000_000

    def now_us(self) -> int:
        return self.us


class Faulty(BaseProvider):
    """A way to the chain that fails on demand, before or after the chain has acted."""

    def __init__(self, chain: EmbeddedChain) -> None:
        super().__init__()
        self.chain = chain
        self.down = False
        self.lose_answers_of: set[str] = set()
        self.forget_sends = False  # taken, and never mined: a full mempool
        self.crash_at: str | None = None
        self.sent: list[str] = []

    def make_request(self, method: Any, params: Any) -> Any:
        if self.crash_at == f"before {method}":
            raise Killed
        if self.down:
            raise requests.ConnectionError("connection refused")
        if method == "eth_sendRawTransaction":
            self.sent.append(Web3.to_hex(keccak(bytes.fromhex(params[0][2:]))))
            if self.forget_sends:
                return {"jsonrpc": "2.0", "id": 1, "result": self.sent[-1]}
        try:
            answer = {"result": self.chain.request(method, list(params))}
        except RpcError as error:
            answer = {"error": error.as_json()}
        if self.crash_at == f"after {method}":
            raise Killed
        if method in self.lose_answers_of:
            raise requests.ReadTimeout("read timed out")
        return {"jsonrpc": "2.0", "id": 1, **answer}


class Killed(BaseException):
    """The process ends here; nothing may catch it."""


@dataclass
class Ground:
    """A deployed contract, a log, and anchorers that come and go over one journal."""

    folder: Path
    chain: EmbeddedChain
    contract: AnchorContract  # reaches the chain without faults
    log: Log = field(default_factory=lambda: Log(0))
    clock: Tick = field(default_factory=Tick)
    anchored: list[tuple[Anchor, bytes]] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    running: list[Anchorer] = field(default_factory=list)

    def faulty(self) -> Faulty:
        return Faulty(self.chain)

    def anchorer(
        self,
        provider: BaseProvider | None = None,
        *,
        depth: int = 0,
        interval_s: float = 3600,
        key: bytes = ANCHORER,
        journal: str = "journal.db",
    ) -> Anchorer:
        web3 = Web3(provider) if provider else self.chain.web3()
        found = Anchorer(
            contract=AnchorContract(web3, self.contract.address),
            log=LOG,
            anchorer_key=key,
            journal=self.folder / journal,
            newest=lambda: self.log.newest(),  # noqa: PLW0108  a test may put another log there
            consistency=lambda first, second: self.log.consistency(first, second),  # noqa: PLW0108
            interval_s=interval_s,
            depth=depth,
            clock=self.clock,
            on_anchored=lambda anchor, note: self.anchored.append((anchor, note)),
            on_alarm=lambda code, _: self.alarms.append(code),
        )
        self.running.append(found)
        return found

    def count(self) -> int:
        return self.contract.latest(LOG).count

    def mine(self, blocks: int) -> None:
        """Other people's transactions."""
        for _ in range(blocks):
            nonce = self.chain.web3().eth.get_transaction_count(FUNDED[0])
            self.contract.open(sha256(b"other %d" % nonce).digest(), FUNDED[1], ADMIN)


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    chain = EmbeddedChain(tmp_path / "chain.db", FUNDED)
    contract = AnchorContract.deploy(chain.web3(), ADMIN)
    contract.open(LOG, FUNDED[1], ADMIN)
    found = Ground(tmp_path, chain, contract)
    yield found
    for one in found.running:
        one.stop(20)
    found.chain.close()


def eventually(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen in 30 s")


# -- the plain way -------------------------------------------------------------------------------


def test_an_empty_log_has_nothing_to_anchor(ground) -> None:
    anchorer = ground.anchorer()
    assert anchorer.anchor_now() is None
    assert anchorer.covering(0) is None
    assert anchorer.anchored_size() == 0
    assert anchorer.status()["anchored_size"] == 0


def test_heads_follow_each_other_and_cover_their_entries(ground) -> None:
    anchorer = ground.anchorer()
    anchors = {}
    for size in (1, 5, 6, 40):
        ground.log.size = size
        anchors[size] = anchorer.anchor_now()
        assert anchorer.anchor_now() == anchors[size]  # again costs nothing
    assert ground.count() == 4
    for index, size in ((0, 1), (1, 5), (4, 5), (5, 6), (6, 40), (39, 40)):
        assert anchorer.covering(index) == (anchors[size], b"note of %d" % size, "final")
    assert anchorer.covering(40) is None
    assert [anchor.size for anchor, _ in ground.anchored] == [1, 5, 6, 40]
    last = anchors[40]
    assert last.contract == ground.contract.address
    assert last.log == "0x" + LOG.hex()
    assert last.chain_id == ground.chain.chain_id
    assert ground.contract.mined(last.tx).block == last.block


def test_the_thread_anchors_by_itself(ground) -> None:
    ground.log.size = 3
    anchorer = ground.anchorer(interval_s=0.05)
    anchorer.start()
    eventually(lambda: anchorer.anchored_size() == 3)
    ground.log.size = 9
    eventually(lambda: anchorer.anchored_size() == 9)
    anchorer.stop(20)
    assert ground.contract.latest(LOG).size == 9
    assert ground.alarms == []


def test_status_tells_age_gas_and_last_error(ground) -> None:
    provider = ground.faulty()
    anchorer = ground.anchorer(provider)
    ground.log.size = 3
    anchor = anchorer.anchor_now()
    ground.clock.us += 90_000_000
    status = anchorer.status()
    assert status["age_s"] == 90
    assert status["gas"] == ground.contract.mined(anchor.tx).gas
    assert (status["state"], status["last_error"], status["halted"]) == ("final", "", None)


def test_all_is_known_after_a_restart(ground) -> None:
    first = ground.anchorer()
    for size in (2, 7):
        ground.log.size = size
        first.anchor_now()
    covered = [first.covering(index) for index in range(8)]
    first.stop(20)
    second = ground.anchorer()
    assert [second.covering(index) for index in range(8)] == covered
    second.start()
    assert second.anchored_size() == 7
    assert ground.count() == 2


# -- lost answers, kills -------------------------------------------------------------------------


def test_a_lost_answer_makes_one_head(ground) -> None:
    provider = ground.faulty()
    provider.lose_answers_of = {"eth_sendRawTransaction"}
    ground.log.size = 5
    anchorer = ground.anchorer(provider)
    with pytest.raises(Unavailable):
        anchorer.anchor_now()
    assert ground.count() == 1  # the chain has it, the anchorer does not know
    assert anchorer.covering(0) is None
    provider.lose_answers_of = set()
    ground.log.size = 8
    assert anchorer.anchor_now().size == 8
    assert ground.count() == 2
    assert len(provider.sent) == 2
    assert [anchor.size for anchor, _ in ground.anchored] == [5, 8]
    assert anchorer.covering(4)[1] == b"note of 5"


@pytest.mark.parametrize(
    "line",
    [
        "before eth_call",
        "before eth_estimateGas",
        "after eth_estimateGas",
        "before eth_sendRawTransaction",  # between intent and send
        "after eth_sendRawTransaction",  # between send and record
        "before eth_getTransactionReceipt",
        "after eth_getTransactionReceipt",
    ],
)
def test_a_kill_at_any_line_makes_one_head(ground, line: str) -> None:
    provider = ground.faulty()
    provider.crash_at = line
    ground.log.size = 5
    with pytest.raises(Killed):
        ground.anchorer(provider).anchor_now()
    ground.running.clear()  # it is gone, without any farewell
    again = ground.anchorer()
    assert again.anchor_now().size == 5
    assert ground.count() == 1
    assert again.covering(4)[1:] == (b"note of 5", "final")
    ground.log.size = 6
    assert again.anchor_now().size == 6
    assert ground.count() == 2


def test_an_intent_is_sent_as_it_was_written_down(ground) -> None:
    provider = ground.faulty()
    provider.crash_at = "before eth_sendRawTransaction"
    ground.log.size = 5
    with pytest.raises(Killed):
        ground.anchorer(provider).anchor_now()
    ground.running.clear()
    ground.log.size = 9  # the log went on meanwhile
    provider = ground.faulty()
    again = ground.anchorer(provider)
    assert again.anchor_now().size == 9
    assert [anchor.size for anchor, _ in ground.anchored] == [5, 9]
    assert len(provider.sent) == 2


def test_a_lost_journal_is_no_second_head(ground) -> None:
    ground.log.size = 5
    ground.anchorer().anchor_now()
    again = ground.anchorer(journal="new.db")
    assert again.anchor_now().size == 5  # found by its event, with the newest note
    assert ground.count() == 1
    assert again.covering(2)[1] == b"note of 5"
    ground.log.size = 9
    third = ground.anchorer(journal="third.db")
    assert third.anchor_now().size == 9
    assert ground.count() == 2
    assert third.covering(0)[0].size == 9  # the note of 5 is gone for good, 9 covers


def test_the_chain_restarts(ground) -> None:
    ground.log.size = 5
    first = ground.anchorer()
    first.anchor_now()
    first.stop(20)
    ground.chain.close()
    ground.chain = EmbeddedChain(ground.folder / "chain.db", FUNDED)
    ground.contract = AnchorContract(ground.chain.web3(), ground.contract.address)
    ground.log.size = 7
    again = ground.anchorer()
    again.start()
    assert again.anchor_now().size == 7
    assert ground.count() == 2


def test_an_outage_ends_in_one_transaction_for_the_newest(ground) -> None:
    provider = ground.faulty()
    provider.down = True
    ground.log.size = 1
    anchorer = ground.anchorer(provider, interval_s=0.02)
    anchorer.start()  # no chain is no reason not to start
    eventually(lambda: "connection refused" in str(anchorer.status()["last_error"]))
    for size in range(2, 30):
        ground.log.size = size
        time.sleep(0.005)
    provider.down = False
    eventually(lambda: anchorer.anchored_size() == 29)
    anchorer.stop(20)
    assert ground.count() == len(provider.sent) == 1
    assert ground.alarms == []


# -- contradictions ------------------------------------------------------------------------------


def stops(anchorer: Anchorer, code: str) -> None:
    with pytest.raises(Stop) as caught:
        anchorer.start()
    assert caught.value.code == code
    assert anchorer.status()["halted"] == code
    with pytest.raises(Stop):  # and it stays stopped
        anchorer.anchor_now()


def test_a_chain_ahead_of_the_log_stops(ground) -> None:
    ground.log.size = 9
    ground.anchorer().anchor_now()
    ground.log.size = 5  # an old copy of the log was restored
    stops(ground.anchorer(), "anchor-ahead")
    ground.log.size = 0
    stops(ground.anchorer(journal="new.db"), "anchor-ahead")
    assert ground.alarms == ["anchor-ahead", "anchor-ahead"]
    assert ground.count() == 1


@pytest.mark.parametrize("size", [9, 10, 16, 33])
def test_a_chain_that_differs_from_the_log_stops(ground, size: int) -> None:
    ground.log.size = 9
    ground.anchorer().anchor_now()
    ground.log = Log(size, b"another ")
    stops(ground.anchorer(), "anchor-fork")
    assert ground.alarms == ["anchor-fork"]
    assert ground.count() == 1


def test_a_contradiction_met_while_running_ends_the_thread(ground) -> None:
    ground.log.size = 9
    anchorer = ground.anchorer(interval_s=0.05)
    anchorer.start()
    eventually(lambda: anchorer.anchored_size() == 9)
    other = Log(12, b"another ")
    head = other.newest()[0]
    ground.log.size = 12
    ground.log.salt = b"another "
    eventually(lambda: ground.alarms == ["anchor-fork"])
    assert anchorer.status()["halted"] == "anchor-fork"
    assert anchorer.covering(3)[0].size == 9  # what stands can still be given out
    assert ground.contract.root_at(LOG, 12) is None
    assert head.size == 12


def test_an_older_chain_put_back_stops(ground) -> None:
    ground.log.size = 5
    anchorer = ground.anchorer()
    anchorer.anchor_now()
    ground.chain.close()
    older = (ground.folder / "chain.db").read_bytes()
    ground.chain = EmbeddedChain(ground.folder / "chain.db", FUNDED)
    ground.contract = AnchorContract(ground.chain.web3(), ground.contract.address)
    ground.log.size = 7
    ground.anchorer().anchor_now()
    ground.chain.close()
    (ground.folder / "chain.db").write_bytes(older)
    ground.chain = EmbeddedChain(ground.folder / "chain.db", FUNDED)
    ground.contract = AnchorContract(ground.chain.web3(), ground.contract.address)
    stops(ground.anchorer(), "anchor-lost")


def test_another_contract_needs_another_journal(ground) -> None:
    ground.log.size = 5
    ground.anchorer().anchor_now()
    ground.contract = AnchorContract.deploy(ground.chain.web3(), ADMIN)
    ground.contract.open(LOG, FUNDED[1], ADMIN)
    stops(ground.anchorer(), "anchor-target")
    assert ground.anchorer(journal="other.db").anchor_now().size == 5


def test_no_journal_of_ours_is_refused(ground) -> None:
    (ground.folder / "journal.db").write_bytes(b"something else entirely" * 100)
    with pytest.raises(Stop, match="anchor-journal"):
        ground.anchorer()


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda contract: contract.replace_anchorer(LOG, FUNDED[0], ADMIN), "anchor-not-allowed"),
        (lambda contract: contract.retire(LOG, 0, ADMIN), "anchor-retired"),
    ],
    ids=["replaced", "retired"],
)
def test_what_only_the_operator_can_mend_stops(ground, spoil, code: str) -> None:
    spoil(ground.contract)
    ground.log.size = 5
    anchorer = ground.anchorer()
    with pytest.raises(Stop) as caught:
        anchorer.anchor_now()
    assert caught.value.code == code
    assert ground.alarms == [code]


def test_a_log_that_is_not_open_stops(ground) -> None:
    ground.contract = AnchorContract.deploy(ground.chain.web3(), ADMIN)
    ground.log.size = 5
    with pytest.raises(Stop, match="anchor-unknown-log"):
        ground.anchorer().anchor_now()


# -- depth, reorg, stuck transactions ------------------------------------------------------------


class Remote(Faulty):
    """A chain with depth: nothing is `finalized` before `final`, and blocks can be taken back.

    Underneath runs the embedded chain, which never goes back: a reorg puts a copy of its file in
    place and what was mined since is forgotten.
    """

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
    anchorer = ground.anchorer(remote, depth=3)
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
    anchorer = ground.anchorer(remote, depth=1_000)
    anchor = anchorer.anchor_now()
    remote.final = anchor.block - 1
    anchorer.anchor_now()
    assert anchorer.covering(0)[2] == "anchored"
    remote.final = anchor.block
    anchorer.anchor_now()
    assert anchorer.covering(0)[2] == "final"


def test_a_reorg_takes_a_head_back_and_it_is_sent_again(ground) -> None:
    remote = Remote(ground.chain)
    reorg = Reorg(ground, remote)
    ground.log.size = 5
    anchorer = ground.anchorer(remote, depth=10)
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
    anchorer = ground.anchorer(remote, depth=10)
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
    anchorer = ground.anchorer(remote, depth=10)
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
    anchorer = ground.anchorer(remote, depth=1)
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
    anchorer = ground.anchorer(remote, depth=1)
    with anchorer._turn:
        anchorer._step()
    remote.forget_sends = False
    other = sha256(b"a log of somebody's").digest()
    ground.contract.open(other, FUNDED[1], ADMIN)
    ground.contract.send_anchor(other, 1, LOG, [], ANCHORER)
    assert anchorer.anchor_now().size == 5
    assert ground.count() == 1


def test_two_anchorers_of_one_log_do_no_harm(ground) -> None:
    ground.log.size = 3
    one, two = ground.anchorer(), ground.anchorer(journal="two.db")
    one.anchor_now()
    two.anchor_now()
    ground.log.size = 8
    two.anchor_now()
    one.anchor_now()
    assert ground.count() == 2
    assert one.covering(5)[0] == two.covering(5)[0]


def test_covering_may_be_asked_while_the_thread_writes(ground) -> None:
    ground.log.size = 1
    anchorer = ground.anchorer(interval_s=0.01)
    anchorer.start()
    wrong: list[object] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            found = anchorer.covering(0)
            if found is not None and found[1] != b"note of %d" % found[0].size:
                wrong.append(found)

    asker = threading.Thread(target=ask)
    asker.start()
    for size in range(2, 12):
        ground.log.size = size
        eventually(lambda size=size: anchorer.anchored_size() == size)
    done.set()
    asker.join(20)
    assert wrong == []


def test_a_defect_in_a_callback_does_not_end_the_thread(ground) -> None:
    anchorer = ground.anchorer(interval_s=0.02)
    calls: list[Sequence[object]] = []

    def broken(*arguments: object) -> None:
        calls.append(arguments)
        raise ValueError("a defect")

    anchorer._on_anchored = broken
    ground.log.size = 3
    anchorer.start()
    eventually(lambda: "anchorer-defect" in ground.alarms)
    assert anchorer.covering(0) is not None
    assert len(calls) == 1
