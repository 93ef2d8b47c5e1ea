"""An anchorer's ground on a real node, and what must hold of it whatever happened."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from web3 import Web3
from web3.providers.base import BaseProvider

from bal.errors import Unavailable
from bal.model import Anchor, Close, Digest
from infra.anchor_contract import AnchorContract
from infra.anchorer import Anchorer
from tests.adapters.anchoring import ADMIN, ANCHORER, FUNDED, LOG, Log, Tick
from tests.adapters.chain_nodes import Node

SETTLE_TURNS_MAX = 12


@dataclass
class NodeGround:
    """A deployed contract on a node, a log, and anchorers that come and go over journals."""

    folder: Path
    node: Node
    contract: AnchorContract  # reaches the node without a proxy
    first_nonce: int
    log: Log = field(default_factory=lambda: Log(0))
    clock: Tick = field(default_factory=Tick)
    closes: list[Close] = field(default_factory=list)
    anchored: list[Anchor] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    cleared: list[str] = field(default_factory=list)
    running: list[Anchorer] = field(default_factory=list)

    def anchorer(
        self,
        way: Web3 | BaseProvider | None = None,
        *,
        depth: int = 1_000,
        own: bool = False,
        journal: str = "anchors.db",
        fee_max_wei: int | None = None,
    ) -> Anchorer:
        """On the node, or by another way to it. Until `depth`, nothing is final."""
        web3 = way if isinstance(way, Web3) else Web3(way) if way else self.node.web3()
        found = Anchorer(
            contract=AnchorContract(web3, self.contract.address, fee_max_wei=fee_max_wei),
            log=LOG,
            anchorer_key=ANCHORER,
            journal=self.folder / journal,
            newest=lambda: self.log.newest(),  # noqa: PLW0108  a test may put another log there
            consistency=lambda first, second: self.log.consistency(first, second),  # noqa: PLW0108
            interval_s=3600,
            depth=depth,
            own=own,
            clock=self.clock,
            on_anchored=lambda anchor, _: self.anchored.append(anchor),
            on_alarm=self._alarm,
            on_clear=self.cleared.append,
            closes=lambda: list(self.closes),
        )
        self.running.append(found)
        return found

    def _alarm(self, code: str, text: str) -> None:
        self.alarms.append(code)
        self.texts.append(text)

    def close_book(self, prefix: int) -> None:
        """The log's next close, made from `prefix` entries."""
        k = len(self.closes) + 1
        book = Digest(sha256(b"book %d" % k).digest())
        self.closes.append(Close(k, f"2026-01-{k:02d}", prefix, prefix, book, book))

    def events(self) -> list[tuple[int, bytes, int]]:
        """Size, root and block of every head that the chain has, oldest first."""
        found = self.contract._contract.events.Anchored.get_logs(from_block=0)
        return [
            (one["args"]["size"], bytes(one["args"]["root"]), one["blockNumber"]) for one in found
        ]

    def sent_and_mined(self) -> int:
        """How many transactions of the anchorer's key are in blocks, reverted ones too."""
        return self.contract.next_nonce(FUNDED[1], queued=False) - self.first_nonce

    def stop(self) -> None:
        for one in self.running:
            one.stop(20)
        self.running.clear()


@contextmanager
def on(node: Node, folder: Path) -> Iterator[NodeGround]:
    """Everything in `folder`, on a contract of its own."""
    node.fund(FUNDED)
    contract = AnchorContract.deploy(node.web3(), ADMIN)
    contract.open(LOG, FUNDED[1], ADMIN)
    found = NodeGround(folder, node, contract, contract.next_nonce(FUNDED[1]))
    try:
        yield found
    finally:
        found.stop()


def turn(anchorer: Anchorer) -> None:
    """As the anchorer's thread does it, and at once."""
    with anchorer._turn:
        anchorer._guarded(anchorer._step)


def tried(anchorer: Anchorer) -> bool:
    """Whether a turn ended well."""
    try:
        turn(anchorer)
    except Unavailable:
        return False
    return True


def settle(ground: NodeGround, anchorer: Anchorer) -> int:
    """Turns until the chain has the newest head and nothing is under way; how many it took."""
    for turns in range(1, SETTLE_TURNS_MAX + 1):
        well = tried(anchorer)
        if well and anchorer.anchored_size() == ground.log.size and not anchorer._under_way():
            return turns
    raise AssertionError(
        f"not settled after {SETTLE_TURNS_MAX} turns: {anchorer.status()['last_error']}"
    )


def check(ground: NodeGround, anchorer: Anchorer, *, wasted: int = 0) -> None:
    """What must always hold.

    One root a size, each the log's own; the newest head is there; every head that the journal
    gives out stands in a block; the key sent nothing besides, but `wasted` that reverted.
    """
    events = ground.events()
    sizes = [size for size, _, _ in events]
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == ground.log.size == ground.contract.latest(LOG).size
    grown = Log(0, ground.log.salt)
    for size, root, _ in events:
        grown.size = size
        newest = grown.newest()
        assert newest is not None
        assert newest[0].root == root
    for state in ("anchored", "final"):
        for one in anchorer._journal.of_state(state):  # type: ignore[arg-type]  # a Literal
            mined = ground.contract.mined(one.tx)
            assert mined is not None
            assert (mined.succeeded, mined.block) == (True, one.block)
    assert ground.sent_and_mined() == len(events) + ground.contract.closes(LOG) + wasted


def until(condition: Any, within_s: float = 20) -> None:
    """Wait for a node to get there."""
    end_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end_s, "it did not get there"
        time.sleep(0.05)
