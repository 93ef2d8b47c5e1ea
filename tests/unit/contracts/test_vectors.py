"""tests/vectors/anchor.json, which docs/spec/anchor.md explains, is what the contract does."""

import json
from pathlib import Path

import pytest
from eth_utils.crypto import keccak

from contracts import load
from infra.anchor_contract import address_of

ROOT = Path(__file__).resolve().parents[3]
VECTORS = json.loads((ROOT / "tests/vectors/anchor.json").read_text())
PAGE = (ROOT / "docs/spec/anchor.md").read_text()


def unhex(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def signature(one: dict) -> str:
    return f"{one['name']}({','.join(given['type'] for given in one['inputs'])})"


def test_the_log_is_the_hash_of_its_origin() -> None:
    assert VECTORS["log"] == "0x" + keccak(VECTORS["origin"].encode()).hex()


def test_selectors_and_code_hash_are_those_of_the_artifact() -> None:
    artifact = load("CheckpointAnchor")
    named = [one for one in artifact.abi if one["type"] in ("function", "error")]
    assert VECTORS["selectors"] == {
        signature(one): "0x" + keccak(signature(one).encode())[:4].hex() for one in named
    }
    assert VECTORS["code_hash"] == "0x" + keccak(unhex(artifact.deployed_bytecode)).hex()


def test_the_calls_do_what_the_page_says(ground, reference) -> None:
    log, (small, large) = unhex(VECTORS["log"]), VECTORS["heads"]
    entries = [one.encode() for one in VECTORS["entries"]]
    assert unhex(small["root"]) == reference.mth(entries[: small["size"]])
    assert unhex(large["root"]) == reference.mth(entries)
    contract = ground.deploy()
    contract.open(log, address_of(ground.anchorer), ground.admin)
    proof = [unhex(one) for one in VECTORS["consistency_5_9"]]
    contract.send_anchor(log, 5, unhex(small["root"]), [], ground.anchorer)
    contract.send_anchor(log, 9, unhex(large["root"]), proof, ground.anchorer)
    newest = ground.chain.request("eth_getBlockByNumber", ["latest", True])
    assert newest["transactions"][0]["input"] == VECTORS["calls"]["anchor_9"]
    (event,) = ground.chain.request("eth_getLogs", [{"blockHash": newest["hash"]}])
    assert {name: event[name] for name in ("topics", "data")} == VECTORS["event_9"]

    book = VECTORS["close"]
    contract.send_close(log, book["k"], book["prefix"], unhex(book["root"]), ground.anchorer)
    newest = ground.chain.request("eth_getBlockByNumber", ["latest", True])
    assert newest["transactions"][0]["input"] == VECTORS["calls"]["close_1"]
    (event,) = ground.chain.request("eth_getLogs", [{"blockHash": newest["hash"]}])
    assert {name: event[name] for name in ("topics", "data")} == VECTORS["event_close_1"]

    def called(name: str) -> str:
        call = {"to": contract.address, "data": VECTORS["calls"][name]}
        return ground.chain.request("eth_call", [call, "latest"])

    assert called("rootAt_9") == large["root"]
    assert int(called("latest")[2:66], 16) == 9
    assert int(called("verifyInclusion_6_of_9"), 16) == 1
    assert int(called("closes"), 16) == 1
    prefix, time_s, root = (called("closeAt_1")[2 + 64 * n :][:64] for n in range(3))
    assert (int(prefix, 16), "0x" + root) == (book["prefix"], book["root"])
    assert int(time_s, 16) == int(newest["timestamp"], 16)
    assert called("closeAt_2") == "0x" + "00" * 96


@pytest.mark.parametrize("value", ["log", "code_hash"])
def test_the_page_shows_the_vectors(value: str) -> None:
    assert VECTORS[value] in PAGE


def test_the_page_names_every_error_and_event() -> None:
    named = [one["name"] for one in load("CheckpointAnchor").abi if one["type"] != "constructor"]
    assert [one for one in named if one not in PAGE] == []
