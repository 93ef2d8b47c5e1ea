"""The verifier's wires: what an endpoint or a log may answer, and what is made of it."""

import json
import threading
from pathlib import Path

import pytest

from bal.certify.verify import VerifyError
from bal.certify.verify_proof import TiledTree
from contracts import load
from infra import verify_rpc
from infra.verify_rpc import HttpTiles, RpcChain, checked_url, selector, tile_number
from tests.vectors import vector_log as vector

ROOT = Path(__file__).resolve().parents[3]
LOG = vector.vector_log()
Answer = tuple[int, bytes, dict[str, str]]


def test_tiles_of_real_files_make_real_paths(address) -> None:
    tree = TiledTree(HttpTiles({"": f"{address}/log"}), vector.ORIGIN, 300)
    assert tree.path(299) == LOG.path(299, 300)


def test_no_redirect_leads_to_another_host(address, serving) -> None:
    def away(path: str, _: bytes | None) -> Answer:
        return 302, b"", {"Location": f"{address}{path}"}

    with serving(away) as origin:
        with pytest.raises(VerifyError, match="answers 302"):
            HttpTiles({"": f"{origin}/log"}).tile("", 0, 0, 256)
        with pytest.raises(VerifyError, match="answers 302"):
            RpcChain(f"{origin}/rpc").chain_id()


def test_a_question_to_a_chain_is_never_sent_on(serving) -> None:
    asked: list[str] = []

    def near(path: str, _: bytes | None) -> Answer:
        asked.append(path)
        return 307, b"", {"Location": "/elsewhere"}

    with serving(near) as origin, pytest.raises(VerifyError, match="answers 307"):
        RpcChain(f"{origin}/rpc").chain_id()
    assert asked == ["/rpc"]


def test_a_redirect_on_the_same_host_is_followed(serving) -> None:
    def moved(path: str, _: bytes | None) -> Answer:
        if path.startswith("/old"):
            return 301, b"", {"Location": path.replace("/old", "/new")}
        return 200, LOG.tile(0, 0, 8), {}

    with serving(moved) as origin:
        assert HttpTiles({"": f"{origin}/old"}).tile("", 0, 0, 8) == LOG.tile(0, 0, 8)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ((200, b"<html>", {}), "answers no JSON"),
        ((200, b"[" * 100_000, {}), "answers no JSON"),
        ((200, b"[]", {}), "speaks no JSON-RPC"),
        ((200, b'{"result":"0x01"}', {}), "for a number"),
        ((200, b'{"result":7}', {}), "for a number"),
        ((200, b'{"error":{"code":-32601,"message":"no\\u001b[31m"}}', {}), "the endpoint answers"),
        ((500, b"", {}), "answers 500"),
        ((404, b"", {}), "answers 404"),
        ((200, b"x" * (verify_rpc.ANSWER_BYTES_MAX + 1), {}), "bytes came"),
        ((200, b"x", {"Content-Length": "9"}), "answers no JSON"),
        ((200, b"", {"Transfer-Encoding": "chunked"}), "does not answer"),
    ],
)
def test_an_endpoint_that_talks_nonsense(serving, answer, text) -> None:
    with serving(lambda *_: answer) as origin, pytest.raises(VerifyError, match=text) as caught:
        RpcChain(origin).chain_id()
    assert caught.value.code == "rpc-unreachable"
    assert "\x1b" not in caught.value.text


def test_an_endpoint_that_never_answers(serving, monkeypatch) -> None:
    monkeypatch.setattr(verify_rpc, "TIMEOUT_S", 0.05)
    answering = threading.Event()

    def slow(*_: object) -> Answer:
        answering.wait(10)
        return 200, b"", {}

    with serving(slow) as origin:
        with pytest.raises(VerifyError, match="does not answer"):
            RpcChain(origin).chain_id()
        answering.set()


def test_views_of_the_real_contract(platform, address) -> None:
    chain, contract = RpcChain(f"{address}/rpc"), platform.contract
    block = chain.block(0)
    assert chain.chain_id() == platform.chain.chain_id
    assert chain.block(None) == block == contract.head_number()
    code_hash = chain.code_hash(contract.address, block)
    assert "0x" + code_hash.hex() == contract.code_hash()
    assert chain.code_hash("0x" + "12" * 20, block) is None
    assert chain.latest_size(contract.address, vector.ORIGIN, block) == 300
    assert chain.latest_size(contract.address, vector.ORIGIN, block - 1) == 7
    assert chain.root_at(contract.address, vector.ORIGIN, 300, block) == LOG.root(300)
    assert chain.root_at(contract.address, vector.ORIGIN, 300, block - 1) == bytes(32)
    assert chain.root_at(contract.address, "another log", 300, block) == bytes(32)
    assert chain.root_at("0x" + "12" * 20, vector.ORIGIN, 300, block) == bytes(32)


def test_a_call_that_reverts_holds_no_root(serving) -> None:
    reverted = b'{"error":{"code":3,"message":"execution reverted","data":"0x"}}'
    with serving(lambda *_: (200, reverted, {})) as origin:
        assert RpcChain(origin).root_at("0x" + "12" * 20, "a", 1, 1) == bytes(32)


def test_selectors_are_those_of_the_committed_contract() -> None:
    functions = {
        f"{item['name']}({','.join(part['type'] for part in item['inputs'])})"
        for item in load("CheckpointAnchor").abi
        if item["type"] == "function"
    }
    pinned = json.loads((ROOT / "tests/vectors/checkpoints.json").read_text(encoding="utf-8"))
    for name, value in pinned["selectors"].items():
        assert name in functions
        assert "0x" + selector(name).hex() == value
    assert selector("transfer(address,uint256)").hex() == "a9059cbb"  # known to everybody


@pytest.mark.parametrize(
    ("n", "path"), [(0, "000"), (999, "999"), (1000, "x001/000"), (1234067, "x001/x234/067")]
)
def test_tile_numbers(n, path) -> None:
    """c2sp.org/tlog-tiles §Merkle Tree: index 1234067 is x001/x234/067."""
    assert tile_number(n) == path


@pytest.mark.parametrize("url", ["https://a.invalid/x", "http://127.0.0.7:1/", "http://[::1]:8545"])
def test_urls_that_are_taken(url) -> None:
    assert checked_url(url).hostname
