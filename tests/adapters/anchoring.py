"""What the anchorer's tests stand on: a log, a clock, a chain, and ways to the chain that fail."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import requests
from eth_utils.crypto import keccak
from web3 import Web3
from web3.providers.base import BaseProvider

from bal.certify.tree import consistency_path, leaf_hash, node_hash, root_of
from bal.model import Anchor, Close, Digest, TreeHead
from infra.anchor_contract import AnchorContract, address_of
from infra.anchorer import Anchorer
from infra.chain_embedded import EmbeddedChain
from infra.chain_json import RpcError

ADMIN, ANCHORER = sha256(b"admin").digest(), sha256(b"anchorer").digest()
FUNDED = [address_of(ADMIN), address_of(ANCHORER)]
LOG = keccak(b"gridseal.invalid/0123456789abcdef")


def state_of(anchorer: Anchorer, k: int) -> str:
    """How far close `k` of the log is, as of the last turn: pending, anchored or final."""
    now = cast("dict[str, int]", anchorer.closer.status())
    if k <= now["final"]:
        return "final"
    return "anchored" if k <= now["anchored"] else "pending"


class Log:
    """A log as its tiles would show it; `salt` makes another one of the same sizes."""

    def __init__(self, size: int, salt: bytes = b"") -> None:
        self.size = size
        self.salt = salt
        self._nodes: dict[tuple[bytes, int, int], Digest] = {}

    def _node(self, level: int, n: int) -> Digest:
        found = self._nodes.get((self.salt, level, n))
        if found is None:
            if level == 0:
                found = leaf_hash(self.salt + b"entry %d" % n)
            else:
                found = node_hash(self._node(level - 1, 2 * n), self._node(level - 1, 2 * n + 1))
            self._nodes[self.salt, level, n] = found
        return found

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
        self.asked: list[str] = []

    def make_request(self, method: Any, params: Any) -> Any:
        self.asked.append(method)
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
    closes: list[Close] = field(default_factory=list)

    def faulty(self) -> Faulty:
        return Faulty(self.chain)

    def anchorer(
        self,
        provider: BaseProvider | None = None,
        *,
        depth: int = 0,
        own: bool = True,
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
            own=own,
            clock=self.clock,
            on_anchored=lambda anchor, note: self.anchored.append((anchor, note)),
            on_alarm=lambda code, _: self.alarms.append(code),
            closes=lambda: list(self.closes),
        )
        self.running.append(found)
        return found

    def close_book(self, prefix: int, salt: bytes = b"") -> Close:
        """The log's next close, made from `prefix` entries; its record is the entry behind them."""
        k = len(self.closes) + 1
        book = Digest(sha256(b"book %d %s" % (k, salt)).digest())
        self.closes.append(Close(k, f"2026-01-{k:02d}", prefix, prefix, book, book))
        return self.closes[-1]

    def count(self) -> int:
        return self.contract.latest(LOG).count

    def mine(self, blocks: int) -> None:
        """Other people's transactions."""
        for _ in range(blocks):
            nonce = self.chain.web3().eth.get_transaction_count(FUNDED[0])
            self.contract.open(sha256(b"other %d" % nonce).digest(), FUNDED[1], ADMIN)


def prepared(folder: Path) -> Iterator[Ground]:
    """For a fixture: everything in `folder`, stopped and closed afterwards."""
    chain = EmbeddedChain(folder / "chain.db", FUNDED)
    contract = AnchorContract.deploy(chain.web3(), ADMIN)
    contract.open(LOG, FUNDED[1], ADMIN)
    found = Ground(folder, chain, contract)
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
