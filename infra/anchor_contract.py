"""CheckpointAnchor.sol as Python calls: one contract on one chain, whatever web3.py reaches it by.

All transactions are signed here with keys handed in; no node ever holds one. What web3.py raises in
a dozen ways comes out in three: Reverted (the contract refused, with Solidity's name for it),
Unavailable (the chain did not answer), Stop (there is no such contract).
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from eth_account import Account
from eth_utils.abi import function_abi_to_4byte_selector
from eth_utils.crypto import keccak
from hexbytes import HexBytes
from web3 import HTTPProvider, Web3
from web3.exceptions import BlockNotFound, TransactionNotFound, Web3RPCError
from web3.middleware import ExtraDataToPOAMiddleware
from web3.types import TxParams

from bal.errors import Stop, Unavailable
from contracts import load
from infra.chain_errors import Reverted, translated

RECEIPT_TIMEOUT_S = 120
EVENT_BLOCKS = 1_000  # one eth_getLogs; public endpoints take 500 to 10,000
EVENT_WINDOWS_MAX = 20
NO_ADDRESS = "0x" + "00" * 20


@dataclass(frozen=True, slots=True)
class OnChain:
    """`latest(log)`: the newest head as the contract packs it."""

    size: int
    time_s: int  # Unix time of its block
    count: int  # heads anchored in this contract


@dataclass(frozen=True, slots=True)
class ClosedBook:
    """`closeAt(log, k)`: a close of the book as the contract has it."""

    prefix: int  # entries of the log that the book was made from
    time_s: int  # Unix time of its block
    root: bytes


@dataclass(frozen=True, slots=True)
class Signed:
    """A transaction ready to be sent, as often as need be: its nonce makes it happen once."""

    raw: bytes
    tx: str  # 0x…, its hash
    nonce: int


@dataclass(frozen=True, slots=True)
class Mined:
    """What became of a transaction."""

    tx: str
    block: int
    gas: int
    succeeded: bool


def remote_web3(url: str, *, timeout_s: float = 5.0) -> Web3:
    """web3.py on an RPC URL, without its retries: callers decide when to ask again."""
    provider = HTTPProvider(
        url, request_kwargs={"timeout": timeout_s}, exception_retry_configuration=None
    )
    provider.global_ccip_read_enabled = False  # a contract must not make us fetch URLs (EIP-3668)
    found = Web3(provider)
    # chains of proof of authority keep signatures in extraData, which web3.py else refuses to read
    found.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
    return found


def address_of(key: bytes) -> str:
    """The checksummed address of a 32-byte private key."""
    return str(Account.from_key(key).address)


class AnchorContract:
    """One deployed CheckpointAnchor. Thread-safe as far as its web3 is."""

    def __init__(self, web3: Web3, address: str, abi: list[dict[str, Any]] | None = None) -> None:
        """`abi` is the committed artifact's unless given. Asks the chain for nothing yet."""
        self._web3 = web3
        self.address: str = web3.to_checksum_address(address)
        self._abi = abi if abi is not None else load("CheckpointAnchor").abi
        self._contract: Any = web3.eth.contract(address=cast("Any", self.address), abi=self._abi)
        self._errors = {
            function_abi_to_4byte_selector(cast("Any", one)): one
            for one in self._abi
            if one["type"] == "error"
        }

    @classmethod
    def deploy(cls, web3: Web3, admin_key: bytes) -> "AnchorContract":
        """Put the committed bytecode on chain, with the key's address as admin, and wait for it.

        Raises Unavailable when the chain does not answer or does not mine it in two minutes.
        """
        artifact = load("CheckpointAnchor")
        unplaced = cls(web3, NO_ADDRESS, artifact.abi)
        factory: Any = web3.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode)
        creation = factory.constructor(address_of(admin_key)).data_in_transaction
        with unplaced._translated():
            signed = unplaced._signed(admin_key, creation, to=None)
            web3.eth.send_raw_transaction(HexBytes(signed.raw))
            receipt = web3.eth.wait_for_transaction_receipt(
                HexBytes(signed.tx), timeout=RECEIPT_TIMEOUT_S
            )
        place = receipt["contractAddress"]
        if receipt["status"] != 1 or place is None:
            raise Unavailable(f"deployment {signed.tx} failed")
        return cls(web3, place, artifact.abi)

    # -- reading ---------------------------------------------------------------------------------

    @cached_property
    def chain_id(self) -> int:
        """EIP-155 chain id; asked once. Raises Unavailable."""
        with self._translated():
            return self._web3.eth.chain_id

    def code_hash(self) -> str:
        """0x…, keccak256 of the deployed code, as a policy pins it; Stop where there is none."""
        with self._translated():
            code = self._web3.eth.get_code(cast("Any", self.address))
        if not code:
            raise Stop("contract-missing", f"there is no contract at {self.address}")
        return "0x" + keccak(bytes(code)).hex()

    def latest(self, log: bytes) -> OnChain:
        """The newest head of `log` (32 bytes); all zeros where there is none."""
        return OnChain(*self._read("latest", log))

    def root_at(self, log: bytes, size: int) -> bytes | None:
        """The root anchored at exactly `size`, 32 bytes; None where there is none."""
        root = bytes(self._read("rootAt", log, size))
        return root if any(root) else None

    def closes(self, log: bytes, block: int | None = None) -> int:
        """How often the book was closed, parents' closes included; at `block`, else the newest.

        Raises Stop("contract-missing") where another contract stands at the address.
        """
        try:
            return int(self._read("closes", log, block=block))
        except Reverted as error:  # the view itself never does
            text = f"the contract at {self.address} knows no closes: it is another one"
            raise Stop("contract-missing", text) from error

    def close_at(self, log: bytes, k: int) -> ClosedBook | None:
        """The k-th close; None where it isn't in this contract, but in a parent, or nowhere."""
        found = ClosedBook(*self._read("closeAt", log, k))
        return found if any(found.root) else None

    def is_retired(self, log: bytes) -> bool:
        """Whether the log has ended in this contract."""
        return bool(self._read("isRetired", log))

    def anchorer_of(self, log: bytes) -> str | None:
        """Who may anchor `log`; None where it is not open."""
        found = str(self._read("anchorerOf", log))
        return None if found == NO_ADDRESS else found

    def verify_inclusion(
        self, log: bytes, size: int, index: int, entry: bytes, proof: Sequence[bytes]
    ) -> bool:
        """The contract's own verdict: is `entry` at `index` of the log as anchored at `size`?"""
        return bool(self._read("verifyInclusion", log, size, index, entry, list(proof)))

    def head_number(self) -> int:
        """The newest block's number."""
        with self._translated():
            return self._web3.eth.block_number

    def finalized_number(self) -> int | None:
        """The newest final block's number; None where the chain knows no finality."""
        with self._translated():
            try:
                return self._web3.eth.get_block("finalized")["number"]
            except (BlockNotFound, Web3RPCError):
                return None

    def next_nonce(self, address: str, *, queued: bool = True) -> int:
        """The nonce of the address's next transaction; `queued` counts those not yet mined."""
        with self._translated():
            return self._web3.eth.get_transaction_count(
                cast("Any", address), "pending" if queued else "latest"
            )

    def mined(self, tx: str) -> Mined | None:
        """What became of a transaction; None while it is in no block."""
        with self._translated():
            try:
                receipt = self._web3.eth.get_transaction_receipt(HexBytes(tx))
            except TransactionNotFound:
                return None
        return Mined(tx, receipt["blockNumber"], receipt["gasUsed"], receipt["status"] == 1)

    def find_anchored(self, log: bytes, size: int) -> Mined | None:
        """The transaction that anchored `size`, looked for in the newest 20,000 blocks."""
        last = self.head_number()
        for _ in range(EVENT_WINDOWS_MAX):
            first = max(0, last - EVENT_BLOCKS + 1)
            with self._translated():
                events = self._contract.events.Anchored.get_logs(
                    argument_filters={"log": log}, from_block=first, to_block=last
                )
            for event in events:
                if event["args"]["size"] == size:
                    return self.mined(Web3.to_hex(event["transactionHash"]))
            if first == 0:
                return None
            last = first - 1
        return None

    # -- writing ---------------------------------------------------------------------------------

    def open(
        self,
        log: bytes,
        anchorer: str,
        admin_key: bytes,
        *,
        parent: str = NO_ADDRESS,
        parent_size: int = 0,
    ) -> Mined:
        """Open `log` for `anchorer`, after `parent` if there is one; waits. Raises Reverted."""
        return self._execute(admin_key, "open", log, anchorer, parent, parent_size)

    def replace_anchorer(self, log: bytes, anchorer: str, admin_key: bytes) -> Mined:
        """Give `log` another anchorer; waits. Raises Reverted."""
        return self._execute(admin_key, "replaceAnchorer", log, anchorer)

    def retire(self, log: bytes, size: int, admin_key: bytes) -> Mined:
        """End `log` at its latest size; waits. Raises Reverted."""
        return self._execute(admin_key, "retire", log, size)

    def send_anchor(
        self, log: bytes, size: int, root: bytes, proof: Sequence[bytes], key: bytes
    ) -> Mined:
        """Anchor one head and wait. The anchorer journals in between and uses the parts itself."""
        return self._execute(key, "anchor", log, size, root, list(proof))

    def send_close(self, log: bytes, k: int, prefix: int, root: bytes, key: bytes) -> Mined:
        """Put the k-th close on chain and wait. The closer journals in between."""
        return self._execute(key, "close", log, k, prefix, root)

    def sign_anchor(
        self,
        log: bytes,
        size: int,
        root: bytes,
        proof: Sequence[bytes],
        key: bytes,
        *,
        nonce: int | None = None,
        raises: int = 0,
        gas: int | None = None,
    ) -> Signed:
        """Sign, but don't send, the anchoring of one head.

        nonce: that of the transaction to be replaced, else the next one; raises: how often the fee
        was raised before, a quarter each time; gas: the most it may take, else it is tried to find
        out. Then raises Reverted where it could not succeed now.
        """
        arguments = [log, size, root, list(proof)]
        return self._sign(key, "anchor", arguments, nonce=nonce, raises=raises, gas=gas)

    def sign_close(
        self,
        log: bytes,
        k: int,
        prefix: int,
        root: bytes,
        key: bytes,
        *,
        nonce: int | None = None,
        raises: int = 0,
    ) -> Signed:
        """Sign, but don't send, the k-th close; `nonce`, `raises` and errors as of a head."""
        return self._sign(key, "close", [log, k, prefix, root], nonce=nonce, raises=raises)

    def send(self, signed: Signed) -> None:
        """Hand the transaction to the chain; again and again is harmless.

        Returns also where the node has it already. Raises Unavailable where it was not taken: the
        node may have it all the same.
        """
        with self._translated():
            try:
                self._web3.eth.send_raw_transaction(HexBytes(signed.raw))
            except Web3RPCError as error:
                if "already known" not in str(error) and "already imported" not in str(error):
                    raise

    def _sign(
        self,
        key: bytes,
        function: str,
        arguments: Sequence[object],
        *,
        nonce: int | None,
        raises: int,
        gas: int | None = None,
    ) -> Signed:
        with self._translated():
            call = self._contract.encode_abi(function, args=list(arguments))
            return self._signed(key, call, to=self.address, nonce=nonce, raises=raises, gas=gas)

    def _execute(self, key: bytes, function: str, *arguments: object) -> Mined:
        with self._translated():
            call = self._contract.encode_abi(function, args=list(arguments))
            signed = self._signed(key, call, to=self.address)
            self._web3.eth.send_raw_transaction(HexBytes(signed.raw))
            self._web3.eth.wait_for_transaction_receipt(
                HexBytes(signed.tx), timeout=RECEIPT_TIMEOUT_S
            )
        mined = self.mined(signed.tx)
        if mined is None or not mined.succeeded:
            raise Reverted("Unknown")  # it would have succeeded when it was signed
        return mined

    def _read(self, function: str, *arguments: object, block: int | None = None) -> Any:
        at = "latest" if block is None else block
        with self._translated():
            return self._contract.functions[function](*arguments).call(block_identifier=at)

    def _signed(
        self,
        key: bytes,
        call: Any,
        *,
        to: str | None,
        nonce: int | None = None,
        raises: int = 0,
        gas: int | None = None,
    ) -> Signed:
        eth = self._web3.eth
        account = Account.from_key(key)
        if nonce is None:
            nonce = eth.get_transaction_count(account.address, "pending")
        found: dict[str, Any] = {"from": account.address, "data": call, "value": 0}
        if to is not None:
            found["to"] = to
        if gas is None:  # the state may move on
            gas = eth.estimate_gas(cast("TxParams", found)) * 5 // 4
        found["gas"] = gas
        del found["from"]
        found |= {"nonce": nonce, "chainId": self.chain_id, **self._fees(raises)}
        signed = account.sign_transaction(found)
        return Signed(bytes(signed.raw_transaction), Web3.to_hex(signed.hash), nonce)

    def _fees(self, raises: int) -> dict[str, int]:
        """EIP-1559 fees that hold while the base fee doubles; the plain price before London."""
        eth = self._web3.eth
        base = eth.get_block("latest").get("baseFeePerGas")
        if base is None:
            return {"gasPrice": _raised(eth.gas_price, raises)}
        tip = eth.max_priority_fee
        return {
            "maxFeePerGas": _raised(2 * base + tip, raises),
            "maxPriorityFeePerGas": _raised(tip, raises),
        }

    def _translated(self) -> AbstractContextManager[None]:
        return translated(self.address, self._errors)


def _raised(wei: int, times: int) -> int:
    for _ in range(times):
        wei = wei * 5 // 4 + 1  # nodes want a tenth more than what is replaced
    return wei
