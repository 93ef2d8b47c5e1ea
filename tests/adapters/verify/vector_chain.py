"""The chains and tiles of tests/vectors/anchors.json, as JSON-RPC and files over HTTP."""

import json
from base64 import b64decode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from infra.verify_rpc import keccak256, selector

Json = Mapping[str, Any]
Answer = tuple[int, bytes, dict[str, str]]
LOG_ID = keccak256(b"gridseal.invalid/0123456789abcdef").hex()
ROOT_AT = selector("rootAt(bytes32,uint64)").hex()
LATEST = selector("latest(bytes32)").hex()
CLOSE_AT = selector("closeAt(bytes32,uint64)").hex()
CLOSES = selector("closes(bytes32)").hex()


class VectorChains:
    """What one case's endpoints and log serve: /0, /1, … its chains, /log/ its tiles."""

    def __init__(self) -> None:
        self.chains: Sequence[Json] = ()
        self.tiles: Json = {}

    def answer(self, path: str, body: bytes | None) -> Answer:
        """Status, body and headers."""
        if body is None:
            found = self.tiles.get(path.removeprefix("/log/"))
            return (404, b"", {}) if found is None else (200, b64decode(found), {})
        number = path.removeprefix("/")
        if not number.isdigit() or int(number) >= len(self.chains):
            return 404, b"", {}
        asked = json.loads(body)
        told = _told(self.chains[int(number)], asked["method"], asked["params"])
        return 200, json.dumps({"jsonrpc": "2.0", "id": asked["id"], **told}).encode(), {}


def _told(chain: Json, method: str, params: Sequence[Any]) -> Json:
    if method == "eth_chainId":
        return {"result": hex(int(chain["id"]))}
    if method == "eth_blockNumber":
        return {"result": hex(int(chain["latest"]))}
    if method == "eth_getBlockByNumber":
        return {"result": _block(chain, params[0])}
    if method == "eth_getCode":
        contract = chain["contracts"].get(params[0].lower())
        there = contract is not None and int(contract["since"]) <= _number(chain, params[1])
        return {"result": contract["code"] if there else "0x"}
    assert method == "eth_call"
    contract = chain["contracts"].get(params[0]["to"].lower())
    if contract is None:
        return {"result": "0x"}
    if contract.get("reverts"):
        return {"error": {"code": 3, "message": "execution reverted", "data": "0x12345678"}}
    return {"result": "0x" + _called(contract, params[0]["data"][2:], _number(chain, params[1]))}


def _number(chain: Json, block: str) -> int:
    return int(chain["latest"]) if block == "latest" else int(block, 16)


def _block(chain: Json, block: str) -> Json | None:
    number = chain["finalized"] if block == "finalized" else str(_number(chain, block))
    if number is None or int(number) > int(chain["latest"]):
        return None
    made = sha256(f"{chain['salt']} {number}".encode()).hexdigest()
    return {"number": hex(int(number)), "hash": f"0x{made}"}


def _called(contract: Json, data: str, block: int) -> str:
    name, log, argument = data[:8], data[8:72], int(data[72:] or "0", 16)
    heads, closes = ([one for one in contract[what] if int(one["block"]) <= block]
                     for what in ("heads", "closes"))  # fmt: skip
    if log != LOG_ID:
        heads = closes = []
    parent = contract.get("parent", {})
    if name == ROOT_AT:
        return next((one["root"][2:] for one in heads if int(one["size"]) == argument), _word(0))
    if name == LATEST:
        sizes = [int(one["size"]) for one in heads] or [int(parent.get("size", 0))]
        return _word(max(sizes)) + _word(1) + _word(len(heads))
    if name == CLOSES:
        return _word(max([int(one["k"]) for one in closes], default=int(parent.get("closes", 0))))
    assert name == CLOSE_AT
    for one in closes:
        if int(one["k"]) == argument:
            return _word(int(one["prefix"])) + _word(1) + one["root"][2:]
    return 3 * _word(0)


def _word(number: int) -> str:
    return f"{number:064x}"
