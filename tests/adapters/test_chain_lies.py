"""The anchorer on an endpoint that lies, for a while or by chance: it goes on with the truth.

A proxy of our own stands before Anvil (lying_rpc). Each test ends with `check`: one root a size,
the newest head on chain, nothing sent twice. docs/reliability.md has the table of these.
"""

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bal.errors import Stop
from infra.rpc_provider import remote_web3
from tests.adapters.anchoring import LOG, Log
from tests.adapters.chain_ground import NodeGround, check, on, settle, tried, turn
from tests.adapters.chain_nodes import Node, running
from tests.adapters.lying_rpc import Answer, Broken, Lie, LyingRpc, drip, hang, lying, reply, reset

SOAK = os.environ.get("GRIDSEAL_SOAK") == "1"
TIMEOUT_S = 1.0  # the machine may be busy
pytestmark = pytest.mark.xdist_group("chain-nodes")


@pytest.fixture(scope="module")
def anvil_of_ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running("anvil", tmp_path_factory.mktemp("anvil"), history=True) as node:
        yield node


@pytest.fixture
def ground(anvil_of_ours: Node, tmp_path: Path) -> Iterator[NodeGround]:
    with on(anvil_of_ours, tmp_path) as found:
        yield found
    anvil_of_ours.ask("anvil_dropAllTransactions")
    anvil_of_ours.ask("evm_setAutomine", True)


@pytest.fixture
def liar(anvil_of_ours: Node) -> Iterator[LyingRpc]:
    with lying(anvil_of_ours.at.url) as found:
        yield found


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.anchorer.RELOOK_S", 0.01)


# -- lies ----------------------------------------------------------------------------------------


def result_of(*methods: str) -> Callable[[Callable[[Any], Any]], Lie]:
    """A lie that changes the results of these methods, where there is one."""

    def made(change: Callable[[Any], Any]) -> Lie:
        def lie(method: str, params: list[Any], answer: Answer) -> Answer | None:
            del params
            if method not in methods or answer.get("result") is None:
                return None
            return {**answer, "result": change(answer["result"])}

        return lie

    return made


def for_all(happen: Callable[[Any], None]) -> Lie:
    def lie(method: str, params: list[Any], answer: Answer) -> Answer | None:
        raise Broken(happen)

    return lie


def of_block(name: str, value: Any) -> Lie:
    return result_of("eth_getBlockByNumber")(lambda block: {**block, name: value})


def of_receipt(name: str, value: Any) -> Lie:
    return result_of("eth_getTransactionReceipt")(lambda found: {**found, name: value})


def instead(value: Any) -> Callable[[Any], Any]:
    return lambda _: value


def old_head(by: int) -> Lie:
    """A node that is some blocks behind: heights are lower, and newer receipts are not there."""

    def lie(method: str, params: list[Any], answer: Answer) -> Answer | None:
        if method == "eth_blockNumber":
            return {**answer, "result": hex(max(0, int(answer["result"], 16) - by))}
        if method == "eth_getTransactionReceipt":
            return {**answer, "result": None}
        if method == "eth_call" and params[-1] == "latest":
            return {**answer, "result": "0x" + bytes(96).hex()}
        return None

    return lie


def half(method: str, params: list[Any], answer: Answer) -> bytes:
    del method, params
    return repr(answer).replace("'", '"').encode()[:-7]


HASH = "0x" + "ab" * 32
BROKEN: dict[str, Lie] = {
    "HTTP 503": for_all(lambda to: reply(to, b"overloaded", status=503)),
    "HTTP 429": for_all(lambda to: reply(to, b'{"error":"slow down"}', status=429)),
    "HTTP 401": for_all(lambda to: reply(to, b"{}", status=401)),
    "redirect": for_all(
        lambda to: reply(to, b"", status=307, headers={"location": "http://127.0.0.1:1/"})
    ),
    "HTML": for_all(lambda to: reply(to, b"<html><body>Just a moment</body>", kind="text/html")),
    "nothing": for_all(lambda to: reply(to, b"")),
    "half of the JSON": half,
    "half of the bytes": for_all(lambda to: reply(to, b'{"jsonrpc":"2.0","id":1,', more=500)),
    "no end": for_all(drip),
    "time-out": for_all(hang),
    "reset": for_all(reset),
    "an array": lambda *_: b"[]",
    "null": lambda *_: b"null",
    "a number of 5,000 digits": lambda *_: b'{"jsonrpc":"2.0","id":1,"result":%s}' % (b"9" * 5000),
    "100,000 brackets": lambda *_: b"[" * 100_000,
    "not UTF-8": lambda *_: b'{"jsonrpc":"2.0","id":1,"result":"\xff\xfe"}',
    "neither result nor error": lambda *_: b'{"jsonrpc":"2.0","id":1}',
    "an error that is a string": lambda *_: b'{"jsonrpc":"2.0","id":1,"error":"no"}',
    "an error without words": lambda *_: b'{"jsonrpc":"2.0","id":1,"error":{"message":5}}',
    "an answer to another question": lambda _m, _p, answer: {**answer, "id": 987_654},
    "results that are null": lambda _m, _p, answer: {**answer, "result": None},
    "results that are words": lambda _m, _p, answer: {**answer, "result": "soon"},
    "results that are objects": lambda _m, _p, answer: {**answer, "result": {"a": 1}},
    "results that are 0x": lambda _m, _p, answer: {**answer, "result": "0x"},
    "results that are too long": lambda _m, _p, answer: {**answer, "result": "0x" + "f" * 4096},
    "errors of its own": lambda _m, _p, answer: {
        "jsonrpc": "2.0", "id": answer["id"], "error": {"code": -32005, "message": "limit\nreached"}
    },
}  # fmt: skip
WRONG: dict[str, Lie] = {
    "another chain id": result_of("eth_chainId")(instead("0x1")),
    "no contract there": result_of("eth_call")(instead("0x")),
    "the receipt of another transaction": of_receipt("transactionHash", HASH),
    "a receipt of a block that is not on the chain": of_receipt("blockHash", HASH),
    "a receipt of a block that is not there": of_receipt("blockNumber", "0xfffff0"),
    "a receipt without its block": of_receipt("blockNumber", None),
    "another block than the one of that number": of_block("number", "0x1"),
    "another hash for the block": of_block("hash", HASH),
    "blocks that are not there": result_of("eth_getBlockByNumber")(instead(None)),
    "a height that there is not": result_of("eth_blockNumber")(instead("0xfffff0")),
    "an old height": old_head(3),
    "a log without heads": result_of("eth_call")(instead("0x" + bytes(96).hex())),
    "no nonce used": result_of("eth_getTransactionCount")(instead("0x0")),
    "no ether": lambda method, _params, answer: (
        {"jsonrpc": "2.0", "id": answer["id"],
         "error": {"code": -32000, "message": "insufficient funds for gas * price + value"}}
        if method in {"eth_estimateGas", "eth_sendRawTransaction"} else None
    ),
    "sent, and forgotten": lambda method, _params, answer: (
        {**answer, "result": HASH} if method == "eth_sendRawTransaction" else None
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", [*BROKEN, *WRONG])
def test_a_lie_that_ends(ground: NodeGround, liar: LyingRpc, name: str) -> None:
    """It begins while a head is on chain and another in the mempool, and lasts for two minutes."""
    anchorer = ground.anchorer(remote_web3(liar.url, timeout_s=TIMEOUT_S), depth=50)
    ground.log.size = 5
    settle(ground, anchorer)
    ground.node.ask("evm_setAutomine", False)
    ground.log.size = 9
    turn(anchorer)
    liar.lie = {**BROKEN, **WRONG}[name]
    turns = 2 if name in {"no end", "time-out"} else 4
    for number in range(turns):
        ground.log.size += 1
        tried(anchorer)
        ground.clock.us += 120_000_000 // turns
        if number == 1:
            ground.node.ask("evm_setAutomine", True)
            ground.node.mine(1)
    tried(anchorer)
    liar.lie = None
    settle(ground, anchorer)
    check(ground, anchorer)
    assert len(set(ground.alarms)) == len(ground.alarms) <= 1
    assert set(ground.alarms) <= {"chain-unavailable", "chain-contradicts"}
    assert ground.alarms == ground.cleared
    assert all("\n" not in text for text in ground.texts)
    if name in BROKEN:
        assert ground.alarms != []


@pytest.mark.parametrize("name", ["another chain id", "no contract there", "another chain"])
def test_a_lie_at_a_start(ground: NodeGround, liar: LyingRpc, name: str) -> None:
    """A platform that starts on the wrong chain says so and sends nothing."""
    anchorer = ground.anchorer(remote_web3(liar.url, timeout_s=TIMEOUT_S))
    ground.log.size = 5
    settle(ground, anchorer)
    ground.log.size = 9
    liar.lie = WRONG.get(name) or (
        lambda method, params, answer: (
            WRONG["another chain id"](method, params, answer)
            or WRONG["no contract there"](method, params, answer)
        )
    )
    again = ground.anchorer(remote_web3(liar.url, timeout_s=TIMEOUT_S))
    if name == "no contract there":
        assert not tried(again)
    else:
        with pytest.raises(Stop, match="anchor-target"):
            turn(again)
    assert liar.asked["eth_sendRawTransaction"] == 1
    assert len(ground.events()) == 1


def test_another_root_is_believed_when_it_is_said_thrice(
    ground: NodeGround, liar: LyingRpc
) -> None:
    """Once may be one of several nodes; always is a fork, and the platform stops."""
    anchorer = ground.anchorer(remote_web3(liar.url, timeout_s=TIMEOUT_S))
    for size in (5, 9):
        ground.log.size = size
        settle(ground, anchorer)
    forged = Log(9, b"another ").newest()
    assert forged is not None
    selector = ground.contract._contract.encode_abi("rootAt", args=[LOG, 9])[:10]
    left = 2

    def lie(method: str, params: list[Any], answer: Answer) -> Answer | None:
        nonlocal left
        call = params[0].get("data", params[0].get("input", "")) if method == "eth_call" else ""
        if not call.startswith(selector) or left == 0:
            return None
        left -= 1
        return {**answer, "result": "0x" + forged[0].root.hex()}

    liar.lie = lie
    turn(anchorer)
    assert left == 0
    assert ground.alarms == []
    left = 1_000
    with pytest.raises(Stop, match="anchor-fork"):
        turn(anchorer)
    assert ground.alarms == ["anchor-fork"]
    check(ground, anchorer)


def test_a_head_is_not_final_by_a_height_that_there_is_not(
    ground: NodeGround, liar: LyingRpc
) -> None:
    anchorer = ground.anchorer(remote_web3(liar.url, timeout_s=TIMEOUT_S), depth=10)
    ground.log.size = 5
    settle(ground, anchorer)
    liar.lie = WRONG["a height that there is not"]
    for _ in range(3):
        tried(anchorer)
    liar.lie = lambda method, params, answer: (
        {**answer, "result": {**answer["result"], "number": "0xfffff0"}}
        if method == "eth_getBlockByNumber" and params[0] == "finalized" else None
    )  # fmt: skip
    for _ in range(3):
        tried(anchorer)
    assert anchorer.final_size() == 0
    liar.lie = None
    ground.node.mine(10)
    turn(anchorer)
    assert anchorer.final_size() == 5


@pytest.mark.parametrize("seed", range(200 if SOAK else 6))
def test_lies_by_chance(ground: NodeGround, liar: LyingRpc, seed: int) -> None:
    """Every third answer is one of all these lies, while blocks come and transactions wait."""
    chance = random.Random(seed)
    lies = [lie for name, lie in {**BROKEN, **WRONG}.items() if name not in {"no end", "time-out"}]

    def lie(method: str, params: list[Any], answer: Answer) -> Answer | bytes | None:
        if chance.random() < 0.67:
            return None
        return chance.choice(lies)(method, params, answer)

    anchorer = ground.anchorer(remote_web3(liar.url, timeout_s=TIMEOUT_S))
    ground.log.size = 5
    settle(ground, anchorer)
    liar.lie = lie
    ground.node.ask("evm_setAutomine", chance.random() < 0.5)
    for _ in range(40):
        ground.log.size += chance.randrange(3)
        ground.clock.us += chance.randrange(60) * 1_000_000
        try:
            tried(anchorer)
        except Stop as error:
            raise AssertionError(f"after {liar.told}: {error}") from error
        if chance.random() < 0.4:
            ground.node.mine(1)
    liar.lie = None
    ground.node.mine(1)
    ground.node.ask("evm_setAutomine", True)
    ground.node.mine(1)
    ground.log.size += 1
    settle(ground, anchorer)
    wasted = ground.sent_and_mined() - len(ground.events())
    check(ground, anchorer, wasted=wasted)
    assert wasted <= 1
