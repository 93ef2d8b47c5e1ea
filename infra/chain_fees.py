"""What a transaction offers for its gas, by what the chain asks now and what was offered before."""

import rlp  # type: ignore[import-untyped]
from web3 import Web3

from bal.errors import Unavailable


def fees(web3: Web3, replaces: bytes | None, limit_wei: int | None) -> dict[str, int]:
    """EIP-1559 fees that hold while the base fee doubles; the plain price before London.

    replaces: the transaction, signed, that had the nonce before: its fees are exceeded by a
    quarter, and by more where the chain asks more by now. limit_wei: the most for a unit of gas,
    tip included. Raises Unavailable where the chain wants more than that.
    """
    eth = web3.eth
    most, tip = _raised(replaces) if replaces else (0, 0)
    base = eth.get_block("latest").get("baseFeePerGas")
    if base is None:
        price = eth.gas_price
        return {"gasPrice": _affordable(max(price, most), price, limit_wei)}
    tip = max(eth.max_priority_fee, tip)
    most = _affordable(max(2 * base + tip, most), base, limit_wei)
    return {"maxFeePerGas": most, "maxPriorityFeePerGas": min(tip, most)}


def _affordable(wei: int, needed: int, limit: int | None) -> int:
    if limit is None or wei <= limit:
        return wei
    if needed > limit:
        asks = f"the chain wants {_gwei(needed)} gwei for a unit of gas"
        raise Unavailable(f"{asks}, and no more than {_gwei(limit)} is to be paid")
    return limit


def _raised(raw: bytes) -> tuple[int, int]:
    """Fee and tip of a signed transaction and a quarter more: nodes want a tenth to replace it."""
    if raw[0] >= 0xC0:  # a list: a transaction from before EIP-2718, (nonce, gasPrice, …)
        fee = tip = int.from_bytes(rlp.decode(raw)[1], "big")
    else:  # EIP-1559: 2 ‖ (chain id, nonce, tip, fee, …)
        tip, fee = (int.from_bytes(one, "big") for one in rlp.decode(raw[1:])[2:4])
    return fee * 5 // 4 + 1, tip * 5 // 4 + 1


def _gwei(wei: int) -> str:
    return f"{wei / 10**9:.3g}"
