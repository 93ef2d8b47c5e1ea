"""Ethereum's JSON-RPC in values: what goes over the wire for blocks, transactions, receipts, logs.

Quantities are hex without leading zeros, data is hex of whole bytes (execution-apis, ethereum.org
"JSON-RPC API"). Functions here know py-evm's objects but no store, no socket and no lock.
"""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import rlp  # type: ignore[import-untyped]
from eth.abc import BlockAPI, BlockHeaderAPI, LogAPI, ReceiptAPI, SignedTransactionAPI
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

# Importing py-evm sets this limit to 100,000, for calls nested 1,024 deep; ours nest twice. Left
# so, a body of nested brackets overflows the C stack of any JSON parser in the process: a crash.
RECURSION_LIMIT = 1_000
sys.setrecursionlimit(RECURSION_LIMIT)

_QUANTITY = re.compile(r"0x(0|[1-9a-f][0-9a-f]{0,15})")
_DATA = re.compile(r"0x([0-9a-f]{2})*")
NEWEST_TAGS = frozenset({"latest", "safe", "finalized", "pending"})  # no reorg, no queue: all one


class RpcError(Exception):
    """A JSON-RPC error object: code (EIP-1474; 3 for a revert), message, and revert data."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def as_json(self) -> dict[str, object]:
        """The `error` member of an answer."""
        found: dict[str, object] = {"code": self.code, "message": self.message}
        return found if self.data is None else {**found, "data": self.data}


def invalid(text: str) -> RpcError:
    """Parameters that no client should send (JSON-RPC 2.0 §5.1, -32602)."""
    return RpcError(-32602, f"invalid params: {text}")


def quantity(value: int) -> str:
    """An integer as the wire has it."""
    return hex(value)


def data(value: bytes) -> str:
    """Bytes as the wire has them."""
    return "0x" + value.hex()


def read_quantity(value: object, name: str) -> int:
    """A hex quantity, or a plain integer as some clients send; RpcError otherwise."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64:
        return value
    if isinstance(value, str) and _QUANTITY.fullmatch(value.lower()):
        return int(value, 16)
    raise invalid(f"{name} is no quantity")


def read_data(value: object, name: str, length: int | None = None) -> bytes:
    """Hex of whole bytes, of `length` bytes where given; RpcError otherwise."""
    if not isinstance(value, str) or not _DATA.fullmatch(value.lower()):
        raise invalid(f"{name} is not hex with 0x")
    found = bytes.fromhex(value[2:])
    if length is not None and len(found) != length:
        raise invalid(f"{name} has {len(found)} bytes, not {length}")
    return found


@dataclass(frozen=True, slots=True)
class LogFilter:
    """What eth_getLogs asks for; empty sequences mean any."""

    first: int
    last: int
    addresses: Sequence[bytes]
    topics: Sequence[Sequence[bytes]]  # by position, at most four


def read_topics(value: object) -> list[list[bytes]]:
    """The `topics` of a filter: null, one hash or a list of hashes at each position."""
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > 4:
        raise invalid("topics is no array of at most 4")
    found = []
    for topic in value:
        options = topic if isinstance(topic, list) else [] if topic is None else [topic]
        if len(options) > 100:
            raise invalid("more than 100 alternatives for one topic")
        # a null among alternatives means 'any', as in geth
        hashes = [] if None in options else [read_data(one, "topic", 32) for one in options]
        found.append(hashes)
    return found


def read_addresses(value: object) -> list[bytes]:
    """The `address` of a filter: absent, one or a list."""
    options = value if isinstance(value, list) else [] if value is None else [value]
    if len(options) > 100:
        raise invalid("more than 100 addresses")
    return [read_data(one, "address", 20) for one in options]


def block_json(block: BlockAPI, *, full: bool) -> dict[str, object]:
    """A block as eth_getBlockByNumber gives it, with whole transactions or their hashes."""
    header = block.header
    transactions: list[object] = [
        transaction_json(block, index) if full else data(transaction.hash)
        for index, transaction in enumerate(block.transactions)
    ]
    return {
        **header_json(header),
        "size": quantity(len(rlp.encode(block))),
        "transactions": transactions,
        "uncles": [],
        "withdrawals": [],
    }


def header_json(header: Any) -> dict[str, object]:
    """All fields that the block hash covers, and the hash, of a py-evm Prague header."""
    return {
        "number": quantity(header.block_number),
        "hash": data(header.hash),
        "parentHash": data(header.parent_hash),
        "nonce": data(header.nonce),
        "sha3Uncles": data(header.uncles_hash),
        "logsBloom": data(header.bloom.to_bytes(256, "big")),
        "transactionsRoot": data(header.transaction_root),
        "stateRoot": data(header.state_root),
        "receiptsRoot": data(header.receipt_root),
        "miner": to_checksum_address(header.coinbase),
        "difficulty": quantity(header.difficulty),
        "totalDifficulty": quantity(0),
        "extraData": data(header.extra_data),
        "gasLimit": quantity(header.gas_limit),
        "gasUsed": quantity(header.gas_used),
        "timestamp": quantity(header.timestamp),
        "mixHash": data(header.mix_hash),
        "baseFeePerGas": quantity(header.base_fee_per_gas),
        "withdrawalsRoot": data(header.withdrawals_root),
        "parentBeaconBlockRoot": data(header.parent_beacon_block_root),
        "blobGasUsed": quantity(header.blob_gas_used),
        "excessBlobGas": quantity(header.excess_blob_gas),
        "requestsHash": data(header.requests_hash),
    }


def transaction_json(block: BlockAPI, index: int) -> dict[str, object]:
    """A mined transaction, legacy or typed (EIP-2718 types 0, 1, 2)."""
    transaction = block.transactions[index]
    kind = transaction_type(transaction)
    found: dict[str, object] = {
        "type": quantity(kind),
        "hash": data(transaction.hash),
        "nonce": quantity(transaction.nonce),
        "blockHash": data(block.hash),
        "blockNumber": quantity(block.number),
        "transactionIndex": quantity(index),
        "from": to_checksum_address(transaction.sender),
        "to": to_checksum_address(transaction.to) if transaction.to else None,
        "value": quantity(transaction.value),
        "gas": quantity(transaction.gas),
        "gasPrice": quantity(gas_price(transaction, block.header)),
        "input": data(transaction.data),
        "r": quantity(transaction.r),
        "s": quantity(transaction.s),
    }
    if kind == 0:
        legacy: Any = transaction
        return {**found, "v": quantity(legacy.v)}
    typed: dict[str, object] = {
        "chainId": quantity(transaction.chain_id or 0),
        "accessList": [
            {
                "address": to_checksum_address(address),
                "storageKeys": [data(slot.to_bytes(32, "big")) for slot in slots],
            }
            for address, slots in transaction.access_list
        ],
        "v": quantity(transaction.y_parity),
        "yParity": quantity(transaction.y_parity),
    }
    if kind == 2:
        typed["maxFeePerGas"] = quantity(transaction.max_fee_per_gas)
        typed["maxPriorityFeePerGas"] = quantity(transaction.max_priority_fee_per_gas)
    return found | typed


def receipt_json(block: BlockAPI, index: int, receipts: Sequence[ReceiptAPI]) -> dict[str, object]:
    """A receipt as eth_getTransactionReceipt gives it."""
    transaction, receipt = block.transactions[index], receipts[index]
    before = receipts[index - 1].gas_used if index else 0
    first_log = sum(len(other.logs) for other in receipts[:index])
    return {
        "type": quantity(transaction_type(transaction)),
        "transactionHash": data(transaction.hash),
        "transactionIndex": quantity(index),
        "blockHash": data(block.hash),
        "blockNumber": quantity(block.number),
        "from": to_checksum_address(transaction.sender),
        "to": to_checksum_address(transaction.to) if transaction.to else None,
        "contractAddress": None if transaction.to else contract_address(transaction),
        "cumulativeGasUsed": quantity(receipt.gas_used),
        "gasUsed": quantity(receipt.gas_used - before),
        "effectiveGasPrice": quantity(gas_price(transaction, block.header)),
        "logs": [
            log_json(block, index, first_log + place, log) for place, log in enumerate(receipt.logs)
        ],
        "logsBloom": data(receipt.bloom.to_bytes(256, "big")),
        "status": quantity(int.from_bytes(receipt.state_root, "big")),  # EIP-658
    }


def log_json(block: BlockAPI, index: int, position: int, log: LogAPI) -> dict[str, object]:
    """One event; `position` is its place in the block, `index` its transaction's."""
    return {
        "address": to_checksum_address(log.address),
        "topics": [data(topic.to_bytes(32, "big")) for topic in log.topics],
        "data": data(log.data),
        "blockHash": data(block.hash),
        "blockNumber": quantity(block.number),
        "blockTimestamp": quantity(block.header.timestamp),
        "transactionHash": data(block.transactions[index].hash),
        "transactionIndex": quantity(index),
        "logIndex": quantity(position),
        "removed": False,
    }


def transaction_type(transaction: SignedTransactionAPI) -> int:
    """The EIP-2718 type; 0 for a legacy transaction."""
    return transaction.type_id or 0


def gas_price(transaction: SignedTransactionAPI, header: BlockHeaderAPI) -> int:
    """The price really paid, in wei per gas (EIP-1559)."""
    if transaction_type(transaction) < 2:
        return transaction.gas_price
    assert header.base_fee_per_gas is not None  # every block has one since London
    tip = header.base_fee_per_gas + transaction.max_priority_fee_per_gas
    return min(transaction.max_fee_per_gas, tip)


def contract_address(transaction: SignedTransactionAPI) -> str:
    """Where a creating transaction puts its contract (yellow paper §7)."""
    sender_and_nonce = rlp.encode([transaction.sender, transaction.nonce])
    return to_checksum_address(keccak(sender_and_nonce)[12:])
