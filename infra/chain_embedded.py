"""An Ethereum chain inside the process: py-evm over one SQLite file.

One transaction makes one block, in one SQLite transaction with synchronous=FULL: when a send
returns, its block survives a kill and a power cut. There is no queue, no reorg and no miner; nobody
but the addresses handed in at the first start owns anything, so nobody else can write. Rules are
Prague's, so gas is what today's public chains charge. eth-tester, py-evm's usual wrapper, was left
out: it looks a transaction up by walking all blocks, and funds keys that everybody knows.
"""

import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from eth.abc import BlockAPI, BlockHeaderAPI
from eth.chains.base import MiningChain
from eth.constants import POST_MERGE_DIFFICULTY, POST_MERGE_MIX_HASH, POST_MERGE_NONCE
from eth.exceptions import HeaderNotFound, PyEVMError, Revert, TransactionNotFound
from eth.vm.forks.prague import PragueVM
from eth.vm.spoof import SpoofTransaction
from eth_keys.exceptions import BadSignature
from eth_utils.address import to_canonical_address
from eth_utils.exceptions import ValidationError
from rlp.exceptions import RLPException  # type: ignore[import-untyped]
from web3 import Web3
from web3.providers.base import BaseProvider
from web3.types import RPCEndpoint, RPCResponse

from bal.errors import Stop, Unavailable
from infra.chain_json import (
    NEWEST_TAGS,
    LogFilter,
    RpcError,
    block_json,
    data,
    invalid,
    log_json,
    quantity,
    read_addresses,
    read_data,
    read_quantity,
    read_topics,
    receipt_json,
    transaction_json,
)
from infra.chain_sqlite import ChainFile, Event, Origin

FUNDS_WEI = 10**24  # of each address handed in; at 1 gwei a head costs some 10**14
BLOCK_GAS_LIMIT = 30_000_000
CALL_GAS_MAX = 6_000_000  # proof of a 65,535-byte entry, calldata floor included (EIP-7623)
TIP_WEI = 10**9
LOG_BLOCKS_MAX = 10_000
LOGS_MAX = 10_000


class _Provider(BaseProvider):
    """web3.py's way in: the same requests that would go over HTTP, without the HTTP."""

    def __init__(self, chain: "EmbeddedChain") -> None:
        super().__init__()
        self.global_ccip_read_enabled = False  # a contract must not make us fetch URLs (EIP-3668)
        self._chain = chain

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """One JSON-RPC request, answered in the caller's thread."""
        answer: dict[str, object] = {"jsonrpc": "2.0", "id": 1}
        try:
            answer["result"] = self._chain.request(method, list(params))
        except RpcError as error:
            answer["error"] = error.as_json()
        return cast("RPCResponse", answer)

    def is_connected(self, show_traceback: bool = False) -> bool:  # noqa: FBT001, FBT002
        """Always: it is this process."""
        del show_traceback
        return True


class EmbeddedChain:
    """The chain; every method may be called from any thread and takes its turn at one lock.

    A call holds the lock for some milliseconds and a send for some tens, so callers on an event
    loop use a thread.
    """

    def __init__(
        self,
        path: Path,
        funded: Sequence[str],
        *,
        now_s: Callable[[], int] = lambda: int(time.time()),
    ) -> None:
        """Open the chain in `path`, or begin one whose genesis gives `funded` (0x…) its ether.

        The genesis is kept, so it is the same at every start; the chain id is drawn at the first.
        Raises Stop("chain-locked") when another process has it open, Stop("chain-foreign") when
        the file is no chain of ours or was begun with other addresses.
        """
        self._lock = threading.RLock()
        self._now_s = now_s
        self._file = ChainFile(path)
        try:
            names = sorted(to_canonical_address(one) for one in funded)
            self._type = self._open(path, names)
        except BaseException:
            self._file.close()
            raise
        # Any: py-evm tells block numbers, hashes and addresses apart by type, we check their form
        self._chain: Any = self._type(self._file.nodes)
        self._methods = self._table()

    @property
    def chain_id(self) -> int:
        """EIP-155 chain id; 41 bits, drawn at the first start, so no two own chains mix."""
        return int(self._type.chain_id)

    def web3(self) -> Web3:
        """web3.py on this chain, writing included."""
        return Web3(_Provider(self))

    def close(self) -> None:
        """Release the file; later calls raise Unavailable."""
        with self._lock:
            self._file.close()

    def request(self, method: str, params: list[Any]) -> Any:
        """Answer one JSON-RPC method with what belongs in `result`.

        Raises RpcError for what the caller did wrong and for reverts, Unavailable when the file
        cannot be read or written.
        """
        answer, least, most = self._methods.get(method, (None, 0, 0))
        if answer is None:
            raise RpcError(-32601, f"{method} is not offered")
        if not least <= len(params) <= most:
            raise invalid(f"{method} takes {least} to {most} parameters, not {len(params)}")
        with self._lock:
            try:
                return answer(*params)
            except sqlite3.Error as error:
                raise Unavailable(f"the chain's file: {error}") from error

    def _table(self) -> dict[str, tuple[Callable[..., object], int, int]]:
        """Each method with the least and the most parameters that it takes."""
        return {
            "eth_chainId": (lambda: quantity(self.chain_id), 0, 0),
            "net_version": (lambda: str(self.chain_id), 0, 0),
            "eth_blockNumber": (self._block_number, 0, 0),
            "eth_call": (self._call, 1, 2),
            "eth_estimateGas": (self._estimate, 1, 2),
            "eth_getCode": (self._code, 1, 2),
            "eth_getBalance": (self._balance, 1, 2),
            "eth_getTransactionCount": (self._nonce, 1, 2),
            "eth_getLogs": (self._logs, 1, 1),
            "eth_getBlockByNumber": (self._block_by_number, 1, 2),
            "eth_getBlockByHash": (self._block_by_hash, 1, 2),
            "eth_getTransactionByHash": (self._transaction, 1, 1),
            "eth_getTransactionReceipt": (self._receipt, 1, 1),
            "eth_sendRawTransaction": (self._send, 1, 1),
            "eth_gasPrice": (lambda: quantity(self._base_fee() + TIP_WEI), 0, 0),
            "eth_maxPriorityFeePerGas": (lambda: quantity(TIP_WEI), 0, 0),
        }

    # -- opening ---------------------------------------------------------------------------------

    def _open(self, path: Path, funded: Sequence[bytes]) -> Any:
        names = " ".join(one.hex() for one in funded)
        origin = self._file.origin()
        if origin is None:
            return self._begin(funded, names)
        if origin.funded != names:
            raise Stop("chain-foreign", f"{path} was begun for other addresses")
        chain_type: Any = _chain_type(origin.chain_id)
        if chain_type(self._file.nodes).get_canonical_block_hash(0) != origin.genesis:
            raise Stop("chain-foreign", f"{path} does not start at its own genesis")
        return chain_type

    def _begin(self, funded: Sequence[bytes], names: str) -> Any:
        chain_type: Any = _chain_type(1 << 40 | secrets.randbits(40))
        account = {"balance": FUNDS_WEI, "nonce": 0, "code": b"", "storage": {}}
        parameters: dict[str, Any] = {
            "difficulty": POST_MERGE_DIFFICULTY,
            "mix_hash": POST_MERGE_MIX_HASH,
            "nonce": POST_MERGE_NONCE,
            "gas_limit": BLOCK_GAS_LIMIT,
            "timestamp": self._now_s(),
        }
        with self._file.writing():
            balances = dict.fromkeys(funded, account)
            chain = chain_type.from_genesis(self._file.nodes, parameters, balances)
            genesis = chain.get_canonical_block_hash(0)
            self._file.begin(Origin(chain_type.chain_id, names, genesis))
        return chain_type

    # -- reading ---------------------------------------------------------------------------------

    def _number(self, tag: object) -> int:
        """The block number that a tag or a quantity means; it may be above the head."""
        if tag is None or (isinstance(tag, str) and tag in NEWEST_TAGS):
            return int(self._chain.get_canonical_head().block_number)
        return 0 if tag == "earliest" else read_quantity(tag, "block")

    def _header(self, tag: object) -> Any:
        """The header of a tag, a quantity or an EIP-1898 object."""
        try:
            if isinstance(tag, dict):
                if "blockHash" in tag:
                    return self._block_of_hash(tag["blockHash"]).header
                tag = tag.get("blockNumber")
            return self._chain.get_canonical_block_header_by_number(self._number(tag))
        except HeaderNotFound as error:
            raise RpcError(-32001, "block not found") from error

    def _block_of_hash(self, value: object) -> Any:
        header = self._chain.get_block_header_by_hash(read_data(value, "block hash", 32))
        return self._chain.get_block_by_header(header)

    def _block_number(self) -> str:
        return quantity(self._chain.get_canonical_head().block_number)

    def _block_by_number(self, tag: object, full: object = None) -> object:
        try:
            block = self._chain.get_canonical_block_by_number(self._number(tag))
        except HeaderNotFound:
            return None
        return block_json(block, full=full is True)

    def _block_by_hash(self, value: object, full: object = None) -> object:
        try:
            return block_json(self._block_of_hash(value), full=full is True)
        except HeaderNotFound:
            return None

    def _mined(self, value: object) -> tuple[BlockAPI, int] | None:
        try:
            found = self._chain.get_canonical_transaction_index(
                read_data(value, "transaction hash", 32)
            )
        except TransactionNotFound:
            return None
        return self._chain.get_canonical_block_by_number(found[0]), found[1]

    def _transaction(self, value: object) -> object:
        found = self._mined(value)
        return found and transaction_json(*found)

    def _receipt(self, value: object) -> object:
        found = self._mined(value)
        if found is None:
            return None
        return receipt_json(*found, found[0].get_receipts(self._chain.chaindb))

    def _code(self, address: object, tag: object = "latest") -> str:
        state = self._chain.get_vm(self._header(tag)).state
        return data(state.get_code(_address(address)))

    def _balance(self, address: object, tag: object = "latest") -> str:
        state = self._chain.get_vm(self._header(tag)).state
        return quantity(state.get_balance(_address(address)))

    def _nonce(self, address: object, tag: object = "latest") -> str:
        state = self._chain.get_vm(self._header(tag)).state
        return quantity(state.get_nonce(_address(address)))

    def _logs(self, wanted: object) -> list[dict[str, object]]:
        if not isinstance(wanted, dict):
            raise invalid("the filter is no object")
        if "blockHash" in wanted:
            first = last = int(self._header({"blockHash": wanted["blockHash"]}).block_number)
        else:
            first, last = self._number(wanted.get("fromBlock")), self._number(wanted.get("toBlock"))
        if last - first >= LOG_BLOCKS_MAX:
            last = min(last, self._number("latest"))
        if last - first >= LOG_BLOCKS_MAX:
            raise RpcError(-32005, f"more than {LOG_BLOCKS_MAX} blocks: ask for fewer")
        addresses, topics = read_addresses(wanted.get("address")), read_topics(wanted.get("topics"))
        found = self._file.events(LogFilter(first, last, addresses, topics), LOGS_MAX + 1)
        if len(found) > LOGS_MAX:
            raise RpcError(-32005, f"more than {LOGS_MAX} logs: ask for fewer blocks")
        return found

    # -- executing -------------------------------------------------------------------------------

    def _call(self, call: object, tag: object = "latest") -> str:
        transaction = self._spoofed(call, tag, CALL_GAS_MAX)
        if not transaction.to:
            raise invalid("a call names a contract in `to`")
        # Precompiles are left out: some cost seconds of Python for little gas, none is needed.
        code = self._chain.get_vm(self._header(tag)).state.get_code(transaction.to)
        return data(self._executed(transaction, tag)[0]) if code else "0x"

    def _estimate(self, call: object, tag: object = "latest") -> str:
        return quantity(self._executed(self._spoofed(call, tag, BLOCK_GAS_LIMIT), tag)[1])

    def _spoofed(self, call: object, tag: object, gas_max: int) -> Any:
        """The call as an unsigned transaction of whoever it names, taken for signed."""
        if not isinstance(call, dict):
            raise invalid("the call is no object")
        sender = _address(call.get("from") or "0x" + "00" * 20)
        unsigned = self._chain.create_unsigned_transaction(
            nonce=self._chain.get_vm(self._header(tag)).state.get_nonce(sender),
            gas_price=0,
            gas=min(read_quantity(call.get("gas") or gas_max, "gas"), gas_max),
            to=b"" if call.get("to") is None else _address(call["to"]),
            value=0,
            data=read_data(call.get("input") or call.get("data") or "0x", "input"),
        )
        return SpoofTransaction(unsigned, from_=sender)

    def _executed(self, transaction: Any, tag: object) -> tuple[bytes, int]:
        """Output and gas of a call, on the state after block `tag`; nothing is kept of it."""
        vm = self._chain.get_vm(self._header(tag))
        try:
            with vm.in_costless_state() as state:
                computation = state.costless_execute_transaction(transaction)
        except ValidationError as error:
            raise RpcError(-32000, str(error)) from error
        if isinstance(computation._error, Revert):
            raise RpcError(3, "execution reverted", data(computation.output))
        if computation.is_error:
            raise RpcError(-32000, f"execution failed: {type(computation.error).__name__}")
        tokens = 4 * len(transaction.data) - 3 * transaction.data.count(0)
        floor = 21_000 + 10 * tokens  # EIP-7623
        used = computation.get_gas_used() + transaction.intrinsic_gas
        return computation.output, max(used, floor)

    def _send(self, raw: object) -> str:
        with self._file.writing():
            # a fresh object each time: one that had mined in memory what the disk then refused
            # would build on a block that is not there
            chain: Any = self._type(self._file.nodes)
            vm = chain.get_vm()
            try:
                transaction = vm.get_transaction_builder().decode(read_data(raw, "transaction"))
                expected = vm.state.get_nonce(transaction.sender)
            except (PyEVMError, RLPException, ValidationError, BadSignature, IndexError) as error:
                raise invalid(f"no signed transaction: {error}") from error
            if transaction.nonce != expected:
                order = "low" if transaction.nonce < expected else "high"
                text = f"nonce too {order}: next nonce {expected}, tx nonce {transaction.nonce}"
                raise RpcError(-32000, text)
            earliest = chain.get_canonical_head().timestamp + 1
            chain.set_header_timestamp(max(self._now_s(), earliest))
            try:
                chain.mine_all([transaction])
            except ValidationError as error:
                raise RpcError(-32000, str(error)) from error
            self._file.add_events(self._events(chain))
        return data(transaction.hash)

    def _events(self, chain: Any) -> list[Event]:
        """What the newest block emitted."""
        block = chain.get_canonical_block_by_number(chain.get_canonical_head().block_number)
        found: list[Event] = []
        for index, receipt in enumerate(block.get_receipts(chain.chaindb)):
            for log in receipt.logs:
                topics = [topic.to_bytes(32, "big") for topic in log.topics]
                form = log_json(block, index, len(found), log)
                found.append(Event(block.number, len(found), bytes(log.address), topics, form))
        return found

    def _base_fee(self) -> int:
        header = self._chain.create_header_from_parent(self._chain.get_canonical_head())
        return int(header.base_fee_per_gas)


def _address(value: object) -> bytes:
    return read_data(value, "address", 20)


def _chain_type(of: int) -> type[MiningChain]:
    class OwnChain(MiningChain):
        """Proof of stake's block form without a beacon chain behind it."""

        chain_id = of
        vm_configuration = ((0, PragueVM),)  # type: ignore[assignment]  # BlockNumber is an int

        def create_header_from_parent(
            self, parent_header: BlockHeaderAPI, **fields: Any
        ) -> BlockHeaderAPI:
            """As py-evm does it, with the gas limit kept as it is."""
            kept = {**fields, "gas_limit": parent_header.gas_limit}
            return super().create_header_from_parent(parent_header, **kept)

    return OwnChain
