"""web3.py's way to a JSON-RPC endpoint of others: every answer is bounded in size and time.

web3.py's own provider waits `timeout` for each piece of an answer, so that an endpoint that sends a
byte now and then holds its caller for ever; it follows redirects, tries again by itself, and takes
an answer to another question for ours. Here an answer that is not what JSON-RPC 2.0 says is a
BadAnswer, and nothing is asked twice: callers decide when to ask again.
"""

import threading
import time
from typing import Any, cast

import msgspec
import requests
from web3 import HTTPProvider, Web3
from web3.middleware import ExtraDataToPOAMiddleware
from web3.types import RPCEndpoint, RPCResponse

from infra.chain_errors import BadAnswer

ANSWER_BYTES_MAX = 8 * 1024 * 1024  # the logs of 1,000 blocks are far less
ANSWER_S_MAX = 3  # of one whole answer, in time-outs
_PIECE_BYTES = 1 << 16


def remote_web3(url: str, *, timeout_s: float = 5.0) -> Web3:
    """web3.py on an RPC URL, by `RpcProvider`."""
    found = Web3(RpcProvider(url, timeout_s))
    # chains of proof of authority keep signatures in extraData, which web3.py else refuses to read
    found.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
    return found


class RpcProvider(HTTPProvider):
    """One endpoint; may be used from several threads."""

    def __init__(self, url: str, timeout_s: float) -> None:
        """timeout_s: to connect, and for each piece; thrice that for an answer as a whole."""
        super().__init__(url, exception_retry_configuration=None)
        self.global_ccip_read_enabled = False  # a contract must not make us fetch URLs (EIP-3668)
        self._timeout_s = timeout_s
        self._threads = threading.local()  # a session is not made for several

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """One request. Raises BadAnswer, or what requests raises."""
        asked = self.encode_rpc_request(method, params)
        try:
            answer = msgspec.json.decode(self._post(asked))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadAnswer("the endpoint answers no JSON, or half of it") from error
        if not isinstance(answer, dict) or not answer.keys() & {"result", "error"}:
            raise BadAnswer("the endpoint speaks no JSON-RPC")
        if answer.get("error") is None:
            answer.pop("error", None)
        elif not isinstance(answer["error"], dict):
            raise BadAnswer(f"the endpoint answers the error {answer['error']!r:.80}")
        elif not isinstance(answer["error"].get("message", ""), str):
            raise BadAnswer("the endpoint answers an error without words")
        if answer.get("id") != msgspec.json.decode(asked)["id"] and "error" not in answer:
            raise BadAnswer("the endpoint answers another question")
        return cast("RPCResponse", answer)

    def _post(self, body: bytes) -> bytes:
        began = time.monotonic()
        with self._session().post(
            cast("str", self.endpoint_uri),
            data=body,
            headers={**self.get_request_headers(), "Accept-Encoding": "identity"},
            timeout=self._timeout_s,
            stream=True,
            allow_redirects=False,
        ) as response:
            if response.status_code != 200:
                raise BadAnswer(f"the endpoint answers HTTP {response.status_code}")
            found = bytearray()
            # read1: what came by now, however little, so that the clock is looked at
            while piece := response.raw.read1(_PIECE_BYTES, decode_content=True):
                found += piece
                if len(found) > ANSWER_BYTES_MAX:
                    raise BadAnswer(f"the endpoint answers more than {ANSWER_BYTES_MAX} bytes")
                if time.monotonic() - began > ANSWER_S_MAX * self._timeout_s:
                    raise BadAnswer("the endpoint comes to no end")
        return bytes(found)

    def _session(self) -> requests.Session:
        found: requests.Session | None = getattr(self._threads, "session", None)
        if found is None:
            found = self._threads.session = requests.Session()
        return found
