"""What a node says of its chain, held against what else it says.

An endpoint may be several nodes, or lie: it gives the receipt of another transaction, a block that
is not on the chain, a height that there is not. Where one answer contradicts another, that is a
Contradiction, and nothing is concluded from either. Who lies consistently is not found out here,
but by a verifier who asks another endpoint.
"""

from dataclasses import dataclass

from hexbytes import HexBytes
from web3 import Web3
from web3.exceptions import BlockNotFound, TransactionNotFound, Web3RPCError

from infra.chain_errors import Contradiction


@dataclass(frozen=True, slots=True)
class Mined:
    """What became of a transaction."""

    tx: str
    block: int
    gas: int
    succeeded: bool


def mined(web3: Web3, tx: str) -> Mined | None:
    """What became of a transaction; None while it is in no block.

    Raises Contradiction where the receipt is another's, or its block is not on the chain.
    """
    try:
        receipt = web3.eth.get_transaction_receipt(HexBytes(tx))
    except TransactionNotFound:
        return None
    number = receipt["blockNumber"]
    if bytes(receipt["transactionHash"]) != bytes(HexBytes(tx)):
        raise Contradiction(f"the receipt of {tx} is another transaction's")
    if _hash(web3, number) != bytes(receipt["blockHash"]):
        raise Contradiction(f"{tx} is said to be in a block {number} that is not on the chain")
    return Mined(tx, number, receipt["gasUsed"], receipt["status"] == 1)


def head_number(web3: Web3) -> int:
    """The newest block's number. Raises Contradiction where there is no such block."""
    number = web3.eth.block_number
    _hash(web3, number)
    return number


def finalized_number(web3: Web3) -> int | None:
    """The newest final block's number; None where the chain knows no finality.

    Raises Contradiction where the chain has another block there, or none.
    """
    try:
        block = web3.eth.get_block("finalized")
    except (BlockNotFound, Web3RPCError):
        return None
    if _hash(web3, block["number"]) != bytes(block["hash"]):
        raise Contradiction(f"block {block['number']} is final and not on the chain")
    return block["number"]


def _hash(web3: Web3, number: int) -> bytes:
    """Of the block with that number."""
    try:
        block = web3.eth.get_block(number)
    except BlockNotFound:
        raise Contradiction(f"there is no block {number} where one was said to be") from None
    if block["number"] != number:
        raise Contradiction(f"asked for block {number}, got block {block['number']}")
    return bytes(block["hash"])
