"""What web3.py raises in a dozen ways, in three: Reverted, Unavailable, Stop."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import requests
from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.abi import get_abi_input_types
from urllib3.exceptions import HTTPError
from web3.exceptions import (
    BadFunctionCallOutput,
    ContractLogicError,
    Web3Exception,
    Web3RPCError,
)

from bal.errors import GridsealError, Stop, Unavailable
from infra.rpc_url import without_urls

# What the operator must set right before anything more can be anchored.
_OPERATOR = {
    "NotAnchorer": "anchor-not-allowed",
    "Retired": "anchor-retired",
    "UnknownLog": "anchor-unknown-log",
    "PrefixLower": "close-differs",  # the closes before it were compared: the log's own are wrong
    "NoBook": "close-differs",
}
# Where nodes put what a contract reverted with, beside `data` itself being a string.
_DATA_MEMBERS = ("data", "result", "return", "output", "originalError")
_TEXT_MAX = 200


class BadAnswer(Exception):
    """An endpoint answered what is no answer; the text says what, and quotes no URL."""


class Contradiction(Unavailable):
    """The endpoint contradicts itself, or what it said before: a liar, or several in one."""


class Reverted(GridsealError):
    """The contract refused; `name` is the Solidity error's, `arguments` its values."""

    def __init__(self, name: str, arguments: Sequence[object] = ()) -> None:
        super().__init__(f"{name}({', '.join(map(str, arguments))})")
        self.name = name
        self.arguments = tuple(arguments)


def refused(error: Reverted) -> Stop | Unavailable:
    """What a refusal means to whoever anchors: Stop where only the operator can mend it.

    Else what stands on chain moved since it was read; the next turn reads it again.
    """
    text = f"the contract refuses: {error}"
    if error.name in _OPERATOR:
        return Stop(_OPERATOR[error.name], text)
    return Unavailable(text)


@contextmanager
def translated(address: str, errors: Mapping[bytes, Mapping[str, Any]]) -> Iterator[None]:
    """Calls of the contract at `address`; errors: its ABI's, by selector.

    Raises Reverted, Unavailable where the chain did not answer, Stop("contract-missing").
    """
    try:
        yield
    except ContractLogicError as error:
        raise _reverted(error, errors) from error
    except BadFunctionCallOutput as error:
        raise Stop("contract-missing", f"no such contract at {address}") from error
    except BadAnswer as error:
        raise Unavailable(f"chain: {error}") from error
    except (Web3Exception, requests.RequestException, HTTPError, OSError) as error:
        raise Unavailable(f"chain: {_sentence(error)}") from error
    except (ValueError, TypeError, LookupError, AttributeError, DecodingError) as error:
        # web3.py reads numbers, hashes and blocks as they come: what it can't read ends here
        raise Unavailable(f"chain: an answer makes no sense: {_sentence(error)}") from error


def _reverted(error: ContractLogicError, errors: Mapping[bytes, Mapping[str, Any]]) -> Reverted:
    text = _revert_data(error.data)
    try:
        payload = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        payload = b""
    known = errors.get(payload[:4])
    if known is None:
        return Reverted("Unknown", [text or _first_line(error.message or "")])
    try:
        arguments = decode(get_abi_input_types(cast("Any", known)), payload[4:])
    except DecodingError:
        return Reverted("Unknown", [text])
    return Reverted(known["name"], arguments)


def _revert_data(value: object, depth: int = 3) -> str:
    """The 0x… that a contract reverted with, wherever the node put it; "" where it is nowhere.

    Anvil, Geth, Besu: the string itself. Ganache: an object with `result`. Others nest it in `data`
    or write `Reverted 0x…`.
    """
    if isinstance(value, str):
        text = value.removeprefix("Reverted ").strip()
        return text if text.startswith("0x") else ""
    if isinstance(value, Mapping) and depth:
        for name in _DATA_MEMBERS:
            if found := _revert_data(value.get(name), depth - 1):
                return found
    return ""


def _sentence(error: Exception) -> str:
    """What went wrong, in one line that names no URL: a node's own words where it said some."""
    if isinstance(error, Web3RPCError) and isinstance(error.rpc_response, Mapping):
        found = error.rpc_response.get("error")
        if isinstance(found, Mapping) and isinstance(found.get("message"), str):
            return f"the node says: {_first_line(found['message'])}"
    return f"{type(error).__name__}: {_first_line(without_urls(str(error)))}"


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[0][:_TEXT_MAX]
