"""JSON-RPC 2.0 for everybody on the platform's own chain: reading, and nothing else.

What goes beyond the ten methods of `METHODS` is refused, sending included. The bytes come from any
transport; ethers, viem and web3.py read the answers. A platform whose chain is remote has no such
face: its users ask the chain themselves, so that nothing of ours stands in between.
"""

import json
import logging
from typing import Any, Protocol

import msgspec

from bal.errors import Unavailable
from infra.chain_json import RpcError

METHODS = frozenset(
    {
        "eth_blockNumber",
        "eth_call",
        "eth_chainId",
        "eth_getBlockByHash",
        "eth_getBlockByNumber",
        "eth_getCode",
        "eth_getLogs",
        "eth_getTransactionByHash",
        "eth_getTransactionReceipt",
        "net_version",
    }
)
BATCH_MAX = 50
BODY_MAX = 1 << 20  # bytes; a proof of the largest entry in hex, and room

_ANSWERLESS = object()
_logger = logging.getLogger(__name__)


class Chain(Protocol):
    """What the face needs of a chain."""

    def request(self, method: str, params: list[Any]) -> Any:
        """The `result` of one method; raises RpcError, or Unavailable."""
        ...


class RpcFace:
    """The public read-only endpoint; calls block while the chain works, so use a thread."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    def handle(self, body: bytes) -> bytes:
        """Answer one request or a batch of at most 50; never raises.

        Errors: -32700 no JSON, -32600 no request (or a batch that is empty or too long, or a member
        that stands twice: two readers could take it for two requests), -32601 not offered, -32602
        wrong parameters, -32005 too many logs or blocks, -32603 the chain's disk failed, 3 reverted
        with the revert data. A request without `id` is a notification and gets no answer
        (JSON-RPC 2.0 §4.1); where nothing is to be answered the bytes are empty.
        """
        if len(body) > BODY_MAX:
            return _encoded(_failed(None, -32600, f"a body has at most {BODY_MAX} bytes"))
        try:
            asked = msgspec.json.decode(body)
            repeats = _repeats_a_member(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return _encoded(_failed(None, -32700, "parse error"))
        if repeats:
            return _encoded(_failed(None, -32600, "invalid request: a member stands twice"))
        if not isinstance(asked, list):
            answer = self._one(asked)
            return b"" if answer is _ANSWERLESS else _encoded(answer)
        if not 1 <= len(asked) <= BATCH_MAX:
            return _encoded(_failed(None, -32600, f"a batch has 1 to {BATCH_MAX} requests"))
        answers = [answer for one in asked if (answer := self._one(one)) is not _ANSWERLESS]
        return _encoded(answers) if answers else b""

    def _one(self, asked: object) -> object:
        if not isinstance(asked, dict):
            return _failed(None, -32600, "invalid request")
        identity, method = asked.get("id"), asked.get("method")
        if isinstance(identity, (dict, list, bool)):
            return _failed(None, -32600, "invalid request: id is a string or a number")
        if asked.get("jsonrpc") != "2.0" or not isinstance(method, str):
            return _failed(identity, -32600, "invalid request")
        answer = self._answer(identity, method, asked.get("params", []))
        return answer if "id" in asked else _ANSWERLESS

    def _answer(self, identity: object, method: str, params: object) -> dict[str, object]:
        if method not in METHODS:
            return _failed(identity, -32601, f"{method[:64]} is not offered: this only reads")
        if not isinstance(params, list):
            return _failed(identity, -32602, "invalid params: no array")
        try:
            result = self._chain.request(method, params)
        except RpcError as error:
            return {"jsonrpc": "2.0", "id": identity, "error": error.as_json()}
        except Unavailable as error:
            return _failed(identity, -32603, str(error))
        except Exception:  # everybody may ask: a defect of ours must not end the transport
            _logger.exception("defect in %s", method)
            return _failed(identity, -32603, "internal error")
        return {"jsonrpc": "2.0", "id": identity, "result": result}


def _repeats_a_member(body: bytes) -> bool:
    """Whether an object of this JSON names a member twice (RFC 8259 §4: SHOULD be unique)."""
    repeated = False

    def check(pairs: list[tuple[str, object]]) -> None:
        nonlocal repeated
        repeated = repeated or len({name for name, _ in pairs}) < len(pairs)

    # Python's reader refuses numbers of 5,000 digits, which msgspec has taken: leave them as text.
    json.loads(body.decode("utf-8"), object_pairs_hook=check, parse_int=str, parse_float=str)
    return repeated


def _failed(identity: object, code: int, text: str) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": identity, "error": RpcError(code, text).as_json()}


def _encoded(answer: object) -> bytes:
    try:
        return msgspec.json.encode(answer)
    except UnicodeEncodeError:  # a lone surrogate in an id or a method's name, given back
        return msgspec.json.encode(_failed(None, -32600, "invalid request"))
