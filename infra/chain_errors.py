"""What web3.py raises in a dozen ways, in three: Reverted, Unavailable, Stop."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import requests
from eth_abi.abi import decode
from eth_utils.abi import get_abi_input_types
from web3.exceptions import BadFunctionCallOutput, ContractLogicError, Web3Exception

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
    except (Web3Exception, requests.RequestException, OSError) as error:
        raise Unavailable(f"chain: {_sentence(error)}") from error


def _reverted(error: ContractLogicError, errors: Mapping[bytes, Mapping[str, Any]]) -> Reverted:
    text = error.data if isinstance(error.data, str) else ""
    try:
        payload = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        payload = b""
    known = errors.get(payload[:4])
    if known is None:
        return Reverted("Unknown", [text or error.message or ""])
    return Reverted(known["name"], decode(get_abi_input_types(cast("Any", known)), payload[4:]))


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {without_urls(str(error))[:200]}"
